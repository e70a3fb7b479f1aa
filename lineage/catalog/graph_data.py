"""The lineage graph as the page's script reads it: names once, ways as numbers."""

from __future__ import annotations

from typing import Any

from lineage.catalog import links
from lineage.catalog.model import ColumnEntry, Site, TableEntry
from lineage.graph import LineageGraph
from lineage.privacy import CLASSES


def graph_data(site: Site) -> dict[str, Any]:
    """`tables` with their columns; `ways` [source table, column, target table, column, how]; `decides`.

    `decides` has [source table, column, target table, how, target columns or null for all]. Columns that the
    platform adds are there when some way uses them.
    """
    graph = LineageGraph.of(list(site.lineage.values()))
    levels = graph.levels()
    names = [*levels, *sorted(set(site.tables) - set(levels))]
    numbers = {name: number for number, name in enumerate(names)}
    columns: list[dict[str, int]] = [{} for _ in names]
    rows: list[list[list[Any]]] = [[] for _ in names]

    words: dict[str, int] = {}

    def how(word: str) -> int:
        return words.setdefault(word, len(words))

    def column(table: str, name: str) -> list[int]:
        number = numbers[table]
        if name not in columns[number]:
            columns[number][name] = len(rows[number])
            rows[number].append(_column(entries.get((table, name)) or ColumnEntry(name=name)))
        return [number, columns[number][name]]

    entries = {
        (table.name, entry.name): entry for table in site.tables.values() for entry in table.columns
    }
    for (table, name), entry in entries.items():
        if not entry.added:
            column(table, name)
    ways = [
        [*column(source.table, source.column), *column(name, target), how(source.transformation)]
        for name, lineage in sorted(site.lineage.items())
        for target, sources in lineage.columns.items()
        for source in sources
    ]
    decides = [
        [
            *column(influence.table, influence.column),
            numbers[name],
            how(influence.kind),
            None
            if influence.outputs is None
            else [column(name, output)[1] for output in influence.outputs],
        ]
        for name, lineage in sorted(site.lineage.items())
        for influence in lineage.indirect
    ]
    return {
        "how": list(words),
        "classes": CLASSES,
        "tables": [
            _table(name, site.tables.get(name), levels.get(name, 0), rows[numbers[name]])
            for name in names
        ],
        "ways": ways,
        "decides": decides,
        "inputs": [
            [numbers[source], numbers[name]]
            for name, lineage in sorted(site.lineage.items())
            for source in sorted(lineage.inputs)
        ],
    }


def _table(name: str, entry: TableEntry | None, level: int, rows: list[list[Any]]) -> list[Any]:
    layer, domain, owner, told = (
        (entry.layer, entry.domain, entry.owner, entry.description)
        if entry
        else (name.partition(".")[0], "", "", "")
    )
    page = links.table_page(name) if entry else ""
    return [name, layer, domain, level, page, owner, told, rows]


def _column(entry: ColumnEntry) -> list[Any]:
    return [entry.name, entry.type, entry.rank, entry.description]
