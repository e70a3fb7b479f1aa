"""The source's side: one Postgres table in one read-only snapshot, as the texts Postgres writes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from types import TracebackType
from typing import Any, Self

import polars as pl
import psycopg2
from psycopg2 import extensions, sql

from pipelines.contract import Contract
from pipelines.contract.types import FLOATS, INTEGERS, TIMESTAMPS
from pipelines.verify.errors import VerifyError
from pipelines.verify.values import Field, of_source, why_not

#: Rows in one round trip of the cursor.
_FETCH = 10_000
#: Bytes of a range's rows; wide rows make a range shorter than its number of rows says.
_RANGE_BYTES = 128 * 1024 * 1024

_SESSION = """
SET LOCAL TimeZone = 'UTC'; SET LOCAL DateStyle = 'ISO, YMD'; SET LOCAL extra_float_digits = 1;
SET LOCAL bytea_output = 'hex'; SET LOCAL row_security = off;
SET LOCAL idle_in_transaction_session_timeout = 0
"""

#: A standby has no position of its own to write at, only one it has replayed.
_POSITION = """
SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_insert_lsn() END
       - '0/0'::pg_lsn
"""

_STREAMED = """
SELECT bool_and(confirmed_flush_lsn - '0/0'::pg_lsn >= {}) FROM pg_replication_slots
 WHERE slot_type = 'logical' AND database = current_database()
"""

#: Each column: name, its type's own name and schema (an array's element, a domain's base), whether an array.
_COLUMNS = """
WITH RECURSIVE base AS (
    SELECT a.attnum, a.attname, t.oid, t.typtype, t.typbasetype
      FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
      JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = %(schema)s AND c.relname = %(table)s AND a.attnum > 0 AND NOT a.attisdropped
    UNION ALL
    SELECT b.attnum, b.attname, t.oid, t.typtype, t.typbasetype
      FROM base b JOIN pg_type t ON t.oid = b.typbasetype WHERE b.typtype = 'd'
)
SELECT b.attname, coalesce(e.typname, t.typname), coalesce(en.nspname, tn.nspname), e.oid IS NOT NULL
  FROM base b JOIN pg_type t ON t.oid = b.oid JOIN pg_namespace tn ON tn.oid = t.typnamespace
  LEFT JOIN pg_type e ON e.oid = t.typelem AND t.typcategory = 'A'
  LEFT JOIN pg_namespace en ON en.oid = e.typnamespace
 WHERE b.typtype <> 'd' ORDER BY b.attnum
"""

#: The contract's types whose order in Postgres is that of what the lake stores.
_ORDERED = ("bool", "date", "binary", "decimal", "uuid", *INTEGERS, *FLOATS, *TIMESTAMPS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Which columns are compared, which cannot be, and which the contract does not know."""

    fields: tuple[Field, ...]
    not_compared: dict[str, str]
    not_in_contract: tuple[str, ...]


