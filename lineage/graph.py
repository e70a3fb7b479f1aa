"""All tables of all layers, what each is made of, and the ways between their columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from graphlib import CycleError, TopologicalSorter

from lineage.columns import Indirect
from lineage.errors import LineageError, did_you_mean
from lineage.flow import INDIRECT_KINDS, IndirectKind, Source, Transformation


@dataclass(frozen=True, slots=True)
class TableLineage:
    """How one table is made.

    `kind` is the transformation type of its rows in `data_lineage` (CDC_CAPTURE, ETL_TRANSFORM ...).
    A column name with a dot is a field inside a column: `raw_payload.order_id`. A column without
    sources (a constant, a run's id) maps to (). `masks` tells of columns whose values are masked on
    their way into the table, and by what.
    """

    table: str
    kind: str
    inputs: tuple[str, ...]
    columns: Mapping[str, tuple[Source, ...]]
    indirect: tuple[Indirect, ...] = ()
    config: Mapping[str, str] = field(default_factory=dict[str, str])
    masks: Mapping[str, str] = field(default_factory=dict[str, str])

    def __post_init__(self) -> None:
        used = {source.table for sources in self.columns.values() for source in sources}
        used |= {influence.table for influence in self.indirect}
        if undeclared := sorted(used - set(self.inputs)):
            message = f"{self.table}: its columns come from {', '.join(undeclared)}"
            raise LineageError(f"{message}, which its inputs do not name")


@dataclass(frozen=True, slots=True, order=True)
class ColumnRef:
    """A column of a table, written `table.column`."""

    table: str
    column: str

    def __str__(self) -> str:
        return f"{self.table}.{self.column}"


@dataclass(frozen=True, slots=True)
class Hop:
    """One step between two columns; `depth` counts the steps from where the walk began, from 1."""

    source: ColumnRef
    target: ColumnRef
    how: Transformation | IndirectKind
    depth: int


@dataclass(frozen=True)
class LineageGraph:
    """The tables by name. Inputs that are no table of it are external: they have no lineage.

    Raises:
        LineageError: A table feeds itself, directly or by others; the message has the way.
    """

    tables: Mapping[str, TableLineage]

    @classmethod
    def of(cls, tables: Iterable[TableLineage]) -> LineageGraph:
        """The graph of `tables`; a name given twice is refused."""
        named: dict[str, TableLineage] = {}
        for lineage in tables:
            if lineage.table in named:
                raise LineageError(f"{lineage.table} is given twice")
            named[lineage.table] = lineage
        return cls(named)

    def __post_init__(self) -> None:
        _ = self._order  # so that a graph with a cycle cannot exist

    def column(self, text: str) -> ColumnRef:
        """The column that `text` names, as `table.column`.

        Raises:
            LineageError: There is no such column.
        """
        for table in sorted(self._order, key=len, reverse=True):
            name = text.removeprefix(f"{table}.")
            if name != text:
                ref = ColumnRef(table, name)
                if ref in self.columns:
                    return ref
                there = (c.column for c in self.columns if c.table == table)
                raise LineageError(f"no column '{name}' in {table}", hint=did_you_mean(name, there))
        raise LineageError(f"no table of '{text}'", hint=did_you_mean(text, self._order))

    @cached_property
    def columns(self) -> frozenset[ColumnRef]:
        """Every column of the tables and, of external inputs, those that something is made of."""
        owned = {ColumnRef(t.table, name) for t in self.tables.values() for name in t.columns}
        return frozenset(owned | {hop.source for hop in self._hops()})

    def upstream(
        self, column: ColumnRef, depth: int | None = None, *, indirect: bool = False
    ) -> tuple[Hop, ...]:
        """The steps that lead to `column`, nearest first, each once; `depth` None: to the origin.

        With `indirect`, also the columns that only decide which rows or values there are.
        """
        return self._walk(column, depth, self._into, indirect=indirect, up=True)

    def downstream(
        self, column: ColumnRef, depth: int | None = None, *, indirect: bool = False
    ) -> tuple[Hop, ...]:
        """The steps that lead away from `column`; otherwise as `upstream`."""
        return self._walk(column, depth, self._out_of, indirect=indirect, up=False)

    def levels(self) -> dict[str, int]:
        """The dependency level of each table: 0 for an external one, else 1 + its highest input's.

        So 1 is a captured table, 2 one made from bronze, 3 gold, 4 gold made from gold. Ordered so
        that inputs come first.
        """
        levels: dict[str, int] = {}
        for table in self._order:
            lineage = self.tables.get(table)
            above = (levels[name] for name in lineage.inputs) if lineage else ()
            levels[table] = 1 + max(above, default=0) if lineage else 0
        return levels

    @cached_property
    def _order(self) -> tuple[str, ...]:
        sorter = TopologicalSorter({name: sorted(t.inputs) for name, t in self._sorted()})
        try:
            return tuple(sorter.static_order())
        except CycleError as error:
            way: list[str] = error.args[1]
            raise LineageError(f"tables feed themselves: {' -> '.join(way)}") from error

    def _sorted(self) -> Iterator[tuple[str, TableLineage]]:
        return iter(sorted(self.tables.items()))

    def _hops(self) -> Iterator[Hop]:
        for name, lineage in self._sorted():
            for column, sources in lineage.columns.items():
                target = ColumnRef(name, column)
                for source in sources:
                    ref = ColumnRef(source.table, source.column)
                    yield Hop(ref, target, source.transformation, 1)
            for influence in lineage.indirect:
                ref = ColumnRef(influence.table, influence.column)
                reached = lineage.columns if influence.outputs is None else influence.outputs
                for column in reached:
                    yield Hop(ref, ColumnRef(name, column), influence.kind, 1)

    @cached_property
    def _into(self) -> dict[ColumnRef, list[Hop]]:
        found: dict[ColumnRef, list[Hop]] = {}
        for hop in self._hops():
            found.setdefault(hop.target, []).append(hop)
        return found

    @cached_property
    def _out_of(self) -> dict[ColumnRef, list[Hop]]:
        found: dict[ColumnRef, list[Hop]] = {}
        for hop in self._hops():
            found.setdefault(hop.source, []).append(hop)
        return found

    def _walk(
        self,
        start: ColumnRef,
        depth: int | None,
        edges: Mapping[ColumnRef, list[Hop]],
        *,
        indirect: bool,
        up: bool,
    ) -> tuple[Hop, ...]:
        found: list[Hop] = []
        seen = {start}
        frontier = [start]
        steps = 0
        while frontier and (depth is None or steps < depth):
            steps += 1
            reached: list[ColumnRef] = []
            for ref in frontier:
                for hop in edges.get(ref, ()):
                    if hop.how in INDIRECT_KINDS and not indirect:
                        continue
                    found.append(Hop(hop.source, hop.target, hop.how, steps))
                    reached.append(hop.source if up else hop.target)
            frontier = [ref for ref in dict.fromkeys(reached) if ref not in seen]
            seen.update(frontier)
        return tuple(found)
