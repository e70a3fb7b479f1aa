"""The stack itself is right: what the shop committed is in the topics, in each message form."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal

import polars as pl
import psycopg2
import pytest
from confluent_kafka import Message

from tests.stack import connect, services, source, topics, workload
from tests.stack.connect import TABLES, Form
from tests.stack.services import Stack
from tests.stack.shop import Shop, Stream, open_shop

pytestmark = pytest.mark.stack

PLACEHOLDER = "__debezium_unavailable_value"


@dataclass(frozen=True)
class Traffic:
    """One workload and the records it became, by form and table."""

    shop: Shop
    worked: workload.Outcome
    records: dict[Form, dict[str, list[Message]]]

    def values(self, form: Form, table: str) -> list[dict[str, object]]:
        """Payloads in Kafka's order, tombstones left out."""
        return [payload(m, form) for m in self.records[form][table] if m.value() is not None]


def payload(message: Message, form: Form) -> dict[str, object]:
    value = json.loads(message.value() or b"null")
    return value["payload"] if form.has_schemas else value


def op(value: dict[str, object]) -> object:
    return value["op"] if "op" in value else value["__op"]


@pytest.fixture(scope="module")
def traffic(stack: Stack) -> Iterator[Traffic]:
    with open_shop(stack) as shop:
        for form in Form:
            shop.connect(form, partitions=3 if form is Form.ENVELOPED_SCHEMAS else 1)
        worked = shop.work(workload.Plan(transactions=3000))
        shop.wait_until_streamed()
        records = {
            s.form: {t: topics.read(stack, s.topic(t)) for t in TABLES} for s in shop.streams
        }
        yield Traffic(shop, worked, records)


@pytest.mark.parametrize("form", Form)
@pytest.mark.parametrize("table", TABLES)
def test_every_committed_change_is_in_its_topic(traffic: Traffic, form: Form, table: str) -> None:
    found = Counter(op(value) for value in traffic.values(form, table))
    wanted = Counter({o: traffic.worked.count(o, table) for o in "cudt"})
    wanted["r"] = traffic.shop.stocked.count("c", table)
    if form.is_unwrapped:
        wanted["t"] = 0  # ExtractNewRecordState drops truncates
    assert found == +wanted


@pytest.mark.parametrize("form", Form)
def test_every_delete_is_followed_by_a_tombstone(traffic: Traffic, form: Form) -> None:
    for table in TABLES:
        tombstones = sum(m.value() is None for m in traffic.records[form][table])
        assert tombstones == traffic.worked.count("d", table)


def test_the_workload_has_every_turn(traffic: Traffic) -> None:
    turns = traffic.worked.turns
    assert min(turns.values()) >= 1
    assert {"truncate_payments", "rekey_order", "regret_a_part", "dawdle"} <= turns.keys()
    assert traffic.worked.committed > 2500
    assert traffic.worked.rolled_back > 50
    assert traffic.worked.count("t") == 1


def test_the_log_folded_by_key_is_the_source(traffic: Traffic) -> None:
    """The oracle in small: in the order of one partition, the last event of a key tells its row."""
    rows = source.read_all(traffic.shop.dsn, TABLES)
    for table in TABLES:
        key = rows[table].columns[0]
        versions: dict[object, object] = {}
        for value in traffic.values(Form.ENVELOPED, table):
            match value:
                case {"op": "t"}:
                    versions.clear()
                case {"op": "d", "before": before}:
                    versions.pop(before[key])
                case {"after": after}:
                    versions[after[key]] = (after["version"], after["updated_by"])
        there = {k: (v, by) for k, v, by in rows[table][[key, "version", "updated_by"]].rows()}
        assert versions == there


def test_transactions_interleave_and_commit_out_of_log_order(traffic: Traffic) -> None:
    lsns = [v["source"]["lsn"] for v in traffic.values(Form.ENVELOPED, "orders")]
    assert lsns != sorted(lsns)


def test_unchanged_long_values_come_as_placeholders(traffic: Traffic) -> None:
    notes = [
        (v["after"] or {}).get("note")
        for v in traffic.values(Form.ENVELOPED, "orders")
        if v["op"] == "u"
    ]
    assert PLACEHOLDER in notes
    assert any(note and len(note) > 2000 for note in notes)


