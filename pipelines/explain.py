"""One row of gold explained: the rows of silver, the events of bronze and the Kafka offsets behind it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import polars as pl
from deltalake import DeltaTable

from pipelines.contract import Catalog, Contract
from pipelines.errors import LakeError, QueryError
from pipelines.gold import inputs_of
from pipelines.origins import ROW, numbered, origins_of, picked
from pipelines.storage import Lake

#: What stands for a value that may not be shown.
HIDDEN = "***"

_EVENT = ("event_id", "topic", "kafka_partition", "kafka_offset", "event_timestamp")


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Some rows of one table, and whether the rows below are proven to give them.

    `keys` has the key's columns, with classified ones hidden, and of silver `source_bronze_id`.
    """

    table: str
    version: int
    rows: int
    proven: bool | None
    keys: pl.DataFrame = field(repr=False)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The tables on the way, gold first, and the events at its end with their place in Kafka."""

    steps: tuple[Step, ...]
    events: pl.DataFrame
    notes: tuple[str, ...] = ()

    @property
    def proven(self) -> bool:
        """Whether every gold table on the way was given again by the rows that are told."""
        return all(step.proven is not False for step in self.steps)

    def offsets(self) -> pl.DataFrame:
        """How many events of each partition, and between which offsets they lie."""
        offset = pl.col("kafka_offset")
        return (
            self.events.group_by("topic", "kafka_partition")
            .agg(
                pl.len().alias("events"),
                offset.min().alias("first_offset"),
                offset.max().alias("last_offset"),
            )
            .sort("topic", "kafka_partition")
        )


def explain(lake: Lake, catalog: Catalog, table: str, key: Sequence[str]) -> Explanation:
    """The rows and events behind the row of `table` that has this key.

    Args:
        lake: The lake.
        catalog: The contracts.
        table: A gold or silver table.
        key: The key's values in the order of the contract's key, as text.

    Raises:
        LakeError: when the table, or a version of an input, is not in the lake.
        QueryError: when the key does not fit, there is no such row, or the SQL cannot be taken apart.
    """
    contract = catalog[table]
    found = _Found(lake, catalog)
    handle = lake.handle(table)
    frame = lake.scan_handle(handle).with_row_index(ROW)
    numbers = frame.filter(is_key(contract, key)).select(ROW).collect().to_series()
    if numbers.is_empty():
        raise QueryError(
            f"{table} has no row with the key {', '.join(contract.key)} that you gave",
            hint=f"its keys are rows of 'medallion query' over {table}",
        )
    found.open(table, handle, handle.version(), frame, numbers)
    return found.finish()


def is_key(contract: Contract, key: Sequence[str]) -> pl.Expr:
    """The condition on the key's columns.

    Raises:
        QueryError: when there are more or fewer values, or one is not of its column's type; the
            value itself is not said again, since it may be classified.
    """
    if len(key) != len(contract.key):
        raise QueryError(
            f"the key of {contract.table} is {', '.join(contract.key)}: {len(contract.key)} values, not {len(key)}",
            hint="give --key once for each, in this order",
        )
    conditions = list[pl.Expr]()
    for name, text in zip(contract.key, key, strict=True):
        kind = contract.columns[name].type.stored
        value = _parsed(text, kind)
        if value is None:
            raise QueryError(
                f"--key: the value of '{name}' is not of type {contract.columns[name].type}"
            )
        conditions.append(pl.col(name) == pl.lit(value[0]).cast(kind))
    return pl.all_horizontal(conditions)


def _parsed(text: str, kind: pl.DataType) -> pl.Series | None:
    given = pl.Series([text])
    try:
        if isinstance(kind, pl.Date):
            parsed = given.str.to_date(strict=False)
        elif isinstance(kind, pl.Datetime):
            parsed = _instant(text, kind)
        elif isinstance(kind, pl.Boolean):
            parsed = given.replace_strict({"true": True, "false": False}, default=None)
        else:
            parsed = given.cast(kind, strict=False)
    except (pl.exceptions.PolarsError, ValueError):
        return None
    return None if parsed.is_null().all() else parsed


def _instant(text: str, kind: pl.Datetime) -> pl.Series:
    """An ISO 8601 time; one without a zone is UTC where the column has a zone."""
    told = datetime.fromisoformat(text)
    if kind.time_zone is None:
        told = (told if told.tzinfo is None else told.astimezone(UTC)).replace(tzinfo=None)
    elif told.tzinfo is None:
        told = told.replace(tzinfo=UTC)
    return pl.Series([told]).cast(kind)


class _Found:
    """Goes down from one table to what it is made of, each table once with all its rows."""

    def __init__(self, lake: Lake, catalog: Catalog) -> None:
        self._lake, self._catalog = lake, catalog
        self._wanted: dict[str, tuple[DeltaTable, int, pl.LazyFrame, pl.Series]] = {}
        self._steps: list[Step] = []
        self._events: list[pl.DataFrame] = []
        self._notes: list[str] = []

    def open(
        self, table: str, handle: DeltaTable, version: int, frame: pl.LazyFrame, rows: pl.Series
    ) -> None:
        """Asks for some rows of a table at a version, beside those already asked for."""
        known = self._wanted.get(table)
        if known is not None and known[1] != version:
            self._notes.append(
                f"{table} was read at versions {known[1]} and {version}; it is explained at the later"
            )
            if known[1] > version:
                return
        elif known is not None:
            rows = pl.concat([known[3], rows]).unique()
        self._wanted[table] = (handle, version, frame, rows)

    def finish(self) -> Explanation:
        """Explains all that was asked for, those tables first that nothing else leads to."""
        while self._wanted:
            table = next(t for t in self._wanted if not self._leads_to(t))
            handle, version, frame, rows = self._wanted.pop(table)
            if table.startswith("gold."):
                self._gold(table, handle, version, frame, rows)
            else:
                self._silver(table, version, frame, rows)
        none = pl.DataFrame(schema=dict.fromkeys(_EVENT, pl.String))
        events = pl.concat(self._events).unique() if self._events else none
        notes = tuple(dict.fromkeys(self._notes))
        shown = events.sort("topic", "kafka_partition", "kafka_offset")
        return Explanation(steps=tuple(self._steps), events=shown, notes=notes)

    def _leads_to(self, table: str) -> bool:
        """Whether another table that waits reads this one, directly or by others."""
        seen, ahead = set[str](), [t for t in self._wanted if t != table]
        while ahead:
            name = ahead.pop()
            if name in seen or not name.startswith("gold."):
                continue
            seen.add(name)
            reads = inputs_of(self._catalog[name])
            if table in reads:
                return True
            ahead += reads
        return False

    def _gold(
        self, table: str, handle: DeltaTable, version: int, frame: pl.LazyFrame, rows: pl.Series
    ) -> None:
        contract = self._catalog[table]
        versions, note = _input_versions(handle, version)
        inputs = {name: self._input(name, versions.get(name)) for name in inputs_of(contract)}
        frames = numbered({n: self._lake.scan_handle(h, v) for n, (h, v) in inputs.items()})
        asked = picked(frame, rows, contract.columns)
        origins = origins_of(contract, asked, frames)
        notes = (*origins.notes, *([note] if note else []))
        self._add(contract, table, version, asked, proven=origins.proven, notes=notes)
        for name, (opened, at) in inputs.items():
            if not origins.rows[name].is_empty():
                self.open(name, opened, at, frames[name], origins.rows[name])

    def _input(self, name: str, version: int | None) -> tuple[DeltaTable, int]:
        handle = self._lake.handle(name)
        return handle, handle.version() if version is None else version

    def _silver(self, table: str, version: int, frame: pl.LazyFrame, rows: pl.Series) -> None:
        contract = self._catalog[table.replace("history.", "silver.", 1)]
        asked = picked(frame, rows, [*contract.key, "source_bronze_id"])
        events, notes = self._bronze(contract, asked["source_bronze_id"])
        self._events.append(events)
        self._add(contract, table, version, asked, proven=None, notes=notes)

    def _bronze(self, contract: Contract, ids: pl.Series) -> tuple[pl.DataFrame, tuple[str, ...]]:
        """The events, and what is to be said of them."""
        known = ids.drop_nulls().unique().implode()
        placeholder = contract.source.placeholder if contract.source else ""
        kept = pl.col("raw_payload").str.contains(placeholder, literal=True).fill_null(value=False)
        events = (
            self._lake.scan(contract.bronze)
            .filter(pl.col("event_id").is_in(known))
            .select(*_EVENT, kept.alias("kept"))
            .collect(engine="streaming")
        )
        notes = list[str]()
        if len(events) < ids.drop_nulls().n_unique():
            notes.append(f"{contract.bronze} no longer holds every event")
        if events["kept"].any():
            notes.append("some events left a large value as it was: it came by an earlier event")
        return events.drop("kept"), tuple(notes)

    def _add(
        self,
        contract: Contract,
        table: str,
        version: int,
        rows: pl.DataFrame,
        *,
        proven: bool | None,
        notes: tuple[str, ...],
    ) -> None:
        hidden = contract.classified()
        shown = [
            pl.lit(HIDDEN).alias(name) if name in hidden else pl.col(name)
            for name in (*contract.key, "source_bronze_id")
            if name in rows.columns
        ]
        keys = rows.select(shown).sort(pl.all())
        self._steps.append(
            Step(
                table=table, version=version, rows=len(rows), proven=proven, keys=keys, notes=notes
            )
        )


def _input_versions(handle: DeltaTable, version: int) -> tuple[Mapping[str, int], str | None]:
    """The versions of its inputs that a gold table was last built from, by its own commits.

    Raises:
        LakeError: when the recipe in a commit cannot be read.
    """
    for commit in handle.history():
        recipe = commit.get("recipe")
        if recipe is None or int(commit["version"]) > version:
            continue
        try:
            inputs: Mapping[str, str] = json.loads(recipe)["inputs"]
            return {name: int(at.rpartition("@")[2]) for name, at in inputs.items()}, None
        except (ValueError, KeyError) as error:
            raise LakeError(f"version {commit['version']}: its recipe cannot be read") from error
    return {}, "the versions of its inputs are not known any more: they are read as they are now"
