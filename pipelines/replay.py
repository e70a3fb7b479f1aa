"""Replay: a silver table made once more from bronze, cut into other pieces, and compared with what is stored.

What is left out of the comparison, since it says when and not what: `processed_at`,
`first_seen_at`, `times_seen`, `recorded_at` and `processing_version`. What a REFERENCE rule said of a row depends
on when its parent came, which bronze does not tell: rows that differ only there are counted apart.
"""

from __future__ import annotations

import hashlib
import math
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import polars as pl
from deltalake import DeltaTable

from pipelines.change.position import ORDER, is_after
from pipelines.contract import Catalog, Contract
from pipelines.contract.rules import rules_of
from pipelines.errors import LakeError
from pipelines.feed import CHUNK_EVENTS
from pipelines.history import ENDED, history_schema
from pipelines.plan import parents_of
from pipelines.rebuild import overlay, rebuild
from pipelines.state import progress_of, quarantine_schema, silver_schema, tombstone_schema
from pipelines.storage import Lake
from pipelines.version import CODE_VERSION
from quality_rules.rule import RuleKind, Severity

#: Differences that a report names; all are counted.
SHOWN = 20

#: The smaller of the two cuts: a seventh of the events, and never more than this.
_PIECE_EVENTS = 100_000

_WHEN = ("processed_at", "first_seen_at", "times_seen", "recorded_at")
_VERDICT = ("data_quality_score", "quality_checks_passed", "quality_issues")


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A row that is not the same: its key (classified parts as a hash), and the columns, never values."""

    place: str
    key: str
    position: str
    what: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Replayed:
    """What a check found: `differing` counts rows of all cuts, `differences` names some of them.

    `by_parents` rows differ only in what a REFERENCE rule said of them; `other_version` of the
    differing rows were written by another version of the contract or of the code.
    """

    table: str
    events: int
    pieces: tuple[int, ...]
    rows: int = 0
    differing: int = 0
    by_parents: int = 0
    other_version: int = 0
    differences: tuple[Difference, ...] = ()


def check(
    lake: Lake,
    catalog: Catalog,
    table: str,
    *,
    now: datetime,
    progress: Callable[[int], None] = lambda _: None,
) -> Replayed:
    """Makes the table twice from bronze, in a seventh of its events at a time and in the largest pieces.

    `progress` hears how many events each piece held. The lake is only read.

    Raises:
        LakeError: when the table is not there, or holds other columns than its contract.
    """
    contract = catalog[table]
    bronze, _ = _applied(lake, contract)
    events = _count(lake, bronze)
    small = max(1, min(math.ceil(events / 7), _PIECE_EVENTS))
    sizes = tuple(dict.fromkeys((small, max(1, min(events, CHUNK_EVENTS)))))
    stored = _tables(lake, contract)
    found = list[pl.DataFrame]()
    for size in sizes:
        with tempfile.TemporaryDirectory(prefix="medallion-replay-") as folder:
            made = make(lake, catalog, table, folder, now=now, piece_events=size, progress=progress)
            found.append(compare(contract, stored, _tables(made, contract)))
    return _report(contract, events, sizes, found)


def has_come(lake: Lake, contract: Contract) -> bool:
    """Whether there is anything of a table: rows, or at least events of its source."""
    silver = lake.snapshot(contract.table)
    return silver is not None and (silver.num_rows > 0 or lake.version(contract.bronze) is not None)


def make(
    lake: Lake,
    catalog: Catalog,
    table: str,
    folder: str,
    *,
    now: datetime,
    piece_events: int = CHUNK_EVENTS,
    progress: Callable[[int], None] = lambda _: None,
) -> Lake:
    """Leaves in a folder what bronze makes of a silver table, up to where the stored one has applied it.

    Raises:
        LakeError: when the table is not there, or the folder holds something already.
    """
    contract = catalog[table]
    if Path(folder).is_dir() and any(Path(folder).iterdir()):
        raise LakeError(f"{folder} is not empty", hint="name a folder that is not there yet")
    parents = frozenset(parents_of(contract))
    made = overlay(lake, contract, folder, parents=parents)
    _, reached = _applied(lake, contract)
    rebuild(
        made,
        catalog,
        table,
        now=now,
        until=reached,
        piece_events=piece_events,
        progress=progress,
    )
    return made


def _applied(lake: Lake, contract: Contract) -> tuple[DeltaTable, int]:
    """Bronze as silver knows it, and that version."""
    bronze, silver = lake.handle(contract.bronze), lake.handle(contract.table)
    reached = silver.transaction_version(progress_of(bronze))
    if reached is None:
        raise LakeError(
            f"{contract.table}: has applied nothing of {contract.bronze}",
            hint="run 'medallion apply' first",
        )
    if reached < bronze.version():
        bronze.load_as_version(reached)
    return bronze, reached


def _count(lake: Lake, bronze: DeltaTable) -> int:
    return int(lake.scan_handle(bronze).select(pl.len()).collect().item())


# ---- WHAT IS COMPARED ---- #


def _tables(lake: Lake, contract: Contract) -> dict[str, pl.DataFrame]:
    """The rows of each table of a contract, in the form in which any two cuts must agree."""
    silver = _read(lake, contract.table, silver_schema(contract))
    waiting = _read(lake, contract.sibling("quarantine"), quarantine_schema(contract))
    buried = _read(lake, contract.sibling("tombstones"), tombstone_schema(contract))
    rows = pl.concat(
        [
            silver.with_columns(pl.lit("kept").alias("verdict")),
            waiting.with_columns(pl.lit("quarantined").alias("verdict")),
        ],
        how="diagonal",
    )
    if contract.identity == "row":
        return {"silver": _counted_rows(rows)}
    tables = {"silver": rows, **_tombstones(contract, rows, buried)}
    if contract.history:
        versions = _read(lake, contract.sibling("history"), history_schema(contract))
        tables["history"] = _without_idle_deletes(contract, versions)
    return tables


def _read(lake: Lake, table: str, schema: Mapping[str, pl.DataType]) -> pl.DataFrame:
    rows = lake.scan(table)
    there = rows.collect_schema()
    if (lacking := next((name for name in schema if name not in there), None)) is not None:
        raise LakeError(
            f"{table}: holds no column '{lacking}', which its contract names",
            hint="the contract has changed since the table was made",
        )
    return rows.select(*schema).collect(engine="streaming")


def _counted_rows(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows of a table that is counted: which of the equal events each came from is nobody's promise."""
    nowhere = [pl.lit(0, pl.Int64).alias(name) for name in ORDER]
    return rows.drop("source_bronze_id", "source_timestamp").with_columns(nowhere)


