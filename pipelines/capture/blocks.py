"""Takes the schema block off values, so that it is kept once and not in every row.

Kafka Connect's JsonConverter with `schemas.enable` writes `{"schema":BLOCK,"payload":PAYLOAD}`, and
the block is four fifths of it. Every byte of the payload stays as it was: it is sliced out, never
parsed and written again. Avro values become the JSON text and the block that JsonConverter would
have written (`pipelines.avro`).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import orjson

from pipelines.avro import Wire

_OPEN = b'{"schema":'
_MIDDLE = b',"payload":'
_CLOSE = b"}"

# Cheap first look: only what starts like this can hold a block. Rows start with a column's name.
_SUSPECT = (
    _OPEN,
    b'{"payload":',
    b'{"schema" ',
    b'{"payload" ',
    b"{ ",
    b"{\n",
    b"{\r",
    b"{\t",
    b" ",
    b"\n",
    b"\r",
    b"\t",
)
_CANDIDATE = re.compile(rb'[ \t\r\n]*\{[ \t\r\n]*"(?:schema|payload)"')
_SPACE = re.compile(r"[ \t\r\n]*")

# A topic has one block a table version. More than this many is somebody's garbage, and memory is bounded.
_MOST_KNOWN = 4_096


def _refuse_constant(name: str) -> None:
    raise ValueError(name)


# Numbers stay text: only the place where a value ends is wanted, and 5,000 digits are not an error.
_SCANNER = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=_refuse_constant)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Values without their schema blocks.

    `fingerprints` names the block of each value, None where there was none. `originals` holds, by
    index, the whole value of those that `whole` could not put together again byte for byte.
    """

    payloads: list[bytes | None]
    fingerprints: list[str | None]
    originals: Mapping[int, bytes] = field(default_factory=dict[int, bytes])
    blocks: Mapping[str, bytes] = field(default_factory=dict[str, bytes])
    #: Why a value can be nothing but a dead letter, by index.
    reasons: Mapping[int, str] = field(default_factory=dict[int, str])


def whole(payload: bytes, block: bytes) -> bytes:
    """The value as JsonConverter wrote it, from its two parts."""
    return b"".join((_OPEN, block, _MIDDLE, payload, _CLOSE))


def fingerprint(block: bytes) -> str:
    """32 hexadecimal digits that stand for exactly these bytes."""
    return hashlib.sha256(block).hexdigest()[:32]


def split(value: bytes) -> tuple[bytes, bytes] | None:
    """Block and payload of a value in any spelling JSON allows, as raw bytes; None if it is not such a value.

    Exactly two members, `schema` and `payload`, in either order. The block must be an object with
    a `type`, as Connect writes it, so that a row with columns of these names stays a row; or null,
    when the payload is an object.
    """
    if not _CANDIDATE.match(value):
        return None
    try:
        members = _members(value.decode())
        if members is None or members.keys() != {"schema", "payload"}:
            return None
        block, payload = members["schema"], members["payload"]
        return (block.encode(), payload.encode()) if _is_block(block, payload) else None
    except (ValueError, RecursionError):  # not UTF-8, not JSON, or nested beyond any schema
        return None


def _members(text: str) -> dict[str, str] | None:
    """Names and raw texts of an object's members; None when it is no object or repeats a name."""
    at = _skip(text, 0)
    if text[at : at + 1] != "{":
        return None
    found: dict[str, str] = {}
    while True:
        at = _skip(text, at + 1)
        if text[at : at + 1] != '"':
            return None
        name, at = cast("tuple[str, int]", _SCANNER.raw_decode(text, at))
        at = _skip(text, at)
        if text[at : at + 1] != ":" or name in found:
            return None
        start = _skip(text, at + 1)
        _, at = _SCANNER.raw_decode(text, start)
        found[name] = text[start:at]
        at = _skip(text, at)
        if text[at : at + 1] == ",":
            continue
        ends_well = text[at : at + 1] == "}" and _skip(text, at + 1) == len(text)
        return found if ends_well else None


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    return match.end() if match else at


def _is_block(block: str, payload: str) -> bool:
    if block == "null":
        return payload.startswith("{")
    try:
        parsed: Any = orjson.loads(block)
    except orjson.JSONDecodeError:
        return False
    return isinstance(parsed, dict) and isinstance(cast("dict[str, Any]", parsed).get("type"), str)


class BlockCutter:
    """Cuts columns of values; remembers the blocks it has seen, so that each is parsed once."""

    def __init__(self, wire: Wire | None = None) -> None:
        self._wire = wire or Wire()
        self._known: dict[bytes, str] = {}
        self._blocks: dict[str, bytes] = {}
        self._prefix = _OPEN
        self._fingerprint = ""

    def cut(self, values: Sequence[bytes | None]) -> Cut:
        """Each value without its block; what is no such value comes back as it is."""
        if len(self._blocks) > _MOST_KNOWN:
            self.__init__(self._wire)
        payloads: list[bytes | None] = []
        fingerprints: list[str | None] = []
        originals: dict[int, bytes] = {}
        prefix, length, mark = self._prefix, len(self._prefix), self._fingerprint
        for value in values:
            if value is None or not value.startswith(_SUSPECT):
                payloads.append(value)
                fingerprints.append(None)
            elif mark and value.startswith(prefix) and value.endswith(_CLOSE):
                payloads.append(value[length:-1])
                fingerprints.append(mark)
            else:
                payload, seen, exact = self._look_up(value)
                if not exact:
                    originals[len(payloads)] = value
                payloads.append(payload)
                fingerprints.append(seen)
                prefix, length, mark = self._prefix, len(self._prefix), self._fingerprint
        blocks = {seen: self._blocks[seen] for seen in set(fingerprints) if seen is not None}
        avro = self._wire.unwrap(values)
        for index, text in avro.texts.items():
            originals[index] = values[index] or b""
            payloads[index], fingerprints[index] = text, avro.fingerprints[index]
        return Cut(
            payloads=payloads,
            fingerprints=fingerprints,
            originals=originals,
            blocks={**blocks, **avro.blocks},
            reasons=avro.reasons,
        )

    def _look_up(self, value: bytes) -> tuple[bytes, str | None, bool]:
        """Payload, fingerprint, and whether `whole` gives the value back."""
        end = value.find(_MIDDLE) + len(_MIDDLE)
        prefix = value[:end]
        if (seen := self._known.get(prefix)) and value.endswith(_CLOSE):
            self._prefix, self._fingerprint = prefix, seen
            return value[end:-1], seen, True
        return self._learn(value)

    def _learn(self, value: bytes) -> tuple[bytes, str | None, bool]:
        parts = split(value)
        if parts is None:
            return value, None, True
        block, payload = parts
        seen = fingerprint(block)
        self._blocks[seen] = block
        exact = whole(payload, block) == value
        # Under a null block only an object is a payload, so each such value is looked at by itself.
        if exact and block != b"null":
            prefix = _OPEN + block + _MIDDLE
            self._known[prefix] = seen
            self._prefix, self._fingerprint = prefix, seen
        return payload, seen, exact
