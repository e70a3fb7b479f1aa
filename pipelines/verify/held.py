"""The lake's side: silver and quarantine of one table at versions that belong together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl
from deltalake import DeltaTable

from pipelines.change.position import ORDER, is_after
from pipelines.change.reduce import UNAVAILABLE
from pipelines.contract import Contract
from pipelines.decisions import DROPPED
from pipelines.state import progress_of, shaped
from pipelines.storage import Lake, schema_of
from pipelines.verify.compare import ISSUES, PLACE, within, without_key
from pipelines.verify.errors import VerifyError
from pipelines.verify.values import Field, of_lake, typed

#: Tries to see silver and quarantine without a commit between them.
_TRIES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Where the rows of a contract stand, at one version of each table.

    `unapplied` is how many versions bronze is ahead of silver, None where there is no bronze.
    """

    lake: Lake
    contract: Contract
    handles: Mapping[str, DeltaTable]
    unapplied: int | None
    #: The keys of rows that somebody dropped: known, though none of their values is.
    dropped: pl.DataFrame

    @property
    def versions(self) -> dict[str, int]:
        """The version of each table that is read."""
        return {layer: handle.version() for layer, handle in self.handles.items()}

    def position(self) -> int:
        """The newest event in any of the tables, as the source's log counts; 0 in a full snapshot."""
        newest = [
            self.lake.scan_handle(handle).select(pl.col("source_event").max())
            for handle in self.handles.values()
        ]
        return int(pl.concat(newest).max().collect().item() or 0)

    def counts(self) -> dict[str, int]:
        """The rows of silver and of quarantine."""
        return {
            layer: int(self.lake.scan_handle(handle).select(pl.len()).collect().item())
            for layer, handle in self.handles.items()
            if layer != "tombstones"
        }

    def between(
        self,
        fields: Sequence[Field],
        after: pl.DataFrame | None,
        to: pl.DataFrame | None,
        most: int,
    ) -> Iterator[tuple[pl.DataFrame, pl.DataFrame | None]]:
        """The rows between two keys in canonical form, in parts of about `most` rows.

        Each part comes with the key that it reaches to, None for the last one.
        """
        key = self.contract.key
        while True:
            inside = self._rows(fields).filter(within(key, after, to))
            some = inside.head(most + 1).collect(engine="streaming")
            if len(some) <= most:
                yield self._canonical(some, fields), to
                return
            # More rows than a range should hold: the smallest keys first.
            smallest = inside.select(key).bottom_k(most, by=list(key)).collect(engine="streaming")
            reach = smallest.sort(key)[-1:]
            part = self._rows(fields).filter(within(key, after, reach)).collect()
            yield self._canonical(part, fields), reach
            after = reach

    def without_key(self, fields: Sequence[Field]) -> pl.DataFrame:
        """The rows whose key is not known, in canonical form."""
        rows = self._rows(fields).filter(without_key(self.contract.key)).collect()
        return self._canonical(rows, fields)

    def rows_of(self, keys: pl.DataFrame, fields: Sequence[Field]) -> pl.DataFrame:
        """The rows with these keys, given and returned in canonical form."""
        sought = stored_keys(keys, self.contract).drop_nulls().lazy()
        rows = self._rows(fields).join(sought, on=list(self.contract.key), how="semi").collect()
        return self._canonical(rows, fields)

    def _rows(self, fields: Sequence[Field]) -> pl.LazyFrame:
        columns = [field.name for field in fields]
        places = [
            self.lake.scan_handle(handle).select(
                *columns, pl.col("quality_issues").alias(ISSUES), pl.lit(layer).alias(PLACE)
            )
            for layer, handle in self.handles.items()
            if layer != "tombstones"
        ]
        if len(self.dropped):
            unknown = pl.lit([f"{UNAVAILABLE}:*"], pl.List(pl.String())).alias(ISSUES)
            nowhere = shaped(self.dropped, dict(places[0].select(columns).collect_schema()))
            places.append(nowhere.lazy().with_columns(unknown, pl.lit("dropped").alias(PLACE)))
        return pl.concat(places)

    def _canonical(self, rows: pl.DataFrame, fields: Sequence[Field]) -> pl.DataFrame:
        known = pl.when(pl.col(PLACE) != "silver").then(ISSUES)
        return rows.select(
            *(of_lake(pl.col(field.name), field).alias(field.name) for field in fields),
            PLACE,
            # What silver holds it knows, whatever its notes say.
            known.alias(ISSUES),
        )


