"""Bronze: every Kafka record once, as it came, with what it says of itself; the rest is a dead letter.

A batch lands in three steps, each repeatable, so that a crash between any two loses and doubles
nothing: (1) schema blocks not seen before, (2) dead letters, (3) the rows together with the next
offset of each partition as app transactions, in one commit. The table says where to read on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

import polars as pl
from deltalake import DeltaTable

from pipelines.capture.records import Origin, RecordBatch
from pipelines.change.envelope import describe
from pipelines.change.epochs import Start, epochs_in
from pipelines.change.position import (
    PartitionState,
    assign,
    ended,
    is_full_snapshot,
    log_after,
    newest_streamed,
    taken_at,
)
from pipelines.contract import Catalog
from pipelines.errors import ConflictError
from pipelines.landing import (
    BRONZE,
    LETTERS,
    bronze_rows,
    describe_records,
    event_ids,
    letter_rows,
    whole_records,
)
from pipelines.storage import Lake
from pipelines.topics import kind_of, prefix_of, prefixes, table_of

SCHEMAS = "system.main.schemas"
DEAD_LETTERS = "system.main.dead_letters"
#: Events in bronze that no row can be told from: kept apart, since dead letters and bronze are disjoint.
UNKEYED_EVENTS = "system.main.unkeyed_events"

_BLOCKS: Mapping[str, pl.DataType] = {
    "schema_fingerprint": pl.String(),
    "schema_json": pl.String(),
    "first_topic": pl.String(),
    "first_seen_at": pl.Datetime("us", "UTC"),
}

#: The app transactions that tell of epochs: number and part of a `Start`.
_EPOCH = "start/{}/{}"

#: How far behind a partition's next offset its last rows are looked for before the whole table is.
_TAIL_OFFSETS = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Landed:
    """What became of a batch: rows in bronze and in dead letters, and those that were there before."""

    rows: int = 0
    letters: int = 0
    repeated: int = 0
    #: The oldest source time among the events of each topic, in microseconds since 1970.
    oldest_us: Mapping[str, int] = field(default_factory=dict[str, int], compare=False)

    def __add__(self, other: Landed) -> Landed:
        return Landed(
            rows=self.rows + other.rows,
            letters=self.letters + other.letters,
            repeated=self.repeated + other.repeated,
            oldest_us={**other.oldest_us, **self.oldest_us},
        )


@dataclass(slots=True)
class Bronze:
    """The landing place of records: a lake, the declared topics, and where each partition stands."""

    lake: Lake
    catalog: Catalog
    #: Whether each partition is read in order, without a way back: true of Kafka, not of files.
    ordered: bool = True
    _states: dict[str, dict[int, PartitionState]] = field(
        default_factory=dict[str, dict[int, PartitionState]]
    )
    _known_blocks: set[str] | None = None

    def next_offset(self, origin: Origin, topic: str, partition: int) -> int | None:
        """Where the lake wants a partition read on, or None from its beginning."""
        handle = self.lake.open(self._target(topic) or DEAD_LETTERS)
        return (
            None
            if handle is None
            else handle.transaction_version(_app_id(origin, topic, partition))
        )

    def land(self, batch: RecordBatch) -> Landed:
        """Writes each topic of the batch; the same records again change nothing.

        Raises:
            ConflictError: when another process landed the same partition meanwhile; reading on from
                `next_offset` is right.
        """
        self._keep_blocks(batch)
        by_topic = batch.by_topic()
        parts = [self._land_topic(topic, frame, batch) for topic, frame in by_topic.items()]
        empty = {topic for topic, _ in batch.next_offsets} - set(by_topic)
        parts += [self._land_topic(topic, batch.frame.clear(), batch) for topic in sorted(empty)]
        return sum(parts, Landed())

    def finish(self, topics: Collection[str], began: datetime) -> None:
        """Keeps what is known once these topics were read to where they ended at a time or later.

        Of each topic: which full snapshot it holds whole (see `absent`). Of each connector whose
        topics were all read: until when its transactions are whole (see `cut`).

        An epoch's snapshot is whole once any partition shows its end, for all were read beyond that.
        """
        for topic in topics:
            target = self._target(topic)
            handle = self.lake.open(target) if target else None
            epoch = max((start.epoch for start in epochs_of(handle)), default=0) if handle else 0
            if handle is None or (handle.transaction_version(marker(topic)) or 0) >= epoch:
                continue
            if ended(_load_states(self.lake, handle).values(), epoch):
                app = {marker(topic): epoch}
                self.lake.write(handle, pl.DataFrame(schema=BRONZE), mode="append", app=app)

        for prefix in prefixes(self.catalog):
            own = {topic for topic in self.catalog.topics() if prefix_of(topic) == prefix}
            side = f"{prefix}.transaction"
            handle = self.lake.open(self._target(side) or DEAD_LETTERS)
            if handle is not None and own <= set(topics):
                app = {"read": int(began.timestamp() * 1000)}
                self.lake.write(handle, pl.DataFrame(schema=BRONZE), mode="append", app=app)

    def land_again(self, batch: RecordBatch, letter_ids: pl.Series) -> pl.DataFrame:
        """Lands dead letters under their own identities: the `letter_id` of each that is in bronze now."""
        self._keep_blocks(batch)
        landed = [pl.DataFrame(schema={"letter_id": pl.String})]
        frame = batch.frame.with_columns(letter_ids.alias("event_id"))
        for (topic,), records in frame.partition_by("topic", as_dict=True).items():
            target = self._target(str(topic))
            if target is not None:
                described = describe_records(records, kind_of(str(topic), self.catalog))
                good = described.filter(pl.col("reason").is_null())
                self._write_rows(str(topic), target, good, batch)
                landed.append(good.select(letter_id="event_id"))
        return pl.concat(landed)

    def _target(self, topic: str) -> str | None:
        return table_of(topic, self.catalog)

    def _land_topic(self, topic: str, records: pl.DataFrame, batch: RecordBatch) -> Landed:
        described = describe_records(records, kind_of(topic, self.catalog)).with_columns(
            event_ids(batch.origin, topic, records["kafka_partition"]).alias("event_id")
        )
        target = self._target(topic)
        if target is None:
            described = described.with_columns(
                pl.coalesce("reason", pl.lit("undeclared_topic")).alias("reason")
            )
        good = described.filter(pl.col("reason").is_null())
        bad = described.filter(pl.col("reason").is_not_null())
        written = self._write_letters(topic, bad, batch)
        if target is None:
            return Landed(letters=written, repeated=len(bad) - written)
        rows = self._write_rows(topic, target, good, batch)
        oldest = good["source_time_us"].min()
        return Landed(
            rows=rows,
            letters=written,
            repeated=len(described) - rows - written,
            oldest_us={topic: oldest} if rows and isinstance(oldest, int) else {},
        )

    # ---- ROWS ---- #

    def _write_rows(self, topic: str, target: str, good: pl.DataFrame, batch: RecordBatch) -> int:
        handle = self.lake.create(
            target,
            BRONZE,
            partition_by=["ingestion_date"],
            stats_columns=["kafka_partition", "kafka_offset"],
            configuration={"delta.appendOnly": "true", "delta.enableChangeDataFeed": "true"},
        )
        app = _app_versions(batch, topic)
        fresh = self._not_yet_there(handle, good, batch, topic, "event_id")
        ahead = _ahead(handle, app)
        if not len(fresh) and not ahead:
            return 0
        states = self._states.get(topic) or _load_states(self.lake, handle)
        placed, after = assign(fresh, states)
        told = _new_epochs(handle, placed)
        try:
            self.lake.write(handle, bronze_rows(placed), mode="append", app={**ahead, **told})
        except ConflictError:
            self._states.pop(topic, None)
            raise
        self._states[topic] = after
        return len(placed)

    # ---- DEAD LETTERS ---- #

    def _write_letters(self, topic: str, bad: pl.DataFrame, batch: RecordBatch) -> int:
        app = _app_versions(batch, topic) if self._target(topic) is None or len(bad) else {}
        if not len(bad) and not app:
            return 0
        handle = self.lake.create(DEAD_LETTERS, LETTERS)
        fresh = self._not_yet_there(
            handle, bad.rename({"event_id": "letter_id"}), batch, topic, "letter_id"
        )
        ahead = _ahead(handle, app)
        if len(fresh) or ahead:
            self.lake.write(
                handle, letter_rows(whole_records(fresh, batch)), mode="append", app=ahead
            )
        return len(fresh)

    def _not_yet_there(
        self, handle: DeltaTable, rows: pl.DataFrame, batch: RecordBatch, topic: str, identity: str
    ) -> pl.DataFrame:
        """The rows that the table lacks.

        A consumer reads each partition in order, so the table's next offset tells. A recorded file
        may come in any order and in parts, so there the identities themselves are compared.
        """
        if not len(rows):
            return rows
        if self.ordered:
            starts = {
                partition: handle.transaction_version(_app_id(batch.origin, topic, partition)) or 0
                for partition in rows["kafka_partition"].unique()
            }
            start = pl.col("kafka_partition").replace_strict(starts, return_dtype=pl.Int64)
            return rows.filter(pl.col("kafka_offset") >= start)
        first, last = rows["kafka_offset"].min(), rows["kafka_offset"].max()
        near = (pl.col("topic") == topic) & pl.col("kafka_offset").is_between(
            pl.lit(first), pl.lit(last)
        )
        there = self.lake.scan_handle(handle).filter(near).select(identity).collect()
        return rows.unique(identity, keep="first", maintain_order=True).join(
            there, on=identity, how="anti", maintain_order="left"
        )

    # ---- SCHEMA BLOCKS ---- #

    def _keep_blocks(self, batch: RecordBatch) -> None:
        """Blocks not kept yet; kept twice by two processes does no harm, since their text is the same."""
        if not batch.schemas:
            return
        handle = self.lake.create(SCHEMAS, _BLOCKS)
        if self._known_blocks is None:
            self._known_blocks = set(
                self.lake.scan_handle(handle).select("schema_fingerprint").collect().to_series()
            )
        new = {
            fingerprint: block
            for fingerprint, block in batch.schemas.items()
            if fingerprint not in self._known_blocks
        }
        if new:
            topics = dict(
                batch.frame.filter(pl.col("value_schema").is_not_null())
                .select("value_schema", "topic")
                .unique("value_schema")
                .iter_rows()
            )
            now = datetime.now(UTC)
            rows = [(name, block.decode(), topics.get(name), now) for name, block in new.items()]
            self.lake.write(handle, pl.DataFrame(rows, schema=_BLOCKS, orient="row"), mode="append")
            self._known_blocks |= set(new)


def schema_blocks(lake: Lake, rows: pl.DataFrame) -> dict[str, str]:
    """The schema blocks, by fingerprint, that came with some rows of bronze."""
    fingerprints = set(rows["schema_fingerprint"].drop_nulls())
    if not fingerprints:
        return {}
    wanted = pl.col("schema_fingerprint").is_in(sorted(fingerprints))
    rows = lake.scan(SCHEMAS).filter(wanted).select("schema_fingerprint", "schema_json").collect()
    return dict(rows.iter_rows())


def marker(topic: str) -> str:
    """The app transaction whose version is the epoch of a topic's last complete snapshot."""
    return f"snapshot/{topic}"