class SourceTable:
    """One table of a Postgres database in one REPEATABLE READ, READ ONLY transaction; a context manager.

    What is read afterwards is the table as of entering, which is at `position` of its log at the
    latest. No lock is taken beyond that of any SELECT; while it is open, vacuum keeps the rows that
    it may still read.

    Raises:
        VerifyError: when the database cannot be reached or read, or has no such table or column.
    """

    def __init__(self, url: str, table: str, contract: Contract) -> None:
        self._url, self._table, self._contract = url, table, contract
        self._connection: extensions.connection | None = None
        self._types = dict[str, sql.Composed]()
        self.position = 0
        self.layout = Layout(fields=(), not_compared={}, not_in_contract=())

    def __enter__(self) -> Self:
        try:
            self._connection = psycopg2.connect(self._url, application_name="medallion verify")
        except (psycopg2.Error, UnicodeError) as error:
            raise VerifyError(
                f"the source database cannot be reached: {str(error).strip()}",
                hint="check the URL; the password comes from PGPASSWORD",
            ) from error
        try:
            self._connection.set_client_encoding("UTF8")
            self._connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
            self._run(sql.SQL(_SESSION))
            self.position = int(self._run(sql.SQL(_POSITION))[0][0])
            self.layout = self._read_layout()
        except BaseException:
            self._connection.close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._connection is not None:
            self._connection.close()

    def is_streamed(self, position: int) -> bool | None:
        """Whether the connectors have sent on everything up to a position, by what each has confirmed.

        None where no connector of this database has a slot. One that is forgotten holds this back.
        """
        query = sql.SQL(_STREAMED).format(sql.Literal(position))
        streamed = self._run(query)[0][0]
        return None if streamed is None else bool(streamed)

    def ranges(self, size: int) -> Iterator[pl.DataFrame]:
        """All rows in canonical form in the order of the key, at most `size` at a time, fewer if wide.

        Raises:
            VerifyError: when the table cannot be read.
        """
        query = sql.SQL("{} ORDER BY {}").format(self._select(), self._order())
        parts, rows, width = list[pl.DataFrame](), 0, 0
        fetch = min(_FETCH, size)
        try:
            with self._open.cursor(name="medallion_verify") as cursor:
                cursor.execute(query)
                while fetched := cursor.fetchmany(fetch):
                    part = self._frame(fetched)
                    if parts and (rows + len(part) > size or width > _RANGE_BYTES):
                        yield pl.concat(parts)
                        parts, rows, width = [], 0, 0
                    parts.append(part)
                    rows, width = rows + len(part), width + int(part.estimated_size())
        except (psycopg2.Error, UnicodeError) as error:
            raise self._refusal(error) from error
        if parts:
            yield pl.concat(parts)

    def no_rows(self) -> pl.DataFrame:
        """A range without rows."""
        return self._frame([])

    def rows_of(self, keys: pl.DataFrame) -> pl.DataFrame:
        """The rows with these keys, given and returned in canonical form.

        A key that the column's type does not even write is in no row.

        Raises:
            VerifyError: when the table cannot be read.
        """
        if not len(keys):
            return self.no_rows()
        self._run(sql.SQL("SAVEPOINT keys"))
        try:
            found = self._matching(keys)
        except psycopg2.DataError:
            self._run(sql.SQL("ROLLBACK TO SAVEPOINT keys"))
            half = len(keys) // 2
            if not half:
                return self.no_rows()
            return pl.concat([self.rows_of(keys[:half]), self.rows_of(keys[half:])])
        except psycopg2.Error as error:
            raise self._refusal(error) from error
        return self._frame(found)

    # ---- WHAT IS ASKED ---- #

    def _matching(self, keys: pl.DataFrame) -> list[tuple[Any, ...]]:
        by_name = {field.name: field for field in self.layout.fields}
        same, arrays = list[sql.Composable](), list[list[str]]()
        for at, name in enumerate(self._contract.key):
            field = by_name[name]
            texts = keys[name]
            arrays.append((("\\x" + texts) if field.kind.kind == "binary" else texts).to_list())
            sought = sql.SQL("sought.{}").format(sql.Identifier(f"k{at}"))
            column = sql.SQL("t.{}").format(sql.Identifier(field.field))
            if field.kind.kind in _ORDERED or field.kind.kind == "time":
                same.append(sql.SQL("{} = {}::{}").format(column, sought, self._types[name]))
            else:
                same.append(sql.SQL("{}::text = {}").format(column, sought))
        query = sql.SQL("{} JOIN unnest({}) AS sought({}) ON {}").format(
            self._select(),
            sql.SQL(", ").join(sql.SQL("{}::text[]").format(sql.Literal(a)) for a in arrays),
            sql.SQL(", ").join(sql.Identifier(f"k{at}") for at in range(len(arrays))),
            sql.SQL(" AND ").join(same),
        )
        with self._open.cursor() as cursor:
            cursor.execute(query)
            return cursor.fetchall()

    def _select(self) -> sql.Composed:
        return sql.SQL("SELECT {} FROM {} t").format(
            sql.SQL(", ").join(_text_of(field) for field in self.layout.fields),
            sql.Identifier(*self._name()),
        )

    def _order(self) -> sql.Composed:
        by_name = {field.name: field for field in self.layout.fields}
        return sql.SQL(", ").join(_order_of(by_name[name]) for name in self._contract.key)

    def _name(self) -> tuple[str, str]:
        schema, _, name = self._table.rpartition(".")
        return schema or "public", name

    # ---- WHAT IS THERE ---- #

    def _read_layout(self) -> Layout:
        schema, table = self._name()
        with self._open.cursor() as cursor:
            cursor.execute(_COLUMNS, {"schema": schema, "table": table})
            there = {str(row[0]): row[1:] for row in cursor.fetchall()}
        if not there:
            raise VerifyError(
                f"the source has no table '{schema}.{table}'",
                hint="name it with --source-table schema.table",
            )
        fields, refused = list[Field](), dict[str, str]()
        for name, column in self._contract.columns.items():
            named = self._contract.field_of(name)
            if named not in there:
                raise _no_column(self._contract, f"{schema}.{table}", name, list(there))
            origin, home, is_array = there[named]
            if name in self._contract.key and column.type.kind == "string" and origin == "numeric":
                origin = "text"  # a key is looked up by the very text that the lake holds
            field = Field(
                name=name, field=named, kind=column.type, origin=origin, is_array=is_array
            )
            if reason := why_not(field):
                refused[name] = reason
            else:
                fields.append(field)
                self._types[name] = sql.SQL("{}").format(sql.Identifier(home, there[named][0]))
        known = {self._contract.field_of(name) for name in self._contract.columns}
        self._refuse_keys_without_order(refused)
        return Layout(
            fields=tuple(fields),
            not_compared=refused,
            not_in_contract=tuple(name for name in there if name not in known),
        )

    def _refuse_keys_without_order(self, refused: dict[str, str]) -> None:
        for name in self._contract.key:
            kind = self._contract.columns[name].type
            if name in refused or kind.item is not None:
                raise VerifyError(
                    f"{self._contract.table}: key column '{name}' cannot be compared:"
                    f" {refused.get(name, kind)}",
                    hint="give it in the contract the type that it has in the source",
                )

    # ---- HOW IT IS READ ---- #

    @property
    def _open(self) -> extensions.connection:
        assert self._connection is not None  # noqa: S101 - entered
        return self._connection

    def _run(self, query: sql.Composable) -> list[tuple[Any, ...]]:
        try:
            with self._open.cursor() as cursor:
                cursor.execute(query)
                return cursor.fetchall() if cursor.description else []
        except psycopg2.Error as error:
            raise self._refusal(error) from error

    def _frame(self, rows: Sequence[tuple[Any, ...]]) -> pl.DataFrame:
        fields = self.layout.fields
        columns = list(zip(*rows, strict=True)) or [()] * len(fields)
        texts = pl.DataFrame(
            [
                pl.Series(field.name, column, dtype=pl.String)
                for field, column in zip(fields, columns, strict=True)
            ]
        )
        return texts.select(
            of_source(pl.col(field.name), field).alias(field.name) for field in fields
        )

    def _refusal(self, error: Exception) -> VerifyError:
        return VerifyError(
            f"the source table '{'.'.join(self._name())}' cannot be read: {str(error).strip()}",
            hint="the role needs SELECT on the whole table",
        )


