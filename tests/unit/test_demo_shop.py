"""The demo's stream is the same each time, holds every awkward event, and ends in its truth."""

from __future__ import annotations

import base64
import json
from collections import Counter
from datetime import UTC, datetime
from decimal import Decimal
from itertools import pairwise
from typing import Any, NamedTuple

import pytest

from assets.demo_shop import TABLES, generate
from assets.demo_source import PLACEHOLDER, Database, Record, Row, recorded_lines

MONEY = (
    "price", "total_amount", "discount_amount", "tax_amount", "shipping_amount", "unit_price", "line_total", "amount",
)  # fmt: skip
SCALES = {"weight_kg": 3, **dict.fromkeys(MONEY, 2)}


class Event(NamedTuple):
    """A change event: where it stands in the source's order, and the record it came in."""

    commit: int
    lsn: int
    arrival: int
    table: str
    body: dict[str, Any]
    record: Record


@pytest.fixture(scope="module")
def shop() -> Database:
    return generate()


@pytest.fixture(scope="module")
def events(shop: Database) -> list[Event]:
    return list(read(shop))


def read(shop: Database):
    """Every record of a table's topic that is a change event, in the order of arrival."""
    for arrival, record in enumerate(shop.records):
        table = record.topic.removeprefix("shop.public.")
        if table not in TABLES or record.value is None:
            continue
        try:
            body = json.loads(record.value)
        except ValueError:
            continue
        if body["op"] in set("crudt"):
            commit, lsn = json.loads(body["source"]["sequence"])
            yield Event(int(commit or 0), int(lsn), arrival, table, body, record)


