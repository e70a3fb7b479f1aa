"""Personal stays personal: classes flow along direct lineage, and only a mask or a large group ends them.

A column is of one of four classes. What is made of a column's values is of its class, unless the
table that makes it says how it takes the person out of the value. Columns that only decide which
rows or values there are give no value away; `influenced` tells of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from lineage.flow import IndirectKind, Source, Transformation
from lineage.graph import ColumnRef, Hop, LineageGraph

#: From what anybody may see to what hardly anybody may.
CLASSES = ("public", "internal", "confidential", "restricted")

#: The class of a column that nobody classified.
DEFAULT_CLASS = "internal"

#: From here on a column is somebody's secret.
SECRET = frozenset(CLASSES[2:])

#: Whether a table ends the class of an input's column on the way into one of its own columns.
Release = Callable[[ColumnRef, Source], bool]


@dataclass(frozen=True, slots=True)
class Leak:
    """A column made of one of a higher class, and `how`; `way` leads from the origin to it."""

    source: ColumnRef
    source_class: str
    target: ColumnRef
    target_class: str
    how: Transformation
    way: tuple[Hop, ...]


@dataclass(frozen=True, slots=True, order=True)
class Influenced:
    """A column whose rows or values a secret column decides about, without being a value of it."""

    target: ColumnRef
    source: ColumnRef
    source_class: str
    kind: IndirectKind


def highest(classes: Iterable[str]) -> str:
    """The class that hides most; the default one of none."""
    return max(classes, key=CLASSES.index, default=DEFAULT_CLASS)


def leaks(graph: LineageGraph, classes: Mapping[ColumnRef, str], released: Release) -> list[Leak]:
    """Every column of a lower class than one that its values come from, unless it is released.

    Args:
        graph: All tables.
        classes: The class of each column; one that is not there is of the default class.
        released: Says whether a table takes a source's secret out of one of its columns.
    """
    found: list[Leak] = []
    for target, source in _direct(graph):
        ref = ColumnRef(source.table, source.column)
        held, own = classes.get(ref, DEFAULT_CLASS), classes.get(target, DEFAULT_CLASS)
        if _hides_more(held, own) and not released(target, source):
            found.append(
                Leak(
                    ref, held, target, own, source.transformation, _way(graph, ref, target, source)
                )
            )
    return found


def influenced(graph: LineageGraph, classes: Mapping[ColumnRef, str]) -> list[Influenced]:
    """Every column that a secret one decides about and that is of a lower class, sorted."""
    found: set[Influenced] = set()
    for table, lineage in graph.tables.items():
        for influence in lineage.indirect:
            ref = ColumnRef(influence.table, influence.column)
            held = classes.get(ref, DEFAULT_CLASS)
            for name in influence.outputs or lineage.columns:
                own = classes.get(ColumnRef(table, name), DEFAULT_CLASS)
                if held in SECRET and _hides_more(held, own):
                    found.add(Influenced(ColumnRef(table, name), ref, held, influence.kind))
    return sorted(found)


def _hides_more(one: str, other: str) -> bool:
    return CLASSES.index(one) > CLASSES.index(other)


def _direct(graph: LineageGraph) -> Iterator[tuple[ColumnRef, Source]]:
    for table, lineage in sorted(graph.tables.items()):
        for column, sources in lineage.columns.items():
            for source in sources:
                yield ColumnRef(table, column), source


def _way(
    graph: LineageGraph, source: ColumnRef, target: ColumnRef, last: Source
) -> tuple[Hop, ...]:
    """From the origin of `source`, always by its first source, to `target`; nearest the origin first."""
    way = [Hop(source, target, last.transformation, 1)]
    while above := graph.upstream(way[-1].source, 1):
        way.append(Hop(above[0].source, above[0].target, above[0].how, len(way) + 1))
    return tuple(reversed(way))
