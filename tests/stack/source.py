"""The source's tables as they are, in exact Python values, to compare silver with."""

from __future__ import annotations

import re
from contextlib import closing

import polars as pl
import psycopg2
from psycopg2 import extensions

TYPES: dict[str, pl.DataType] = {
    "uuid": pl.String(),
    "text": pl.String(),
    "jsonb": pl.String(),
    "boolean": pl.Boolean(),
    "integer": pl.Int32(),
    "bigint": pl.Int64(),
    "date": pl.Date(),
    "timestamp with time zone": pl.Datetime("us", "UTC"),
}


def read(dsn: str, table: str) -> pl.DataFrame:
    """Every row of a table, by primary key; types as `TYPES`, numeric(p,s) as Decimal(p,s)."""
    return read_all(dsn, [table])[table]


def read_all(dsn: str, tables: list[str] | tuple[str, ...]) -> dict[str, pl.DataFrame]:
    """Several tables as of one moment: all are read in one snapshot."""
    with closing(psycopg2.connect(dsn)) as db:
        db.set_session(isolation_level="REPEATABLE READ", readonly=True)
        with db, db.cursor() as cursor:
            cursor.execute("set local timezone to 'UTC'")
            return {table: _read(cursor, table) for table in tables}


def _read(cursor: extensions.cursor, table: str) -> pl.DataFrame:
    cursor.execute(
        "select attname, format_type(atttypid, atttypmod), attnum = any(coalesce(indkey, ''))"
        " from pg_attribute left join pg_index on indrelid = attrelid and indisprimary"
        " where attrelid = %s::regclass and attnum > 0 and not attisdropped order by attnum",
        [f"public.{table}"],
    )
    columns = cursor.fetchall()
    # uuid and jsonb as the text that Postgres itself writes; the driver would parse the latter.
    chosen = [
        f'"{name}"::text' if kind in ("uuid", "jsonb") else f'"{name}"' for name, kind, _ in columns
    ]
    keys = ", ".join(f'"{name}"' for name, _, is_key in columns if is_key)
    cursor.execute(f"select {', '.join(chosen)} from public.{table} order by {keys or 'ctid'}")
    schema = {name: _type(kind) for name, kind, _ in columns}
    return pl.DataFrame(cursor.fetchall(), schema=schema, orient="row", strict=True)


def _type(kind: str) -> pl.DataType:
    if numeric := re.fullmatch(r"numeric\((\d+),(\d+)\)", kind):
        return pl.Decimal(int(numeric[1]), int(numeric[2]))
    return pl.String() if kind.startswith("character varying") else TYPES[kind]
