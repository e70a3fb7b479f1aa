"""Silver: brought to the newest version of bronze, under the contract and what the source became."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime

import polars as pl
from deltalake import DeltaTable

from pipelines.applying import Applied, Work
from pipelines.bronze import epochs_of, schema_blocks
from pipelines.change.position import ORDER, is_before
from pipelines.contract import Catalog, Contract
from pipelines.cut import Limit
from pipelines.evolution import decide, drifts_in, follow_contract, learn
from pipelines.feed import CHUNK_EVENTS, Chunk, chunks, moved, no_rows
from pipelines.history import open_history
from pipelines.keyless import apply_bag
from pipelines.rejudge import rejudge, standing
from pipelines.state import State, in_epoch, open_state, progress_of
from pipelines.storage import Lake

__all__ = ["Applied", "apply"]


def apply(
    lake: Lake,
    catalog: Catalog,
    table: str,
    *,
    now: datetime,
    chunk_events: int = CHUNK_EVENTS,
    limit: Limit | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> Applied:
    """Brings a silver table to the newest version of its bronze table; does nothing twice.

    `limit` holds back what lies beyond a cut (`cut.plan_cut`): those events are looked at again
    next time. `progress` hears how many events each chunk held.

    Raises:
        ConflictError: when another process applied meanwhile; running again is right.
        DriftError: when the source changed in a way that the contract refuses; what came before the
            chunk that shows it is applied, and bronze keeps the rest.
        LakeError: when a table cannot be read or written.
    """
    began = time.monotonic()
    contract = follow_contract(lake, catalog, table, now)
    catalog = catalog.having(contract)
    state = open_state(lake, contract)
    total = Applied(table=table, version=state.silver.snapshot.version)
    bronze = lake.open(contract.bronze)
    if contract.history:  # gold reads it, whether or not the source ever had a row
        open_history(lake, contract)
    if bronze is None:
        return total
    app_id = progress_of(bronze)
    reached = state.silver.snapshot.app_versions.get(app_id)
    work = Work(lake=lake, catalog=catalog, contract=contract, now=now, app_id=app_id)
    upto = bronze.version() if limit is None else min(limit.version, bronze.version())
    judged, was_empty = standing(lake, contract), not state.silver.snapshot.num_rows
    if contract.identity == "row":
        pieces = _within(chunks(bronze, None, upto=upto), limit, reached)
        done = apply_bag(work, bronze, pieces, upto)
        done = done.after(rejudge(work, judged, was_empty=was_empty))
        done = replace(done, version=lake.version(table))
        return replace(done, bronze_version=bronze.version(), seconds=time.monotonic() - began)
    held = False
    news = chunks(bronze, reached, events=chunk_events, upto=upto)
    pieces = _with_moved(_within(news, limit, reached), lake, bronze, contract, state)
    for chunk in _with_rejudging(pieces, state, reached):
        blocks = schema_blocks(lake, chunk.rows)
        work, told = _following(work, chunk, blocks, newest=chunk.version == upto)
        total = total.after(replace(work.apply_chunk(chunk, blocks), notices=told))
        progress(len(chunk.rows))
        held = held or chunk.cut is not None
    if upto == bronze.version() and not held:  # else older events may come that it would not see
        total = work.close_snapshots(bronze, total)
    total = total.after(rejudge(work, judged, was_empty=was_empty))
    version = lake.version(table)
    return replace(
        total, version=version, bronze_version=bronze.version(), seconds=time.monotonic() - began
    )


def _within(pieces: Iterable[Chunk], limit: Limit | None, reached: int | None) -> Iterable[Chunk]:
    """The chunks without what lies beyond the cut; from there on no version is reached as a whole."""
    whole, held = reached, False
    for piece in pieces:
        if limit is None or limit.position is None:
            yield piece
            continue
        placed = piece.rows.with_columns(pl.col("kafka_offset").alias(ORDER[3]))
        rows = placed.filter(is_before((*limit.position, -1))).drop(ORDER[3])
        held = held or len(rows) < len(piece.rows)
        whole = whole if held else piece.version
        yield Chunk(rows=rows, version=whole, cut=limit.position if held else None)


def _with_moved(
    pieces: Iterable[Chunk], lake: Lake, bronze: DeltaTable, contract: Contract, state: State
) -> Iterable[Chunk]:
    """The chunks, and before them the applied events that an epoch takes in which came to light since."""
    known = state.silver.snapshot.app_versions
    starts = {start.epoch for start in epochs_of(bronze)}
    new = tuple(epoch for epoch in sorted(starts) if in_epoch(epoch) not in known)
    reached = known.get(progress_of(bronze))
    if new and reached is not None:
        rows = moved(lake, contract.bronze, reached, new)
        for start in range(0, len(rows), CHUNK_EVENTS):
            yield Chunk(rows=rows.slice(start, CHUNK_EVENTS), version=reached)
    for piece in pieces:
        yield replace(piece, epochs=new)


def _following(
    work: Work, chunk: Chunk, blocks: Mapping[str, str], *, newest: bool
) -> tuple[Work, tuple[str, ...]]:
    """The work under the contract that the chunk's messages leave, and what there is to say of them."""
    found = drifts_in(chunk.rows, work.contract, blocks, newest=newest)
    taken, told = decide(work.contract, found)
    if not taken:
        return work, told
    learn(work.lake, work.contract, taken, work.now)
    contract = follow_contract(work.lake, work.catalog, work.contract.table, work.now)
    return replace(work, catalog=work.catalog.having(contract), contract=contract), told


def _with_rejudging(pieces: Iterable[Chunk], state: State, reached: int | None) -> Iterable[Chunk]:
    """The chunks; when there are none, one without events where quarantined rows wait to be judged again."""
    empty = True
    for piece in pieces:
        empty = False
        yield piece
    if empty and reached is not None and state.quarantine.snapshot.num_rows:
        yield Chunk(rows=no_rows(), version=reached)
