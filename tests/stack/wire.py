"""What may happen between a source and its topics: snapshots again, signals, more partitions, DDL."""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import closing
from random import Random

import psycopg2
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions

from tests.stack import connect, topics
from tests.stack.connect import TABLES, Form
from tests.stack.parts import StackError
from tests.stack.shop import Shop, Stream

SIGNALS = "debezium_signal"
NOTICES = "notification"
OVERRIDES = {
    "signal.data.collection": f"public.{SIGNALS}",
    # Small chunks: a table of a few hundred rows is read in several windows.
    "incremental.snapshot.chunk.size": "64",
    # A producer that learns of new partitions at once, not after five minutes.
    "producer.override.metadata.max.age.ms": "500",
    "notification.enabled.channels": "sink",
    "max.batch.size": "256",
    "poll.interval.ms": "50",
}


class Wire:
    """The connector of a shop, under one prefix for ever, whatever its name and slot are now."""

    def __init__(self, shop: Shop, prefix: str, form: Form, partitions: int) -> None:
        self.shop, self.prefix, self.form, self.partitions = shop, prefix, form, partitions
        self.paused = False
        self._signals = 0
        self._execute(
            f"create table {SIGNALS}"
            " (id varchar(64) primary key, type varchar(32) not null, data varchar(2048))"
        )
        self._overrides = {**OVERRIDES, "notification.sink.topic.name": f"{prefix}.{NOTICES}"}
        shop.connect(form, partitions=partitions, prefix=prefix, overrides=self._overrides)
        self.wait_until_snapshot_is_kept()

    # ---- THE CONNECTOR ---- #

    def restart(self) -> None:
        """Connector and task, as after a crash."""
        connect.restart(self.shop.stack, self.shop.stream.name)

    def pause(self) -> None:
        """Nothing is streamed until `resume`."""
        connect.pause(self.shop.stack, self.shop.stream.name)
        self.paused = True

    def resume(self) -> None:
        """Goes on from where it was paused."""
        connect.resume(self.shop.stack, self.shop.stream.name)
        self.paused = False

    def resnapshot(self, meanwhile: Callable[[], None], during: Callable[[], None]) -> None:
        """The connector removed with its slot, something done, and one made anew that snapshots."""
        stack, old = self.shop.stack, self.shop.stream
        connect.delete(stack, old.name)
        self._wait(lambda: self._is_dropped(old.name), f"{old.name} to end")
        self._execute(f"drop publication {old.name}")
        self.shop.streams.clear()
        meanwhile()
        name = f"{self.shop.database}_{int(old.name.rpartition('_')[2]) + 1}"
        config = connect.connector(
            stack,
            database=self.shop.database,
            prefix=self.prefix,
            slot=name,
            form=self.form,
            partitions=self.partitions,
        )
        self.shop.streams.append(Stream(name=name, prefix=self.prefix, form=self.form))
        connect.create(stack, name, {**config, **self._overrides})
        # What is done from here on is either in the snapshot or in the slot.
        self._wait(lambda: self._slot_is_active(name) is not None, f"{name} to make its slot")
        during()
        self._wait(lambda: self._slot_is_active(name), f"{name} to follow the log")

    def _is_dropped(self, slot: str) -> bool:
        """Drops the slot if nobody uses it; a task that was being restarted may come back once more."""
        if self._slot_is_active(slot):
            return False
        try:
            self._execute("select pg_drop_replication_slot(%s)", slot)
        except psycopg2.errors.ObjectInUse:
            return False
        return True

    def signal(self, kind: str, tables: Sequence[str]) -> None:
        """Asks for a snapshot of tables: `incremental`, beside the stream, or `blocking`, instead of it."""
        self._signals += 1
        asked = {"type": kind, "data-collections": [f"public.{table}" for table in tables]}
        self._execute(
            f"insert into {SIGNALS} values (%s, 'execute-snapshot', %s)",
            f"trial-{self._signals}",
            json.dumps(asked),
        )

    def block(self, tables: Sequence[str], during: Callable[[], None]) -> None:
        """A blocking snapshot to its end: the stream stands still, and goes on from where it was."""
        before = self._snapshots_ended()
        self.signal("blocking", tables)
        during()
        self._wait(lambda: self._snapshots_ended() > before, "the blocking snapshot to end")

    def _snapshots_ended(self) -> int:
        """How many full snapshots the connector says that it has ended."""
        topic = f"{self.prefix}.{NOTICES}"
        said = [
            json.loads(message.value() or b"{}") for message in topics.read(self.shop.stack, topic)
        ]
        return sum(
            (one.get("aggregate_type"), one.get("type")) == ("Initial Snapshot", "COMPLETED")
            for one in (each.get("payload", each) for each in said)
        )

    def wait_until_streamed(self, seconds: float = 120.0) -> None:
        """Returns when all that was committed is in Kafka, incremental snapshots to their end."""
        self.shop.wait_until_streamed(seconds)
        what = "the incremental snapshot to end"
        self._wait(lambda: not self._is_in_incremental_snapshot(), what, seconds)

    def wait_until_snapshot_is_kept(self) -> None:
        """Returns when a restart would not take the full snapshot again, and forget what came between."""

        def is_kept() -> bool:
            offset = self._stored_offset()
            return b'"lsn"' in offset and b'"snapshot"' not in offset

        self._wait(is_kept, f"the end of {self.shop.stream.name}'s snapshot to be stored")

    def _is_in_incremental_snapshot(self) -> bool:
        """As the connector's stored offset tells, which names the tables still to be read."""
        return b"incremental_snapshot_collections" in self._stored_offset()

    def _stored_offset(self) -> bytes:
        where = f"{self.shop.stack.connect_url}/connectors/{self.shop.stream.name}/offsets"
        with urllib.request.urlopen(where, timeout=30) as answer:
            return bytes(answer.read())

    # ---- TOPICS ---- #

    def repartition(self, table: str, more: int) -> int:
        """Adds partitions to a table's topic; how many it has now."""
        topic = self.shop.topic(table)
        count = len(self._partitions(topic)) + more
        admin = AdminClient({"bootstrap.servers": self.shop.bootstrap})
        for done in admin.create_partitions([NewPartitions(topic, count)]).values():
            done.result(timeout=30)
        return count

    def ends(self, table: str) -> dict[int, int]:
        """The next offset of each partition of a table's topic."""
        topic = self.shop.topic(table)
        consumer = Consumer({"bootstrap.servers": self.shop.bootstrap, "group.id": "trial"})
        with closing(consumer):
            return {
                partition: consumer.get_watermark_offsets(
                    TopicPartition(topic, partition), timeout=30
                )[1]
                for partition in self._partitions(topic)
            }

    def _partitions(self, topic: str) -> list[int]:
        admin = AdminClient({"bootstrap.servers": self.shop.bootstrap})
        return sorted(admin.list_topics(topic, timeout=30).topics[topic].partitions)

    # ---- THE SOURCE'S SCHEMA ---- #

    def add_column(self, rng: Random) -> str:
        """A nullable column that no contract names, filled in some rows."""
        table, name = rng.choice(TABLES), f"extra_{rng.randrange(10**6)}"
        kind, value = rng.choice((("text", "'x'"), ("integer", "7"), ("text", "repeat('y', 9)")))
        self._execute(f"alter table {table} add column {name} {kind}")
        self._execute(f"update {table} set {name} = {value} where version % 2 = 0")
        return f"{table}.{name} {kind}"

    def widen(self, rng: Random) -> str:
        """A text column that holds more, and one row that uses it."""
        table, name = rng.choice(
            (("customers", "name"), ("products", "name"), ("customers", "phone"))
        )
        wide = self._width(table, name) + rng.randint(1, 100)
        self._execute(f"alter table {table} alter column {name} type varchar({wide})")
        key = f"(select min({table[:-1]}_id::text)::uuid from {table})"
        self._execute(
            f"update {table} set {name} = repeat('w', %s) where {table[:-1]}_id = {key}", wide
        )
        return f"{table}.{name} varchar({wide})"

    def other_identity(self, rng: Random) -> str:
        """Whole rows in `before`, or keys only."""
        table, how = rng.choice(TABLES), rng.choice(("full", "default"))
        self._execute(f"alter table {table} replica identity {how}")
        return f"{table} {how}"

    def touch_a_row(self) -> None:
        """An event in some partition of each table: bare rows show only so that a snapshot is over."""
        for table in TABLES:
            key = f"{table[:-1]}_id"
            self._execute(
                f"update {table} set version = version + 1 where {key} = (select {key} from {table} order by 1 limit 1)"
            )

    # ---- OTHERS ---- #

    def _execute(self, sql: str, *values: object) -> None:
        with closing(psycopg2.connect(self.shop.dsn)) as db, db, db.cursor() as cursor:
            cursor.execute(sql, values or None)

    def _width(self, table: str, column: str) -> int:
        with closing(psycopg2.connect(self.shop.dsn)) as db, db, db.cursor() as cursor:
            cursor.execute(
                "select character_maximum_length from information_schema.columns"
                " where table_name = %s and column_name = %s",
                [table, column],
            )
            found = cursor.fetchone()
        return int(found[0]) if found else 0

    def _slot_is_active(self, slot: str) -> bool | None:
        with closing(psycopg2.connect(self.shop.dsn)) as db, db, db.cursor() as cursor:
            cursor.execute("select active from pg_replication_slots where slot_name = %s", [slot])
            found = cursor.fetchone()
        return None if found is None else bool(found[0])

    def _wait(self, holds: Callable[[], bool | None], what: str, seconds: float = 60.0) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            if time.monotonic() > deadline:
                raise StackError(f"Waited {seconds:.0f} s in vain for {what}; see connect.log")
            time.sleep(0.1)