def _tombstones(
    contract: Contract, rows: pl.DataFrame, buried: pl.DataFrame
) -> dict[str, pl.DataFrame]:
    """Truncates, and the delete of each key that has one and no newer row or truncate.

    A delete that something newer followed in its own piece leaves no tombstone, so others do not count.
    """
    key = list(contract.key)
    is_truncate = pl.col("operation") == "TRUNCATE"
    truncates = buried.filter(is_truncate).select(*key, *ORDER, "operation", "source_timestamp")
    deletes = buried.filter(~is_truncate).select(truncates.columns)
    deletes = deletes.sort(ORDER).unique(key, keep="last", maintain_order=True)
    deletes = deletes.join(rows.select(key), on=key, how="anti", nulls_equal=True)
    if len(truncates):
        deletes = deletes.filter(is_after(truncates.select(ORDER).sort(ORDER).row(-1)))
    return {"tombstones": deletes, "truncates": truncates.unique()}


def _without_idle_deletes(contract: Contract, versions: pl.DataFrame) -> pl.DataFrame:
    """Versions without deletes of what was deleted already, whose number depends on the pieces."""
    key = list(contract.key)
    ordered = versions.sort(*key, *ORDER)
    idle = pl.col("is_deleted") & pl.col("is_deleted").shift(1).over(key).fill_null(value=False)
    marked = ordered.with_columns(idle.alias("_idle"))
    marked = marked.with_columns((~pl.col("_idle")).cum_sum().over(key).alias("_run"))
    ends = [pl.col(name).last().over([*key, "_run"]) for name in ("valid_to", *ENDED)]
    return marked.with_columns(ends).filter(~pl.col("_idle")).drop("_idle", "_run")


# ---- COMPARE ---- #


def compare(
    contract: Contract, stored: Mapping[str, pl.DataFrame], made: Mapping[str, pl.DataFrame]
) -> pl.DataFrame:
    """Each row of either side: where it lies, its identity, and how the two sides stand to each other.

    `_state` is `same`, `parents` or `differs`, and `_what` says in which columns.
    """
    key = list(contract.key)
    identities = {"silver": key, "history": [*key, *ORDER], "tombstones": key, "truncates": ORDER}
    parts = [
        _compared(contract, place, list(identities[place]), stored[place], made[place])
        for place in stored
    ]
    return pl.concat(parts, how="diagonal")


