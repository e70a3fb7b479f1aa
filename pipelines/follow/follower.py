"""Follow: capture lands micro-batches while a second thread applies and builds what has landed.

Batches adapt by themselves: while one is being written the next one fills, so that a busy stream is
read in large batches and a quiet one within a fraction of a second. Every write is the same as in a
bounded run, so that a kill at any moment loses and doubles nothing; on a stop what is in hand is
landed, applied and built before the end.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event, Lock, Thread

from pipelines.bronze import Bronze, Landed
from pipelines.capture.batch import BatchLimits
from pipelines.capture.kafka import KafkaSource
from pipelines.capture.records import Origin, Partition, RecordBatch
from pipelines.contract import Catalog
from pipelines.errors import BrokerError, ConflictError
from pipelines.follow.refinery import Pace, Refinery
from pipelines.follow.vitals import Vitals
from pipelines.gold import Built
from pipelines.ingest import open_lake, topics_to_read
from pipelines.run_events import RunEvents, told_events
from pipelines.settings import Settings
from pipelines.silver import Applied

_log = logging.getLogger(__name__)

#: How long the first retry waits, and the longest one.
_RETRY_SECONDS = (0.5, 15.0)


@dataclass(slots=True)
class Follower:
    """Brings a lake up to its topics until it is told to stop.

    `report` hears of every table that changed, on the refining thread.
    """

    settings: Settings
    catalog: Catalog
    vitals: Vitals = field(default_factory=Vitals)
    pace: Pace = field(default_factory=Pace)
    group: str | None = None
    report: Callable[[Applied | Built], None] = lambda _: None
    _stopped: Event = field(default_factory=Event)
    _drained: Event = field(default_factory=Event)
    _news: Event = field(default_factory=Event)
    _lock: Lock = field(default_factory=Lock)
    _source: KafkaSource | None = None
    _fatal: list[BaseException] = field(default_factory=list[BaseException])
    #: Topics with news, and the oldest source time among it, in microseconds (0: none is known).
    _fresh: dict[str, int] = field(default_factory=dict[str, int])

    def run(self) -> None:
        """Captures on this thread and refines on another, until `stop`; then drains.

        Raises:
            OffsetsLostError: when records that were not read yet are gone from the broker.
            MedallionError: when the lake or the settings do not let it go on.
        """
        lake = open_lake(self.settings)
        with told_events(
            self.settings, lake, self.catalog, "medallion.follow", streaming=True
        ) as events:
            refiner = Thread(target=self._refine, args=(events,), name="refine")
            refiner.start()
            try:
                self._capture()
            finally:
                self._stopped.set()
                self._drained.set()
                self._news.set()
                refiner.join()
            if self._fatal:
                raise self._fatal[0]

    def stop(self) -> None:
        """Ends following after the records in hand; may be called from a signal handler."""
        self._stopped.set()
        if self._source is not None:
            self._source.stop()

    # ---- CAPTURE ---- #

    def _capture(self) -> None:
        bronze = Bronze(open_lake(self.settings), self.catalog)
        wait = _RETRY_SECONDS[0]
        while not self._stopped.is_set():
            try:
                self._capture_until_it_breaks(bronze)
            except (BrokerError, ConflictError) as error:
                _log.warning("capture: %s; next try in %.1f s", error, wait)
                self.vitals.trouble("capture", error)
                self._stopped.wait(wait)
                wait = min(2 * wait, _RETRY_SECONDS[1])
            else:
                wait = _RETRY_SECONDS[0]
        self.vitals.ended("capture")

    def _capture_until_it_breaks(self, bronze: Bronze) -> None:
        def seek(origin: Origin, partitions: list[Partition]) -> dict[Partition, int | None]:
            return {p: bronze.next_offset(origin, p.topic, p.partition) for p in partitions}

        source = KafkaSource(
            self.settings,
            topics_to_read(self.catalog, ()),
            seek,  # pyright: ignore[reportArgumentType] - a list is a sequence
            mode="follow",
            group=self.group,
            limits=BatchLimits(max_seconds=self.pace.batch),
        )
        with source:
            self._source = source
            if self._stopped.is_set():
                source.stop()
            self.vitals.fine("capture")
            for batch in source:
                self._land(bronze, batch)
                source.report(batch.next_offsets)

    def _land(self, bronze: Bronze, batch: RecordBatch) -> None:
        landed = bronze.land(batch)
        self._count(landed)
        with self._lock:
            for topic, _ in batch.next_offsets:
                oldest = landed.oldest_us.get(topic, 0)
                self._fresh[topic] = self._fresh.get(topic, oldest) or oldest
        self._news.set()

    def _count(self, landed: Landed) -> None:
        self.vitals.landed.labels("bronze").inc(landed.rows)
        self.vitals.landed.labels("dead_letters").inc(landed.letters)
        for topic, oldest in landed.oldest_us.items():
            self.vitals.to_bronze.labels(topic).observe(max(0.0, time.time() - oldest / 1e6))

    # ---- REFINE ---- #

    def _refine(self, events: RunEvents) -> None:
        try:
            Refinery(
                self.settings, self.catalog, self.vitals, self.pace, self.report, self._take, events
            ).run(self._wait)
        except BaseException as error:  # noqa: BLE001 - raised again by run()
            self._fatal.append(error)
            self.stop()
        finally:
            self.vitals.ended("refine")

    def _take(self) -> dict[str, int]:
        """The topics with news since the last call, with the oldest source time of each."""
        with self._lock:
            fresh, self._fresh = self._fresh, {}
        return fresh

    def _wait(self, seconds: float) -> bool:
        """Waits for news, at most so long; whether all is landed and the end has come."""
        self._news.wait(seconds)
        self._news.clear()
        return self._drained.is_set()
