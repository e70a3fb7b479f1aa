"""Values on their way through one statement: which input columns reach which output, and how."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

Transformation = Literal["identity", "cast", "expression", "aggregation"]
IndirectKind = Literal["join", "filter", "group", "sort", "window", "conditional"]

#: OpenLineage's type and subtype of each (ColumnLineageDatasetFacet 1-2-0, `transformations`).
OPENLINEAGE: Mapping[Transformation | IndirectKind, tuple[str, str]] = {
    "identity": ("DIRECT", "IDENTITY"),
    "cast": ("DIRECT", "TRANSFORMATION"),
    "expression": ("DIRECT", "TRANSFORMATION"),
    "aggregation": ("DIRECT", "AGGREGATION"),
    "join": ("INDIRECT", "JOIN"),
    "filter": ("INDIRECT", "FILTER"),
    "group": ("INDIRECT", "GROUP_BY"),
    "sort": ("INDIRECT", "SORT"),
    "window": ("INDIRECT", "WINDOW"),
    "conditional": ("INDIRECT", "CONDITIONAL"),
}

#: The kinds of a column that is no value of the output.
INDIRECT_KINDS: frozenset[str] = frozenset(get_args(IndirectKind))

#: A way made of several steps is as strong as its strongest step.
_STRENGTH: tuple[Transformation, ...] = ("identity", "cast", "expression", "aggregation")


@dataclass(frozen=True, slots=True, order=True)
class Source:
    """A column whose value goes into another column."""

    table: str
    column: str
    transformation: Transformation = "identity"


@dataclass(frozen=True, slots=True, order=True)
class Influence:
    """A column that decides which values there are, without being one of them."""

    table: str
    column: str
    kind: IndirectKind


@dataclass(frozen=True, slots=True)
class Flow:
    """All that reaches one expression: `direct` as its value, `indirect` as its circumstances."""

    direct: frozenset[Source] = frozenset()
    indirect: frozenset[Influence] = frozenset()

    def through(self, step: Transformation) -> Flow:
        """This flow after one more transformation."""
        return replace(
            self,
            direct=frozenset(
                replace(source, transformation=stronger(source.transformation, step))
                for source in self.direct
            ),
        )

    def deciding(self, kind: IndirectKind) -> frozenset[Influence]:
        """The same columns where the expression is a condition and no value.

        The condition of a CASE inside it is a part of the condition.
        """
        own = {replace(i, kind=kind) if i.kind == "conditional" else i for i in self.indirect}
        return frozenset(own | {Influence(s.table, s.column, kind) for s in self.direct})


@dataclass(frozen=True, slots=True)
class Relation:
    """What a query gives: its columns in order, and what decides which rows there are."""

    columns: tuple[tuple[str, Flow], ...]
    rows: frozenset[Influence] = field(default=frozenset())

    def find(self, name: str) -> list[Flow]:
        """The flows of the columns of that name: none, one, or several if the name repeats."""
        return [flow for column, flow in self.columns if column == name]

    @property
    def names(self) -> tuple[str, ...]:
        """The column names in order."""
        return tuple(name for name, _ in self.columns)


def stronger(one: Transformation, other: Transformation) -> Transformation:
    """The transformation that a value keeps when it goes through both."""
    return one if _STRENGTH.index(one) >= _STRENGTH.index(other) else other


def merge(flows: Iterable[Flow]) -> Flow:
    """Everything that reaches any of `flows`."""
    direct: set[Source] = set()
    indirect: set[Influence] = set()
    for flow in flows:
        direct |= flow.direct
        indirect |= flow.indirect
    return Flow(frozenset(direct), frozenset(indirect))
