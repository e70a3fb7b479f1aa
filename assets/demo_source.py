"""A source's change stream, in the very form Debezium's Postgres connector writes it.

A `Database` has tables, a log with transactions, and a connector that tells of each change. What is
committed in it is in `truth`, so that whoever consumes the stream can be held to it. Demos are
stories told with it: see `demo_shop`, `demo_tasks`, `demo_interactions` and `demo_research`.
"""

from __future__ import annotations

import base64
import json
import random
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from assets.demo_wire import blank, json_bytes, wire

PLACEHOLDER = "__debezium_unavailable_value"

Row = dict[str, Any]

#: A value longer than this is stored apart (TOAST), and left out of an update that does not touch it.
_TOAST_BYTES = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of the source, as far as its change events show it."""

    schema: str = "public"
    key: str
    nullable: frozenset[str] = frozenset()
    defaults: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Columns whose default the connector shows where it does not know the value."""
    whole_before: bool = False
    """REPLICA IDENTITY FULL."""
    long_text: str | None = None
    """A column that may be long enough to be left out while it stands."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One Kafka record; `timestamp_ms` is the producer's time."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()
    timestamp_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a story does to its database, apart from what a connector makes of it.

    `load` is the rows before the connector's first snapshot. A transaction's `begin` and `commit`
    have one number, and others may lie between the two.
    """

    act: Literal["load", "begin", "commit", "rekey", "truncate", "message"]
    transaction: int = 0
    changes: Sequence[tuple[str, str, Row]] = ()
    """(table, c|u|d, the whole row); of `rekey` the row with its new key."""
    old_key: str | int = ""
    text: str = ""
    """The table that is truncated, or the message."""


