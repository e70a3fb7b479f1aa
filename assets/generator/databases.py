"""The databases that are told a story: Postgres and MariaDB, each by its own driver, by one SQL."""

from __future__ import annotations

import io
import json
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote, urlsplit

import polars as pl
import polars.selectors as cs
import psycopg2
import pymysql

from assets.demo_source import Row, Table
from pipelines.errors import MedallionError, SettingsError

#: A transaction that waits so long for another of ours would wait for ever.
_LOCK_SECONDS = 5

#: What a driver raises when the database refuses a row.
Refused = (psycopg2.Error, pymysql.MySQLError)


class SourceError(MedallionError):
    """The database that should be filled cannot be reached, or is not as it should be."""

    exit_code = 22


def open_target(url: str, tables: Mapping[str, Table]) -> Target:
    """The database behind a URL, for the tables of a story.

    Raises:
        SettingsError: when the URL is of no database that we can write.
    """
    scheme = urlsplit(url).scheme
    for kind in (Postgres, MariaDB):
        if scheme in kind.schemes:
            return kind(url, tables)
    raise SettingsError(
        f"there is no writer for '{scheme}' databases",
        hint="give postgresql://user@host/database or mariadb://user:password@host/database",
    )


class Target(ABC):
    """A database with a story's tables, which are created from a script of its own dialect."""

    schemes: tuple[str, ...]
    script: str

    def __init__(self, url: str, tables: Mapping[str, Table]) -> None:
        self._url, self.tables = url, tables

    def connect(self) -> Any:
        """A new connection, whose statements stand in a transaction until it commits.

        Raises:
            SourceError: when the database does not answer.
        """
        try:
            return self._connect()
        except Refused as error:
            raise SourceError(
                f"the database cannot be reached: {str(error).strip()}",
                hint="is it running, and may this user write to it?",
            ) from error

    @abstractmethod
    def _connect(self) -> Any: ...

    @abstractmethod
    def name(self, table: str) -> str:
        """A table, quoted for SQL."""

    @abstractmethod
    def value(self, value: object) -> object:
        """A value of a story as the driver takes it."""

    @abstractmethod
    def copy(self, connection: Any, table: str, rows: pl.DataFrame) -> None:
        """Many rows at once, by the database's own bulk load."""

    @abstractmethod
    def message(self, connection: Any, text: str) -> None:
        """A message in the log that is no row."""

    def create(self, ddl: str) -> None:
        """The tables, in one go."""
        with closing(self.connect()) as connection, connection.cursor() as cursor:
            for statement in _statements(ddl):
                cursor.execute(statement)
            connection.commit()

    def existing(self) -> list[str]:
        """Those of the tables that are there."""
        with closing(self.connect()) as connection:
            return [table for table in self.tables if self._is_there(connection, table)]

    def _is_there(self, connection: Any, table: str) -> bool:
        with connection.cursor() as cursor:
            try:
                cursor.execute(f"select 1 from {self.name(table)} limit 1")  # noqa: S608 - our own names
            except Refused:
                connection.rollback()
                return False
        return True

    # ---- CHANGES ---- #

    def insert(self, cursor: Any, table: str, row: Row) -> None:
        """One row."""
        names = ", ".join(f'"{name}"' for name in row)
        marks = ", ".join(["%s"] * len(row))
        self._run(cursor, f"insert into {self.name(table)} ({names}) values ({marks})", row.values())  # fmt: skip # noqa: S608

    def update(self, cursor: Any, table: str, key: object, new: Row) -> None:
        """These columns of one row; the others are not touched, as the log will show."""
        sets = ", ".join(f'"{name}" = %s' for name in new)
        self._run(cursor, f"update {self.name(table)} set {sets} where {self._key(table)}", [*new.values(), key])  # fmt: skip # noqa: S608

    def delete(self, cursor: Any, table: str, key: object) -> None:
        """One row away."""
        self._run(cursor, f"delete from {self.name(table)} where {self._key(table)}", [key])  # noqa: S608

    def truncate(self, cursor: Any, table: str) -> None:
        """All rows away."""
        cursor.execute(f"truncate table {self.name(table)}")

    def accepted(self, table: str, rows: Iterable[Row]) -> list[Row]:
        """The rows that the database would take; it is left as it was."""
        taken = list[Row]()
        with closing(self.connect()) as connection, connection.cursor() as cursor:
            for row in rows:
                cursor.execute("savepoint before_row")
                try:
                    self.insert(cursor, table, row)
                except Refused:
                    cursor.execute("rollback to savepoint before_row")
                else:
                    taken.append(row)
            connection.rollback()
        return taken

    def _key(self, table: str) -> str:
        return f'"{self.tables[table].key}" = %s'

    def _run(self, cursor: Any, sql: str, values: Iterable[object]) -> None:
        cursor.execute(sql, [self.value(value) for value in values])


