"""Gold tables of posts, chat, telemetry and order events equal what DuckDB makes of the sources themselves."""

from __future__ import annotations

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from assets.demo_documents import CHAT, POSTS, TELEMETRY, generate
from assets.demo_feeds import (
    Feeds,
    bson_uuid,
    object_id,
    tell_cells,
    tell_document,
    tell_event,
    timeuuid,
)
from assets.demo_order_events import ORDERS, REGISTRY, SCHEMAS
from assets.demo_source import Row, recorded_lines
from pipelines.avro import Wire, open_registry
from pipelines.contract import Column
from pipelines.errors import DriftError
from pipelines.ingest import capture_file
from pipelines.silver import apply
from tests.spec.domains import NOW, Refinery, assert_equal, only, truth_of

#: The sources without the rows that break an error rule.
KEPT = """
CREATE VIEW p AS SELECT * FROM posts WHERE user_id IS NOT NULL;
CREATE VIEW m AS SELECT * FROM chat_messages WHERE user_id IS NOT NULL AND sent_at <= written_at + INTERVAL 5 MINUTE;
CREATE VIEW t AS SELECT * FROM device_telemetry WHERE sensor_value IS NOT NULL AND NOT isnan(sensor_value) AND measured_at <= written_at + INTERVAL 5 MINUTE;
CREATE VIEW e AS SELECT * FROM order_events WHERE status <> 'RETURNED';
CREATE MACRO windows(unit) AS TABLE SELECT device_id, sensor_type, date_trunc(unit, measured_at) AS begins, count(*) AS points,
  count(*) FILTER (written_at >= date_trunc(unit, measured_at) + to_days(CAST(unit = 'day' AS INTEGER)) + to_hours(CAST(unit = 'hour' AS INTEGER))) AS late_points,
  min(sensor_value) AS min_value, max(sensor_value) AS max_value, sum(CAST(sensor_value AS DECIMAL(28, 6)))::DOUBLE / count(*) AS mean_value FROM t GROUP BY ALL;
"""  # fmt: skip

GOLD = {
    "post_media": """
        SELECT post_id, i.url, min(i.type) AS media_type, count(*) AS times_shown, created_at AS posted_at
        FROM (SELECT post_id, created_at, unnest(media) AS i FROM p) GROUP BY ALL""",
    "post_hashtags": """
        SELECT DISTINCT post_id, lower(tag) AS hashtag, user_id, created_at::DATE AS day, likes, shares, comments
        FROM (SELECT *, unnest(hashtags) AS tag FROM p)""",
    "hashtag_daily": """
        SELECT created_at::DATE AS day, hashtag, count(*) AS posts, count(DISTINCT user_id) AS people, sum(likes)::BIGINT AS likes, sum(shares)::BIGINT AS shares,
          sum(comments)::BIGINT AS comments FROM (SELECT *, unnest(list_distinct(list_transform(hashtags, lambda x: lower(x)))) AS hashtag FROM p) GROUP BY ALL""",
    "chat_daily": """
        SELECT room_id, sent_at::DATE AS day, count(*) AS messages, count(DISTINCT user_id) AS people, min(sent_at) AS first_sent_at, max(sent_at) AS last_sent_at
        FROM m GROUP BY ALL""",
    "telemetry_hourly": "SELECT * EXCLUDE begins, begins AS hour_start, begins + INTERVAL 1 HOUR AS hour_end FROM windows('hour')",
    "telemetry_daily": "SELECT * EXCLUDE begins, begins AS day_start, begins + INTERVAL 1 DAY AS day_end FROM windows('day')",
    "order_journey": """
        PIVOT (SELECT order_id, customer_id, currency, status, occurred_at, count(DISTINCT status) OVER (PARTITION BY order_id) AS steps FROM e)
        ON status IN ('PENDING' AS placed_at, 'CONFIRMED' AS confirmed_at, 'SHIPPED' AS shipped_at, 'DELIVERED' AS delivered_at, 'CANCELLED' AS cancelled_at)
        USING min(occurred_at)""",
}  # fmt: skip


@pytest.fixture(scope="module")
def feeds() -> Feeds:
    return generate()


def registry(folder: Path) -> Wire:
    file = folder / "registry.json"
    file.write_text(json.dumps(REGISTRY))
    return Wire(open_registry(str(file), {}))


@pytest.fixture(scope="module")
def refinery(feeds: Feeds, tmp_path_factory: pytest.TempPathFactory) -> Refinery:
    folder = tmp_path_factory.mktemp("documents")
    made, half = Refinery(folder, "commerce", registry(folder)), len(feeds.records) // 2
    for piece in (feeds.records[:half], feeds.records[half:-60], feeds.records[-60:]):
        made.take(piece)
    return made


