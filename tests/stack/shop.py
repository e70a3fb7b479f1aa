"""A shop of its own for a test: a database, connectors that stream it, and nothing left after."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg2
from psycopg2 import extensions

from tests.stack import connect, topics, workload
from tests.stack.connect import Form
from tests.stack.parts import StackError
from tests.stack.services import Stack

POLL_SECONDS = 0.1
SCHEMA = Path(__file__).parents[2] / "assets" / "commerce" / "source" / "postgres.sql"


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One connector on the shop's database and the topics it writes."""

    name: str
    prefix: str
    form: Form

    def topic(self, table: str) -> str:
        """Topic of a table: `<prefix>.public.<table>`."""
        return f"{self.prefix}.public.{table}"


@dataclass(slots=True, kw_only=True)
class Shop:
    """A database with the shop's tables; `connect` makes it stream, `stocked` came before that."""

    stack: Stack
    database: str
    stocked: workload.Outcome
    streams: list[Stream] = field(default_factory=list)

    @property
    def dsn(self) -> str:
        """Connection string of the shop's database."""
        return self.stack.dsn(self.database)

    @property
    def bootstrap(self) -> str:
        """Kafka's bootstrap servers."""
        return self.stack.bootstrap

    @property
    def stream(self) -> Stream:
        """The stream made first; most tests have no other."""
        return self.streams[0]

    def topic(self, table: str) -> str:
        """Topic of a table in the first stream."""
        return self.stream.topic(table)

    def connect(
        self,
        form: Form = Form.ENVELOPED,
        *,
        partitions: int = 1,
        prefix: str | None = None,
        overrides: Mapping[str, str] | None = None,
    ) -> Stream:
        """Starts a connector; returns when its snapshot is written and it follows the log.

        Topics of a `prefix` given by hand are emptied first; `overrides` goes over the connector's
        configuration.
        """
        name = f"{self.database}_{len(self.streams)}"
        stream = Stream(name=name, prefix=prefix or name, form=form)
        topics.delete(self.stack, topics.named(self.stack, stream.prefix))
        config = connect.connector(
            self.stack,
            database=self.database,
            prefix=stream.prefix,
            slot=name,
            form=form,
            partitions=partitions,
        )
        self.streams.append(stream)
        connect.create(self.stack, name, {**config, **(overrides or {})})
        # The slot is in use from the end of the snapshot on.
        _wait(lambda: self._following(name), f"{name} to follow the log")
        return stream

    def work(self, plan: workload.Plan | None = None) -> workload.Outcome:
        """Runs a workload to its end; pgbench beside it when the plan says so."""
        return workload.run(self.dsn, plan or workload.Plan(), pgbench=self._pgbench())

    def wait_until_streamed(self, seconds: float = 120.0) -> None:
        """Returns when Kafka has acknowledged every change committed before the call, in each stream.

        Raises:
            StackError: A connector failed or did not get there in time.
        """
        with closing(psycopg2.connect(self.dsn)) as db, db, db.cursor() as cursor:
            cursor.execute("select pg_current_wal_insert_lsn() - '0/0'::pg_lsn")
            target = int(_one(cursor.fetchone()))
            # Something captured must come after the target, or no offset ever passes it.
            cursor.execute("select pg_logical_emit_message(true, 'test', 'streamed so far')")
        for stream in self.streams:
            _wait(
                lambda name=stream.name: (
                    connect.is_running(self.stack, name)
                    and connect.flushed_lsn(self.stack, name) >= target
                ),
                f"{stream.name} to reach {target}",
                seconds,
            )

    def close(self) -> None:
        """Removes connectors, topics, slots and the database."""
        there = connect.names(self.stack)  # a step that failed may have left none
        for stream in self.streams:
            if stream.name in there:
                connect.delete(self.stack, stream.name)
        with closing(_autocommit(self.stack.dsn())) as db, db.cursor() as cursor:
            for stream in self.streams:
                _wait(lambda name=stream.name: not self._following(name), f"{stream.name} to end")
                cursor.execute(
                    "select pg_drop_replication_slot(slot_name) from pg_replication_slots"
                    " where slot_name = %s",
                    [stream.name],
                )
            cursor.execute(f"drop database if exists {self.database} with (force)")
        for stream in self.streams:
            topics.delete(self.stack, topics.named(self.stack, stream.prefix))

    def _following(self, slot: str) -> bool:
        with closing(_autocommit(self.stack.dsn())) as db, db.cursor() as cursor:
            cursor.execute("select active from pg_replication_slots where slot_name = %s", [slot])
            found = cursor.fetchone()
        return found is not None and bool(found[0])

    def _pgbench(self) -> workload.Pgbench:
        return workload.Pgbench(
            program=f"{self.stack.postgres_bin}/pgbench",
            host=connect.LOOPBACK,
            port=self.stack.postgres,
            database=self.database,
        )


@contextmanager
def open_shop(stack: Stack, *, seed: int = 7) -> Iterator[Shop]:
    """A new database with the shop's tables and some rows; all of it is gone afterwards."""
    database = f"shop_{secrets.token_hex(4)}"
    with closing(_autocommit(stack.dsn())) as db, db.cursor() as cursor:
        cursor.execute(f"create database {database}")
    try:
        with closing(_autocommit(stack.dsn(database))) as db, db.cursor() as cursor:
            cursor.execute(SCHEMA.read_text())
        stocked = workload.stock(stack.dsn(database), seed=seed)
    except BaseException:
        Shop(stack=stack, database=database, stocked=workload.Outcome()).close()
        raise
    shop = Shop(stack=stack, database=database, stocked=stocked)
    try:
        yield shop
    finally:
        shop.close()


def _autocommit(dsn: str) -> extensions.connection:
    db = psycopg2.connect(dsn)
    db.autocommit = True
    return db


def _one(row: tuple[object, ...] | None) -> str:
    if row is None:
        raise StackError("A query for one row gave none")
    return str(row[0])


def _wait(holds: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise StackError(f"Waited {seconds:.0f} s in vain for {what}; see connect.log")
        time.sleep(POLL_SECONDS)
