"""History: every version of every row with the interval in which it was the source's (type 2).

A version is valid from its event to the next event of the same key. Deletes are versions too
(`is_deleted`), so that one which arrives late still ends what came before it. Intervals are worked
out again for the touched keys from all their versions, so late and repeated events come out as if
they had come in order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import polars as pl

from pipelines.change.images import DELETE, UPSERT
from pipelines.change.position import ORDER, exceeds
from pipelines.change.reduce import UNAVAILABLE, fill_unchanged
from pipelines.contract import Contract
from pipelines.decisions import Decisions
from pipelines.delta import commit_changes, live_rows, locate, read_snapshot
from pipelines.state import AUDIT, FOUND, OWN_ISSUES, no_place, shaped, stats_columns
from pipelines.storage import Lake
from quality_rules.split import VERDICT, Split

_UTC = pl.Datetime("us", "UTC")

#: The position at which a version ends: that of the next one.
ENDED = tuple(name.replace("source_", "ended_") for name in ORDER)

#: The columns history adds to silver's.
INTERVAL: Mapping[str, pl.DataType] = {
    "valid_from": _UTC,
    "valid_to": _UTC,
    "is_current": pl.Boolean(),
    "is_deleted": pl.Boolean(),
    "verdict": pl.String(),
    **{name: pl.Int64() for name in ENDED},
}


def history_schema(contract: Contract) -> dict[str, pl.DataType]:
    """The columns of a history table."""
    return {
        **{name: column.type.stored for name, column in contract.columns.items()},
        **AUDIT,
        **INTERVAL,
    }


def open_history(lake: Lake, contract: Contract) -> list[str]:
    """Makes the table where it is missing; the columns whose extremes its log may tell."""
    stats = [*stats_columns(contract), "is_current"]
    lake.create(
        contract.sibling("history"),
        history_schema(contract),
        stats_columns=stats,
        configuration={"delta.enableDeletionVectors": "true"},
    )
    return stats


def extend_history(
    lake: Lake,
    contract: Contract,
    versions: Sequence[pl.DataFrame],
    truncates: pl.DataFrame,
    truncated: pl.DataFrame,
    judge: Callable[[pl.DataFrame], Split],
    released: pl.DataFrame,
    decisions: Decisions,
) -> None:
    """Adds the kept, the quarantined and the deleted versions, in this order, and mends the intervals.

    `truncates` are the truncates among the new events, `truncated` those known before; a truncate
    ends every version older than it. Adding a version that is there already changes nothing. A
    version that lacked a value which an older one, come late, tells is filled in; refused versions of
    the keys in hand, and of those `released` from quarantine, are judged again; one that somebody
    released or dropped says so, whatever the rules say of it.
    """
    table, schema = contract.sibling("history"), history_schema(contract)
    stats = open_history(lake, contract)
    snapshot = read_snapshot(lake.path(table), lake.options)
    key = list(contract.key)
    new = _as_versions(versions, schema)
    keys = [new.select(key), released.select(key)]
    if len(truncates):
        keys.append(
            live_rows(snapshot, [*key, "is_current"], predicate=pl.col("is_current"))
            .select(key)
            .collect()
        )
    touched = pl.concat(keys).unique()
    stored = locate(snapshot, touched, key, [name for name in schema if name not in key])
    ends = pl.concat([truncates.select(*ORDER, "source_timestamp"), truncated])
    merged = _with_truncates(pl.concat([stored, new], how="diagonal"), ends, key)
    distinct = _decided(_healed(_distinct(merged, contract), key, judge), decisions)
    needed, needless = _without_needless(distinct, key)
    replaced = stored.join(distinct.select(FOUND), on=FOUND, how="anti").select(FOUND)
    timeline = _intervals(needed, key)
    changed = timeline.filter(
        pl.col("_file").is_null()
        | pl.col("_healed")
        | pl.any_horizontal(~pl.col(f"_old:{name}").eq_missing(pl.col(name)) for name in _MENDED)
    )
    stale = changed.filter(pl.col("_file").is_not_null()).select(FOUND)
    moved = pl.concat([stale, needless, replaced])
    if not len(changed) and not len(moved):
        return
    commit_changes(
        snapshot,
        removed=moved if len(moved) else no_place(),
        added=shaped(changed, schema),
        app_transactions={},
        metadata={"contract_version": contract.version},
        stats_columns=stats,
    )


def _as_versions(
    versions: Sequence[pl.DataFrame], schema: Mapping[str, pl.DataType]
) -> pl.DataFrame:
    verdicts = ("kept", "quarantined", "deleted")
    parts = [
        shaped(
            rows.with_columns(
                pl.lit(verdict).alias("verdict"),
                pl.lit(verdict == "deleted").alias("is_deleted"),
                pl.col("source_timestamp").alias("valid_from"),
            ),
            schema,
        )
        for verdict, rows in zip(verdicts, versions, strict=True)
    ]
    return pl.concat(parts)


def _with_truncates(
    versions: pl.DataFrame, truncates: pl.DataFrame, key: list[str]
) -> pl.DataFrame:
    """The versions and, for each key that had one before a truncate, the delete that the truncate was."""
    if not len(truncates):
        return versions
    first = (
        versions.sort(ORDER)
        .unique(subset=key, keep="first")
        .select(*key, *(pl.col(n).alias(f"_first:{n}") for n in ORDER))
    )
    pairs = first.join(truncates.unique(), how="cross")
    # A key's first version may be of a partition that knows no epoch; then the log position decides.
    epoch = (
        pl.when(pl.col(f"_first:{ORDER[0]}") == 0)
        .then(pl.col(ORDER[0]))
        .otherwise(pl.col(f"_first:{ORDER[0]}"))
    )
    first_at = [epoch, *(pl.col(f"_first:{name}") for name in ORDER[1:])]
    older = exceeds(list(zip([pl.col(name) for name in ORDER], first_at, strict=True)))
    ends = pairs.filter(older).select(
        *key,
        *ORDER,
        "source_timestamp",
        pl.col("source_timestamp").alias("valid_from"),
        pl.lit(value=True).alias("is_deleted"),
        pl.lit("deleted").alias("verdict"),
    )
    return pl.concat([versions, ends], how="diagonal")


def _without_needless(versions: pl.DataFrame, key: list[str]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Without the deletes by truncates of rows that were deleted before, and where those are stored."""
    ordered = versions.sort(*key, *ORDER)
    truncated = pl.col("is_deleted") & pl.col("source_bronze_id").is_null()
    before = pl.col("is_deleted").shift(1).over(key).fill_null(value=True)
    needless = ordered.select((truncated & before).alias("n")).to_series()
    stored = ordered.filter(needless & ordered["_file"].is_not_null())
    return ordered.filter(~needless), stored.select(FOUND)