@pytest.fixture(scope="module")
def source(feeds: Feeds) -> duckdb.DuckDBPyConnection:
    events = {str(number): row for number, row in enumerate(feeds.published)}
    here = truth_of({**feeds.truth, "order_events": events}, "commerce")
    here.execute(KEPT)
    return here


@pytest.mark.parametrize("table", GOLD)
def test_gold_is_what_sql_says_of_the_sources(table: str, refinery: Refinery, source: Any):
    assert_equal(refinery.rows(f"gold.commerce.{table}"), source, GOLD[table])


@pytest.mark.parametrize("table", ["posts", "chat_messages", "device_telemetry"])
def test_silver_and_quarantine_are_the_source(table: str, feeds: Feeds, refinery: Refinery):
    contract, truth = refinery.catalog[f"silver.commerce.{table}"], feeds.truth[table]

    def keyed(layer: str) -> dict[str, Row]:
        rows = refinery.lake.scan(contract.sibling(layer)).collect().iter_rows(named=True)
        return {"/".join(str(row[name]) for name in contract.key): row for row in rows}

    kept, waiting = keyed("silver"), keyed("quarantine")
    assert kept.keys() | waiting.keys() == truth.keys()
    assert waiting.keys() == feeds.notes.keys() & truth.keys()
    for key, row in kept.items():
        assert {name: row[name] for name in contract.columns} == truth[key]


def test_events_of_every_version_are_rows_and_one_that_came_twice_is_one(
    feeds: Feeds, refinery: Refinery
):
    both = [refinery.lake.scan(f"{layer}.commerce.order_events") for layer in ("silver", "quarantine")]  # fmt: skip
    names = list(feeds.published[0])
    rows = pl.concat([each.select(names) for each in both]).collect().to_dicts()
    assert _in_order(rows) == _in_order(feeds.published)
    assert {row["trace_id"] is None for row in rows} == {True, False}
    letters = refinery.lake.scan("system.main.dead_letters").collect()
    assert letters.select("topic", "reason").rows() == [(ORDERS, "unknown_schema_id")]


def _in_order(rows: list[Row]) -> list[Row]:
    return sorted(rows, key=lambda row: (row["order_id"], row["occurred_at"], row["status"]))


# ---- LATE DATA ---- #


def test_late_points_correct_their_hours_and_no_other(feeds: Feeds, tmp_path: Path):
    """A device that was offline for nine hours tells of them in the evening."""
    points = [record for record in feeds.records if record.topic == TELEMETRY]
    ends = datetime(2026, 6, 3, 15, tzinfo=UTC)
    late = [
        n
        for n, r in enumerate(points)
        if _measured(r) < ends <= _written(r) < ends + timedelta(minutes=9)
    ]
    refinery = Refinery(tmp_path, "commerce")
    refinery.take(points[: late[0]])
    before = refinery.rows("gold.commerce.telemetry_hourly")
    hours = {_measured(points[n]).replace(minute=0) for n in late}
    built = {each.table: each for each in refinery.take(points[late[0] : late[-1] + 1])}
    assert built["gold.commerce.telemetry_hourly"].computed == "part"
    after = refinery.rows("gold.commerce.telemetry_hourly")
    new = after.join(before, on=after.columns, how="anti", nulls_equal=True)
    assert set(new["hour_start"]) <= hours
    assert len(before.join(after, on=["device_id", "sensor_type", "hour_start"], how="anti")) == 0
    assert new["late_points"].sum() == len(late)


def _written(record: Any) -> datetime:
    micros = json.loads(record.value)["source"]["ts_micro"]
    return datetime.fromtimestamp(micros / 1_000_000, UTC)


def _measured(record: Any) -> datetime:
    return datetime.fromtimestamp(json.loads(record.key)["timestamp"] / 1000, UTC)


# ---- BAD INPUT ---- #

NOON = datetime(2026, 6, 5, 12, tzinfo=UTC)
WHO = "550e8400-e29b-41d4-a716-446655440000"
DATE = {"$date": int(NOON.timestamp() * 1000)}
DOCUMENT: Row = {
    "user_id": bson_uuid(WHO), "content": {"text": "a", "media": [], "hashtags": [], "mentions": []}, "engagement": {"likes": 1, "shares": 0, "comments": 0},
    "created_at": DATE, "created_by": "s", "updated_at": DATE, "updated_by": "s", "version": 1,
}  # fmt: skip
CELLS: Row = {"user_id": WHO, "message_text": "a", "metadata": None, "created_by": "s", "trace_id": None}  # fmt: skip
EVENT: Row = {
    "orderId": WHO, "customerId": WHO, "status": "PENDING", "totalAmount": 1.5, "currency": "EUR",
    "auditInfo": {"createdAt": DATE["$date"], "createdBy": "s", "traceId": None},
}  # fmt: skip

