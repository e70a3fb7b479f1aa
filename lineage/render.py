"""Lineage for reading: a Markdown table, a tree for the terminal, a Mermaid flowchart."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from lineage.graph import ColumnRef, Hop, LineageGraph, TableLineage


def markdown_table(lineage: TableLineage) -> str:
    """The columns of one table with their sources, and below them what decides about rows."""
    lines = ["| column | from | how |", "|---|---|---|"]
    for column, sources in lineage.columns.items():
        origins = [f"`{source.table}.{source.column}`" for source in sources] or ["(no source)"]
        how = [source.transformation for source in sources]
        lines.append(_row([f"`{column}`", "<br>".join(origins), "<br>".join(how)]))
    if lineage.indirect:
        lines += ["", "| decides | how | which columns |", "|---|---|---|"]
    for influence in lineage.indirect:
        reached = "all" if influence.outputs is None else ", ".join(influence.outputs)
        lines.append(_row([f"`{influence.table}.{influence.column}`", influence.kind, reached]))
    return "\n".join(lines) + "\n"


def tree(
    graph: LineageGraph,
    column: ColumnRef,
    *,
    up: bool = True,
    depth: int | None = None,
    indirect: bool = False,
) -> str:
    """The way from `column` to its origins (or, not `up`, to what it feeds) as an indented tree.

    A column met a second time is shown once more, marked `...`, without its branches.
    """
    walk = graph.upstream if up else graph.downstream
    branches: dict[str, dict[str, list[str]]] = {}
    for hop in walk(column, depth, indirect=indirect):
        near, far = _ends(hop, up=up)
        branches.setdefault(str(near), {}).setdefault(str(far), []).append(hop.how)
    return draw_tree(str(column), branches)


def draw_tree(start: str, branches: Mapping[str, Mapping[str, Sequence[str]]]) -> str:
    """An indented tree from `start`: below each name those it leads to, with how in brackets.

    A name met a second time is shown once more, marked `...`, without its branches.
    """
    lines = [start]
    shown: set[str] = set()

    def draw(name: str, indent: str) -> None:
        shown.add(name)
        children = list(branches.get(name, {}).items())
        for number, (child, how) in enumerate(children, start=1):
            last = number == len(children)
            again = child in shown and child in branches
            label = f"{child} ({', '.join(how)}){' ...' if again else ''}"
            lines.append(f"{indent}{'`-- ' if last else '|-- '}{label}")
            if not again:
                draw(child, indent + ("    " if last else "|   "))

    draw(start, "")
    return "\n".join(lines) + "\n"


def mermaid(graph: LineageGraph) -> str:
    """The tables as a Mermaid flowchart from left to right, inputs first."""
    levels = graph.levels()
    ids = {table: f"t{number}" for number, table in enumerate(levels)}
    lines = ["flowchart LR"]
    lines += [f'    {ids[table]}["{_quoted(table)}"]' for table in levels]
    for table in levels:
        lineage = graph.tables.get(table)
        for name in sorted(lineage.inputs) if lineage else ():
            lines.append(f"    {ids[name]} --> {ids[table]}")
    return "\n".join(lines) + "\n"


def _ends(hop: Hop, *, up: bool) -> tuple[ColumnRef, ColumnRef]:
    return (hop.target, hop.source) if up else (hop.source, hop.target)


def _row(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _quoted(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "#quot;")
