"""Whether readers of one version of an Avro schema can read messages of another, as Confluent defines it.

BACKWARD: readers of the new version read messages of the last one. FORWARD: readers of the last read
messages of the new one. FULL: both. The same with `_TRANSITIVE`: of all versions, not the last alone.

Source: Confluent Schema Registry, "Schema Evolution and Compatibility"; Apache Avro 1.12 specification,
"Schema Resolution", as its `SchemaCompatibility` decides it: types are matched by their name without
namespace, or by the reader's aliases; what a logical type means is not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pipelines.avro.schema import Node, parse_schema


class Compatibility(StrEnum):
    """The registry's levels."""

    NONE = "NONE"
    BACKWARD = "BACKWARD"
    BACKWARD_TRANSITIVE = "BACKWARD_TRANSITIVE"
    FORWARD = "FORWARD"
    FORWARD_TRANSITIVE = "FORWARD_TRANSITIVE"
    FULL = "FULL"
    FULL_TRANSITIVE = "FULL_TRANSITIVE"

    @property
    def backward(self) -> bool:
        """Whether new readers must read old messages."""
        return self.startswith(("BACKWARD", "FULL"))

    @property
    def forward(self) -> bool:
        """Whether old readers must read new messages."""
        return self.startswith(("FORWARD", "FULL"))

    @property
    def transitive(self) -> bool:
        """Whether all versions count, not the last alone."""
        return self.endswith("_TRANSITIVE")


@dataclass(frozen=True, slots=True)
class Fault:
    """Why some readers cannot read some messages; `field` is the path of the field, empty at the top."""

    field: str
    why: str


@dataclass(frozen=True, slots=True)
class Break:
    """A fault between the new version and an earlier one: `direction` is BACKWARD or FORWARD."""

    direction: Compatibility
    version: int
    fault: Fault


def breaks(new: Any, versions: Mapping[int, Any], level: Compatibility) -> list[Break]:
    """What keeps a schema from being the next version of these, at this level; nothing: it can be.

    Raises:
        ValueError: when one of the schemas is none.
    """
    chosen = sorted(versions)[0 if level.transitive else -1 :]
    proposed, found = parse_schema(new), list[Break]()
    for version in chosen:
        old = parse_schema(versions[version])
        if level.backward:
            found += [Break(Compatibility.BACKWARD, version, f) for f in faults(proposed, old)]
        if level.forward:
            found += [Break(Compatibility.FORWARD, version, f) for f in faults(old, proposed)]
    return found


def faults(reader: Node, writer: Node) -> list[Fault]:
    """Why readers of a schema cannot read what was written with another; nothing: they can."""
    return list(dict.fromkeys(_faults(reader, writer, "", set())))


#: What a reader's type can be read from beside itself.
_PROMOTED: Mapping[str, Sequence[str]] = {
    "long": ("int",),
    "float": ("int", "long"),
    "double": ("int", "long", "float"),
    "bytes": ("string",),
    "string": ("bytes",),
}


def _faults(reader: Node, writer: Node, path: str, seen: set[tuple[int, int]]) -> Iterator[Fault]:
    pair = (id(reader), id(writer))
    if pair in seen:  # a type within itself: what is found of it is found where it began
        return
    seen = seen | {pair}
    if writer.kind == "union":
        for branch in writer.branches:
            yield from _faults(reader, branch, path, seen)
    elif reader.kind == "union":
        yield from _in_union(reader, writer, path, seen)
    elif reader.kind != writer.kind:
        if writer.kind not in _PROMOTED.get(reader.kind, ()):
            yield Fault(path, f"is written as {writer} and read as {reader}")
    else:
        yield from _inside(reader, writer, path, seen)


def _in_union(reader: Node, writer: Node, path: str, seen: set[tuple[int, int]]) -> Iterator[Fault]:
    """Nothing where one of the reader's branches takes what is written; else the faults of the one that is meant."""
    found = [list(_faults(branch, writer, path, seen)) for branch in reader.branches]
    if all(found):
        alike = [f for f, b in zip(found, reader.branches, strict=True) if str(b) == str(writer)]
        yield from (
            alike[0] if alike else [Fault(path, f"is written as {writer} and read as {reader}")]
        )


def _inside(reader: Node, writer: Node, path: str, seen: set[tuple[int, int]]) -> Iterator[Fault]:
    """The faults within two types of one kind."""
    named = reader.kind in ("record", "enum", "fixed")
    if named and reader.name != writer.name and writer.full_name not in reader.aliases:
        yield Fault(path, f"is written as {writer} and read as {reader}")
        return
    if reader.item is not None and writer.item is not None:
        yield from _faults(reader.item, writer.item, f"{path}[]", seen)
    if reader.size != writer.size:
        yield Fault(path, f"is written in {writer.size} bytes and read in {reader.size}")
    unknown = [each for each in writer.symbols if each not in reader.symbols]
    if unknown and not reader.has_default:
        yield Fault(path, f"is written as {', '.join(unknown)}, which its readers do not know")
    yield from _in_fields(reader, writer, path, seen)


def _in_fields(
    reader: Node, writer: Node, path: str, seen: set[tuple[int, int]]
) -> Iterator[Fault]:
    written = {field.name: field for field in writer.fields}
    for field in reader.fields:
        below = f"{path}.{field.name}".removeprefix(".")
        found = next((written[n] for n in (field.name, *field.aliases) if n in written), None)
        if found is not None:
            yield from _faults(field.type, found.type, below, seen)
        elif not field.has_default:
            yield Fault(below, "is not written, and its readers have no default for it")
