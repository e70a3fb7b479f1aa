"""Makes the lineage of one table of each layer from what its contract and its SQL say."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from lineage.cache import Traces
from lineage.flow import Source
from lineage.graph import TableLineage

#: The column of bronze that holds a change event; its fields are named after it with a dot.
PAYLOAD = "raw_payload"


def capture_lineage(
    source: str, topic: str, bronze: str, fields: Iterable[str] = ()
) -> TableLineage:
    """A bronze table, filled from a table of a database by way of a Kafka topic.

    Args:
        source: The external table with its connector, `postgres:shop.public.orders`.
        topic: The Kafka topic between them.
        bronze: The bronze table.
        fields: The source's columns that are known; each is a field of the payload.
    """
    names = tuple(fields)
    columns = {PAYLOAD: tuple(Source(source, name, "expression") for name in names)}
    columns |= {f"{PAYLOAD}.{name}": (Source(source, name),) for name in names}
    config = {"topic": topic}
    if ":" in source:
        config["connector"] = source.partition(":")[0]
    return TableLineage(bronze, "CDC_CAPTURE", (source,), columns, config=config)


def silver_lineage(
    bronze: str,
    silver: str,
    columns: Mapping[str, str],
    *,
    carried: Mapping[str, str] | None = None,
    kind: str = "ETL_TRANSFORM",
) -> TableLineage:
    """A table decoded from bronze: silver, or with `kind` HISTORY its type 2 rows.

    Args:
        bronze: The bronze table.
        silver: The table made of it.
        columns: The payload field of each column.
        carried: The bronze column of each column that is taken over as it is (`source_bronze_id`).
        kind: The transformation type.
    """
    made = {
        column: (Source(bronze, f"{PAYLOAD}.{name}", "cast"),) for column, name in columns.items()
    }
    made |= {column: (Source(bronze, name),) for column, name in (carried or {}).items()}
    return TableLineage(silver, kind, (bronze,), made)


def sql_lineage(
    table: str,
    sql: str,
    schema: Mapping[str, Collection[str]],
    kind: str = "DIMENSIONAL_MODEL",
    dialect: str | None = None,
    traces: Traces | None = None,
) -> TableLineage:
    """A table that one SELECT fills.

    Args:
        table: The table.
        sql: The SELECT; its outputs are the table's columns.
        schema: The columns of each table the SELECT may read.
        kind: The transformation type.
        dialect: As for `trace`.
        traces: What was traced before.

    Raises:
        LineageError: As for `trace`.
    """
    lineage = (traces or Traces()).trace(sql, schema, dialect)
    columns = {output.name: output.sources for output in lineage.outputs}
    return TableLineage(table, kind, lineage.tables, columns, lineage.indirect)
