"""Messages in the Confluent wire format: a zero byte, a four-byte schema id, one Avro record.

They become the JSON text that JsonConverter would have written, with the schema block that it would
have put beside it, so that everything after capture knows one form. The text says all that the
bytes said: integers and floats in full, bytes as base64.

Source: Confluent Schema Registry, "Wire format"; Debezium, "Avro serialization".
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from pipelines.avro.binary import MOST_BYTES, read
from pipelines.avro.connect import connect_schema
from pipelines.avro.registry import Registry

MAGIC = b"\x00"
_HEAD = 5

NO_REGISTRY = "avro_without_registry"
UNKNOWN_ID = "unknown_schema_id"
EIGHT_BYTE_ID = "schema_id_of_eight_bytes"
UNREADABLE = "not_avro_of_its_schema"
UNSUPPORTED = "unsupported_avro_schema"


@dataclass(slots=True)
class Unwrapped:
    """The JSON texts of the Avro values among some, by index, and why others have none."""

    texts: dict[int, bytes] = field(default_factory=dict[int, bytes])
    fingerprints: dict[int, str] = field(default_factory=dict[int, str])
    reasons: dict[int, str] = field(default_factory=dict[int, str])
    blocks: dict[str, bytes] = field(default_factory=dict[str, bytes])


@dataclass(frozen=True, slots=True)
class _Known:
    """A writer's schema, and the block that stands for it."""

    avro: Any
    block: bytes
    fingerprint: str


class Wire:
    """Reads Avro messages; remembers each schema, so that it is asked for and translated once."""

    def __init__(self, registry: Registry | None = None) -> None:
        self._registry = registry
        self._known: dict[int, _Known] = {}

    def unwrap(self, values: Sequence[bytes | None]) -> Unwrapped:
        """The Avro values among these as JSON texts; what is no Avro is passed over.

        Raises:
            RegistryError: when a schema is needed and the registry does not answer.
        """
        groups = defaultdict[int, list[int]](list)
        for index, value in enumerate(values):
            if value is not None and value[:1] == MAGIC and len(value) >= _HEAD:
                groups[int.from_bytes(value[1:_HEAD], "big")].append(index)
        result = Unwrapped()
        for identity, indexes in groups.items():
            for some in _pieces(indexes, values):
                self._unwrap_group(identity, some, values, result)
        return result

    def _unwrap_group(
        self,
        identity: int,
        indexes: Sequence[int],
        values: Sequence[bytes | None],
        result: Unwrapped,
    ) -> None:
        known = self._look_up(identity)
        if isinstance(known, str):
            result.reasons |= dict.fromkeys(indexes, known)
            return
        texts, sound = _texts(known.avro, [(values[index] or b"")[_HEAD:] for index in indexes])
        if texts is None:
            result.reasons |= dict.fromkeys(indexes, UNSUPPORTED)
            return
        result.blocks[known.fingerprint] = known.block
        for index, text, good in zip(indexes, texts, sound, strict=True):
            if good and text is not None:
                result.texts[index] = text
                result.fingerprints[index] = known.fingerprint
            else:
                result.reasons[index] = UNREADABLE

    def _look_up(self, identity: int) -> _Known | str:
        """The schema of an id, or why there is none."""
        if identity in self._known:
            return self._known[identity]
        if self._registry is None:
            return NO_REGISTRY
        schema = self._registry.schema(identity)
        if schema is None:
            return UNKNOWN_ID if identity else EIGHT_BYTE_ID
        try:
            block = json.dumps(
                {**connect_schema(schema), "avro_schema_id": identity}, ensure_ascii=False
            ).encode()
        except (ValueError, KeyError, TypeError, RecursionError):
            return UNSUPPORTED
        known = _Known(schema, block, hashlib.sha256(block).hexdigest()[:32])
        self._known[identity] = known
        return known


def _texts(
    schema: Any, bodies: Sequence[bytes]
) -> tuple[Sequence[bytes | None] | None, Sequence[bool]]:
    try:
        values, sound = read(schema, bodies)
    except (ValueError, KeyError, TypeError, RecursionError):
        return None, ()
    if isinstance(values.dtype, pl.Struct):
        texts = values.struct.json_encode()
    else:  # a key that is no record: the JSON of a lone value
        wrapped = pl.DataFrame({"v": values}).to_struct().struct.json_encode()
        texts = wrapped.str.slice(len('{"v":')).str.strip_suffix("}")
    return texts.cast(pl.Binary).to_list(), sound.to_list()


def _pieces(indexes: Sequence[int], values: Sequence[bytes | None]) -> Iterator[list[int]]:
    """The indexes in groups whose values fit one buffer."""
    piece, size = list[int](), 0
    for index in indexes:
        length = len(values[index] or b"")
        if piece and size + length > MOST_BYTES:
            yield piece
            piece, size = [], 0
        piece.append(index)
        size += length
    yield piece
