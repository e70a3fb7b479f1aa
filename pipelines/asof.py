"""The lake as of a position or a time: what its tables would hold, had nothing happened since.

Each table takes the first of these ways that is exact for it, and says which:

* bronze: its events up to then
* silver that has applied nothing later: the table as it is
* silver with history: the versions valid then, of which those kept are silver
* silver without history, or behind its bronze: made once more from bronze up to then, in a temporary
  folder
* gold: its SQL over its inputs as of then, with the surrogate keys it has given
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

import polars as pl
from deltalake import DeltaTable

from pipelines.change.images import UPSERT
from pipelines.change.position import ORDER
from pipelines.contract import Catalog, Contract, did_you_mean
from pipelines.errors import QueryError
from pipelines.feed import chunks
from pipelines.gold import inputs_of, result_over
from pipelines.history import ENDED
from pipelines.moment import BRONZE_ORDER, Moment
from pipelines.plan import parents_of
from pipelines.quality import judge_rows
from pipelines.query import mentioned, select
from pipelines.reach import epochs, refuse_future
from pipelines.rebuild import Overlay, overlay, rebuild
from pipelines.state import AUDIT, OWN_ISSUES, progress_of, silver_schema
from pipelines.storage import Lake

_REFERENCE = "a table its rules refer to"


@dataclass(frozen=True, slots=True)
class Answer:
    """A query's rows, and for each table it read the way that its past was found."""

    rows: pl.DataFrame
    ways: dict[str, str]


def query_as_of(lake: Lake, catalog: Catalog, sql: str, moment: Moment) -> Answer:
    """The result of one SELECT over bronze, silver, history and gold as of a moment.

    Raises:
        QueryError: when the moment is later than what the lake holds, when a table has no past, or
            when the engine refuses the SQL.
        LakeError: when a table cannot be read.
    """
    refuse_future(lake, catalog, moment)
    tables = lake.tables()
    with Past(lake, catalog, moment) as past:
        frames = {name: past.table(name) for name in mentioned(sql) if name in tables}
        return Answer(select(lake, sql, frames, tables), past.ways)


# ---- THE PAST OF EACH TABLE ---- #


