"""A silver table made once more from bronze, in a folder of its own beside the lake.

Bronze is not copied: the new lake sees some tables of the old one, and writes none of them.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

import polars as pl
from deltalake import DeltaTable

from pipelines.applying import Applied, Work
from pipelines.bronze import SCHEMAS
from pipelines.contract import Catalog, Contract
from pipelines.decisions import DECISIONS
from pipelines.errors import LakeError
from pipelines.feed import CHUNK_EVENTS, Chunk, chunks, no_rows
from pipelines.keyless import apply_bag
from pipelines.state import CLOSED
from pipelines.storage import Lake


@dataclass(frozen=True, slots=True)
class Overlay(Lake):
    """A lake in which the tables of `shared` are those of the lake `below`; they are only read."""

    below: Lake = Lake("")  # noqa: RUF009 - frozen
    shared: frozenset[str] = frozenset()

    def path(self, table: str) -> str:
        """Where a table lies: below when it is shared.

        Raises:
            LakeError: when the name is not a table's.
        """
        # The zero-argument super() does not know a class that slots made anew.
        return self.below.path(table) if table in self.shared else Lake.path(self, table)

    def create(
        self, table: str, schema: Mapping[str, pl.DataType], **settings: object
    ) -> DeltaTable:
        """Like `Lake.create`, for the tables of this lake alone.

        Raises:
            LakeError: when the table is a shared one.
        """
        if table in self.shared:
            raise LakeError(f"{table}: belongs to {self.below.root}, which is only read here")
        return Lake.create(self, table, schema, **settings)  # pyright: ignore[reportArgumentType] - handed on


def overlay(lake: Lake, contract: Contract, root: str, *, parents: frozenset[str]) -> Overlay:
    """A lake at `root` that sees the contract's bronze table, the schema blocks, the parents, and what was decided."""
    return Overlay(
        root, lake.options, lake, frozenset({contract.bronze, SCHEMAS, DECISIONS}) | parents
    )


def rebuild(
    lake: Overlay,
    catalog: Catalog,
    table: str,
    *,
    now: datetime,
    until: int,
    keep: pl.Expr | None = None,
    piece_events: int = CHUNK_EVENTS,
    before_epoch: int | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> int:
    """Makes a silver table (and what belongs to it) from bronze in the order it landed; the events.

    `until` is the version of bronze to stop at, `keep` says which of its rows count. What full
    snapshots no longer brought is deleted as it was in the lake below, up to `before_epoch`. A piece has
    `piece_events` events, wherever bronze's versions end. At last what waits is judged again, as a
    run without news would.

    Raises:
        LakeError: when bronze cannot be read, or the folder not written.
    """
    bronze, contract = lake.handle(catalog[table].bronze), catalog[table]
    work = Work(lake=lake, catalog=catalog, contract=contract, now=now, app_id=f"rebuild/{table}")
    pieces = landed(bronze, until, piece_events, keep)
    if contract.identity == "row":
        return apply_bag(work, bronze, pieces, until).events
    events, last = 0, 0
    for piece in pieces:
        work.apply_chunk(piece)
        events, last = events + len(piece.rows), piece.version or 0
        progress(len(piece.rows))
    closed = _closed(lake, table)
    upto = closed if before_epoch is None else min(closed, before_epoch)
    work.close_snapshots(bronze, Applied(table=table), upto=upto)
    work.apply_chunk(Chunk(rows=no_rows(), version=last + 1))
    return events


def _closed(lake: Overlay, table: str) -> int:
    """The last full snapshot whose missing rows the lake below has deleted."""
    if lake.below.version(table) is None:
        return 0
    return lake.below.handle(table).transaction_version(CLOSED) or 0


def landed(
    handle: DeltaTable, until: int, size: int, keep: pl.Expr | None = None
) -> Iterator[Chunk]:
    """The rows of bronze up to a version, in the order they landed, in pieces of `size` rows, numbered.

    Memory holds a piece and a Delta commit.
    """
    held, numbers = no_rows(), itertools.count(1)
    for chunk in chunks(handle, None, upto=until):
        held = pl.concat([held, chunk.rows if keep is None else chunk.rows.filter(keep)])
        while len(held) >= size:
            yield Chunk(rows=held.head(size), version=next(numbers))
            held = held.tail(-size)
    if len(held):
        yield Chunk(rows=held, version=next(numbers))
