"""Delivers events by the OpenLineage client, beside the run: a run neither waits nor fails for it.

Each event is first a file in the outbox, then sent by a thread, then forgotten. What cannot be sent
stays, and goes with the next run. The transport is whatever `openlineage.yml` or OPENLINEAGE_* say.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable
from enum import Enum, auto
from pathlib import Path
from typing import Any, Protocol, cast

from openlineage.client import OpenLineageClient, event_v2
from openlineage.client.serde import Serde
from openlineage.client.transport import Transport
from requests import HTTPError

from lineage.openlineage.events import event_of, revive
from lineage.openlineage.facts import StepFact
from lineage.openlineage.outbox import Outbox

log = logging.getLogger(__name__)

#: Between tries while a listener does not answer: doubled each time, from the first to the second.
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 60.0

#: How long the end of a run may wait for its last events.
CLOSE_SECONDS = 5.0

#: How long another process that sends from the same outbox is let go on before we look again.
_BUSY_SECONDS = 0.1

#: Answers that say "not like this, ever"; 401, 403 and 404 are settings that somebody may mend.
_REFUSALS = frozenset({400, 405, 406, 411, 413, 414, 415, 422})

#: Transports that nobody asked for (the client's default) or that say nothing.
_SILENT = frozenset({"console", "noop"})


class _Outcome(Enum):
    EMPTY = auto()
    BUSY = auto()
    FAILED = auto()


class Sender:
    """Sends what the outbox holds, oldest first, in a thread of its own."""

    def __init__(self, client: OpenLineageClient, outbox: Outbox) -> None:
        self._client = client
        self._outbox = outbox
        self._emit = _confirmed(client.transport)
        self._wake = threading.Condition()
        self._news = True  # what an earlier run could not send
        self._closing = False
        self._thread = threading.Thread(target=self._work, name="openlineage", daemon=True)
        self._thread.start()

    def tell(self, step: StepFact) -> None:
        """Keeps a step's event and lets the thread send it, with the tags and filters of the settings.

        Raises:
            OSError: when the outbox cannot be written.
            ValueError: when a fact is not what the specification allows.
        """
        event = event_of(step)
        told = self._client.update_event_tags_facets(self._client.add_environment_facets(event))
        if self._client.filter_event(told) is None:
            return
        self._outbox.put(Serde.to_json(told))
        with self._wake:
            self._news = True
            self._wake.notify()

    def close(self, seconds: float = CLOSE_SECONDS) -> bool:
        """Ends sending; True when nothing waits any more. Waits so long at most."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(seconds)
        return not self._thread.is_alive() and not self._outbox.waiting()

    def _work(self) -> None:
        pause, outcome = 0.0, _Outcome.EMPTY
        while True:
            with self._wake:
                if outcome is _Outcome.EMPTY:
                    self._wake.wait_for(lambda: self._news or self._closing)
                else:
                    self._wake.wait_for(lambda: self._closing, timeout=pause)
                self._news, closing = False, self._closing
            outcome = self._drain()
            if closing and outcome is not _Outcome.BUSY:
                return
            if outcome is _Outcome.BUSY:
                pause = _BUSY_SECONDS
                time.sleep(pause if closing else 0)
            elif outcome is _Outcome.FAILED:
                pause = min(max(_FIRST_PAUSE_SECONDS, 2 * pause), _LONGEST_PAUSE_SECONDS)
            else:
                pause = 0.0

    def _drain(self) -> _Outcome:
        try:
            with self._outbox.sole() as mine:
                if not mine:
                    return _Outcome.BUSY
                while waiting := self._outbox.waiting():
                    for path in waiting:
                        self._send(path)
        except Exception as error:  # noqa: BLE001 - whatever a transport raises, the run goes on
            log.warning("OpenLineage: events wait in %s: %s", self._outbox.folder, _brief(error))
            return _Outcome.FAILED
        return _Outcome.EMPTY

    def _send(self, path: Path) -> None:
        try:
            event = revive(json.loads(path.read_text("utf-8")))
        except (ValueError, KeyError, TypeError) as error:
            self._refuse(path, f"not an event: {_brief(error)}")
            return
        try:
            self._emit(event)
        except HTTPError as error:
            if error.response is None or error.response.status_code not in _REFUSALS:
                raise
            self._refuse(path, f"{error.response.status_code}: {error.response.text[:2000]}")
            return
        self._outbox.delivered(path)

    def _refuse(self, path: Path, reason: str) -> None:
        log.warning("OpenLineage: an event was refused and set aside: %s", path.name)
        self._outbox.refused(path, reason)


def open_sender(folder: Path) -> Sender | None:
    """A sender by the settings that OpenLineage documents; None where they name no listener."""
    client = OpenLineageClient()
    return None if client.transport.kind in _SILENT else Sender(client, Outbox(folder))


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0][:300] if str(error) else ''}"


# ---- KAFKA ---- #

#: Longer than a broker's election (6-10 s).
_KAFKA_SECONDS = 15.0


class _Producer(Protocol):
    """What the client's Kafka transport asks of its producer."""

    def produce(self, **record: Any) -> None: ...

    def flush(self, timeout: float = -1) -> int: ...


class _Confirming:
    """A producer that fails when a record does not arrive; the client's own only logs it."""

    def __init__(self, producer: _Producer) -> None:
        self._producer = producer
        self._error: object | None = None

    def produce(self, **record: Any) -> None:
        self._error = None
        self._producer.produce(**{**record, "on_delivery": self._arrived})

    def flush(self, timeout: float = -1) -> int:
        left = self._producer.flush(timeout=_KAFKA_SECONDS if timeout < 0 else timeout)
        if left or self._error is not None:
            raise ConnectionError(str(self._error or f"{left} records were not acknowledged"))
        return left

    def _arrived(self, error: object | None, _message: object) -> None:
        self._error = error


def _confirmed(transport: Transport) -> Callable[[event_v2.RunEvent], object]:
    """The transport's way to send, such that what did not arrive is an error."""
    producer: _Producer | None = getattr(transport, "producer", None)
    if transport.kind == "kafka" and producer is not None:
        cast("Any", transport).producer = _Confirming(producer)
        cast("Any", transport).flush = True
    return transport.emit
