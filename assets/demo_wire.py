"""Values as Debezium and Connect's JSON converter write them, in their default modes."""

from __future__ import annotations

import base64
import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - of columns without a zone


#: What stands for a value that is not told in a column that cannot be null.
_BLANKS: dict[type, object] = {
    str: "",
    int: 0,
    bool: False,
    list: [],
    Decimal: Decimal("0.00"),
}


def json_bytes(value: object) -> bytes:
    """A key or a value as the JSON converter writes it."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def wire(row: dict[str, Any]) -> dict[str, Any]:
    """Values as the connector writes them: decimals in base64, instants as text, local times in microseconds, dates in days."""
    return {name: _wire_value(value) for name, value in row.items()}


def _wire_value(value: object) -> object:
    if isinstance(value, Decimal):
        unscaled = int(value.scaleb(-int(value.as_tuple().exponent)))
        size = (unscaled + (unscaled < 0)).bit_length() // 8 + 1
        return base64.b64encode(unscaled.to_bytes(size, "big", signed=True)).decode()
    if isinstance(value, datetime) and value.tzinfo is None:
        return (value - _EPOCH) // timedelta(microseconds=1)
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if isinstance(value, date):
        return (value - _EPOCH.date()).days
    return value


def blank(value: object) -> object:
    """What is written in place of a value that is not told, in a column that cannot be null."""
    if isinstance(value, datetime):
        return _EPOCH.replace(tzinfo=UTC) if value.tzinfo else _EPOCH
    if isinstance(value, date):
        return _EPOCH.date()
    return _BLANKS.get(type(value))