def _distinct(versions: pl.DataFrame, contract: Contract) -> pl.DataFrame:
    """Each version once: in its newest epoch, and the stored one first.

    An event that is applied again has its id; one that was sent again has its position and its
    values, at a later offset.
    """
    known = pl.col("source_bronze_id").is_not_null()
    newest = versions.filter(known).sort(ORDER[0], descending=True, maintain_order=True)
    own = newest.unique(
        [*contract.key, "source_bronze_id", "is_deleted"], keep="first", maintain_order=True
    )
    versions = pl.concat([own, versions.filter(~known)])
    content = pl.struct(contract.columns.keys()).hash().alias("_content")
    identity = [*contract.key, *ORDER[:3], "is_deleted", "_content"]
    marked = versions.with_columns(content).sort(ORDER[3], maintain_order=True)
    return marked.unique(subset=identity, keep="first").drop("_content")


def _healed(
    versions: pl.DataFrame,
    key: list[str],
    judge: Callable[[pl.DataFrame], Split],
) -> pl.DataFrame:
    """The versions, marked `_healed` where a refused one has become another.

    A value that was unknown has been found in a version before, or the rules let its row through.
    """
    marked = versions.with_columns(pl.lit(value=False).alias("_healed"))
    refused = pl.col("verdict") == "quarantined"
    if not marked.select(refused.any()).item():
        return marked
    issues = pl.col("quality_issues")
    missing = issues.list.filter(pl.element().str.starts_with(f"{UNAVAILABLE}:"))
    told = marked.filter(refused).select(missing.list.explode().unique()).to_series()
    names = sorted(told.drop_nulls().str.strip_prefix(f"{UNAVAILABLE}:"))
    own = issues.list.filter(pl.element().str.contains(OWN_ISSUES)).list.set_difference(missing)
    events = marked.with_columns(
        pl.when("is_deleted").then(pl.lit(DELETE)).otherwise(pl.lit(UPSERT)).alias("_verb"),
        own.fill_null([]).alias("_issues"),
        *(
            issues.list.contains(f"{UNAVAILABLE}:{name}")
            .fill_null(value=False)
            .alias(f"_same:{name}")
            for name in names
        ),
    )
    found = fill_unchanged(events, key, names)
    still = pl.col("_issues").list.filter(pl.element().str.starts_with(f"{UNAVAILABLE}:"))
    told_now = (still.list.len() < missing.list.len()).fill_null(value=False)
    filled = found.with_columns(told_now.alias("_healed"))
    split = judge(filled.filter(refused).drop(VERDICT))
    let_through = split.kept.with_columns(
        pl.lit("kept").alias("verdict"), pl.lit(value=True).alias("_healed")
    )
    parts = [filled.filter(~refused), let_through, split.quarantined]
    return pl.concat(parts, how="diagonal").select(marked.columns)


def _decided(versions: pl.DataFrame, decisions: Decisions) -> pl.DataFrame:
    """The versions with the verdict `kept` or `dropped` where somebody decided so, marked `_healed`."""
    if not len(decisions.rows):
        return versions
    row = ~pl.col("is_deleted")
    verdict = (
        pl.when(row & decisions.dropped(versions))
        .then(pl.lit("dropped"))
        .when(row & (pl.col("verdict") == "quarantined") & decisions.released(versions))
        .then(pl.lit("kept"))
        .otherwise("verdict")
    )
    changed = verdict != pl.col("verdict")
    return versions.with_columns(
        verdict.alias("verdict"), (pl.col("_healed") | changed).alias("_healed")
    )


_MENDED = ("valid_to", "is_current", *ENDED)


def _intervals(versions: pl.DataFrame, key: list[str]) -> pl.DataFrame:
    ordered = versions.sort(*key, *ORDER)
    next_from = pl.col("valid_from").shift(-1).over(key)
    ends = [
        pl.col(name).shift(-1).over(key).alias(ended)
        for name, ended in zip(ORDER, ENDED, strict=True)
    ]
    return ordered.with_columns(
        *(pl.col(name).alias(f"_old:{name}") for name in _MENDED)
    ).with_columns(
        next_from.alias("valid_to"),
        (pl.col(ORDER[3]).shift(-1).over(key).is_null() & ~pl.col("is_deleted")).alias(
            "is_current"
        ),
        *ends,
    )
