"""Capture: batches from a source into bronze, and the position of each told to whoever watches lag."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Literal

from pipelines.avro import Wire
from pipelines.bronze import Bronze, Landed
from pipelines.capture.batch import BatchLimits
from pipelines.capture.kafka import KafkaSource
from pipelines.capture.recorded import RecordedSource
from pipelines.capture.records import Notice, NoticeKind, Origin, Partition
from pipelines.capture.source import Source
from pipelines.contract import Catalog, did_you_mean
from pipelines.errors import ContractError
from pipelines.settings import Settings
from pipelines.storage import Lake
from pipelines.topics import other_ways, side_topics


@dataclass(frozen=True, slots=True, kw_only=True)
class Captured:
    """What a capture did."""

    landed: Landed
    batches: int
    next_offsets: Mapping[Partition, int]
    notices: tuple[Notice, ...]
    seconds: float


def topics_to_read(catalog: Catalog, only: Sequence[str]) -> list[str]:
    """The declared topics, or those named, and their connectors' own.

    Raises:
        ContractError: when a topic is named that no contract declares.
    """
    declared = catalog.topics()
    for topic in only:
        if topic not in declared:
            raise ContractError(
                f"topic '{topic}' is in no contract",
                hint=did_you_mean(topic, declared) or "write one: medallion contract import",
            )
    return [*(only or declared), *side_topics(catalog)]


def capture_kafka(
    settings: Settings,
    catalog: Catalog,
    *,
    topics: Sequence[str] = (),
    mode: Literal["bounded", "follow"] = "bounded",
    group: str | None = None,
    limits: BatchLimits | None = None,
    accept_loss: bool = False,
    progress: Callable[[Landed], None] = lambda _: None,
) -> Captured:
    """Reads the declared topics into bronze: to their ends as they are now, or until told to stop.

    Raises:
        BrokerError: when no broker answers.
        OffsetsLostError: when offsets that were not read yet are gone, unless loss is accepted.
        ConflictError: when another process reads the same partitions into the same lake.
    """
    bronze = Bronze(open_lake(settings), catalog)

    def seek(origin: Origin, partitions: Sequence[Partition]) -> dict[Partition, int | None]:
        return {each: bronze.next_offset(origin, each.topic, each.partition) for each in partitions}

    source = KafkaSource(
        settings,
        topics_to_read(catalog, topics),
        seek,
        mode=mode,
        group=group,
        limits=limits,
        accept_loss=accept_loss,
    )
    return _capture(
        source, bronze, progress, (topics or list(catalog.topics())) if mode == "bounded" else None
    )


def capture_file(
    lake: Lake,
    catalog: Catalog,
    path: Path,
    *,
    wire: Wire | None = None,
    limits: BatchLimits | None = None,
    progress: Callable[[Landed], None] = lambda _: None,
) -> Captured:
    """Reads a recorded stream into bronze; what is there already stays as it is.

    Raises:
        RecordingError: when the file cannot be read to its end; what could be was taken.
    """
    return _capture(
        RecordedSource(path, limits=limits, wire=wire),
        Bronze(lake, catalog, ordered=False),
        progress,
        list(catalog.topics()),
    )


def open_lake(settings: Settings) -> Lake:
    """The lake that the settings name."""
    return Lake(settings.lake, settings.storage)


def _capture(
    source: Source,
    bronze: Bronze,
    progress: Callable[[Landed], None],
    topics: Sequence[str] | None,
) -> Captured:
    began, at, total, batches = time.monotonic(), datetime.now(UTC), Landed(), 0
    reached = dict[Partition, int]()
    with source, _stopped_by_signals(source) as stopped:
        for batch in source:
            landed = bronze.land(batch)
            source.report(batch.next_offsets)
            reached |= batch.next_offsets
            total, batches = total + landed, batches + 1
            progress(landed)
    if topics is not None and not stopped.is_set():
        bronze.finish(topics, at)
    quiet = {*side_topics(bronze.catalog), *other_ways(bronze.catalog)}
    notices = tuple(
        n for n in source.notices if not (n.kind is NoticeKind.MISSING_TOPIC and n.topic in quiet)
    )
    return Captured(
        landed=total,
        batches=batches,
        next_offsets=reached,
        notices=notices,
        seconds=time.monotonic() - began,
    )


@contextmanager
def _stopped_by_signals(source: Source) -> Generator[threading.Event]:
    """SIGTERM and SIGINT end reading after the batch in hand; only a main thread may ask for that."""
    stopped = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopped
        return

    def stop(_number: int, _frame: FrameType | None) -> None:
        stopped.set()
        source.stop()

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stopped
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
