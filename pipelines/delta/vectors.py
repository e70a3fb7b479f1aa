"""Deletion vectors: the rows of a data file that are no longer there.

Delta protocol, "Deletion Vectors" and "Deletion Vector Format": a 64-bit Roaring bitmap behind a
magic number, in a file of its own (`u`: named by a UUID, `p`: by a path) or in the log (`i`).
"""

from __future__ import annotations

import base64
import struct
import uuid
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pyroaring import BitMap64

from pipelines.errors import LakeError

_MAGIC = struct.pack("<I", 1681511377)
_FILE_VERSION = b"\x01"

_RFC1924 = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
_Z85 = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"
_TO_Z85 = bytes.maketrans(_RFC1924, _Z85)
_FROM_Z85 = bytes.maketrans(_Z85, _RFC1924)


@dataclass(frozen=True, slots=True, kw_only=True)
class Descriptor:
    """Where a vector is kept (protocol, "Deletion Vector Descriptor Schema")."""

    storage_type: str
    path_or_inline: str
    offset: int | None
    size_in_bytes: int
    cardinality: int

    @classmethod
    def of(cls, action: Mapping[str, Any] | None) -> Descriptor | None:
        """The descriptor in an action's `deletionVector`, or None."""
        if action is None or action.get("storageType") is None:
            return None
        return cls(
            storage_type=action["storageType"],
            path_or_inline=action["pathOrInlineDv"],
            offset=action.get("offset"),
            size_in_bytes=action["sizeInBytes"],
            cardinality=action["cardinality"],
        )

    def action(self) -> dict[str, object]:
        """The `deletionVector` of an action."""
        given = {
            "storageType": self.storage_type,
            "pathOrInlineDv": self.path_or_inline,
            "offset": self.offset,
            "sizeInBytes": self.size_in_bytes,
            "cardinality": self.cardinality,
        }
        return {name: value for name, value in given.items() if value is not None}

    @property
    def identity(self) -> tuple[str, str, int | None]:
        """What tells a vector from another of the same file."""
        return self.storage_type, self.path_or_inline, self.offset


def write_vectors(vectors: Sequence[BitMap64]) -> tuple[str, bytes, list[Descriptor]]:
    """One file that holds the vectors: its name, its bytes, and a descriptor for each."""
    identity = uuid.uuid4()
    encoded = base64.b85encode(identity.bytes).translate(_TO_Z85).decode()
    content, descriptors = bytearray(_FILE_VERSION), list[Descriptor]()
    for vector in vectors:
        data = _MAGIC + vector.serialize()
        descriptors.append(
            Descriptor(
                storage_type="u",
                path_or_inline=encoded,
                offset=len(content),
                size_in_bytes=len(data),
                cardinality=len(vector),
            )
        )
        content += struct.pack(">I", len(data)) + data + struct.pack(">I", zlib.crc32(data))
    return f"deletion_vector_{identity}.bin", bytes(content), descriptors


def read_vector(descriptor: Descriptor, part: Callable[[str, int, int], bytes]) -> BitMap64:
    """The rows that a vector marks; `part` reads bytes of an object below the table: from where, how many.

    Raises:
        LakeError: when the file is damaged, or of a kind this version does not know.
    """
    if descriptor.storage_type == "i":
        return _bitmap(_from_z85(descriptor.path_or_inline)[: descriptor.size_in_bytes])
    if descriptor.storage_type != "u":
        raise LakeError(
            f"a deletion vector of storage type '{descriptor.storage_type}' lies outside its table"
        )
    prefix, encoded = descriptor.path_or_inline[:-20], descriptor.path_or_inline[-20:]
    name = f"deletion_vector_{uuid.UUID(bytes=_from_z85(encoded))}.bin"
    # The vector's size comes before it, its checksum behind it.
    start, size = (descriptor.offset or 0) + 4, descriptor.size_in_bytes
    content = part(f"{prefix}/{name}" if prefix else name, start, size + 4)
    data, checksum = content[:size], content[size:]
    if struct.pack(">I", zlib.crc32(data)) != checksum:
        raise LakeError(f"{name}: the checksum of a deletion vector is wrong")
    return _bitmap(data)


def _bitmap(data: bytes) -> BitMap64:
    if data[:4] != _MAGIC:
        raise LakeError("a deletion vector begins with an unknown magic number")
    return BitMap64.deserialize(data[4:])


def _from_z85(text: str) -> bytes:
    return base64.b85decode(text.encode().translate(_FROM_Z85))
