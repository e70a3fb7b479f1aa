"""Events on disk until somebody has them: a file an event, in the order they were told."""

from __future__ import annotations

import fcntl
import logging
import os
import time
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger(__name__)

#: An event is 2-50 KB: the oldest go once a listener was away for so many of them.
MAX_EVENTS = 10_000


@dataclass(frozen=True, slots=True)
class Outbox:
    """A folder of events that wait. Several processes may share it."""

    folder: Path
    limit: int = MAX_EVENTS

    def put(self, event: str) -> Path:
        """Keeps an event; it is there whole or not at all.

        Raises:
            OSError: when the folder cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self.folder / f"{time.time_ns():020d}-{uuid.uuid4().hex}.json"
        part = path.with_suffix(".part")
        part.write_text(event, "utf-8")
        part.rename(path)
        return path

    def waiting(self) -> list[Path]:
        """The events not delivered yet, oldest first; beyond the limit the oldest are let go."""
        paths = sorted(self.folder.glob("*.json"))
        excess = paths[: max(0, len(paths) - self.limit)]
        for path in excess:
            path.unlink(missing_ok=True)
        if excess:
            log.warning("OpenLineage: %d undelivered events were let go", len(excess))
        return paths[len(excess) :]

    def delivered(self, path: Path) -> None:
        """Forgets an event that arrived."""
        path.unlink(missing_ok=True)

    def refused(self, path: Path, reason: str) -> None:
        """Sets aside an event that will never be taken, with the reason beside it."""
        aside = self.folder / "refused"
        aside.mkdir(exist_ok=True)
        (aside / f"{path.stem}.txt").write_text(reason, "utf-8")
        path.replace(aside / path.name)

    @contextmanager
    def sole(self) -> Generator[bool]:
        """Whether this process may send now; another that does is not waited for."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
            else:
                yield True
        finally:
            os.close(handle)