@dataclass(slots=True, kw_only=True)
class Database:
    """The source: its tables, its log, and the records a connector made of it."""

    name: str
    """The database, and the prefix of its topics."""
    tables: Mapping[str, Table]
    random: random.Random
    clock: datetime
    lsn: int = 27_000_000
    transaction: int = 900
    last_commit: int = 27_000_000
    truth: dict[str, dict[str, Row]] = field(default_factory=dict[str, dict[str, Row]])
    """The rows of each table as they stand, by their key's text."""
    records: list[Record] = field(default_factory=list[Record])
    files: dict[str, bytes] = field(default_factory=dict[str, bytes])
    """Nobody uploads files into a database."""
    notes: dict[str, str] = field(default_factory=dict[str, str])
    """Rows that are bad to the end, by their key: why."""
    script: list[Step] = field(default_factory=list[Step])
    """What was done, in order, for a real database to be told the same story."""
    _told: Counter[str] = field(default_factory=Counter[str])

    def __post_init__(self) -> None:
        self.truth |= {table: {} for table in self.tables if table not in self.truth}

    def topic(self, table: str) -> str:
        """Where a table's changes are told."""
        return f"{self.name}.{self.tables[table].schema}.{table}"

    def identity(self) -> str:
        """A new UUID."""
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    # ---- THE LOG ---- #

    def tick(self, seconds: float) -> None:
        """Time goes by."""
        self.clock += timedelta(seconds=seconds)

    def next_lsn(self) -> int:
        """Where the next change stands in the log."""
        self.lsn += self.random.randrange(48, 400, 8)
        return self.lsn

    def snapshot(self) -> None:
        """The first full snapshot: each table's rows as `r`, all at one place in the log."""
        sequence = f'[null,"{self.lsn}"]'
        held = [table for table in self.tables if self.truth[table]]
        found = [(table, "c", row) for table in held for row in self.truth[table].values()]
        self.script.append(Step(act="load", changes=found))
        for table in held:
            rows = list(self.truth[table].values())
            marks = ["first_in_data_collection", *["true"] * (len(rows) - 1)]
            marks[-1] = "last_in_data_collection"
            if table == held[0]:
                marks[0] = "first"
            if table == held[-1]:
                marks[-1] = "last"
            for mark, row in zip(marks, rows, strict=True):
                self._emit(table, "r", after=row, lsn=self.lsn, snapshot=mark, sequence=sequence)

    def commit(self, *changes: tuple[str, str, Row]) -> None:
        """One transaction; changes are (table, c|u|d, the whole new row, or the old one for d)."""
        self.write(self.begin(*changes))

    def begin(self, *changes: tuple[str, str, Row]) -> list[tuple[int, str, str, Row]]:
        """Changes put into the log, not committed yet: another transaction may commit before."""
        logged = [(self.next_lsn(), *change) for change in changes]
        self.script.append(Step(act="begin", transaction=logged[0][0], changes=changes))
        return logged

    def write(self, logged: list[tuple[int, str, str, Row]]) -> None:
        """Commits what `begin` put into the log; the connector sends it in this moment."""
        self.script.append(Step(act="commit", transaction=logged[0][0]))
        self._open(logged[0][0])
        for lsn, table, op, row in logged:
            self._change(table, op, row, **self._place(table, lsn))
        self._close()

    def _open(self, lsn: int) -> None:
        self.transaction += 1
        self._told.clear()
        self._boundary("BEGIN", lsn)

    def _place(self, table: str, lsn: int) -> dict[str, Any]:
        """An event's place in the log and within the open transaction."""
        self._told[table] += 1
        return {
            "lsn": lsn,
            "sequence": f'["{self.last_commit}","{lsn}"]',
            "transaction": {
                "id": f"{self.transaction}:{lsn}",
                "total_order": self._told.total(),
                "data_collection_order": self._told[table],
            },
        }

    def _close(self) -> None:
        self.last_commit = self.next_lsn()
        told = [
            {"data_collection": f"{self.tables[table].schema}.{table}", "event_count": count}
            for table, count in self._told.items()
        ]
        self._boundary("END", self.last_commit, event_count=self._told.total(), collections=told)

    def _change(self, table: str, op: str, row: Row, **log: Any) -> None:
        known = self.tables[table]
        key, long_text = str(row[known.key]), known.long_text
        if op == "d":
            self.truth[table].pop(key, None)
            before = row if known.whole_before else _key_only(known, row)
            self._emit(table, "d", before=before, **log)
            self._tombstone(table, row)
            return
        told = dict(row)
        old = self.truth[table].get(key)
        if (
            op == "u"
            and old is not None
            and long_text is not None
            and len(row.get(long_text) or "") > _TOAST_BYTES
            and old.get(long_text) == row[long_text]
        ):
            told[long_text] = PLACEHOLDER
        self.truth[table][key] = dict(row)
        before = old if op == "u" and known.whole_before else None
        self._emit(table, op, before=before, after=told, **log)

    def change_key(self, table: str, row: Row, new_key: str | int) -> None:
        """A primary-key update: delete, tombstone and create that name each other in their headers."""
        name = self.tables[table].key
        old, new = {name: row[name]}, {name: new_key}
        moved = {**row, name: new_key}
        self.truth[table].pop(str(row[name]))
        self.truth[table][str(new_key)] = moved
        lsn = self.next_lsn()
        changes = ((table, "u", moved),)
        self.script.append(Step(act="rekey", changes=changes, old_key=row[name]))
        renamed = (("__debezium.newkey", json_bytes(new)),)
        self._open(lsn)
        before, log = _key_only(self.tables[table], row), self._place(table, lsn)
        self._emit(table, "d", before=before, headers=renamed, **log)
        self._tombstone(table, row, headers=renamed)
        origin = (("__debezium.oldkey", json_bytes(old)),)
        self._emit(table, "c", after=moved, headers=origin, **self._place(table, lsn))
        self._close()

    def truncate(self, table: str) -> None:
        """TRUNCATE: one event without a key."""
        self.truth[table].clear()
        self.script.append(Step(act="truncate", text=table))
        lsn = self.next_lsn()
        self._open(lsn)
        value = self._envelope(table, "t", None, None, **self._place(table, lsn))
        self._put(self.topic(table), None, json_bytes(value))
        self._close()

    def incremental_snapshot(self, table: str) -> None:
        """Rows read again in mid-stream: they name no position of their own."""
        sequence = f'["{self.last_commit}","{self.last_commit}"]'
        for row in self.truth[table].values():
            self._emit(table, "r", after=row, lsn=None, snapshot="incremental", sequence=sequence)

    def repeat(self, topic: str, count: int, *, newer: int = 0) -> None:
        """A connector that restarts sends records again: the last, or those `newer` stand behind."""
        sent = [record for record in self.records if record.topic == topic]
        end = len(sent) - newer
        for record in sent[max(end - count, 0) : max(end, 0)]:
            self._put(topic, record.key, record.value, record.headers)

    def broken(self, table: str, value: bytes) -> None:
        """A message that no connector would write."""
        self._put(self.topic(table), json_bytes({self.tables[table].key: "broken"}), value)

    def heartbeat(self) -> None:
        """The connector is alive."""
        self._put(
            f"__debezium-heartbeat.{self.name}",
            json_bytes({"serverName": self.name}),
            json_bytes({"ts_ms": self._now_ms()}),
        )

    def message(self, prefix: str, content: bytes) -> None:
        """A logical message that the database wrote into its log outside any transaction."""
        lsn = self.next_lsn()
        self.script.append(Step(act="message", text=content.decode()))
        source = self._source("", lsn, f'["{lsn}","{lsn}"]', "false")
        told = {"prefix": prefix, "content": base64.b64encode(content).decode()}
        value: Row = {"op": "m", "ts_ms": self._now_ms() + 35, "source": {**source, "txId": None}}
        value |= {"transaction": None, "message": told}
        self._put(f"{self.name}.message", json_bytes({"prefix": prefix}), json_bytes(value))

    # ---- THE WIRE ---- #

    def _now_ms(self) -> int:
        return int(self.clock.timestamp() * 1000)

    def _emit(
        self,
        table: str,
        op: str,
        *,
        before: Row | None = None,
        after: Row | None = None,
        headers: tuple[tuple[str, bytes], ...] = (),
        **log: Any,
    ) -> None:
        row = after or before or {}
        name = self.tables[table].key
        key = {name: row[name]}
        value = self._envelope(table, op, before and wire(before), after and wire(after), **log)
        self._put(self.topic(table), json_bytes(key), json_bytes(value), headers)

    def _tombstone(self, table: str, row: Row, headers: tuple[tuple[str, bytes], ...] = ()) -> None:
        name = self.tables[table].key
        self._put(self.topic(table), json_bytes({name: row[name]}), None, headers)

    def _envelope(
        self,
        table: str,
        op: str,
        before: Row | None,
        after: Row | None,
        *,
        lsn: int | None,
        sequence: str,
        snapshot: str = "false",
        transaction: Row | None = None,
    ) -> Row:
        source = self._source(table, lsn, sequence, snapshot)
        now = self._now_ms() + 35
        return {
            "before": before,
            "after": after,
            "source": source,
            "transaction": transaction,
            "op": op,
            "ts_ms": now,
            "ts_us": now * 1000,
            "ts_ns": now * 1_000_000,
        }

    def _source(self, table: str, lsn: int | None, sequence: str, snapshot: str) -> Row:
        micros = int(self.clock.timestamp() * 1_000_000)
        return {
            "version": "3.7.0.Final", "connector": "postgresql", "name": self.name, "ts_ms": micros // 1000, "snapshot": snapshot, "db": self.name,
            "sequence": sequence, "ts_us": micros, "ts_ns": micros * 1000, "schema": self.tables[table].schema if table else "", "table": table,
            "txId": None if lsn is None else self.transaction, "lsn": lsn, "xmin": None, "origin": None, "origin_lsn": None,
        }  # fmt: skip

    def _boundary(
        self,
        status: str,
        lsn: int,
        event_count: int | None = None,
        collections: list[Row] | None = None,
    ) -> None:
        identity = f"{self.transaction}:{lsn}"
        value = {
            "status": status,
            "id": identity,
            "event_count": event_count,
            "data_collections": collections,
            "ts_ms": self._now_ms(),
        }
        self._put(f"{self.name}.transaction", json_bytes({"id": identity}), json_bytes(value))

    def _put(
        self,
        topic: str,
        key: bytes | None,
        value: bytes | None,
        headers: tuple[tuple[str, bytes], ...] = (),
    ) -> None:
        told = self._now_ms() + 60
        record = Record(topic=topic, key=key, value=value, headers=headers, timestamp_ms=told)
        self.records.append(record)


