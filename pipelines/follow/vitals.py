"""What a follower says of itself: metrics for Prometheus, and whether it is alive and ready."""

from __future__ import annotations

import time
from collections.abc import Mapping
from threading import Lock

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

#: From a tenth of a second to a quarter of an hour: the lags that people set limits for.
_SECONDS = (0.1, 0.25, 0.5, 0.75, 1, 1.5, 2, 3, 5, 10, 30, 60, 300, 900)

#: A part of the follower that has not turned for this long is taken for dead.
_SILENCE_SECONDS = 600.0


class Vitals:
    """Counters, clocks and troubles of one follower; safe to use from its threads."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._lock = Lock()
        self._turns: dict[str, float] = {}
        self._troubles: dict[str, str] = {}
        self._reached = False

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"medallion_{name}", text, labels, registry=self.registry)

        def gauge(name: str, text: str, *labels: str) -> Gauge:
            return Gauge(f"medallion_{name}", text, labels, registry=self.registry)

        def histogram(name: str, text: str, *labels: str) -> Histogram:
            return Histogram(
                f"medallion_{name}", text, labels, registry=self.registry, buckets=_SECONDS
            )

        self.landed = counter("records_landed", "Records written to bronze or dead letters.", "to")
        self.applied = counter("events_applied", "Events applied to a silver table.", "table")
        self.built = counter("gold_builds", "New versions of a gold table.", "table")
        self.failures = counter("failures", "Errors, by the part or the table that met them.", "of")
        self.waiting = gauge("quarantined_rows", "Rows quarantined by the last apply.", "table")
        self.lag = gauge("lag_records", "Records on the broker that bronze does not hold.", "topic")
        self.failing = gauge("failing", "1 while a part or a table fails.", "of")
        self.to_bronze = histogram(
            "source_to_bronze_seconds", "Age of a batch's oldest event when it had landed.", "topic"
        )
        self.to_table = histogram(
            "source_to_table_seconds", "Age of the oldest event when a table showed it.", "table"
        )
        self.cycle = histogram("cycle_seconds", "Time to apply and build what had landed.")

    def turned(self, part: str) -> None:
        """A part of the follower is at work."""
        with self._lock:
            self._turns[part] = time.monotonic()

    def ended(self, part: str) -> None:
        """A part of the follower has ended as it should."""
        with self._lock:
            self._turns.pop(part, None)

    def reached(self) -> None:
        """What had landed is applied and built for the first time."""
        self._reached = True

    def trouble(self, part: str, error: Exception) -> None:
        """A part or a table fails, and will be tried again."""
        with self._lock:
            self._troubles[part] = f"{type(error).__name__}: {error}"
        self.failures.labels(part).inc()
        self.failing.labels(part).set(1)

    def fine(self, part: str) -> None:
        """A part or a table works (again)."""
        with self._lock:
            if self._troubles.pop(part, None) is not None:
                self.failing.labels(part).set(0)

    @property
    def troubles(self) -> Mapping[str, str]:
        """What fails now, and why."""
        with self._lock:
            return dict(self._troubles)

    @property
    def alive(self) -> bool:
        """Whether every part has turned lately; a supervisor restarts a follower that is not."""
        with self._lock:
            return all(time.monotonic() - at < _SILENCE_SECONDS for at in self._turns.values())

    @property
    def ready(self) -> bool:
        """Whether gold shows what had landed at the start, and the broker is being read."""
        return self._reached and "capture" not in self.troubles

    def exposition(self) -> bytes:
        """The metrics in Prometheus' text format."""
        return generate_latest(self.registry)
