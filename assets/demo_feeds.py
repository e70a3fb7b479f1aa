"""Change streams and events of other sources than Postgres, in the very form their connectors write them.

MongoDB's as in Debezium's page "MongoDB connector", with updates looked up (`change_streams_update_full`);
Cassandra's as in "Cassandra connector": cells, of which an event sets some; Avro in the wire format of
a schema registry. What is written is in `truth`, so that whoever consumes the streams can be held to it.
"""

from __future__ import annotations

import base64
import json
import random
import struct
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from assets.demo_source import Record, Row

_GREGORIAN = datetime(1582, 10, 15, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


@dataclass(slots=True, kw_only=True)
class Feeds:
    """The sources: their clock, what they hold, and the records that were made of it."""

    random: random.Random
    clock: datetime
    records: list[Record] = field(default_factory=list[Record])
    files: dict[str, bytes] = field(default_factory=dict[str, bytes])
    truth: dict[str, dict[str, Row]] = field(default_factory=dict[str, dict[str, Row]])
    """The rows of each table as they stand, by their key's text."""
    published: list[Row] = field(default_factory=list[Row])
    """The order events, in the order in which they were published."""
    notes: dict[str, str] = field(default_factory=dict[str, str])
    """Rows that are bad to the end, by their key: why."""

    def tick(self, seconds: float) -> None:
        """Time goes by, in whole milliseconds."""
        self.clock += round(seconds * 1000) * _MILLISECOND

    def identity(self) -> str:
        """A new UUID."""
        return str(uuid.UUID(int=self.random.getrandbits(128), version=4))

    def now_ms(self) -> int:
        """The clock in milliseconds since 1970."""
        return milliseconds(self.clock)

    def put(self, topic: str, key: bytes | None, value: bytes | None) -> None:
        """A record, as a producer sends it now."""
        told = self.now_ms() + 60
        self.records.append(Record(topic=topic, key=key, value=value, timestamp_ms=told))

    def repeat(self, topic: str, count: int) -> None:
        """A connector that restarts sends the last records again."""
        for record in [each for each in self.records if each.topic == topic][-count:]:
            self.put(topic, record.key, record.value)


def milliseconds(when: datetime) -> int:
    """Milliseconds since 1970."""
    return round(when.timestamp() * 1000)


# ---- MONGODB ---- #


def object_id(feeds: Feeds) -> str:
    """A new ObjectId: seconds, then 16 random digits."""
    return f"{int(feeds.clock.timestamp()):08x}{feeds.random.getrandbits(64):016x}"


def bson_uuid(text: str) -> Row:
    """A UUID as Extended JSON."""
    data = base64.b64encode(uuid.UUID(text).bytes).decode()
    return {"$binary": {"base64": data, "subType": "04"}}


def tell_document(
    feeds: Feeds, topic: str, op: str, identity: str, document: Row | None, *, mark: str = "false"
) -> None:
    """A change of a document: `r`, `c` and `u` with the whole of it, `d` with its key alone."""
    prefix, database, collection = topic.split(".")
    now, patch = feeds.now_ms(), None
    if op == "u":
        changed = {name: document[name] for name in ("engagement", "updated_at") if document}
        patch = {"removedFields": None, "updatedFields": _extended(changed), "truncatedArrays": None}  # fmt: skip
    streamed = mark == "false"
    source = {
        "version": "3.7.0.Final", "connector": "mongodb", "name": prefix, "ts_ms": now, "snapshot": mark, "db": database, "sequence": None,
        "ts_us": now * 1000, "ts_ns": now * 1_000_000, "collection": collection, "ord": len(feeds.records) if streamed else -1, "lsid": None,
        "txnNumber": None, "wallTime": now if streamed else None,
    }  # fmt: skip
    value = {
        "before": None, "after": None if document is None else _extended(document), "updateDescription": patch, "source": source,
        "op": op, "ts_ms": now + 35, "transaction": None,
    }  # fmt: skip
    feeds.put(topic, _json({"id": _extended({"$oid": identity})}), _json(value))
    if op == "d":
        feeds.put(topic, _json({"id": _extended({"$oid": identity})}), None)


def _extended(document: Row) -> str:
    """A document as the connector writes it into a text."""
    return json.dumps(document, separators=(",", ": "), ensure_ascii=False)


# ---- CASSANDRA ---- #


def tell_cells(
    feeds: Feeds,
    topic: str,
    op: str,
    key: Row,
    cells: Row,
    unset: Sequence[str] = (),
    *,
    node: int = 1,
    written: datetime | None = None,
) -> None:
    """A write of some cells of a row, or its deletion, as one node's commit log tells it.

    `written` is the write's own time, by which replicas order; now when left out.
    """
    prefix, keyspace, table = topic.split(".")
    micros = milliseconds(written or feeds.clock) * 1000
    source = {
        "version": "3.7.0.Final", "connector": "cassandra", "name": prefix, "ts_ms": micros // 1000, "snapshot": "false", "db": "NULL", "sequence": None,
        "ts_us": micros, "ts_ns": micros * 1000, "cluster": "bitvelocity", "file": f"CommitLog-7-{node}.log", "pos": len(feeds.records) * 128,
        "keyspace": keyspace, "table": table, "ts_micro": micros,
    }  # fmt: skip
    told = {n: {"value": v, "deletion_ts": None, "set": True} for n, v in {**key, **cells}.items()}
    after = {**told, **dict.fromkeys(unset)}
    value = {"ts_ms": feeds.now_ms() + 35, "op": op, "source": source, "after": after}
    feeds.put(topic, _json(key), _json(value))


def timeuuid(feeds: Feeds, when: datetime) -> str:
    """A UUID of version 1 that was made at an instant (RFC 9562, 5.1)."""
    ticks = (when - _GREGORIAN) // timedelta(microseconds=1) * 10 + feeds.random.randrange(10)
    time_fields = (ticks & 0xFFFFFFFF, ticks >> 32 & 0xFFFF, ticks >> 48 & 0xFFF)
    clock = (feeds.random.getrandbits(6), feeds.random.getrandbits(8))
    return str(uuid.UUID(fields=(*time_fields, *clock, feeds.random.getrandbits(48)), version=1))


# ---- AVRO ---- #


def tell_event(
    feeds: Feeds, topic: str, key: str, value: Row, identity: int, schema: Mapping[str, Any]
) -> None:
    """An event in the wire format: a zero byte, the schema's id, the record."""
    body = _avro(schema, value)
    feeds.put(topic, key.encode(), b"\0" + struct.pack(">I", identity) + body)


def _avro(schema: Any, value: Any) -> bytes:
    """A value in Avro's binary encoding; of unions `["null", ...]` alone."""
    if isinstance(schema, list):
        return _long(0) if value is None else _long(1) + _avro(schema[1], value)
    told: Row = {"type": schema} if isinstance(schema, str) else schema
    kind = told["type"]
    if isinstance(kind, dict | list):
        return _avro(kind, value)
    if kind == "record":
        return b"".join(_avro(each["type"], value[each["name"]]) for each in told["fields"])
    if kind == "enum":
        return _long(told["symbols"].index(value))
    if kind == "string":
        return _long(len(value.encode())) + value.encode()
    return struct.pack("<d", value) if kind == "double" else _long(value)


def _long(value: int) -> bytes:
    """A whole number: zigzag, seven bits a byte."""
    left, out = value << 1 ^ value >> 63, bytearray()
    while left > 0x7F:
        out.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes([*out, left])


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
