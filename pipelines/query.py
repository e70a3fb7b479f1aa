"""SQL over the lake: every table under its own name, `silver.commerce.orders`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import polars as pl

from pipelines.contract import did_you_mean
from pipelines.errors import QueryError
from pipelines.storage import Lake

_MENTION = re.compile(r"\b([a-z][a-z0-9_]*\.[a-z][a-z0-9_]*\.[a-z][a-z0-9_]*)\b")


def query(lake: Lake, sql: str) -> pl.DataFrame:
    """The result of one SELECT.

    Raises:
        QueryError: when it names a table that is not there, or the engine refuses it.
    """
    tables = lake.tables()
    return select(
        lake, sql, {name: lake.scan(name) for name in mentioned(sql) if name in tables}, tables
    )


def mentioned(sql: str) -> list[str]:
    """What stands in a statement as the name of a table may, sorted."""
    return sorted(set(_MENTION.findall(sql)))


def select(
    lake: Lake, sql: str, frames: Mapping[str, pl.LazyFrame], tables: Sequence[str]
) -> pl.DataFrame:
    """The result of one SELECT over frames, each under a table's name; `tables` are those there are.

    Raises:
        QueryError: when it names a table that is not there, or the engine refuses it.
    """
    try:
        return pl.SQLContext(dict(frames)).execute(sql, eager=False).collect(engine="streaming")
    except pl.exceptions.PolarsError as error:
        missing = next((name for name in mentioned(sql) if name not in tables), None)
        if missing is not None:
            raise QueryError(
                f"there is no table '{missing}' in {lake.root}",
                hint=did_you_mean(missing, tables) or "'medallion status' lists the tables",
            ) from error
        raise QueryError(f"the query does not run: {str(error).splitlines()[0]}") from error
