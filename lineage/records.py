"""The rows of the Delta table `data_lineage`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import datetime
from uuid import UUID, uuid5

import polars as pl

from lineage.graph import LineageGraph, TableLineage

#: Under it, the same edge has the same id in every run and on every machine.
_NAMESPACE = UUID("5b3f6f0e-6a5c-5d0e-9a5e-3f6b1c1f0a77")

SCHEMA = pl.Schema(
    {
        "lineage_id": pl.String(),
        "source_dataset": pl.String(),
        "source_column": pl.String(),
        "target_dataset": pl.String(),
        "target_column": pl.String(),
        "transformation_type": pl.String(),
        "transformation_config": pl.String(),
        "dependency_level": pl.Int32(),
        "created_at": pl.Datetime("us", "UTC"),
    }
)

_Row = tuple[str, str | None, str, str | None, str, str]


def lineage_rows(graph: LineageGraph, created_at: datetime) -> pl.DataFrame:
    """One row a pair of tables (no columns) and one a pair of columns.

    A column that only decides about rows has the config `{"indirect": "filter"}`, and no target
    column where it reaches all of them. Rows are ordered by level, target, source; `lineage_id`
    depends on the edge alone, so that `created_at` (an instant with zone) is all that a repeated
    run changes.

    Raises:
        ValueError: `created_at` has no zone.
    """
    if created_at.tzinfo is None:
        message = "created_at has no time zone"
        raise ValueError(message)
    levels = graph.levels()
    edges = [edge for table in graph.tables.values() for edge in _edges(table)]
    edges.sort(key=lambda edge: (levels[edge[2]], *(part or "" for part in _by_target(edge))))
    rows = [(_lineage_id(edge), *edge, levels[edge[2]], created_at) for edge in edges]
    return pl.DataFrame(rows, schema=SCHEMA, orient="row")


def _by_target(edge: _Row) -> tuple[str | None, ...]:
    source, source_column, target, target_column, kind, config = edge
    return target, target_column, source, source_column, kind, config


def _edges(lineage: TableLineage) -> Iterator[_Row]:
    table, kind = lineage.table, lineage.kind
    for name in lineage.inputs:
        yield name, None, table, None, kind, _json(lineage.config)
    for column, sources in lineage.columns.items():
        for source in sources:
            config = _json({"transformation": source.transformation})
            yield source.table, source.column, table, column, kind, config
    for influence in lineage.indirect:
        config = _json({"indirect": influence.kind})
        for column in (None,) if influence.outputs is None else influence.outputs:
            yield influence.table, influence.column, table, column, kind, config


def _json(config: Mapping[str, str]) -> str:
    return json.dumps(dict(config), sort_keys=True, ensure_ascii=False)


def _lineage_id(edge: _Row) -> str:
    *identity, config = edge
    # A table's config may be reworded; a column edge is another edge when it transforms otherwise.
    parts = identity if edge[1] is None else [*identity, config]
    return str(uuid5(_NAMESPACE, json.dumps(parts)))
