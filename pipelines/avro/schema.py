"""Avro schemas with their names looked up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

_PRIMITIVES = ("null", "boolean", "int", "long", "float", "double", "bytes", "string")


@dataclass(slots=True, eq=False)
class Node:
    """A type; of a record within itself the fields lead back to it. What its kind does not have is empty."""

    kind: str
    full_name: str = ""
    aliases: Sequence[str] = ()
    fields: list[Field] = field(default_factory=list["Field"])
    item: Node | None = None
    symbols: Sequence[str] = ()
    has_default: bool = False
    size: int = 0
    branches: Sequence[Node] = ()

    @property
    def name(self) -> str:
        """The name without its namespace."""
        return self.full_name.rpartition(".")[2]

    def __str__(self) -> str:
        if self.kind == "union":
            return " or ".join(map(str, self.branches))
        if self.item is not None:
            return f"{self.kind} of {self.item}"
        return f"{self.kind} {self.name}" if self.full_name else self.kind


@dataclass(slots=True, eq=False)
class Field:
    """A field of a record."""

    name: str
    type: Node
    aliases: Sequence[str]
    has_default: bool


def parse_schema(schema: Any) -> Node:
    """The type that a schema describes, as JSON's own objects.

    Raises:
        ValueError: when it is no Avro schema; says which part is none.
    """
    try:
        return _parse(schema, {}, "")
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"no Avro schema: {type(error).__name__} {error}") from error


def _parse(schema: Any, names: dict[str, Node], space: str) -> Node:
    if isinstance(schema, list):
        return Node("union", branches=[_parse(branch, names, space) for branch in schema])
    if isinstance(schema, str):
        return _named(schema, names, space)
    kind = schema["type"]
    if not isinstance(kind, str):
        return _parse(kind, names, space)
    if kind in ("array", "map"):
        return Node(
            kind, item=_parse(schema["items" if kind == "array" else "values"], names, space)
        )
    if kind not in ("record", "error", "enum", "fixed"):
        return _named(kind, names, space)
    full = _full(schema["name"], schema.get("namespace", space))
    space = full.rpartition(".")[0]
    node = Node("record" if kind == "error" else kind, full_name=full)
    names[full] = node
    node.aliases = [_full(alias, space) for alias in schema.get("aliases", ())]
    node.symbols, node.size = schema.get("symbols", ()), schema.get("size", 0)
    node.has_default = kind == "enum" and "default" in schema
    node.fields += [_field(each, names, space) for each in schema.get("fields", ())]
    return node


def _field(told: Any, names: dict[str, Node], space: str) -> Field:
    kind = _parse(told["type"], names, space)
    return Field(told["name"], kind, told.get("aliases", ()), "default" in told)


def _full(name: str, space: str) -> str:
    return name if "." in name or not space else f"{space}.{name}"


def _named(name: str, names: dict[str, Node], space: str) -> Node:
    if name in _PRIMITIVES:
        return Node(name)
    found = names.get(_full(name, space)) or names.get(name)
    if found is None:
        raise ValueError(f"no Avro schema: the type '{name}' is not known")
    return found