def epochs_of(handle: DeltaTable) -> list[Start]:
    """Where the partitions of a bronze table entered epochs.

    They stand as app transactions in the commits that showed them, numbered, since Delta lists none.
    """
    known = list[Start]()
    while (epoch := handle.transaction_version(_EPOCH.format(len(known), "epoch"))) is not None:
        partition, written = (
            handle.transaction_version(_EPOCH.format(len(known), part)) or 0
            for part in Start._fields[1:]
        )
        known.append(Start(epoch, partition, written))
    return known


def _new_epochs(handle: DeltaTable, placed: pl.DataFrame) -> dict[str, int]:
    """What a batch shows first of epochs, as app transactions."""
    known, told = epochs_of(handle), dict[str, int]()
    seen = {start[:2] for start in known}
    new = [start for start in epochs_in(placed) if start[:2] not in seen]
    for number, start in enumerate(new, start=len(known)):
        told |= {_EPOCH.format(number, part): value for part, value in start._asdict().items()}
    return told


def _app_id(origin: Origin, topic: str, partition: int) -> str:
    return f"capture/{origin.cluster}/{origin.topic_id(topic)}/{topic}/{partition}"


def _ahead(handle: DeltaTable, app: dict[str, int]) -> dict[str, int]:
    """The app transactions that a table has yet to carry."""
    return {name: at for name, at in app.items() if at > (handle.transaction_version(name) or -1)}