def open_held(lake: Lake, contract: Contract) -> Held:
    """The newest versions of silver and quarantine that were there at one moment.

    An apply writes quarantine before silver when a row goes there, and after it when one leaves:
    read in any one order, a row on its way could be in neither. So both are looked at again.

    Raises:
        VerifyError: when there is no silver table, or it is not as the contract says.
    """
    handles = _open_all(lake, contract)
    for _ in range(_TRIES):
        held = {layer: handle.version() for layer, handle in handles.items()}
        if {layer: lake.version(contract.sibling(layer)) for layer in held} == held:
            break
        handles = _open_all(lake, contract)
    silver = handles["silver"]
    bronze = lake.open(contract.bronze)
    applied = None if bronze is None else silver.transaction_version(progress_of(bronze))
    return Held(
        lake=lake,
        contract=contract,
        handles=handles,
        unapplied=None
        if bronze is None
        else bronze.version() - (-1 if applied is None else applied),
        dropped=_dropped(lake, contract, handles),
    )


def _dropped(lake: Lake, contract: Contract, handles: Mapping[str, DeltaTable]) -> pl.DataFrame:
    """The keys whose newest tombstone is that of a dropped row, with no row and no truncate since."""
    key, stones = list(contract.key), handles.get("tombstones")
    # Made under another key: what is compared then is said elsewhere, and nothing was dropped by this one.
    if stones is None or not schema_of(stones).keys() >= set(key):
        return pl.DataFrame(schema={name: contract.columns[name].type.stored for name in key})
    buried = lake.scan_handle(stones).select(*key, *ORDER, "operation")
    keys = buried.filter(pl.col("operation") == DROPPED).select(key).unique().collect()
    if not len(keys):
        return keys
    marks = buried.join(keys.lazy(), on=key, how="semi").collect()
    truncates = buried.filter(pl.col("operation") == "TRUNCATE").select(ORDER).sort(ORDER).collect()
    newest = marks.sort(ORDER).unique(key, keep="last", maintain_order=True)
    newest = newest.filter(pl.col("operation") == DROPPED)
    if len(truncates):
        newest = newest.filter(is_after(truncates.row(-1)))
    for layer in ("silver", "quarantine"):
        if layer in handles:
            there = lake.scan_handle(handles[layer]).select(key)
            newest = newest.lazy().join(there, on=key, how="anti").collect()
    return newest.select(key)


def stored_keys(keys: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """Canonical keys as the lake stores them, null where it cannot."""
    return keys.select(typed(keys[name], contract.columns[name].type) for name in contract.key)


def _open_all(lake: Lake, contract: Contract) -> dict[str, DeltaTable]:
    handles = dict[str, DeltaTable]()
    for layer in ("silver", "quarantine", "tombstones"):
        handle = lake.open(contract.sibling(layer))
        if handle is None:
            if layer == "silver":
                raise VerifyError(
                    f"{contract.table}: no such table in the lake {lake.root}",
                    hint="run 'medallion run' first, or check --lake",
                )
            continue
        if layer != "tombstones":
            _refuse_other_columns(handle, contract, contract.sibling(layer))
        handles[layer] = handle
    return handles


def _refuse_other_columns(handle: DeltaTable, contract: Contract, table: str) -> None:
    stored = schema_of(handle)
    for name, column in contract.columns.items():
        if stored.get(name) != column.type.stored:
            raise VerifyError(
                f"{table}: column '{name}' is {column.type} in the contract and"
                f" {stored.get(name, 'missing')} in the lake",
                hint="the table was made by another contract; apply the newest one first",
            )