def python_value(name: str, value: Any) -> Any:
    if value is None or value == PLACEHOLDER:
        return value
    if name in SCALES:
        unscaled = int.from_bytes(base64.b64decode(value), "big", signed=True)
        return Decimal(unscaled).scaleb(-SCALES[name])
    if name.endswith("_at"):
        return datetime.strptime(value, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
    return value


def fold(events: list[Event]) -> dict[str, dict[str, Row]]:
    held: dict[str, dict[str, Row]] = {table: {} for table in TABLES}
    for _, _, _, table, body, record in sorted(events, key=lambda event: event[:3]):
        if body["op"] == "t":
            held[table].clear()
            continue
        key = json.loads(record.key or b"")[TABLES[table].key]
        old = held[table].pop(key, {})
        if body["op"] != "d":
            new = {name: python_value(name, value) for name, value in body["after"].items()}
            held[table][key] = {n: old[n] if v == PLACEHOLDER else v for n, v in new.items()}
    return held


@pytest.mark.parametrize("seed", [7, 8, 11])
def test_the_stream_in_the_sources_order_ends_in_the_truth(seed: int) -> None:
    shop = generate(seed=seed)
    assert fold(list(read(shop))) == shop.truth


def test_a_seed_tells_the_same_story_and_another_seed_another() -> None:
    first, again, other = (generate(seed=seed, days=2) for seed in (3, 3, 4))
    assert (first.records, first.truth, first.notes) == (again.records, again.truth, again.notes)
    assert first.records != other.records


def test_a_topic_fits_the_in_process_broker(shop: Database) -> None:
    size = Counter[str]()
    for record in shop.records:
        size[record.topic] += len(record.key or b"") + len(record.value or b"")
    assert max(size.values()) < 4_000_000
    assert set(size) == {f"shop.public.{table}" for table in TABLES} | {
        "shop.transaction",
        "shop.message",
        "__debezium-heartbeat.shop",
    }


def test_time_rises_through_the_days_up_to_the_fifth_of_june(shop: Database) -> None:
    times = [record.timestamp_ms for record in shop.records]
    assert times == sorted(times)
    first, last = (datetime.fromtimestamp(at / 1000, UTC) for at in (times[0], times[-1]))
    assert (first.date().isoformat(), last.date().isoformat()) == ("2026-06-01", "2026-06-05")


# ---- EVERY AWKWARD EVENT ---- #


def test_the_snapshot_comes_first_from_one_place_in_the_log(events: list[Event]) -> None:
    rows = [event.body["source"] for event in events if event.commit == 0]
    assert [source["snapshot"] for source in (rows[0], rows[-1])] == ["first", "last"]
    assert len({source["lsn"] for source in rows}) == 1
    assert len({(source["table"], source["ts_ms"]) for source in rows}) == 2
    assert [event.arrival for event in events[: len(rows)]] == list(range(len(rows)))


def test_transactions_overlap(events: list[Event]) -> None:
    fresh = [event for event in once(events) if event.commit > 0]
    assert [event.commit for event in fresh] == sorted(event.commit for event in fresh)
    assert any(late.lsn < early.lsn for early, late in pairwise(fresh))


def once(events: list[Event]) -> list[Event]:
    """Events without those that a restart sent again."""
    seen = {event.record.value: event for event in reversed(events)}
    return sorted(seen.values(), key=lambda event: event.arrival)


def test_a_transaction_counts_its_events(shop: Database, events: list[Event]) -> None:
    counted: dict[str, Counter[str]] = {}
    for event in once(events):
        if told := event.body["transaction"]:
            here = counted.setdefault(told["id"].split(":")[0], Counter())
            here[event.table] += 1
            assert told["total_order"] == here.total()
            assert told["data_collection_order"] == here[event.table]
    for status in ("BEGIN", "END"):
        bounds = [b for b in boundaries(shop) if b["status"] == status]
        assert [b["id"].split(":")[0] for b in bounds] == list(counted)
    for end in (b for b in boundaries(shop) if b["status"] == "END"):
        here = counted[end["id"].split(":")[0]]
        assert end["event_count"] == here.total()
        assert end["data_collections"] == [
            {"data_collection": f"public.{table}", "event_count": n} for table, n in here.items()
        ]
    assert any({"orders", "order_items", "payments"} <= set(here) for here in counted.values())


def boundaries(shop: Database) -> list[dict[str, Any]]:
    return [json.loads(r.value or b"") for r in shop.records if r.topic == "shop.transaction"]


def test_a_delete_tells_the_key_alone_and_a_tombstone_follows(
    shop: Database, events: list[Event]
) -> None:
    deletes = [event for event in events if event.body["op"] == "d"]
    assert {event.table for event in deletes} == {"customers", "orders", "order_items"}
    topics: dict[str, list[Record]] = {}
    for record in shop.records:
        topics.setdefault(record.topic, []).append(record)
    for event in deletes:
        topic = topics[event.record.topic]
        at = next(n for n, record in enumerate(topic) if record is event.record)
        assert (topic[at + 1].key, topic[at + 1].value) == (event.record.key, None)
    order = next(event.body["before"] for event in deletes if event.table == "orders")
    told = {name: order[name] for name in ("customer_id", "status", "total_amount", "note")}
    assert told == {"customer_id": "", "status": "PENDING", "total_amount": "AA==", "note": None}
    assert order["created_at"] == "1970-01-01T00:00:00.000000Z"


def test_only_products_tell_the_row_before_an_update(events: list[Event]) -> None:
    told = {(e.table, e.body["before"] is not None) for e in events if e.body["op"] == "u"}
    assert told == {("customers", False), ("orders", False), ("products", True)}


def test_a_customers_key_changes(events: list[Event], shop: Database) -> None:
    renamed = [event for event in events if event.record.headers]
    gone, born = renamed[0], renamed[1]
    assert [event.body["op"] for event in (gone, born)] == ["d", "c"]
    assert gone.record.headers == (("__debezium.newkey", born.record.key),)
    assert born.record.headers == (("__debezium.oldkey", gone.record.key),)
    assert born.body["after"]["customer_id"] in shop.truth["customers"]
    assert json.loads(gone.record.key or b"")["customer_id"] not in shop.truth["customers"]


def test_a_long_note_is_left_out_while_it_stands(shop: Database, events: list[Event]) -> None:
    rows = [e.body["after"] for e in events if e.table == "orders" and e.body["op"] == "u"]
    untold = {row["order_id"] for row in rows if row["note"] == PLACEHOLDER}
    assert any(len(shop.truth["orders"].get(key, {}).get("note") or "") > 2000 for key in untold)


def test_payments_are_emptied_once_and_go_on(events: list[Event]) -> None:
    ops = [event.body["op"] for event in events if event.table == "payments"]
    assert ops.count("t") == 1
    assert 0 < ops.index("t") < len(ops) - 100
    assert next(event for event in events if event.body["op"] == "t").record.key is None


def test_events_come_again_and_late(events: list[Event]) -> None:
    newest, late = dict.fromkeys(TABLES, (0, 0)), Counter[str]()
    for event in events:
        late[event.table] += (event.commit, event.lsn) < newest[event.table]
        newest[event.table] = max(newest[event.table], (event.commit, event.lsn))
    assert late["orders"] > 12
    assert len(events) - len(once(events)) >= 2 * 2 * 12


def test_products_are_read_again_in_mid_stream(shop: Database, events: list[Event]) -> None:
    sources = [
        event.body["source"]
        for event in events
        if event.body["source"]["snapshot"] == "incremental"
    ]
    assert {(s["table"], s["lsn"], s["txId"]) for s in sources} == {("products", None, None)}
    assert len(sources) == 2 * len(shop.truth["products"])


def test_three_messages_are_no_change_events(shop: Database, events: list[Event]) -> None:
    good = {event.arrival for event in events}
    broken = [
        record.value
        for arrival, record in enumerate(shop.records)
        if record.topic == "shop.public.orders" and record.value and arrival not in good
    ]
    cut, not_text, unknown = broken
    with pytest.raises(json.JSONDecodeError):
        json.loads(cut)
    with pytest.raises(UnicodeDecodeError):
        not_text.decode()
    assert json.loads(unknown)["op"] == "x"


def test_bad_rows_stay_or_are_mended(shop: Database, events: list[Event]) -> None:
    orders, customers = shop.truth["orders"], shop.truth["customers"]
    bad = {
        key: why
        for key, row in orders.items()
        for why, is_bad in (
            ("a negative total", row["total_amount"] < 0),
            ("an unknown customer", row["customer_id"] not in customers),
            ("a total beyond decimal(10,2)", row["total_amount"] >= 10**8),
        )
        if is_bad
    }
    assert bad == shop.notes
    assert set(bad.values()) == {
        "a negative total",
        "an unknown customer",
        "a total beyond decimal(10,2)",
    }
    rows = [(event.table, event.body["after"]) for event in events if event.body["after"]]
    negative = {
        row["order_id"]
        for table, row in rows
        if table == "orders" and python_value("total_amount", row["total_amount"]) < 0
    }
    assert len(negative - set(bad)) == 1
    malformed = {row["customer_id"] for _, row in rows if row.get("email") == "not-an-email"}
    assert [customers[key]["email"] for key in malformed] == ["mended@example.org"]


def test_orders_take_every_status(shop: Database) -> None:
    statuses = {row["status"] for row in shop.truth["orders"].values()}
    assert statuses == {"PENDING", "CONFIRMED", "SHIPPED", "DELIVERED", "CANCELLED"}


def test_the_database_and_the_connector_speak_too(shop: Database) -> None:
    told = Counter(record.topic for record in shop.records)
    assert told["__debezium-heartbeat.shop"] == 5
    (record,) = (record for record in shop.records if record.topic == "shop.message")
    assert json.loads(record.value or b"")["op"] == "m"


def test_recorded_lines_number_each_topics_records_and_lose_no_byte(shop: Database) -> None:
    next_offset = Counter[str]()
    for record, text in zip(shop.records, recorded_lines(shop.records), strict=True):
        line = json.loads(text)
        assert (line["topic"], line["partition"]) == (record.topic, 0)
        assert line["offset"] == next_offset[record.topic]
        assert line["timestamp"] == record.timestamp_ms
        assert [data(line[part]) for part in ("key", "value")] == [record.key, record.value]
        assert [(name, data(value)) for name, value in line["headers"]] == list(record.headers)
        next_offset[record.topic] += 1


def data(told: str | dict[str, str] | None) -> bytes | None:
    if told is None or isinstance(told, str):
        return told if told is None else told.encode()
    return base64.b64decode(told["b64"])