def test_transaction_metadata_counts_what_was_committed(traffic: Traffic) -> None:
    stack, prefix = traffic.shop.stack, traffic.shop.stream.prefix
    said = [json.loads(m.value()) for m in topics.read(stack, f"{prefix}.transaction")]
    ends = [one for one in said if one["status"] == "END"]
    changes = sum(n for (_, done), n in traffic.worked.changes.items() if done in "cudt")
    assert (
        sum(
            part["event_count"]
            for end in ends
            for part in end["data_collections"]
            if part["data_collection"].startswith("public.")
        )
        == changes
    )


def test_only_the_shop_is_streamed(traffic: Traffic) -> None:
    """pgbench's tables lie in the same database and log, and in no topic."""
    stream = traffic.shop.stream
    wanted = {stream.topic(table) for table in TABLES}
    found = set(topics.named(traffic.shop.stack, stream.prefix))
    assert {t for t in found if t.startswith(f"{stream.prefix}.public.")} == wanted
    assert f"__debezium-heartbeat.{stream.prefix}" in found


def test_more_partitions_are_all_used(traffic: Traffic) -> None:
    found = {m.partition() for m in traffic.records[Form.ENVELOPED_SCHEMAS]["orders"]}
    assert found == {0, 1, 2}


def test_the_source_is_read_exactly(quiet_shop: Shop) -> None:
    with psycopg2.connect(quiet_shop.dsn) as db, db.cursor() as cursor:
        cursor.execute("truncate products")
        cursor.execute(
            "insert into products values ('A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', '', 'x', null,"
            ' 99999999.99, 0.001, \'{"b": 1.10, "a": null}\', true,'
            " '2026-03-29 03:00:00.000001+02', 'me', '2026-01-01+00', 'me', 1, null, null)"
        )
    db.close()
    frame = source.read(quiet_shop.dsn, "products")
    row = frame.row(0, named=True)
    assert row["product_id"] == "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
    assert row["price"] == Decimal("99999999.99")
    assert row["weight_kg"] == Decimal("0.001")
    assert row["attributes"] == '{"a": null, "b": 1.10}'
    assert row["created_at"].isoformat() == "2026-03-29T01:00:00.000001+00:00"
    assert row["created_at"].utcoffset() == timedelta(0)
    assert (row["sku"], row["category"]) == ("", None)
    assert frame.schema["weight_kg"] == pl.Decimal(8, 3)


def test_a_shop_can_have_its_topics_under_a_name_of_choice_again(stack: Stack) -> None:
    """Two shops one after the other with prefix `shop`: the second sees nothing of the first."""
    for _ in range(2):
        with open_shop(stack) as shop:
            stream = shop.connect(prefix="shop")
            assert stream.topic("orders") == "shop.public.orders"
            shop.wait_until_streamed()
            found = topics.read(stack, "shop.public.orders")
            assert len(found) == shop.stocked.count("c", "orders")
    assert topics.named(stack, "shop") == []


def test_a_connector_stopped_for_a_while_misses_nothing(shop: Shop) -> None:
    connect.pause(shop.stack, shop.stream.name)
    worked = shop.work(workload.Plan(transactions=200, pgbench_seconds=0))
    connect.resume(shop.stack, shop.stream.name)
    shop.wait_until_streamed()
    assert _count(shop, shop.stream) == sum(worked.changes.values()) + sum(
        shop.stocked.changes.values()
    )


def _count(shop: Shop, stream: Stream) -> int:
    """Records with a value, over all tables."""
    return sum(
        m.value() is not None for t in TABLES for m in topics.read(shop.stack, stream.topic(t))
    )


def test_a_closed_shop_leaves_nothing_behind(stack: Stack) -> None:
    with open_shop(stack) as shop:
        stream = shop.connect()
    db = psycopg2.connect(stack.dsn())
    with db, db.cursor() as cursor:
        cursor.execute(
            "select count(*) from pg_replication_slots where slot_name = %s", [stream.name]
        )
        assert cursor.fetchone() == (0,)
        cursor.execute("select count(*) from pg_database where datname = %s", [shop.database])
        assert cursor.fetchone() == (0,)
    db.close()
    assert topics.named(stack, stream.prefix) == []
    assert stream.name not in connect.names(stack)


def test_up_again_is_the_same_stack(stack: Stack) -> None:
    assert services.up() == stack
