"""Tables without a key whose rows are told apart by all their columns (REPLICA IDENTITY FULL).

Such a table is a bag: an insert adds a row, a delete takes one of those that look like its `before`,
an update does both. What the bag holds is what was added less what was taken, in whatever order the
events come, so it is counted from all events since the last truncate or full snapshot. The cost
follows the events in bronze, not the change: right for the small tables that have no key.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import polars as pl
from deltalake import DeltaTable

from pipelines.absent import to_close
from pipelines.applying import Applied, Work
from pipelines.bronze import keep_unkeyed, schema_blocks
from pipelines.change.decode import decode_events
from pipelines.change.envelope import ENVELOPE, FLAT
from pipelines.change.images import DELETE, UPSERT
from pipelines.change.ndjson import parse
from pipelines.change.position import ORDER, is_after
from pipelines.change.reduce import split_truncates
from pipelines.contract.model import ROW_ID
from pipelines.feed import Chunk, no_rows
from pipelines.state import open_state

_ADDS = ("INSERT", "UPDATE", "SNAPSHOT", "UPSERT")
_TAKES = ("UPDATE", "DELETE")
_TOTAL_ORDER = r'"total_order"\s*:\s*(\d+)'


def apply_bag(work: Work, bronze: DeltaTable, pieces: Iterable[Chunk], upto: int) -> Applied:
    """Brings a keyless table to what all pieces together tell: rows too few are added, others taken.

    `upto` is the version of bronze they were cut from; a second count of the same changes nothing.

    Raises:
        ConflictError: when another process applied meanwhile; running again is right.
    """
    state = open_state(work.lake, work.contract)
    if state.silver.snapshot.app_versions.get(work.app_id) == upto:
        return Applied(table=work.contract.table)
    pieces = list(pieces)
    rows = pl.concat([no_rows(), *(piece.rows for piece in pieces)])
    signed, unkeyed = _signed(work, rows)
    unkept = keep_unkeyed(work.lake, unkeyed, work.now)
    counted = _counted(_since_the_last_reset(work, bronze, signed))
    stored = pl.concat(
        [place.rows([ROW_ID]).select(ROW_ID) for place in (state.silver, state.quarantine)]
    )
    last = signed.select(ORDER[:3]).sort(ORDER[:3]).row(-1) if len(signed) else (0, 0, 0)
    here = [
        pl.lit(number, pl.Int64).alias(name)
        for name, number in zip(ORDER, (*last, upto), strict=True)
    ]
    new = counted.join(stored, on=ROW_ID, how="anti").with_columns(*here)
    gone = stored.join(counted, on=ROW_ID, how="anti").with_columns(
        pl.lit(DELETE).alias("_verb"), pl.lit([], pl.List(pl.String())).alias("_issues"), *here
    )
    events = pl.concat([new, gone], how="diagonal_relaxed")
    app = work.progress(state, pieces[-1]) if pieces else {}
    report = work.settle(state, events, app=app)
    return replace(report, events=len(rows), unkeyed=unkept)


def _signed(work: Work, rows: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Images added (`_sign` 1) and taken (-1), truncates, and events of which no image can be read."""
    blocks = schema_blocks(work.lake, rows)
    operation = pl.col("operation_type")
    kept = operation.is_in([*_ADDS, "TRUNCATE"])
    plus = decode_events(rows.filter(kept), work.contract, blocks)
    taken = _taken(rows.filter(operation.is_in(_TAKES)))
    minus = decode_events(taken.filter(pl.col("raw_payload").is_not_null()), work.contract, blocks)
    lost = rows.join(taken.filter(pl.col("raw_payload").is_null()), on="event_id", how="semi")
    orders = pl.col("raw_payload").str.extract(_TOTAL_ORDER).alias("_total")
    own = rows.select(pl.col("event_id").alias("source_bronze_id"), orders)
    frames = [
        frame.with_columns(pl.lit(sign, pl.Int64).alias("_sign")).join(
            own, on="source_bronze_id", how="left"
        )
        for frame, sign in ((plus.frame, 1), (minus.frame, -1))
    ]
    reason = pl.lit("no_image_of_the_row_before").alias("reason")
    return pl.concat(frames, how="diagonal_relaxed"), lost.with_columns(reason)


def _taken(rows: pl.DataFrame) -> pl.DataFrame:
    """Updates and deletes as rows of their image before; without one, null."""
    before, _ = parse(
        pl.select(pl.when(rows["payload_form"] == ENVELOPE).then(rows["raw_payload"])).to_series(),
        {"before": pl.String()},
        objects=r'"before"\s*:\s*\{',
    )
    flat_delete = (pl.col("payload_form") == FLAT) & (pl.col("operation_type") == "DELETE")
    image = pl.when(flat_delete).then("raw_payload").otherwise(pl.lit(before["before"]))
    return rows.with_columns(
        image.alias("raw_payload"),
        pl.lit(FLAT).alias("payload_form"),
        pl.lit("INSERT").alias("operation_type"),
    )


def _since_the_last_reset(work: Work, bronze: DeltaTable, signed: pl.DataFrame) -> pl.DataFrame:
    """The images after the last truncate, and from the last complete snapshot on."""
    rows, truncates = split_truncates(signed)
    if len(truncates):
        rows = rows.filter(is_after(truncates.select(ORDER).sort(ORDER).row(-1)))
    here = set(rows[ORDER[0]])  # the pieces may end before a snapshot that bronze holds
    shown = [epoch for epoch in to_close(work.lake, work.contract, bronze, 0) if epoch in here]
    return rows.filter(pl.col(ORDER[0]) >= shown[-1]) if shown else rows


def _counted(rows: pl.DataFrame) -> pl.DataFrame:
    """The rows that are left, each copy under an id of its own: its content and its number."""
    content = pl.struct(pl.exclude([*_BESIDE, "^_same:.*$"])).hash().alias("_content")
    marked = rows.with_columns(content)
    streamed = pl.col(ORDER[1]) > 0
    again = [*ORDER[:3], "_total", "_sign", "_content"]
    once = pl.concat([marked.filter(~streamed), marked.filter(streamed).unique(again)])
    left = (
        once.sort("_sign", descending=True, maintain_order=True)
        .group_by("_content", maintain_order=True)
        .agg(pl.all().exclude("_sign").first(), pl.col("_sign").sum())
        .filter(pl.col("_sign") > 0)
    )
    copies = left.with_columns(pl.int_ranges(0, pl.col("_sign")).alias("_copy")).explode("_copy")
    row_id = pl.concat_str(
        [pl.col("_content").cast(pl.String), pl.lit("-"), pl.col("_copy").cast(pl.String)]
    )
    return copies.with_columns(row_id.alias(ROW_ID), pl.lit(UPSERT).alias("_verb")).drop(
        "_content", "_copy", "_sign", "_total"
    )


#: Columns that are no part of a row's content.
_BESIDE: Sequence[str] = (
    ROW_ID, "_verb", "_issues", "source_bronze_id", "source_timestamp", *ORDER, "raw_payload", "_key", "_moved_from", "_sign", "_total",
)  # fmt: skip