class Postgres(Target):
    """By psycopg2; the password may come from PGPASSWORD or a password file."""

    schemes = ("postgresql", "postgres")
    script = "postgres.sql"

    def _connect(self) -> Any:
        connection = psycopg2.connect(self._url, application_name="medallion generate")
        with connection.cursor() as cursor:
            cursor.execute(f"set lock_timeout = '{_LOCK_SECONDS}s'; set timezone = 'UTC'")
        connection.commit()
        return connection

    def name(self, table: str) -> str:
        """Schema and table."""
        return f'"{self.tables[table].schema}"."{table}"'

    def value(self, value: object) -> object:
        """The driver knows every type of ours."""
        return value

    def message(self, connection: Any, text: str) -> None:
        """A logical message outside any transaction."""
        with connection.cursor() as cursor:
            cursor.execute("select pg_logical_emit_message(false, 'story', %s)", [text])
        connection.commit()

    def copy(self, connection: Any, table: str, rows: pl.DataFrame) -> None:
        """COPY, from CSV."""
        arrays = rows.with_columns(_bracketed(name, "{", "}") for name in _lists(rows))
        names = ", ".join(f'"{name}"' for name in rows.columns)
        command = f"copy {self.name(table)} ({names}) from stdin (format csv, null '\\N')"
        with connection.cursor() as cursor:
            cursor.copy_expert(command, io.BytesIO(_csv(arrays, null="\\N")))
        connection.commit()


class MariaDB(Target):
    """By PyMySQL; a schema of the story is no part of a table's name here."""

    schemes = ("mariadb", "mysql")
    script = "mariadb.sql"

    def _connect(self) -> Any:
        parts = urlsplit(self._url)
        return pymysql.connect(
            host=parts.hostname or "127.0.0.1",
            port=parts.port or 3306,
            user=unquote(parts.username or "root"),
            password=unquote(parts.password or ""),
            database=unquote(parts.path.lstrip("/")),
            charset="utf8mb4",
            local_infile=True,
            init_command="set sql_mode = 'ANSI_QUOTES,STRICT_ALL_TABLES,NO_BACKSLASH_ESCAPES', "
            f"time_zone = '+00:00', innodb_lock_wait_timeout = {_LOCK_SECONDS}",
        )

    def name(self, table: str) -> str:
        """The table."""
        return f'"{table}"'

    def value(self, value: object) -> object:
        """Instants on the clock of UTC, lists as JSON."""
        if isinstance(value, datetime) and value.tzinfo:
            return value.astimezone(UTC).replace(tzinfo=None)
        return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value

    def message(self, connection: Any, text: str) -> None:
        """Nothing: a binary log has no such thing."""

    def copy(self, connection: Any, table: str, rows: pl.DataFrame) -> None:
        """LOAD DATA, from CSV."""
        plain = rows.with_columns(
            cs.boolean().cast(pl.Int8), *(_bracketed(n, "[", "]") for n in _lists(rows))
        )
        names = ", ".join(f'"{name}"' for name in rows.columns)
        with tempfile.NamedTemporaryFile(suffix=".csv") as file, connection.cursor() as cursor:
            file.write(_csv(plain, null="NULL"))
            file.flush()
            cursor.execute(
                f"load data local infile '{file.name}' into table {self.name(table)} character set utf8mb4 "
                f"fields terminated by ',' optionally enclosed by '\"' escaped by '' ({names})"
            )
        connection.commit()


# ---- TEXT ---- #


def _statements(ddl: str) -> Iterable[str]:
    """The statements of a script; one ends with a semicolon at the end of a line."""
    lines = (line for line in ddl.splitlines() if not line.lstrip().startswith("--"))
    return (part for part in "\n".join([*lines, ""]).split(";\n") if part.strip())


def _csv(rows: pl.DataFrame, *, null: str) -> bytes:
    utc = rows.with_columns(cs.datetime(time_zone="*").dt.convert_time_zone("UTC").dt.replace_time_zone(None))  # fmt: skip
    return utc.write_csv(
        include_header=False, null_value=null, datetime_format="%Y-%m-%d %H:%M:%S%.6f"
    ).encode()


def _lists(rows: pl.DataFrame) -> Sequence[str]:
    return [name for name, kind in rows.schema.items() if isinstance(kind, pl.List)]


def _bracketed(name: str, opens: str, closes: str) -> pl.Expr:
    """A list of texts as a Postgres array (braces) or JSON (brackets); null stays null."""
    escaped = pl.element().str.replace_all("\\", "\\\\", literal=True).str.replace_all('"', '\\"', literal=True)  # fmt: skip
    quoted = pl.col(name).list.eval(pl.concat_str(pl.lit('"'), escaped, pl.lit('"')))
    return pl.concat_str(pl.lit(opens), quoted.list.join(","), pl.lit(closes)).alias(name)
