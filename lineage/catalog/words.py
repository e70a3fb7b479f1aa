"""Numbers and times as the pages write them."""

from __future__ import annotations

from datetime import datetime, timedelta

_UNITS = (("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1))


def size(size_bytes: int) -> str:
    """Bytes in the unit a reader can hold: `3.4 MB`; powers of 1000."""
    amount = float(size_bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 999.5:
            return (
                f"{amount:.0f} {unit}" if unit == "B" or amount >= 99.5 else f"{amount:.1f} {unit}"
            )
        amount /= 1000
    return f"{amount:,.1f} TB"


def span(length: timedelta) -> str:
    """A duration in the largest unit that divides it: `15 minutes`, `36 hours`."""
    seconds = int(length.total_seconds())
    for unit, each in _UNITS:
        if seconds % each == 0 and seconds >= each:
            count = seconds // each
            return f"{count:,} {unit}{'' if count == 1 else 's'}"
    return "0 seconds"


def about(length: timedelta) -> str:
    """A duration as one would say it: `3 hours`, `12 days`; of what is less than a second, `0 seconds`."""
    seconds = max(0, int(length.total_seconds()))
    for unit, each in _UNITS:
        if seconds >= each:
            count = seconds // each
            return f"{count:,} {unit}{'' if count == 1 else 's'}"
    return "0 seconds"


def moment(at: datetime) -> str:
    """A time in UTC to the minute."""
    return f"{at:%Y-%m-%d %H:%M}"