def _app_versions(batch: RecordBatch, topic: str) -> dict[str, int]:
    return {
        _app_id(batch.origin, topic, partition): offset
        for (name, partition), offset in batch.next_offsets.items()
        if name == topic
    }


def keep_unkeyed(lake: Lake, rows: pl.DataFrame, now: datetime) -> int:
    """Bronze rows whose key cannot be read, with their `reason`; each once."""
    if not len(rows):
        return 0
    handle = lake.create(UNKEYED_EVENTS, LETTERS)
    known = lake.scan_handle(handle).select("letter_id").collect()
    fresh = rows.rename({"event_id": "letter_id"}).join(known, on="letter_id", how="anti")
    shaped = fresh.with_columns(
        pl.col("key").cast(pl.Binary),
        pl.col("raw_payload").cast(pl.Binary).alias("value"),
        pl.lit("decode").alias("stage"),
        pl.lit(now).alias("recorded_at"),
    ).select(pl.col(name).cast(dtype) for name, dtype in LETTERS.items())
    if len(shaped):
        lake.write(handle, shaped, mode="append")
    return len(shaped)


def _load_states(lake: Lake, handle: DeltaTable) -> dict[int, PartitionState]:
    """Where each partition stands, from its last rows; by the statistics few files are read."""
    rows = lake.scan_handle(handle)
    epochs = (
        rows.group_by("kafka_partition", "source_epoch")
        .agg(pl.col("kafka_offset").max(), pl.col("kafka_timestamp").min())
        .collect(engine="streaming")
        .sort("kafka_offset")
    )
    newest = epochs.unique("kafka_partition", keep="last").select(
        "kafka_partition", "kafka_offset", pl.col("kafka_timestamp").dt.epoch("ms")
    )
    states = dict[int, PartitionState]()
    for partition, end, written in newest.rows():
        near = pl.col("kafka_offset") > end - _TAIL_OFFSETS
        tail = rows.filter(pl.col("kafka_partition") == partition, near).collect()
        states[partition] = _load_state(tail, written or 0)
    return states


def _load_state(tail: pl.DataFrame, written_ms: int) -> PartitionState:
    tail = tail.sort("kafka_offset")
    last = tail.row(-1, named=True)
    said = describe(tail["raw_payload"], pl.repeat(None, len(tail), dtype=pl.String, eager=True))
    marks = said.select("commit_time_us", "log_name", "event_position", "snapshot")
    tail = pl.concat([tail, marks], how="horizontal")
    current = tail.filter(pl.col("source_epoch") == last["source_epoch"]).sort(
        "source_commit", "source_event"
    )
    written = pl.col("kafka_timestamp").dt.epoch("ms")
    return PartitionState(
        epoch=last["source_epoch"],
        written_ms=written_ms,
        streamed_ms=newest_streamed(tail.with_columns(written)),
        commit=current["source_commit"][-1],
        event=current["source_event"][-1],
        snapshot_ms=last["source_epoch"] or None,
        in_snapshot=is_full_snapshot(marks["snapshot"][-1]),
        snapshot_at=taken_at(tail),
        **log_after(current, PartitionState()),
        last_key=last["key"],
        last_was_delete=last["operation_type"] == "DELETE",
        last_commit=last["source_commit"],
        last_event=last["source_event"],
    )
