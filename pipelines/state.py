"""Where each row of a silver table stands now: silver, quarantine, or deleted.

Three Delta tables hold one state, and Delta commits one table at a time. So a row's state is
defined across them: the place with the newest position counts. Every apply first works out where
each touched key must end, then makes each table agree, silver last but one: quarantine and
tombstones are added to before silver's commit, which is the commit point, and taken from after it.
A crash between any two leaves older copies, which the next apply of the same events removes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl
from deltalake import DeltaTable

from pipelines.change.images import UPSERT
from pipelines.change.position import ORDER, exceeds, is_before
from pipelines.change.reduce import UNAVAILABLE, UNDECODABLE
from pipelines.contract import Contract
from pipelines.delta import Snapshot, live_rows, locate, lookup, read_places, read_snapshot
from pipelines.storage import Lake
from quality_rules.split import SPECIAL, VERDICT

_UTC = pl.Datetime("us", "UTC")

#: The columns silver adds to the contract's; the order of DESIGN's list.
AUDIT: Mapping[str, pl.DataType] = {
    "data_quality_score": pl.Decimal(3, 2),
    "quality_checks_passed": pl.List(pl.String()),
    "quality_issues": pl.List(pl.String()),
    "source_bronze_id": pl.String(),
    "source_timestamp": _UTC,
    **{name: pl.Int64() for name in ORDER},
    "processed_at": _UTC,
    "processing_version": pl.String(),
}

#: App transactions of silver: the position up to which it was applied beyond whole versions of bronze.
CUT = ("cut/epoch", "cut/commit", "cut/event")

#: A column that quarantine tables made by older versions lack.
TIMES_SEEN = "times_seen"

#: The app transaction of silver that says up to which epoch full snapshots have closed its rows.
CLOSED = "closed"

#: Where a stored row lies: its data file, and its place in it.
FOUND = ("_file", "_row")

_DV = {"delta.enableDeletionVectors": "true"}


def silver_schema(contract: Contract) -> dict[str, pl.DataType]:
    """The columns of a silver table."""
    return {**{name: column.type.stored for name, column in contract.columns.items()}, **AUDIT}


def quarantine_schema(contract: Contract) -> dict[str, pl.DataType]:
    """Silver's columns and the event as it came, so that nothing of a refused row is lost.

    `first_seen_at` is when a row of this key was first refused, and `times_seen` how many of its
    events were refused since, as applies saw them: of several in one batch, the newest.
    """
    return {
        **silver_schema(contract),
        "raw_payload": pl.String(),
        "first_seen_at": _UTC,
        TIMES_SEEN: pl.Int64(),
    }


def tombstone_schema(contract: Contract) -> dict[str, pl.DataType]:
    """A key and the position of its delete; all keys null: a truncate of the table."""
    keys = {name: contract.columns[name].type.stored for name in contract.key}
    order = {name: pl.Int64() for name in ORDER}
    return {
        **keys,
        **order,
        "operation": pl.String(),
        "source_timestamp": _UTC,
        "recorded_at": _UTC,
    }


def tombstones(
    contract: Contract, rows: pl.DataFrame, operation: str, now: datetime
) -> pl.DataFrame:
    """A tombstone for each row, recorded now."""
    told = {"operation": operation, "recorded_at": now}
    marked = rows.with_columns(pl.lit(value).alias(name) for name, value in told.items())
    return shaped(marked, tombstone_schema(contract))


def seen(refused: pl.DataFrame, waiting: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    """Refused rows with when their key was first refused, and how many of its events since.

    A row that `_waits` already counts as it did.
    """
    before = waiting.group_by(key).agg(
        pl.col("first_seen_at").min().alias("_first"), pl.col(TIMES_SEEN).max().alias("_times")
    )
    joined = refused.join(before, on=key, how="left", maintain_order="left")
    counted = pl.when("_waits").then(TIMES_SEEN).otherwise(pl.col("_times") + 1)
    return joined.with_columns(
        pl.coalesce("_first", "first_seen_at").alias("first_seen_at"), counted.alias(TIMES_SEEN)
    ).drop("_first", "_times")


def stats_columns(contract: Contract) -> list[str]:
    """Columns whose extremes may stand in the log: positions, and keys that are nobody's secret."""
    hidden = contract.classified()
    return [*(name for name in contract.key if name not in hidden), *ORDER]


#: Issues that lie in the row's values themselves, so that judging it again must find them again.
OWN_ISSUES = f"^({UNDECODABLE}|{UNAVAILABLE}|{SPECIAL}):"


#: Begins the columns that hold the verdict a row had before it is judged again.
WAS = "_was:"