def _key_only(table: Table, row: Row) -> Row:
    """What REPLICA IDENTITY DEFAULT tells of a deleted row: its key.

    The rest is null, or in a column that cannot be null its default or its type's.
    """
    return {
        **{name: blank(value) for name, value in row.items()},
        **{name: value for name, value in table.defaults.items() if name in row},
        **dict.fromkeys(table.nullable & row.keys()),
        table.key: row[table.key],
    }


# ---- RECORDED ---- #


def recorded_lines(records: Iterable[Record]) -> Iterator[str]:
    """The stream as lines of a recorded file, one partition a topic."""
    offsets = dict[str, int]()
    for record in records:
        offset = offsets.get(record.topic, 0)
        offsets[record.topic] = offset + 1
        headers = [[name, value.decode()] for name, value in record.headers]
        place = {"topic": record.topic, "partition": 0, "offset": offset, "headers": headers}
        line = {**place, "timestamp": record.timestamp_ms, "ts_type": 1}
        told = {**line, "key": _text(record.key), "value": _text(record.value)}
        yield json.dumps(told, ensure_ascii=False)


def _text(data: bytes | None) -> str | dict[str, str] | None:
    if data is None:
        return None
    try:
        return data.decode()
    except UnicodeDecodeError:
        return {"b64": base64.b64encode(data).decode()}
