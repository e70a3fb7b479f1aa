"""What all parts of a contract share."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from datetime import timedelta
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from pipelines.contract.types import DataType, parse_type

IDENTIFIER = r"[a-z][a-z0-9_]*"

TableName = Annotated[str, Field(pattern=rf"^{IDENTIFIER}(\.{IDENTIFIER}){{2}}$")]


class Strict(BaseModel):
    """A part of a contract: what it does not know is an error, and what exists does not change."""

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


def misplaced(
    message: str, *, place: tuple[str | int, ...], hint: str | None = None
) -> PydanticCustomError:
    """A fault between parts of a contract: where to look (keys and indices), and what to write instead."""
    context = {"message": message, "place": place, "hint": hint}
    return PydanticCustomError("misplaced", "{message}", context)


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """A hint with the nearest of the known words, or None."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.5)
    return f"did you mean '{near[0]}'?" if near else None


_SECONDS = {
    "second": 1,
    "minute": 60,
    "hour": 3600,
    "day": 86400,
    "week": 7 * 86400,
    "month": 30 * 86400,
    "year": 365 * 86400,
}
_DURATION = re.compile(rf"(\d+)\s+({'|'.join(_SECONDS)})s?")


def parse_duration(text: object) -> timedelta:
    """`15 minutes`, `2 hours`, `1 day`; a month is 30 days, a year 365."""
    if isinstance(text, timedelta):
        return text
    match = _DURATION.fullmatch(str(text).strip())
    if match is None:
        raise ValueError(f"'{text}' is not a duration; write for example '15 minutes' or '2 days'")
    return timedelta(seconds=int(match[1]) * _SECONDS[match[2]])


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration, json_schema_input_type=str),
    Field(json_schema_extra={"type": "string", "examples": ["15 minutes", "1 day"]}),
]
TypeName = Annotated[
    DataType,
    BeforeValidator(
        lambda given: given if isinstance(given, DataType) else parse_type(str(given)),
        json_schema_input_type=str,
    ),
    Field(examples=["string", "decimal(10,2)", "timestamp", "list<int64>"]),
]