#: What is as it should be but for one part, and what is said of it.
DIRT: list[tuple[str, Row, str]] = [
    ("posts", {"user_id": None}, "user_id_required"),
    ("posts", {"user_id": {"$binary": {"base64": "AAAAAAAAAAAAAAAAAAAAAA==", "subType": "03"}}}, "undecodable:user_id"),
    ("posts", {"content": {"hashtags": "sale, garden"}}, "undecodable:hashtags"),
    ("posts", {"content": {"media": {"url": "u"}}}, "undecodable:media"),
    ("posts", {"engagement": {"likes": -1}}, "likes_range"),
    ("posts", {"engagement": {"likes": "many"}}, "undecodable:likes"),
    ("posts", {"created_at": "yesterday"}, "undecodable:created_at"),
    ("chat_messages", {"user_id": None}, "user_id_required"),
    ("chat_messages", {"message_time": "550e8400-e29b-41d4-a716-446655440000"}, "undecodable:sent_at"),
    ("chat_messages", {"message_time": timedelta(hours=1)}, "not_from_the_future"),
    ("device_telemetry", {"timestamp": timedelta(minutes=6)}, "not_from_the_future"),
    ("device_telemetry", {"sensor_value": "NaN"}, "measurable"),
    ("device_telemetry", {"sensor_value": 1e300}, "measurable"),
    ("device_telemetry", {"sensor_value": None}, "sensor_value_required"),
    ("device_telemetry", {"sensor_value": "warm"}, "undecodable:sensor_value"),
    ("order_events", {"status": "RETURNED"}, "status_values"),
    ("order_events", {"totalAmount": -0.01}, "total_amount_range"),
    ("order_events", {"currency": "euro"}, "currency_pattern"),
    ("order_events", {"orderId": "number 7"}, "undecodable:order_id"),
]  # fmt: skip


