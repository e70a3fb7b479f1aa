"""Where the topics end, asked now and then: how far bronze lags, and what was read to its end."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime

from pipelines.bronze import Bronze
from pipelines.capture.broker import Broker
from pipelines.capture.records import Partition
from pipelines.contract import Catalog
from pipelines.errors import BrokerError, ConflictError
from pipelines.follow.vitals import Vitals
from pipelines.ingest import topics_to_read
from pipelines.settings import Settings
from pipelines.storage import Lake

_log = logging.getLogger(__name__)


class Ends:
    """The ends that topics had at some time, until the lake holds everything before them.

    Then what bounded runs know at their end is known here too: which snapshots are whole, and which
    transactions are (`Bronze.finish`). Whoever landed it: the lake tells, not this process.
    """

    def __init__(self, settings: Settings, catalog: Catalog, vitals: Vitals) -> None:
        self._settings, self._catalog, self._vitals = settings, catalog, vitals
        self._looked_at = time.monotonic()
        self._asked: tuple[datetime, Mapping[Partition, int]] | None = None
        self._done: Mapping[Partition, int] = {}

    def due(self, seconds: float) -> bool:
        """Whether so much time has passed since the last look."""
        return time.monotonic() - self._looked_at >= seconds

    def look(self, lake: Lake, *, waiting: bool) -> bool:
        """Asks the broker; whether all topics are newly known to be read to ends they had.

        With something `waiting` that time alone may free, they are known anew although nothing came.
        """
        self._looked_at = time.monotonic()
        try:
            return self._look(Bronze(lake, self._catalog), waiting=waiting)
        except (BrokerError, ConflictError) as error:
            _log.warning("the topics' ends: %s", error)
            return False

    def _look(self, bronze: Bronze, *, waiting: bool) -> bool:
        now, broker = datetime.now(UTC), Broker(self._settings)
        wanted = topics_to_read(self._catalog, ())
        topics = broker.topics(wanted)
        origin, spans = broker.origin(wanted), broker.spans(topics.partitions)
        reached = {
            each: bronze.next_offset(origin, each.topic, each.partition) or span.low
            for each, span in spans.items()
        }
        self._tell({each: max(0, span.end - reached[each]) for each, span in spans.items()})
        if self._asked is None:
            self._asked = now, {each: span.end for each, span in spans.items()}
        at, ends = self._asked
        if any(reached.get(each, 0) < end for each, end in ends.items()):
            return False
        self._asked = None
        if ends == self._done and not waiting:
            return False
        bronze.finish({each.topic for each in ends}, at)
        self._done = ends
        return True

    def _tell(self, lags: Mapping[Partition, int]) -> None:
        by_topic = dict[str, int]()
        for partition, lag in lags.items():
            by_topic[partition.topic] = by_topic.get(partition.topic, 0) + lag
        for topic, lag in by_topic.items():
            self._vitals.lag.labels(topic).set(lag)
