"""What is new in a bronze table since a version, in pieces of bounded size."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import polars as pl
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from pipelines.bronze import BRONZE, epochs_of
from pipelines.change.decode import BRONZE_COLUMNS
from pipelines.change.epochs import share_epochs
from pipelines.change.position import in_order
from pipelines.delta import ActiveFile, files_added
from pipelines.delta.store import Store
from pipelines.errors import LakeError
from pipelines.storage import Lake

#: Events held at once: some 300 bytes each decoded, so about 100 MB.
CHUNK_EVENTS = 250_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """The rows of some versions of bronze, and the version reached with them (None: none as a whole)."""

    rows: pl.DataFrame
    version: int | None
    #: Rows of these versions at this position and after it were left out.
    cut: tuple[int, int, int] | None = None
    #: The epochs that these rows, and all before them, are placed in; empty when some are still to come.
    epochs: tuple[int, ...] = ()


def chunks(
    handle: DeltaTable, after: int | None, *, events: int = CHUNK_EVENTS, upto: int | None = None
) -> Iterator[Chunk]:
    """The rows added after a version (None: all) up to another, oldest first, in chunks of whole versions.

    In a chunk they stand in the order they landed: by version, partition and offset. Their epochs
    are those of all partitions (`share_epochs`). The log tells which files each version added, and
    which of those a compaction made (`dataChange: false`), which brings nothing twice. Where files of
    these versions are gone (a compaction, then a vacuum), or rows were taken out, all rows come again,
    in the order of days, partitions and offsets: to apply them again is right.
    """
    last = handle.version() if upto is None else min(upto, handle.version())
    epoch = share_epochs(epochs_of(handle))
    first = 0 if after is None else after + 1
    store = Store(handle.table_uri, _options(handle))
    held, count = list[tuple[int, ActiveFile]](), 0
    try:
        for version in range(first, last + 1):
            files = files_added(store, version)
            held += [(version, file) for file in files]
            count += sum(file.num_records for file in files)
            if count >= events or version == last:
                rows = _rows(handle, held).with_columns(epoch) if held else no_rows()
                yield Chunk(rows=rows, version=version)
                held, count = [], 0
    except (LakeError, pl.exceptions.PolarsError, OSError):
        yield from _all_again(handle, last, events, epoch)


def _all_again(handle: DeltaTable, version: int, events: int, epoch: pl.Expr) -> Iterator[Chunk]:
    """All rows of a version, in pieces; only with the last one the version is reached."""
    options = _options(handle)
    table = DeltaTable(handle.table_uri, version=version, storage_options=options)
    rows = pl.scan_delta(table, storage_options=options)
    days = rows.select(pl.col("ingestion_date").unique().sort()).collect().to_series()
    for day in days:
        of_day = rows.filter(pl.col("ingestion_date") == day).select(BRONZE_COLUMNS)
        whole = of_day.sort("kafka_partition", "kafka_offset").collect().with_columns(epoch)
        for start in range(0, len(whole), events):
            yield Chunk(rows=whole.slice(start, events), version=None)
    yield Chunk(rows=no_rows(), version=version)


def events(lake: Lake, handle: DeltaTable) -> pl.LazyFrame:
    """All rows of a bronze table, with the epochs of all partitions."""
    return lake.scan_handle(handle).with_columns(share_epochs(epochs_of(handle)))


def moved(lake: Lake, bronze: str, reached: int, new: Collection[int]) -> pl.DataFrame:
    """The rows up to a version that some epochs take in, and that landed before these showed.

    They were applied in an older epoch, and are to be applied again in this one.
    """
    starts = epochs_of(lake.handle(bronze))
    epoch = share_epochs(starts)
    day_before = min(start.written_ms for start in starts if start.epoch in new) // 86_400_000 - 1

    def rows(version: int | None) -> pl.DataFrame:
        return (
            lake.scan(bronze, version)
            .filter(pl.col("ingestion_date") >= pl.lit(day_before).cast(pl.Int32).cast(pl.Date))
            .select(BRONZE_COLUMNS)
            .filter(epoch.is_in(new) & (epoch != pl.col("source_epoch")))
            .with_columns(epoch)
            .sort("kafka_partition", "kafka_offset")
            .collect(engine="streaming")
        )

    try:
        return rows(reached)
    except (DeltaError, OSError, pl.exceptions.PolarsError):  # vacuumed: what is newer comes early
        return rows(None)


def _options(handle: DeltaTable) -> dict[str, str]:
    options = handle._storage_options  # pyright: ignore[reportPrivateUsage] - nobody else keeps them
    return options or {}


def _rows(handle: DeltaTable, files: Sequence[tuple[int, ActiveFile]]) -> pl.DataFrame:
    """The rows of some versions' files, in the order they landed."""
    root, options = handle.table_uri.rstrip("/").removeprefix("file://"), _options(handle)
    parts = [
        pl.scan_parquet(f"{root}/{file.path}", storage_options=options or None, glob=False)
        .select(pl.col(name).cast(BRONZE[name]) for name in BRONZE_COLUMNS)
        .with_columns(pl.lit(version, pl.Int64).alias("_version"))
        for version, file in files
    ]
    order = ["_version", "kafka_partition", "kafka_offset"]
    return in_order(pl.concat(parts).collect(engine="streaming"), order).drop("_version")


def no_rows() -> pl.DataFrame:
    """A chunk's rows when there are none."""
    return pl.DataFrame(schema={name: BRONZE[name] for name in BRONZE_COLUMNS})
