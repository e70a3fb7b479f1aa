"""What a broken producer, converter, proxy or clock sends: told apart, kept, and no harm to its neighbours.

Each case was found by tests/fuzz and is the smallest message that showed the fault.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.bronze import DEAD_LETTERS, Bronze, Landed
from pipelines.capture.blocks import BlockCutter
from pipelines.capture.records import Columns, Origin, Partition, RecordBatch, to_frame
from pipelines.change.ndjson import WRONG_SHAPE, parse
from pipelines.change.texts import fill
from pipelines.silver import apply
from pipelines.storage import Lake
from tests.properties.test_laws import CATALOG, TABLE, TOPIC

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CLOCK = (1, 1_700_000_000_000)


def event(number: int, **changed: Any) -> dict[str, Any]:
    """A whole create event of row `number`, with members put in place of its own."""
    source = {
        "name": "p",
        "schema": "public",
        "table": "items",
        "snapshot": "false",
        "lsn": 100 + number,
        "sequence": f'["{100 + number}","{100 + number}"]',
        "ts_us": 1_700_000_000_000_000 + number,
    }
    after = {"id": number, "price": "AMg=", "note": "n"}
    whole = {"before": None, "after": after, "source": source, "op": "c", "transaction": None}
    whole["source"] = {**source, **changed.pop("source", {})}
    return {**whole, **changed}


Sent = tuple[bytes | None, bytes | None, str, tuple[int, int]]


def sent(value: Any, *, key: Any = None, headers: Any = (), clock: tuple[int, int] = CLOCK) -> Sent:
    """A message of it; bytes and texts go as they are."""

    def data(part: Any) -> bytes | None:
        if part is None or isinstance(part, bytes):
            return part
        return part.encode() if isinstance(part, str) else json.dumps(part).encode()

    return data(key), data(value), json.dumps(list(headers)), clock


def land(lake: Lake, messages: Sequence[Sent], topic: str = TOPIC) -> Landed:
    keys, values, headers, clocks = zip(*messages, strict=True)
    columns = Columns(
        topics=[topic] * len(messages),
        partitions=[0] * len(messages),
        offsets=range(len(messages)),
        timestamps=clocks,
        keys=keys,
        values=values,
        headers=headers,
    )
    frame, schemas = to_frame(columns, BlockCutter())
    place = Partition(topic, 0)
    return Bronze(lake, CATALOG).land(
        RecordBatch(
            frame=frame,
            start_offsets={place: 0},
            next_offsets={place: len(messages)},
            origin=Origin(cluster="c"),
            schemas=schemas,
        )
    )


def silver(lake: Lake) -> dict[int, tuple[str, str | None]]:
    apply(lake, CATALOG, TABLE, now=NOW)
    rows = lake.scan(TABLE).select("id", "price", "note").collect().rows()
    return {number: (str(price), note) for number, price, note in rows}


def quarantined(lake: Lake) -> dict[int, list[str]]:
    rows = lake.scan("quarantine.shop.items").select("id", "quality_issues").collect().rows()
    return {number: list(issues) for number, issues in rows}


ROW = ("2.00", "n")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(str(tmp_path))


# ---- CLOCKS ---- #


@pytest.mark.parametrize("millis", [-1, 0, 253_402_300_800_000, -62_135_596_800_001, 2**63 - 1])
def test_a_message_of_another_age_lands(lake: Lake, millis: int):
    assert land(lake, [sent(event(1), clock=(1, millis)), sent(event(2))]).rows == 2
    assert land(lake, [sent("{", clock=(1, millis))], "undeclared").letters == 1
    assert silver(lake) == {1: ROW, 2: ROW}


@pytest.mark.parametrize("time", [2**63 - 1, -(2**63), 253_402_300_800_000_000])
def test_a_source_time_that_no_calendar_holds_is_none(lake: Lake, time: int):
    broken = event(1, source={"ts_us": time, "ts_ms": time}, ts_ms=time)
    land(lake, [sent(broken, clock=(1, 1_700_000_000_000))])
    assert silver(lake) == {1: ROW}
    told = lake.scan(TABLE).select("source_timestamp").collect().item()
    assert told == datetime.fromtimestamp(1_700_000_000, UTC)


def test_a_snapshot_without_a_time_of_writing_begins_an_epoch_all_the_same(lake: Lake):
    row = event(1, op="r", source={"snapshot": "true"})
    assert land(lake, [sent(row, clock=(0, -1)), sent(event(2))]).rows == 2
    assert silver(lake) == {1: ROW, 2: ROW}


# ---- POSITIONS ---- #


@pytest.mark.parametrize("lsn", [-1, -(2**63)])
def test_a_negative_log_position_is_none(lake: Lake, lsn: int):
    tombstone = sent(None, key={"id": 9})
    land(lake, [sent(event(1, source={"lsn": lsn})), tombstone, sent(event(2))])
    assert silver(lake) == {1: ROW, 2: ROW}


@pytest.mark.parametrize("number", ["9223372036854775808", "1" + "0" * 400, "-9223372036854775809"])
def test_a_number_beyond_64_bits_is_of_the_wrong_shape(lake: Lake, number: str):
    text = json.dumps(event(1)).replace('"lsn": 101', f'"lsn": {number}')
    assert land(lake, [sent(text), sent(event(2))]) == Landed(rows=1, letters=1)
    assert lake.scan(DEAD_LETTERS).select("reason").collect().item() == WRONG_SHAPE
    assert silver(lake) == {2: ROW}


# ---- JSON ---- #


@pytest.mark.parametrize("levels", [300, 600, 1_000, 1_100, 10_000])
def test_deep_nesting_spoils_no_neighbour(lake: Lake, levels: int):
    deep = '{"before":null,"op":' + "[" * levels + "]" * levels + "}"
    landed = land(lake, [sent(deep), sent("{"), sent(event(2))])
    assert landed == Landed(rows=1, letters=2)
    assert silver(lake) == {2: ROW}


def test_a_key_nested_beyond_any_parser_is_no_key(lake: Lake):
    land(lake, [sent(event(1)), sent(event(2), key="[" * 10_000 + "]" * 10_000)])
    assert silver(lake) == {1: ROW, 2: ROW}


# ---- SCHEMA BLOCKS ---- #

FIELDS = [
    {"type": "int32", "field": "id"},
    {
        "type": "bytes",
        "field": "price",
        "name": "org.apache.kafka.connect.data.Decimal",
        "parameters": {"scale": "2"},
    },
    {"type": "string", "field": "note"},
]
BLOCK = {
    "type": "struct",
    "fields": [{"type": "struct", "field": "after", "fields": FIELDS}],
}


def scaled(scale: Any) -> dict[str, Any]:
    price = {**FIELDS[1], "parameters": scale}
    return {**BLOCK, "fields": [{**BLOCK["fields"][0], "fields": [FIELDS[0], price, FIELDS[2]]}]}


BAD_BLOCKS = {
    "no struct": {"type": "string"},
    "no fields": {"type": "struct"},
    "fields of the wrong type": {"type": "struct", "fields": {}},
    "a field of the wrong type": {"type": "struct", "fields": [None, 5, "x"]},
    "a field without a type": {"type": "struct", "fields": [{"field": "after"}]},
    "a name of the wrong type": {**BLOCK, "name": []},
    "a scale of the wrong type": scaled({"scale": "x"}),
    "a scale beyond reason": scaled({"scale": "99999999999"}),
    "parameters of the wrong type": scaled([1]),
}


@pytest.mark.parametrize("name", BAD_BLOCKS)
def test_a_row_is_not_read_by_a_broken_schema(lake: Lake, name: str):
    """What its values mean is told by nothing then: the row waits under its key, as it came."""
    told = [
        sent({"schema": BLOCK, "payload": event(1)}, key={"id": 1}),
        sent({"schema": BAD_BLOCKS[name], "payload": event(2)}, key={"id": 2}),
        sent({"schema": BAD_BLOCKS[name], "payload": event(3)}),
    ]
    assert land(lake, told).rows == 3
    assert silver(lake) == {1: ROW}
    assert quarantined(lake)[2][0] == "undecodable:*bad_schema"
    assert lake.scan("system.main.unkeyed_events").collect()["kafka_offset"].to_list() == [2]


def test_a_null_schema_is_no_schema(lake: Lake):
    land(lake, [sent({"schema": None, "payload": event(1)})])
    assert silver(lake) == {1: ROW}


# ---- VALUES ---- #


@pytest.mark.parametrize(
    "price",
    [
        {"scale": 99_999_999, "value": "AQ=="},
        {"scale": -99_999_999, "value": "AQ=="},
        {"scale": 2**63, "value": "AQ=="},
        {"scale": "x", "value": "????"},
        base64.b64encode(b"\x7f" * 60_000).decode(),
        base64.b64encode(b"\x7f" * 300_000).decode(),
    ],
    ids=["large scale", "small scale", "no scale", "garbage", "150,000 digits", "700,000 digits"],
)
def test_a_decimal_that_no_database_holds_is_refused(lake: Lake, price: Any):
    after = {"id": 1, "price": price, "note": "n"}
    land(lake, [sent(event(1, after=after)), sent(event(2))])
    assert silver(lake) == {2: ROW}
    assert quarantined(lake) == {1: ["undecodable:price"]}


# ---- HEADERS AND TOPICS ---- #


@pytest.mark.parametrize("old", [None, {"b64": "//8="}, "", "null", "[]", "{", "\0"])
def test_an_old_key_that_is_none_is_passed_over(lake: Lake, old: Any):
    land(lake, [sent(event(1), headers=[["__debezium.oldkey", old]]), sent(event(2))])
    assert silver(lake) == {1: ROW, 2: ROW}


@pytest.mark.parametrize("topic", ["1.message", "-.transaction", "__debezium-heartbeat.9"])
def test_a_connectors_own_topic_of_any_name_has_a_table(lake: Lake, topic: str):
    assert land(lake, [sent({"id": "x"})], topic).rows == 1


# ---- NEIGHBOURS ---- #

#: Each as text of the same value whether a broken neighbour sends its chunk to the careful parser or not.
TEXTS = (
    '{"note": 1.0}',
    '{"note": 1e2}',
    '{"note": -0}',
    '{"note": 0.10}',
    '{"note": 100000000000000000000}',
    '{"note": "a", "note": "b"}',
    '{"note": [1.50, null, true]}',
    '{"note": {"b": 1E+2, "a": -0.0}}',
    '{"note": 1e-7}',
    '{"note": 1e22}',
    '{"note": 123456789.12345678901234567890}',
)


def test_a_text_is_read_alike_beside_a_broken_one():
    schema = {"note": pl.String()}
    alone, none = parse(pl.Series(TEXTS), schema)
    beside, reasons = parse(pl.Series([*TEXTS, "{]"]), schema)
    assert none.to_list() == [None] * len(TEXTS)
    assert beside[: len(TEXTS)].rows() == alone.rows()
    assert reasons.to_list() == [*none, "not_json"]


# ---- POLARS ---- #


def test_texts_are_filled_in_where_a_mask_took_a_whole_chunk_away():
    """`polars.format` panics on such a column; it came of broken messages beside whole ones."""
    chunks = [pl.DataFrame({"text": ["a"]}), pl.DataFrame({"text": ["b", None]})]
    frame = pl.concat(chunks, rechunk=False)
    hollow = frame.filter(pl.Series([False, True, True]))
    assert hollow["text"].chunk_lengths() == [0, 2]
    assert hollow.select(fill("<{}>", pl.col("text"))).to_series().to_list() == ["<b>", None]


def test_an_object_read_as_text_keeps_its_escapes():
    told = '{"after":{"id":1,"tags":{"a":"x\\"y\\\\z\\n"},"plain":"{\\"k\\": \\"v\\"}"}}'
    raw = {"id": pl.String(), "tags": pl.String(), "plain": pl.String()}
    frame, reasons = parse(pl.Series([told]), {"after": pl.Struct(raw)}, objects=r'"tags"\s*:\s*\{')
    after = frame["after"][0]
    assert reasons.to_list() == [None]
    assert json.loads(after["tags"]) == {"a": 'x"y\\z\n'}
    assert json.loads(after["plain"]) == {"k": "v"}
