"""MariaDB beside the stack, for the tests that want one: a server, and a connector on its binary log."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql

from tests.stack import connect, processes, topics
from tests.stack.parts import StackError
from tests.stack.services import LOOPBACK, Stack

#: A table of nothing but what tells that the log was read so far.
MARKER = "read_so_far"


@dataclass(frozen=True, slots=True, kw_only=True)
class MariaDB:
    """A server with one database, whose changes a connector may follow."""

    stack: Stack
    port: int
    database: str

    @property
    def url(self) -> str:
        """The database, as its owner."""
        return f"mariadb://root@{LOOPBACK}:{self.port}/{self.database}"

    def connection(self) -> Any:
        """A connection that commits each statement."""
        return pymysql.connect(
            host=LOOPBACK, port=self.port, user="root", database=self.database, autocommit=True
        )

    def connect(self, prefix: str, tables: Sequence[str]) -> None:
        """Starts a connector on these tables; their topics are `<prefix>.<database>.<table>`."""
        topics.delete(self.stack, topics.named(self.stack, prefix))
        self._run(f"create table {MARKER} (place bigint auto_increment primary key)")
        connect.create(self.stack, prefix, self._connector(prefix, [*tables, MARKER]))
        self.wait_until_streamed(prefix)

    def wait_until_streamed(self, prefix: str, seconds: float = 120.0) -> None:
        """Returns when Kafka has acknowledged every change committed before the call.

        Raises:
            StackError: The connector failed or did not get there in time.
        """
        file, place = self._run("show master status")[0][:2]
        deadline, target = time.monotonic() + seconds, (file, int(place))
        while not connect.is_running(self.stack, prefix) or self._flushed(prefix) < target:
            # Something captured must come after the target, or no offset ever passes it.
            self._run(f"insert into {MARKER} values ()")
            if time.monotonic() > deadline:
                raise StackError(f"{prefix} did not reach {target}; see connect.log")
            time.sleep(0.5)

    def close(self, prefix: str) -> None:
        """Removes the connector and its topics."""
        connect.delete(self.stack, prefix)
        topics.delete(self.stack, topics.named(self.stack, prefix))

    def _flushed(self, prefix: str) -> tuple[str, int]:
        offsets = connect.offsets(self.stack, prefix)
        return max(((str(at["file"]), int(at["pos"])) for at in offsets), default=("", 0))

    def _run(self, sql: str) -> Sequence[tuple[Any, ...]]:
        with closing(self.connection()) as db, db.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchall()

    def _connector(self, prefix: str, tables: Sequence[str]) -> Mapping[str, str]:
        return {
            "connector.class": "io.debezium.connector.mariadb.MariaDbConnector",
            "tasks.max": "1",
            "database.hostname": LOOPBACK,
            "database.port": str(self.port),
            "database.user": "debezium",
            "database.password": "debezium",
            "database.server.id": "5502",
            "database.ssl.mode": "disable",
            "topic.prefix": prefix,
            "database.include.list": self.database,
            "table.include.list": ",".join(f"{self.database}.{table}" for table in tables),
            "schema.history.internal.kafka.bootstrap.servers": self.stack.bootstrap,
            "schema.history.internal.kafka.topic": f"{prefix}.history",
            "include.schema.changes": "false",
            "skipped.operations": "none",
            "provide.transaction.metadata": "true",
            "key.converter": connect.JSON_CONVERTER,
            "value.converter": connect.JSON_CONVERTER,
            "key.converter.schemas.enable": "false",
            "value.converter.schemas.enable": "false",
            "topic.creation.default.replication.factor": "1",
            "topic.creation.default.partitions": "1",
        }


@contextmanager
def running(stack: Stack, database: str) -> Iterator[MariaDB]:
    """A server of its own for a while, with an empty database; its data is gone afterwards.

    Raises:
        StackError: MariaDB is not installed, or does not come up.
    """
    server, installer = shutil.which("mariadbd"), shutil.which("mariadb-install-db")
    if server is None or installer is None:
        raise StackError(
            "MariaDB is not installed.\n  Hint: apt-get install mariadb-server-core mariadb-client-core (they start no server)"
        )
    run, owner = Path(stack.run), pwd.getpwuid(os.getuid()).pw_name
    data, port = run / "mariadb", _free_port()
    processes.stop(run, "mariadb")
    shutil.rmtree(data, ignore_errors=True)
    made = subprocess.run(
        [installer, "--no-defaults", f"--user={owner}", f"--datadir={data}", "--auth-root-authentication-method=normal", "--skip-test-db"],
        capture_output=True,
        text=True,
        check=False,
    )  # fmt: skip
    if made.returncode != 0:
        raise StackError(f"mariadb-install-db failed: {(made.stdout + made.stderr)[-2000:]}")
    log = ["--log-bin=binlog", "--binlog-format=ROW", "--binlog-row-image=FULL", "--server-id=77"]
    place = [f"--datadir={data}", f"--socket={data}/socket", f"--bind-address={LOOPBACK}", f"--port={port}"]  # fmt: skip
    processes.spawn(run, "mariadb", [server, "--no-defaults", f"--user={owner}", *place, *log, "--innodb-flush-log-at-trx-commit=0", "--character-set-server=utf8mb4"])  # fmt: skip
    try:
        processes.wait_until(
            lambda: _prepared(port, database), what="MariaDB", seconds=60, run=run, name="mariadb"
        )
        yield MariaDB(stack=stack, port=port, database=database)
    finally:
        processes.stop(run, "mariadb")
        shutil.rmtree(data, ignore_errors=True)


def _prepared(port: int, database: str) -> bool:
    """Whether the server answers; then it has the database, and an account for the connector."""
    try:
        db = pymysql.connect(host=LOOPBACK, port=port, user="root")
    except pymysql.OperationalError:
        return False
    with closing(db), db.cursor() as cursor:
        cursor.execute(f"create database {database}")
        cursor.execute("create user debezium identified by 'debezium'")
        cursor.execute("grant all on *.* to debezium")
    return True


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
