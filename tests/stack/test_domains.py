"""Each domain from its real database through real Debezium into gold, held to SQL over that database."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from random import Random

import duckdb
import polars as pl
import psycopg2
import pytest
from psycopg2 import extras

from assets.demo import STORIES
from assets.demo_source import Database, Record, Table
from assets.generator.databases import Postgres, open_target
from assets.generator.telling import Generated, generate
from pipelines.contract import Catalog
from pipelines.contract.model import Source
from pipelines.gold import inputs_of, order_of
from tests.spec import test_commerce_source as commerce
from tests.spec import test_interactions_gold as interactions
from tests.spec import test_research_gold as research
from tests.spec import test_tasks_gold as tasks
from tests.spec.domains import Refinery, differences, source_of
from tests.stack import topics
from tests.stack.mariadb import running
from tests.stack.services import Stack
from tests.stack.shop import Shop
from tests.stack.workload import Outcome

#: Days of 2026 in the shop's dimensions.
_DIMENSIONS = {
    "dim_customer": "SELECT customer_id, country, segment, created_at::DATE AS customer_since FROM c",
    "dim_product": "SELECT product_id, sku, name AS product_name, category, price, active FROM products",
    "dim_date": """
        SELECT DISTINCT key_of(created_at) AS date_key, created_at::DATE AS date, year(date) AS year, quarter(date) AS quarter, month(date) AS month,
          day(date) AS day, week(date) AS iso_week, isodow(date) AS weekday, isodow(date) > 5 AS is_weekend FROM told WHERE op <> 'd'""",
}  # fmt: skip

#: What each domain's gold is held to: views over the source, and a query a table.
ORACLES: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "commerce": (commerce.KEPT, {**commerce.GOLD, **_DIMENSIONS}),
    "tasks": (tasks.KEPT, tasks.GOLD),
    "interactions": (interactions.KEPT, interactions.GOLD),
    "research": (research.KEPT, research.GOLD),
}


@dataclass(frozen=True, slots=True)
class Landed:
    """A domain's lake after its story, and its source as it stands then."""

    domain: str
    told: Generated
    lake: Refinery
    source: duckdb.DuckDBPyConnection


@pytest.fixture(scope="module", params=ORACLES)
def landed(
    request: pytest.FixtureRequest, stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Landed]:
    domain, story = request.param, STORIES[request.param].tell(11)
    lake = Refinery(tmp_path_factory.mktemp(domain), domain)
    lake.catalog = _fed_by(story, lake.catalog)
    with _database(stack, domain) as shop:

        def follow() -> None:
            """The connector's snapshot, and a first run over that alone."""
            listed = ",".join(f"{t.schema}.{name}" for name, t in story.tables.items())
            shop.connect(prefix=story.name, overrides={"table.include.list": listed})
            lake.catch_up(shop.bootstrap)

        url = f"postgresql://postgres@127.0.0.1:{stack.postgres}/{shop.database}"
        told = generate(domain, url, seed=11, size=2000, after_load=follow)
        shop.wait_until_streamed()
        lake.catch_up(shop.bootstrap)
        yield Landed(domain, told, lake, _source(stack, domain, story.name, story.tables, url))


@pytest.fixture(scope="module")
def from_mariadb(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Landed]:
    """The interaction system as it runs on MariaDB: other topics in its contracts, the same SQL."""
    story = STORIES["interactions"].tell(12)
    lake = Refinery(tmp_path_factory.mktemp("mariadb"), "interactions")
    prefix = f"maria_{secrets.token_hex(4)}"
    with running(stack, "ims") as server:
        tables = {name: replace(table, schema="ims") for name, table in story.tables.items()}
        for contract in lake.catalog.layer("silver"):
            source = Source(connector="mariadb", topic=f"{prefix}.ims.{contract.name}")
            moved = contract.model_copy(update={"source": source})
            lake.catalog = lake.catalog.having(moved)

        def follow() -> None:
            server.connect(prefix, list(tables))
            lake.catch_up(stack.bootstrap)

        told = generate("interactions", server.url, seed=12, size=2000, after_load=follow)
        server.wait_until_streamed(prefix)
        lake.catch_up(stack.bootstrap)
        yield Landed(
            "interactions", told, lake, _source(stack, "interactions", prefix, tables, server.url)
        )
        server.close(prefix)


def _fed_by(story: Database, catalog: Catalog) -> Catalog:
    """What comes of the story's tables alone: a domain may have other sources beside."""
    tables = set(catalog.contracts)
    for contract in catalog.layer("silver"):
        if contract.name not in story.tables:
            tables.discard(contract.table)
    for table in order_of(catalog):
        inputs = {
            f"silver.{name.partition('.')[2]}" if name.startswith("history.") else name
            for name in inputs_of(catalog[table])
        }
        if not inputs <= tables:
            tables.discard(table)
    kept = {n: c for n, c in catalog.contracts.items() if n in tables and c.layer != "export"}
    return Catalog(catalog.root, kept)