def _text_of(field: Field) -> sql.Composable:
    """The column as the text that is compared."""
    column = sql.SQL("t.{}").format(sql.Identifier(field.field))
    if field.is_array:
        return sql.SQL("to_json({})::text").format(column)
    if field.origin == "bpchar":
        return column  # a cast would cut the blanks that a char(n) is filled with
    casts = {
        "money": "{}::numeric::text",
        "hstore": "{}::json::text",
        # Messages tell a time with a zone in UTC.
        "timetz": "({} AT TIME ZONE 'UTC')::time::text",
    }
    return sql.SQL(casts.get(field.origin, "{}::text")).format(column)


def _order_of(field: Field) -> sql.Composable:
    """An order that the lake's values have too: of texts, that of their bytes."""
    if field.kind.kind in _ORDERED and field.origin not in ("text", "varchar", "bpchar", "citext"):
        return sql.SQL("t.{}").format(sql.Identifier(field.field))
    return sql.SQL('{} COLLATE "C"').format(_text_of(field))


def _no_column(contract: Contract, table: str, name: str, there: list[str]) -> VerifyError:
    field = contract.field_of(name)
    near = get_close_matches(field, there, n=1)
    said = f"did you mean '{near[0]}'? " if near else ""
    return VerifyError(
        f"{contract.table}: column '{name}' comes from '{field}', which {table} does not have",
        hint=f"{said}a column's 'source:' names the source's column",
    )