def spoil(feeds: Feeds, table: str, part: Row) -> None:
    if table == "posts":
        identity = object_id(feeds)
        tell_document(feeds, POSTS, "c", identity, {"_id": {"$oid": identity}, **DOCUMENT, **part})
    elif table == "chat_messages":
        when = part.pop("message_time", timedelta())
        sent = timeuuid(feeds, NOON + when) if isinstance(when, timedelta) else when
        tell_cells(feeds, CHAT, "i", {"room_id": WHO, "message_time": sent}, {**CELLS, **part})
    elif table == "device_telemetry":
        at = NOON + part.pop("timestamp", timedelta(seconds=-len(feeds.records)))
        key = {"device_id": WHO, "sensor_type": "battery", "timestamp": int(at.timestamp() * 1000)}
        tell_cells(feeds, TELEMETRY, "i", key, {"sensor_value": 1.5, **part})
    else:
        tell_event(feeds, ORDERS, WHO, {**EVENT, **part}, 103, SCHEMAS[103])


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Of each table the first issue of each waiting row, in the order in which they came."""
    folder = tmp_path_factory.mktemp("dirt")
    feeds = Feeds(random=random.Random(1), clock=NOON)
    for table, part, _ in DIRT:
        spoil(feeds, table, dict(part))
    refinery = Refinery(folder, "commerce", registry(folder))
    refinery.take(feeds.records)
    waiting = {}
    for table in dict.fromkeys(table for table, _, _ in DIRT):
        assert len(refinery.rows(f"silver.commerce.{table}")) == 0
        rows = refinery.lake.scan(f"quarantine.commerce.{table}").sort("source_offset").collect()
        waiting[table] = rows["quality_issues"].list.first().to_list()
    return waiting


@pytest.mark.parametrize("number", range(len(DIRT)), ids=[f"{t}-{w}" for t, _, w in DIRT])
def test_what_is_bad_waits_in_quarantine_and_says_why(refused: Any, number: int):
    table, _, why = DIRT[number]
    earlier = sum(other == table for other, _, _ in DIRT[:number])
    assert refused[table][earlier] == why


# ---- WHAT CHANGES ---- #


def test_a_post_whose_tags_and_media_change_is_computed_alone(tmp_path: Path):
    told = Feeds(random=random.Random(1), clock=NOON)

    def tell(op: str, identity: str, tags: list[str], urls: list[str]) -> None:
        media = [{"type": "image", "url": url, "metadata": {}} for url in urls]
        content = {**DOCUMENT["content"], "hashtags": tags, "media": media}
        told.tick(1)
        tell_document(told, POSTS, op, identity, {"_id": {"$oid": identity}, **DOCUMENT, "content": content})  # fmt: skip

    names = [object_id(told) for _ in range(9)]
    for name in names:
        tell("c", name, ["Sale", "sale", "diy"], ["a", "a", "b"])
    refinery = Refinery(tmp_path, "commerce")
    refinery.take(told.records[:])
    tell("u", names[3], ["music"], [])
    built = {each.table: each for each in refinery.take(told.records[len(names) :])}
    for table, added, removed in (("post_hashtags", 1, 2), ("post_media", 0, 2), ("hashtag_daily", 3, 2)):  # fmt: skip
        done = built[f"gold.commerce.{table}"]
        assert (done.computed, done.added, done.removed) == ("part", added, removed)
    daily = refinery.rows("gold.commerce.hashtag_daily").select("hashtag", "posts").rows()
    assert daily == [("diy", 8), ("music", 1), ("sale", 8)]
    media = refinery.rows("gold.commerce.post_media").select("url", "times_shown").rows()
    assert sorted(media) == [("a", 2)] * 8 + [("b", 1)] * 8


def test_a_field_that_nobody_announced_can_become_a_column_later(feeds: Feeds, tmp_path: Path):
    """It was kept in the rest meanwhile; silver is made again from bronze with it in its column."""
    refinery = Refinery(tmp_path, "commerce")
    refinery.take([record for record in feeds.records if record.topic == POSTS])
    before = refinery.rows("silver.commerce.posts").filter(pl.col("rest").is_not_null())
    question = Column.model_validate({"type": "string", "source": "content.poll.question"})
    old = refinery.catalog["silver.commerce.posts"]
    grown = old.model_copy(update={"columns": {**old.columns, "question": question}})
    catalog = refinery.catalog.having(grown)
    apply(refinery.lake, catalog, grown.table, now=NOW)
    after = refinery.lake.scan(grown.table).filter(pl.col("question").is_not_null()).collect()
    assert set(after["post_id"]) == set(before["post_id"])
    assert not any("question" in rest for rest in after["rest"])
    assert all("options" in rest for rest in after["rest"])


MONEY = {"type": "record", "name": "Money", "fields": [{"name": "units", "type": "long"}]}


def publish_another(folder: Path, kind: Any, amount: Any) -> Refinery:
    """A lake that takes an event of a schema in which the total is of another type."""
    fields = [
        {**f, "type": kind} if f["name"] == "totalAmount" else f for f in SCHEMAS[102]["fields"]
    ]
    schema = {**SCHEMAS[102], "fields": fields}
    (folder / "registry.json").write_text(json.dumps({"schemas": {"7": schema}}))
    feeds = Feeds(random=random.Random(1), clock=NOON)
    tell_event(feeds, ORDERS, WHO, {**EVENT, "totalAmount": amount}, 7, schema)
    refinery = Refinery(folder, "commerce", Wire(open_registry(str(folder / "registry.json"), {})))
    file = folder / "one.jsonl"
    file.write_text("\n".join(recorded_lines(feeds.records)))
    capture_file(refinery.lake, refinery.catalog, file, wire=refinery.wire)
    return refinery


def test_a_version_with_a_structure_for_a_number_stops_its_table_and_names_the_field(
    tmp_path: Path,
):
    refinery = publish_another(tmp_path, MONEY, {"units": 150})
    with pytest.raises(DriftError, match="'total_amount' is float64 in the contract and json"):
        apply(refinery.lake, refinery.catalog, "silver.commerce.order_events", now=NOW)


def test_a_version_with_a_text_for_a_number_is_quarantined_by_the_fields_name(tmp_path: Path):
    refinery = publish_another(tmp_path, "string", "1.50 EUR")
    apply(refinery.lake, refinery.catalog, "silver.commerce.order_events", now=NOW)
    waiting = refinery.lake.scan("quarantine.commerce.order_events").collect()
    assert "undecodable:total_amount" in waiting["quality_issues"][0]


# ---- README ---- #


def test_every_column_of_these_tables_says_its_class():
    for table in ("posts", "chat_messages", "device_telemetry", "order_events"):
        for name, column in only("commerce")[f"silver.commerce.{table}"].columns.items():
            assert "classification" in column.model_fields_set or name == "row_id", (table, name)