def _database(stack: Stack, domain: str) -> closing[Shop]:
    database = f"{domain}_{secrets.token_hex(4)}"
    with closing(psycopg2.connect(stack.dsn())) as db:
        db.autocommit = True
        db.cursor().execute(f"create database {database}")
    return closing(Shop(stack=stack, database=database, stocked=Outcome()))


def _source(
    stack: Stack, domain: str, prefix: str, tables: Mapping[str, Table], url: str
) -> duckdb.DuckDBPyConnection:
    """The real tables, and the log as the topics tell it, under the oracle's views."""
    target = open_target(url, tables)
    here = Database(name=prefix, tables=tables, random=Random(), clock=datetime.now(UTC))
    with closing(target.connect()) as connection, connection.cursor() as cursor:
        if isinstance(target, Postgres):
            extras.register_default_jsonb(connection, loads=str)  # as the text that it is
        for table, known in tables.items():
            cursor.execute(f"select * from {target.name(table)}")
            names = [column[0] for column in cursor.description]
            rows = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
            here.truth[table] = {str(row[known.key]): row for row in rows}
            here.records += [
                Record(topic=m.topic(), key=m.key(), value=m.value(), timestamp_ms=0)
                for m in topics.read(stack, here.topic(table))
            ]
    source = source_of(here, domain)
    source.execute(ORACLES[domain][0])
    return source


@pytest.mark.stack
def test_gold_is_what_sql_says_of_the_real_source(landed: Landed):
    assert_gold_is_the_source(landed)


@pytest.mark.stack
def test_gold_is_what_sql_says_of_a_mariadb(from_mariadb: Landed):
    assert_gold_is_the_source(from_mariadb)


def assert_gold_is_the_source(landed: Landed) -> None:
    wrong = dict[str, list[str]]()
    for table, sql in ORACLES[landed.domain][1].items():
        rows = landed.lake.rows(f"gold.{landed.domain}.{table}")
        if table.startswith("dim_"):
            rows = rows.drop("customer_key", "product_key", strict=False)  # given by the runner
        assert len(rows) > 0, table
        if unlike := differences(rows, landed.source, sql):
            wrong[table] = unlike
    assert wrong == {}


# ---- FACTS ---- #

#: The shop's lines as they stood at a moment, from its log alone: the newest version of order and line
#: by then, where both stand; the first line carries what the order has once. A line of an order that is
#: gone when the rules are judged is of none that silver holds: it waits in quarantine with its versions.
_FACTS = """
WITH ov AS (SELECT order_id, arg_max({'op': op, 'status': status, 'shipping': shipping_amount, 'gone': deleted_at, 'kept': op = 'd' OR stands(total_amount, status, customer_id)}, (commit, lsn)) AS o
  FROM orders_log WHERE told_us <= $moment GROUP BY order_id),
iv AS (SELECT order_item_id, arg_max({'op': op, 'order_id': order_id, 'total': line_total, 'gone': deleted_at}, (commit, lsn)) AS i
  FROM order_items_log WHERE told_us <= $moment GROUP BY order_item_id)
SELECT order_item_id, o.status AS order_status, CAST(order_item_id = min(order_item_id) OVER (PARTITION BY order_id) AS INTEGER) AS order_count, i.total AS total_amount,
  IF(order_item_id = min(order_item_id) OVER (PARTITION BY order_id), o.shipping, 0) AS shipping_amount
FROM iv JOIN ov ON i.order_id = ov.order_id WHERE o.op <> 'd' AND o.kept AND o.gone IS NULL AND i.op <> 'd' AND i.gone IS NULL
  AND i.order_id IN (SELECT order_id FROM o)
"""  # fmt: skip


@pytest.mark.stack
@pytest.mark.parametrize("landed", ["commerce"], indirect=True)
def test_facts_are_the_orders_at_any_moment(landed: Landed):
    facts = landed.lake.rows("gold.commerce.order_facts").with_columns(
        pl.col("valid_from", "valid_to").dt.epoch("us")
    )
    moments = "SELECT unnest(quantile_disc(told_us, [i / 20.0 for i in range(21)])) FROM (SELECT DISTINCT told_us FROM orders_log UNION SELECT told_us FROM order_items_log)"
    for (moment,) in landed.source.execute(moments).fetchall():
        found = landed.source.execute(_FACTS, {"moment": moment})
        names = [column[0] for column in found.description or ()]
        held = facts.filter(
            pl.col("valid_from") <= moment,
            pl.col("valid_to").is_null() | (pl.col("valid_to") > moment),
        )
        assert sorted(held.select(names).rows()) == sorted(found.fetchall())


# ---- AUDIT ---- #


@pytest.mark.stack
@pytest.mark.parametrize("landed", ["commerce"], indirect=True)
def test_the_audit_tells_what_the_log_tells(landed: Landed):
    commerce.assert_audit_is_the_log(landed.lake, landed.source)