def has_same_verdict() -> pl.Expr:
    """Whether a row that was judged again is told what it was told before."""
    return pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{WAS}{name}")) for name in VERDICT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One of the tables of a state at the version that was read."""

    table: str
    snapshot: Snapshot

    def find(self, keys: pl.DataFrame, on: Sequence[str], columns: Sequence[str]) -> pl.DataFrame:
        """The rows of these keys: `on`, `columns`, `_file`, `_row`."""
        places = lookup(self.snapshot, keys, on)
        if places is None:
            return locate(self.snapshot, keys, on, columns)
        return read_places(self.snapshot, places, on, columns)

    def find_older(
        self, rows: pl.DataFrame, on: Sequence[str], exact: pl.DataFrame
    ) -> pl.DataFrame:
        """The stored rows of the keys of `rows`: `on`, the order columns, `_file`, `_row`.

        Where a row is newer than its file's largest position it is newer than what is stored, and that
        bound is given instead of the stored position, which then need not be read. Not so for the keys
        of `exact`.
        """
        places = lookup(self.snapshot, rows, on)
        if places is None:
            return locate(self.snapshot, rows, on, ORDER)
        bounded = places.join(self._bounds(), on="_file", how="left").with_columns(
            pl.col(name).cast(pl.Int64) for name in ORDER
        )
        new = rows.select(*on, *(pl.col(name).alias(f"new:{name}") for name in ORDER))
        compared = bounded.join(new, on=list(on), how="left")
        pairs = [(pl.col(f"new:{name}"), pl.col(name)) for name in ORDER]
        newer = exceeds(pairs) & pl.all_horizontal(pl.col(name).is_not_null() for name in ORDER)
        clear = compared.filter(newer).join(exact, on=list(on), how="anti").select(bounded.columns)
        others = places.join(clear.select(FOUND), on=FOUND, how="anti")
        read = read_places(self.snapshot, others, on, ORDER)
        return pl.concat([read, clear.select(read.columns)])

    def _bounds(self) -> pl.DataFrame:
        """For each file positions that none of its rows exceeds; null where the log does not tell."""
        told = [(file.path, file.stats.get("maxValues", {})) for file in self.snapshot.files]
        rows = [(path, *(most.get(name) for name in ORDER)) for path, most in told]
        schema = {"_file": pl.String(), **dict.fromkeys(ORDER, pl.Int64())}
        return pl.DataFrame(rows, schema=schema, orient="row")

    def older_than(self, position: Sequence[int], on: Sequence[str]) -> pl.DataFrame:
        """The rows older than a position: `on`, the order columns, `_file`, `_row`."""
        return live_rows(self.snapshot, [*on, *ORDER], predicate=is_before(position)).collect()

    def rows(self, columns: Sequence[str]) -> pl.DataFrame:
        """All rows; for tables that stay small."""
        return live_rows(self.snapshot, list(columns)).collect()


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """The tables of one contract's state."""

    silver: Place
    quarantine: Place
    tombstones: Place

    def waiting(self, contract: Contract) -> pl.DataFrame:
        """The quarantined rows as events with what they were refused for by their very values.

        The verdict that they have is in columns of the same names after `WAS`.
        """
        rows = self.quarantine.rows(list(quarantine_schema(contract)))
        issues = pl.col("quality_issues").list.filter(pl.element().str.contains(OWN_ISSUES))
        verdict = (
            "data_quality_score",
            "quality_checks_passed",
            "quality_issues",
            "processed_at",
            "processing_version",
        )
        stood = [pl.col(name).alias(f"{WAS}{name}") for name in VERDICT]
        return rows.with_columns(
            *stood, issues.alias("_issues"), pl.lit(UPSERT).alias("_verb")
        ).drop(verdict)

    def truncates(self) -> pl.DataFrame:
        """The truncates that the table has seen: the order columns and `source_timestamp`."""
        is_truncate = pl.col("operation") == "TRUNCATE"
        columns = [*ORDER, "operation", "source_timestamp"]
        return (
            live_rows(self.tombstones.snapshot, columns, predicate=is_truncate)
            .select(*ORDER, "source_timestamp")
            .collect()
        )


def open_state(lake: Lake, contract: Contract) -> State:
    """The three tables, made where they are missing."""
    stats = stats_columns(contract)
    wanted = {
        "silver": silver_schema(contract),
        "quarantine": quarantine_schema(contract),
        "tombstones": tombstone_schema(contract),
    }
    places = dict[str, Place]()
    for layer, schema in wanted.items():
        table = contract.sibling(layer)
        snapshot = lake.snapshot(table)
        if snapshot is None:
            lake.create(table, schema, stats_columns=stats, configuration=_DV)
        elif layer == "quarantine" and _lacks_counts(snapshot, schema):
            _count_what_was_seen(lake, table, schema)
        places[layer] = Place(table=table, snapshot=read_snapshot(lake.path(table), lake.options))
    return State(**places)


def _lacks_counts(snapshot: Snapshot, schema: Mapping[str, pl.DataType]) -> bool:
    there = dict(snapshot.schema)
    return TIMES_SEEN not in there and {**there, TIMES_SEEN: pl.Int64()} == dict(schema)


def _count_what_was_seen(lake: Lake, table: str, schema: Mapping[str, pl.DataType]) -> None:
    """Gives a quarantine table of an older version its column `times_seen`: once, as far as is known."""
    handle = lake.handle(table)
    rows = lake.scan_handle(handle).with_columns(pl.lit(1, pl.Int64).alias(TIMES_SEEN))
    lake.write(handle, rows.select(*schema).collect(), mode="overwrite", reshape=True)


def progress_of(bronze: DeltaTable) -> str:
    """The app transaction of silver whose version is that of bronze up to which all is applied.

    It bears bronze's own id: a bronze table that was made anew starts over.
    """
    return f"bronze/{bronze.metadata().id}"


def in_epoch(epoch: int) -> str:
    """The app transaction of silver that says: what bronze held of an epoch is applied in it."""
    return f"epoch/{epoch}"


def shaped(rows: pl.DataFrame, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Exactly the columns of a table, those that the rows lack as nulls; types are never changed."""
    lacking = [
        pl.lit(None, dtype).alias(name)
        for name, dtype in schema.items()
        if name not in rows.columns
    ]
    return rows.with_columns(lacking).select(schema.keys())


def no_place() -> pl.DataFrame:
    """The places of no rows."""
    return pl.DataFrame(schema={"_file": pl.String(), "_row": pl.Int64()})