@dataclass(slots=True)
class Past:
    """A lake's tables as of one moment; what it makes lies in temporary folders until it is closed."""

    lake: Lake
    catalog: Catalog
    moment: Moment
    #: For each table that was asked for, the way its past was found.
    ways: dict[str, str] = field(default_factory=dict[str, str])
    _frames: dict[str, pl.LazyFrame] = field(default_factory=dict[str, pl.LazyFrame])
    _rebuilt: dict[str, Overlay] = field(default_factory=dict[str, Overlay])
    _under_way: set[str] = field(default_factory=set[str])
    _folders: list[tempfile.TemporaryDirectory[str]] = field(
        default_factory=list["tempfile.TemporaryDirectory[str]"]
    )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _at: TracebackType | None,
    ) -> None:
        for folder in self._folders:
            folder.cleanup()

    def table(self, name: str) -> pl.LazyFrame:
        """The rows of a table as of the moment.

        Raises:
            QueryError: when the table has no past.
            ContractError: when no contract makes it.
        """
        if name not in self._frames:
            self._frames[name] = self._find(name)
        return self._frames[name]

    def _find(self, name: str) -> pl.LazyFrame:
        layer, _, rest = name.partition(".")
        if layer == "bronze":
            return self._bronze(name)
        if layer == "gold":
            return self._gold(self.catalog[name])
        if layer in ("silver", "history"):
            contract = self.catalog[f"silver.{rest}"]
            return self._silver(contract) if layer == "silver" else self._history(contract)
        raise QueryError(
            f"'{name}' has no past: --as-of knows bronze, silver, history and gold",
            hint="query it without --as-of",
        )

    def _at(self, bronze: str) -> Moment:
        return self.moment.among(*epochs(self.lake, bronze))

    # ---- BRONZE ---- #

    def _bronze(self, name: str) -> pl.LazyFrame:
        known = {contract.bronze for contract in self.catalog.layer("silver")}
        if name not in known:
            raise QueryError(f"no contract reads '{name}'", hint=did_you_mean(name, known))
        self.ways[name] = "its events up to then"
        return self.lake.scan(name).filter(_happened(self._at(name)))

    # ---- SILVER AND HISTORY ---- #

    def _silver(self, contract: Contract) -> pl.LazyFrame:
        table, bronze = contract.table, self.lake.handle(contract.bronze)
        at = self._at(contract.bronze)
        behind = self._is_behind(contract, bronze, at)
        if not behind and not self._has_later(bronze, at):
            self.ways[table] = "the table as it is; nothing happened since"
            return self.lake.scan(table)
        if not behind and self._has_whole_history(contract):
            self.ways[table] = "the versions of its history that were valid then"
            return self._from_history(contract, at)
        self.ways[table] = self._why_rebuilt(contract, behind=behind)
        return self._again(contract, bronze, at).scan(table)

    def _history(self, contract: Contract) -> pl.LazyFrame:
        name = contract.sibling("history")
        if not contract.history:
            raise QueryError(
                f"{contract.table} keeps no history", hint="'history: true' in its contract does"
            )
        bronze, at = self.lake.handle(contract.bronze), self._at(contract.bronze)
        behind = self._is_behind(contract, bronze, at)
        if not behind and self._has_whole_history(contract):
            self.ways[name] = "its versions up to then"
            return _with_intervals(self._versions(contract, at), contract)
        self.ways[name] = self._why_rebuilt(contract, behind=behind)
        return self._again(contract, bronze, at).scan(name)

    def _why_rebuilt(self, contract: Contract, *, behind: bool) -> str:
        if behind:
            why = "silver has not applied all of it yet"
        elif contract.history:
            why = "its history began later than the table"
        else:
            why = "it keeps no history"
        return f"made again from bronze up to then, since {why}"

    def _is_behind(self, contract: Contract, bronze: DeltaTable, at: Moment) -> bool:
        """Whether bronze holds events up to the moment that silver has not applied."""
        silver = self.lake.open(contract.table)
        reached = silver and silver.transaction_version(progress_of(bronze))
        if reached is None:
            return True
        if reached >= bronze.version():
            return False
        happened = _happened(at)
        return any(len(chunk.rows.filter(happened)) for chunk in chunks(bronze, reached))

    def _has_later(self, bronze: DeltaTable, at: Moment) -> bool:
        later = self.lake.scan_handle(bronze).filter(~_happened(at)).select(pl.len())
        return bool(later.collect(engine="streaming").item())

    def _has_whole_history(self, contract: Contract) -> bool:
        """Whether history was there before silver's first rows: it may have been switched on later."""
        if not contract.history:
            return False
        history, silver = (
            self.lake.open(contract.sibling("history")),
            self.lake.open(contract.table),
        )
        if history is None or silver is None:
            return False
        first = [entry["timestamp"] for entry in silver.history() if entry["version"] == 1]
        began = history.metadata().created_time
        return bool(first) and began <= first[0]

    def _versions(self, contract: Contract, at: Moment) -> pl.LazyFrame:
        history = self.lake.scan(contract.sibling("history"))
        return history.filter(at.covers(ORDER, "valid_from"))

    def _from_history(self, contract: Contract, at: Moment) -> pl.LazyFrame:
        """The version of each key that was valid then: the newest, where source times do not grow with the log."""
        key, columns = list(contract.key), list(silver_schema(contract))
        then = (
            self._versions(contract, at)
            .filter((~at.covers(ENDED, "valid_to")).fill_null(value=True))
            .sort(ORDER)
            .unique(key, keep="last", maintain_order=True)
            .filter(~pl.col("is_deleted"))
        )
        kept = then.filter(pl.col("verdict") == "kept").select(columns)
        if not parents_of(contract):
            return kept
        waiting = then.filter(pl.col("verdict") == "quarantined").select(columns)
        released = self._released(contract, waiting.collect(engine="streaming"))
        return pl.concat([kept, released.select(columns).lazy()])

    def _released(self, contract: Contract, waiting: pl.DataFrame) -> pl.DataFrame:
        """Those of the rows that waited for a parent which had come by then."""
        own = pl.col("quality_issues").list.filter(pl.element().str.contains(OWN_ISSUES))
        events = waiting.with_columns(own.alias("_issues"), pl.lit(UPSERT).alias("_verb"))
        verdict = ("data_quality_score", "quality_checks_passed", "quality_issues")

        def parents(table: str, column: str, values: pl.Series) -> pl.DataFrame:
            found = (
                self._parent(table).select(column).filter(pl.col(column).is_in(values.implode()))
            )
            return found.collect(engine="streaming")

        self._under_way.add(contract.table)
        try:
            return judge_rows(events.drop(verdict), contract, parents).kept
        finally:
            self._under_way.discard(contract.table)

    def _parent(self, table: str) -> pl.LazyFrame:
        """A table that rules refer to, as of then; as it is now where two refer to each other."""
        if self.lake.version(table) is None:
            columns = self.catalog[table].columns.items()
            return pl.LazyFrame(schema={name: column.type.stored for name, column in columns})
        if table in self._under_way:
            return self.lake.scan(table)
        asked = set(self.ways)
        frame = self.table(table)
        for name in set(self.ways) - asked:
            self.ways[name] += f" ({_REFERENCE})"
        return frame

    # ---- AGAIN FROM BRONZE ---- #

    def _again(self, contract: Contract, bronze: DeltaTable, at: Moment) -> Overlay:
        """A lake in which silver was made from the events up to the moment, and from its parents then."""
        if contract.table in self._rebuilt:
            return self._rebuilt[contract.table]
        folder = tempfile.TemporaryDirectory(prefix="medallion-as-of-")
        self._folders.append(folder)
        lake = overlay(self.lake, contract, folder.name, parents=frozenset())
        self._under_way.add(contract.table)
        try:
            for parent in parents_of(contract):
                rows = self._parent(parent).drop(AUDIT.keys(), strict=False).collect()
                lake.write(lake.create(parent, dict(rows.schema)), rows, mode="append")
            rebuild(
                lake,
                self.catalog,
                contract.table,
                now=datetime.now(UTC),
                until=bronze.version(),
                keep=_happened(at),
                before_epoch=at.newest_epoch,
            )
        finally:
            self._under_way.discard(contract.table)
        self._rebuilt[contract.table] = lake
        return lake

    # ---- GOLD ---- #

    def _gold(self, contract: Contract) -> pl.LazyFrame:
        frames = {name: self.table(name) for name in inputs_of(contract)}
        rows = self._with_given_keys(contract, result_over(contract, frames))
        if contract.batch_id:
            rows = rows.with_columns(pl.lit(None, pl.String).alias(contract.batch_id))
        self.ways.setdefault(contract.table, "its SQL over its inputs as of then")
        return rows.select(contract.columns.keys()).lazy()

    def _with_given_keys(self, contract: Contract, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows with the surrogate keys that builds have given; none is given here."""
        surrogate = contract.surrogate_key
        if surrogate is None:
            return rows
        of, kind = list(surrogate.of), contract.columns[surrogate.column].type.stored
        keys = contract.sibling("keys")
        if self.lake.version(keys) is None:
            numbered = rows.with_columns(pl.lit(None, kind).alias(surrogate.column))
        else:
            given = self.lake.scan(keys).select(*of, pl.col(surrogate.column).cast(kind)).collect()
            numbered = rows.join(given, on=of, how="left")
        lacking = numbered[surrogate.column].null_count()
        if lacking:
            self.ways[contract.table] = (
                f"its SQL over its inputs as of then; {lacking:,} rows were never built and have no {surrogate.column}"
            )
        return numbered


def _happened(at: Moment) -> pl.Expr:
    return at.covers(BRONZE_ORDER, "event_timestamp")


def _with_intervals(versions: pl.LazyFrame, contract: Contract) -> pl.LazyFrame:
    """Versions whose intervals end at the next version among them, so that none ends in the future."""
    key = list(contract.key)
    names = list(versions.collect_schema())
    ends = [
        pl.col(name).shift(-1).over(key).alias(ended)
        for name, ended in zip(("valid_from", *ORDER), ("valid_to", *ENDED), strict=True)
    ]
    last = pl.col(ORDER[3]).shift(-1).over(key).is_null()
    return (
        versions.sort(*key, *ORDER)
        .with_columns(*ends, (last & ~pl.col("is_deleted")).alias("is_current"))
        .select(names)
    )
