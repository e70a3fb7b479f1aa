"""A moment of the source: a position in its log, or a time. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from pipelines.change.position import ORDER, exceeds
from pipelines.errors import QueryError

#: The order columns as bronze names them: there the offset is Kafka's own column.
BRONZE_ORDER = (*ORDER[:3], "kafka_offset")

#: Beyond every part of a position: "whatever comes there".
LAST = 2**63 - 1

_POSITION = re.compile(r"(\d{1,19})/(\d{1,19})/(\d{1,19})(?:/(\d{1,19}))?")
_LSN = re.compile(r"lsn:([0-9a-f]{1,8})/([0-9a-f]{1,8})", re.IGNORECASE)
_HINT = (
    "write a time (2026-01-31T12:00:00Z), a position as 'medallion status' shows it "
    "(epoch/commit/event, or with /offset), or a log position (lsn:0/16B3748)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One of three: a position, a log position of the newest epoch, or a time."""

    text: str
    position: tuple[int, int, int, int] | None = None
    lsn: int | None = None
    time: datetime | None = None

    def among(self, oldest: int, newest: int) -> Moment:
        """The same in a table's own epochs, so that a log position becomes a position.

        Epochs are a topic's, and 0 says that none is known: where the position or the table knows
        none, the log position decides, in the table's newest epoch.
        """
        if self.time is not None:
            return self
        epoch, *rest = self.position or (0, self.lsn or 0, LAST, LAST)
        if self.lsn is not None or newest == 0 or (epoch == 0 and oldest > 0):
            epoch = newest
        return Moment(text=self.text, position=(epoch, rest[0], rest[1], rest[2]))

    @property
    def newest_epoch(self) -> int:
        """The newest epoch that can have begun by then: epochs are milliseconds of the source's clock."""
        if self.time is not None:
            return int(self.time.timestamp() * 1000)
        return LAST if self.position is None else self.position[0]

    def covers(self, order: tuple[str, ...], time: str) -> pl.Expr:
        """Whether an event had happened, given its order columns and the column of its source time."""
        if self.time is not None:
            return pl.col(time) <= pl.lit(self.time).cast(pl.Datetime("us", "UTC"))
        if self.position is None:
            raise ValueError(f"{self.text}: among() comes first")
        return ~exceeds(
            [
                (pl.col(name), pl.lit(value))
                for name, value in zip(order, self.position, strict=True)
            ]
        )


def parse_moment(text: str) -> Moment:
    """The moment that a text names; a time without offset is UTC.

    Raises:
        QueryError: when it names none, with what can be written.
    """
    text = text.strip()
    if match := _POSITION.fullmatch(text):
        parts = [LAST if part is None else min(int(part), LAST) for part in match.groups()]
        return Moment(text=text, position=(parts[0], parts[1], parts[2], parts[3]))
    if match := _LSN.fullmatch(text):
        return Moment(text=text, lsn=min((int(match[1], 16) << 32) | int(match[2], 16), LAST))
    try:
        time = datetime.fromisoformat(text)
    except ValueError as error:
        hint = f"write lsn:{text}" if _LSN.fullmatch(f"lsn:{text}") else _HINT
        raise QueryError(f"'{text}' is neither a time nor a position", hint=hint) from error
    return Moment(text=text, time=time.replace(tzinfo=time.tzinfo or UTC).astimezone(UTC))


def lsn_text(position: int) -> str:
    """A log position as Postgres writes it."""
    return f"lsn:{position >> 32:X}/{position & 0xFFFFFFFF:X}"
