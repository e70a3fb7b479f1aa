"""What is new in a bronze table since a version, in pieces of bounded size."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl
import pyarrow as pa
from deltalake import DeltaTable

from pipelines.bronze import BRONZE
from pipelines.change.decode import BRONZE_COLUMNS

#: Events held at once: some 300 bytes each decoded, so about 100 MB.
CHUNK_EVENTS = 250_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """The rows of some versions of bronze, and the version reached with them (None: none as a whole)."""

    rows: pl.DataFrame
    version: int | None
    #: Rows of these versions at this position and after it were left out.
    cut: tuple[int, int, int] | None = None


def chunks(
    handle: DeltaTable, after: int | None, *, events: int = CHUNK_EVENTS, upto: int | None = None
) -> Iterator[Chunk]:
    """The rows added after a version (None: all) up to another, oldest first, in chunks of whole versions.

    The Delta change feed gives them (Delta protocol, "Change Data Files": commits that only add
    files need none), so that a compaction of bronze brings nothing twice.
    """
    last = handle.version() if upto is None else min(upto, handle.version())
    first = 0 if after is None else after + 1
    sizes = {
        entry["version"]: _rows_added(entry)
        for entry in handle.history()
        if entry["version"] >= first
    }
    start, held = first, 0
    for version in range(first, last + 1):
        held += sizes.get(version, 0)
        if held >= events or version == last:
            yield Chunk(
                rows=_between(handle, start, version) if held else no_rows(), version=version
            )
            start, held = version + 1, 0


def _rows_added(entry: dict[str, object]) -> int:
    metrics = entry.get("operationMetrics")
    return int(metrics.get("num_added_rows", 0)) if isinstance(metrics, dict) else 0


def _between(handle: DeltaTable, first: int, last: int) -> pl.DataFrame:
    reader = handle.load_cdf(
        starting_version=first, ending_version=last, columns=[*BRONZE_COLUMNS, "_change_type"]
    )
    frame = pl.from_arrow(pa.RecordBatchReader.from_stream(reader).read_all())
    assert isinstance(frame, pl.DataFrame)  # noqa: S101 - a table comes in
    return frame.filter(pl.col("_change_type") == "insert").drop("_change_type")


def no_rows() -> pl.DataFrame:
    """A chunk's rows when there are none."""
    return pl.DataFrame(schema={name: BRONZE[name] for name in BRONZE_COLUMNS})