def _compared(
    contract: Contract, place: str, by: list[str], stored: pl.DataFrame, made: pl.DataFrame
) -> pl.DataFrame:
    nth = pl.int_range(pl.len()).over(by).alias("_nth")
    left = stored.sort(ORDER).with_columns(nth, pl.lit(value=True).alias("_stored"))
    right = (
        made.sort(ORDER)
        .with_columns(nth)
        .rename({name: f"_made:{name}" for name in made.columns if name not in by})
    )
    right = right.with_columns(pl.lit(value=True).alias("_made"))
    joined = left.join(right, on=[*by, "_nth"], how="full", coalesce=True, nulls_equal=True)
    both = pl.col("_stored").is_not_null() & pl.col("_made").is_not_null()
    compared = [n for n in made.columns if n not in (*by, *_WHEN, "processing_version")]
    differing = pl.concat_list(
        pl.when(~_alike(name)).then(pl.lit(name)) for name in compared
    ).list.drop_nulls()
    what = (
        pl.when(pl.col("_made").is_null())
        .then(pl.lit("is not in what bronze makes"))
        .when(pl.col("_stored").is_null())
        .then(pl.lit("is lost"))
        .when(differing.list.len() > 0)
        .then(pl.lit("differs in ") + differing.list.join(", "))
    )
    parents = both & _only_by_parents(contract, compared)
    state = (
        pl.when(what.is_null())
        .then(pl.lit("same"))
        .when(parents)
        .then(pl.lit("parents"))
        .otherwise(pl.lit("differs"))
    )
    position = [pl.coalesce(n, f"_made:{n}") if n not in by else pl.col(n) for n in ORDER]
    return joined.select(
        _place(contract, place, joined.columns).alias("_place"),
        pl.struct([*by, "_nth"]).hash().alias("_id"),
        pl.concat_str(position, separator="/").alias("_position"),
        *contract.key,
        state.alias("_state"),
        what.alias("_what"),
        _is_of_other_version(contract, joined.columns).alias("_other"),
    )


def _alike(name: str) -> pl.Expr:
    return pl.col(name).eq_missing(pl.col(f"_made:{name}"))


def _place(contract: Contract, place: str, columns: Sequence[str]) -> pl.Expr:
    if place == "silver":
        verdict = pl.coalesce("verdict", "_made:verdict")
        layer = pl.when(verdict == "kept").then(pl.lit("silver")).otherwise(pl.lit("quarantine"))
        return layer + pl.lit(f".{contract.domain}.{contract.name}")
    return pl.lit(contract.sibling("tombstones" if place == "truncates" else place))


def _is_of_other_version(contract: Contract, columns: Sequence[str]) -> pl.Expr:
    if "processing_version" not in columns:
        return pl.lit(value=False)
    current = pl.lit(f"{contract.version}+{CODE_VERSION}")
    return (pl.col("processing_version") != current).fill_null(value=False)


def _only_by_parents(contract: Contract, compared: Sequence[str]) -> pl.Expr:
    """Whether the sides differ in nothing but what REFERENCE rules said, and the stored side agrees with itself."""
    rules = [rule for rule in rules_of(contract) if rule.active]
    references = [rule.name for rule in rules if rule.kind is RuleKind.REFERENCE]
    if not references or "quality_issues" not in compared:
        return pl.lit(value=False)

    def without(name: str) -> pl.Expr:
        return pl.col(name).list.filter(~pl.element().is_in(references))

    rest = [n for n in compared if n not in (*_VERDICT, "verdict", "raw_payload")]
    others = [
        without(n).eq_missing(without(f"_made:{n}"))
        for n in ("quality_checks_passed", "quality_issues")
    ]
    mild = [rule.name for rule in rules if rule.severity is not Severity.ERROR]
    refused = pl.col("quality_issues").list.filter(~pl.element().is_in(mild)).list.len() > 0
    agrees = refused == (pl.col("verdict") == "quarantined")
    said = ~_alike("quality_issues")
    return pl.all_horizontal([*(_alike(n) for n in rest), *others, said, agrees]).fill_null(
        value=False
    )


# ---- REPORT ---- #


def _report(
    contract: Contract, events: int, sizes: tuple[int, ...], found: Sequence[pl.DataFrame]
) -> Replayed:
    """The two comparisons as one: a row that differs in both is one row."""
    merged = pl.concat(found)
    differing = merged.filter(pl.col("_state") == "differs").unique(
        ["_place", "_id"], keep="first", maintain_order=True
    )
    parents = merged.filter(pl.col("_state") == "parents").unique(["_place", "_id"])
    return Replayed(
        table=contract.table,
        events=events,
        pieces=sizes,
        rows=max(len(each) for each in found),
        differing=len(differing),
        by_parents=len(parents.join(differing, on=["_place", "_id"], how="anti")),
        other_version=int(differing["_other"].sum()),
        differences=tuple(_differences(contract, differing)),
    )


def _differences(contract: Contract, differing: pl.DataFrame) -> Iterator[Difference]:
    hidden = contract.classified()
    for row in differing.head(SHOWN).rows(named=True):
        parts = [
            f"{name}={_hashed(contract, name, row[name]) if name in hidden else row[name]}"
            for name in contract.key
            if row[name] is not None
        ]
        yield Difference(
            place=row["_place"],
            key=", ".join(parts) or "(truncate)",
            position=row["_position"],
            what=row["_what"],
        )


def _hashed(contract: Contract, column: str, value: object) -> str:
    """The same mark for the same key, without its value."""
    text = f"{contract.table}\0{column}\0{value}"
    return "#" + hashlib.sha256(text.encode()).hexdigest()[:12]
