"""The way from a column or a table to what it comes from, or to what it feeds, as data and as text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from lineage.errors import LineageError, did_you_mean
from lineage.flow import INDIRECT_KINDS, OPENLINEAGE
from lineage.graph import ColumnRef, LineageGraph
from lineage.render import draw_tree


@dataclass(frozen=True, slots=True)
class Edge:
    """One step between two columns, or two tables; `depth` counts from where the walk began.

    `how` is the transformation of a column (identity, cast ..., filter, join ...), or the kind of
    a table (CDC_CAPTURE, ETL_TRANSFORM ...).
    """

    source: str
    target: str
    how: str
    depth: int


@dataclass(frozen=True, slots=True)
class Walk:
    """All steps up or down from `start`, nearest first, each once."""

    start: str
    up: bool
    of_tables: bool
    edges: tuple[Edge, ...]

    def names(self) -> list[str]:
        """Every column or table on the way, `start` first."""
        ends = (name for edge in self.edges for name in (edge.source, edge.target))
        return list(dict.fromkeys((self.start, *ends)))


def walk(
    graph: LineageGraph,
    name: str,
    *,
    up: bool,
    depth: int | None = None,
    indirect: bool = False,
) -> Walk:
    """The steps from the column or table that `name` says; `depth` None goes to the end.

    With `indirect`, columns that only decide about rows or values are followed too.

    Raises:
        LineageError: there is no such column or table.
    """
    if name in graph.levels():
        return Walk(name, up, of_tables=True, edges=tuple(_tables(graph, name, depth, up=up)))
    try:
        column = graph.column(name)
    except LineageError as error:
        if name.count(".") < 3 and ":" not in name:
            hint = did_you_mean(name, graph.levels())
            raise LineageError(f"no table '{name}'", hint=hint) from error
        raise
    step = graph.upstream if up else graph.downstream
    hops = step(column, depth, indirect=indirect)
    edges = tuple(Edge(str(h.source), str(h.target), h.how, h.depth) for h in hops)
    return Walk(str(column), up, of_tables=False, edges=edges)


def _tables(graph: LineageGraph, start: str, depth: int | None, *, up: bool) -> Iterator[Edge]:
    nexts: dict[str, list[tuple[str, Edge]]] = {}
    for name in graph.levels():
        made = graph.tables.get(name)
        for source in sorted(made.inputs) if made else ():
            near, far = (name, source) if up else (source, name)
            nexts.setdefault(near, []).append(
                (far, Edge(source, name, made.kind if made else "", 0))
            )
    frontier, seen, steps = [start], {start}, 0
    while frontier and (depth is None or steps < depth):
        steps += 1
        reached = [each for name in frontier for each in nexts.get(name, ())]
        yield from (Edge(edge.source, edge.target, edge.how, steps) for _, edge in reached)
        frontier = [far for far in dict.fromkeys(far for far, _ in reached) if far not in seen]
        seen.update(frontier)


# ---- AS TEXT ---- #


def as_tree(found: Walk) -> str:
    """An indented tree, from the start to the far ends."""
    branches: dict[str, dict[str, list[str]]] = {}
    for edge in found.edges:
        near, far = (edge.target, edge.source) if found.up else (edge.source, edge.target)
        branches.setdefault(near, {}).setdefault(far, []).append(edge.how)
    return draw_tree(found.start, branches)


def as_json(found: Walk) -> str:
    """The steps for a program, with OpenLineage's type and subtype of each between columns."""
    steps = [{**asdict(edge), **_openlineage(edge.how)} for edge in found.edges]
    what = {"table" if found.of_tables else "column": found.start}
    told = {**what, "direction": "up" if found.up else "down", "steps": steps}
    return json.dumps(told, indent=2) + "\n"


def _openlineage(how: str) -> Mapping[str, str]:
    known = {str(word): pair for word, pair in OPENLINEAGE.items()}
    return dict(zip(("type", "subtype"), known[how], strict=True)) if how in known else {}


def as_mermaid(found: Walk, graph: LineageGraph) -> str:
    """A Mermaid flowchart from left to right: columns stand in a box for their table.

    What only decides about rows is a dotted arrow.
    """
    names = found.names()
    ids = {name: f"n{number}" for number, name in enumerate(names)}
    lines = ["flowchart LR"]
    if found.of_tables:
        lines += [f"    {_node(ids[name], name)}" for name in names]
    else:
        lines += _boxes([graph.column(name) for name in names], ids)
    lines += [f"    {ids[e.source]} {_arrow(e.how)} {ids[e.target]}" for e in found.edges]
    return "\n".join(lines) + "\n"


def _boxes(columns: Sequence[ColumnRef], ids: Mapping[str, str]) -> Iterator[str]:
    for number, table in enumerate(dict.fromkeys(column.table for column in columns)):
        yield f'    subgraph t{number}["{_quoted(table)}"]'
        for column in columns:
            if column.table == table:
                yield f"        {_node(ids[str(column)], column.column)}"
        yield "    end"


def _arrow(how: str) -> str:
    return f"-. {how} .->" if how in INDIRECT_KINDS else f"-- {how} -->"


def _node(node: str, label: str) -> str:
    return f'{node}["{_quoted(label)}"]'


def _quoted(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "#quot;")
