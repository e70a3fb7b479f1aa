"""The lake as of a moment, over generated histories: the source as it was then, whatever came after."""

from __future__ import annotations

import itertools
import tempfile
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings

from pipelines.asof import Past, query_as_of
from pipelines.bronze import Bronze
from pipelines.contract import Catalog, Contract
from pipelines.contract.rule_spec import RuleSpec
from pipelines.errors import QueryError
from pipelines.gold import build
from pipelines.moment import BRONZE_ORDER, parse_moment
from pipelines.silver import apply
from pipelines.storage import Lake
from tests.properties.test_laws import CATALOG, CONTRACT, CUTS, HISTORY, NOW, TABLE, batch, play

FORGETFUL = Catalog(Path(), {TABLE: CONTRACT.model_copy(update={"history": False})})
BRONZE, PAST = "bronze.shop.items", "history.shop.items"


def land(lake: Lake, catalog: Catalog, sent: list, cuts: list[int], *, applied: bool = True):
    start = 0
    for size in itertools.cycle(cuts):
        if start >= len(sent):
            return
        Bronze(lake, catalog).land(batch(sent[start : start + size], start))
        if applied:
            apply(lake, catalog, TABLE, now=NOW)
        start += size


def position(lake: Lake, sent: int, parts: int = 4) -> str:
    """The newest position among the first events that were sent."""
    rows = lake.scan(BRONZE).filter(pl.col("kafka_offset") < sent).select(BRONZE_ORDER).collect()
    return "/".join(map(str, rows.sort(BRONZE_ORDER).row(-1)[:parts]))


def silver(lake: Lake, catalog: Catalog, moment: str) -> dict[int, tuple[int, str | None]]:
    with Past(lake, catalog, parse_moment(moment)) as past:
        rows = past.table(TABLE).select("id", "price", "note").collect().rows()
    assert len({key for key, _, _ in rows}) == len(rows)
    return {key: (int(price.scaleb(2)), note) for key, price, note in rows}


def kept(rows: dict) -> dict:
    """What silver holds of the source: a price below zero waits in quarantine."""
    return {key: row for key, row in rows.items() if row[0] >= 0}


@settings(max_examples=10)
@given(HISTORY, CUTS)
def test_silver_as_of_each_commit_is_the_source_then(history, cuts):
    """With history, without it, and where silver has applied nothing; by position and log position."""
    source = play([step for step in history if step[0] == "transact"])
    if not source.sent:
        return
    for catalog, applied in ((CATALOG, True), (FORGETFUL, True), (CATALOG, False)):
        with tempfile.TemporaryDirectory() as folder:
            lake = Lake(folder)
            land(lake, catalog, source.sent, cuts, applied=applied)
            by_log = dict[str, dict]()
            for sent, rows in source.past:
                if sent:
                    assert silver(lake, catalog, position(lake, sent, 3)) == kept(rows)
                    by_log[position(lake, sent).split("/")[1]] = kept(rows)
            for commit, rows in by_log.items():
                assert silver(lake, catalog, f"lsn:0/{int(commit):X}") == rows


# ---- ONE SMALL PAST ---- #

#: At 1001 and 1002 ms of the source: two rows; at 1013 the first changes; at 1024 it goes.
STORY = [
    ("transact", [("put", 1, 100, 1), ("put", 2, 200, 2)]),
    ("transact", [("put", 1, 150, 3)]),
    ("transact", [("drop", 1)]),
]


@pytest.fixture(params=[True, False], ids=["history", "no history"])
def catalog(request: pytest.FixtureRequest) -> Catalog:
    return CATALOG if request.param else FORGETFUL


def told(tmp_path: Path, catalog: Catalog) -> Lake:
    lake = Lake(str(tmp_path / "lake"))
    land(lake, catalog, play(STORY).sent, [2])
    return lake


def at(seconds: str) -> str:
    return f"1970-01-01T00:00:{seconds}"


@pytest.mark.parametrize(
    ("moment", "rows"),
    [
        (at("01.0009Z"), {}),
        (at("01.001"), {1: (100, "n1")}),
        (at("01.002999"), {1: (100, "n1"), 2: (200, "n2")}),
        ("1970-01-01T01:00:01.013+01:00", {1: (150, "n3"), 2: (200, "n2")}),
        (at("01.024Z"), {2: (200, "n2")}),
        ("0/1000/1001", {1: (100, "n1")}),
        ("0/1000/1002/0", {1: (100, "n1")}),
        ("0/1012/1012", {1: (100, "n1"), 2: (200, "n2")}),
        ("lsn:0/3E8", {1: (100, "n1"), 2: (200, "n2")}),
        ("lsn:0/3F4", {1: (150, "n3"), 2: (200, "n2")}),
    ],
)
def test_a_version_is_valid_from_its_event_to_the_next(tmp_path, catalog, moment, rows):
    assert silver(told(tmp_path, catalog), catalog, moment) == rows


def test_history_as_of_a_moment_ends_nothing_later(tmp_path):
    lake = told(tmp_path, CATALOG)
    with Past(lake, CATALOG, parse_moment("lsn:0/3F4")) as past:
        then = past.table(PAST).sort("source_event").collect()
    assert then.select("id", "is_current").rows() == [(1, False), (2, True), (1, True)]
    assert then["ended_event"].to_list() == [1013, None, None]
    whole = lake.scan(PAST).filter(pl.col("source_event") < 1020).collect()
    assert whole["is_current"].sum() == 1


def test_bronze_as_of_a_moment_is_its_events_so_far(tmp_path, catalog):
    lake = told(tmp_path, catalog)
    counted = query_as_of(
        lake, catalog, f"SELECT COUNT(*) AS n FROM {BRONZE}", parse_moment("lsn:0/3F4")
    )
    assert (counted.rows.item(), counted.ways) == (3, {BRONZE: "its events up to then"})


@pytest.mark.parametrize(
    ("moment", "said"),
    [
        ("7/1/1", "newest event is at 0/1023/1024/"),
        ("0/99999/1", "newest event is at 0/1023/1024/"),
        ("lsn:1/0", "newest event is at lsn:0/400"),
        ("2999-01-01", "newest event is at "),
        ("0/16B3748", "write lsn:0/16B3748"),
        ("yesterday", "2026-01-31T12:00:00Z"),
    ],
)
def test_a_moment_that_is_none_or_has_not_come_is_refused(tmp_path, moment, said):
    with pytest.raises(QueryError, match=said):
        query_as_of(
            told(tmp_path, CATALOG), CATALOG, f"SELECT id FROM {TABLE}", parse_moment(moment)
        )


@pytest.mark.parametrize("table", ["quarantine.shop.items", "tombstones.shop.items"])
def test_a_table_without_a_past_is_refused(tmp_path, table):
    with pytest.raises(QueryError, match="has no past"):
        query_as_of(
            told(tmp_path, CATALOG), CATALOG, f"SELECT id FROM {table}", parse_moment("lsn:0/3E8")
        )


def test_gold_as_of_a_moment_keeps_the_keys_it_has_given(tmp_path):
    gold = Contract.model_validate(
        {
            "table": "gold.shop.dim_item",
            "description": "d",
            "owner": "o",
            "key": ["id"],
            "surrogate_key": {"column": "item_key", "of": ["id"]},
            "batch_id": "batch",
            "columns": {
                "item_key": {"type": "int64"},
                "id": {"type": "int32"},
                "price": {"type": "decimal(6,2)"},
                "batch": {"type": "string"},
            },
            "sql": f"SELECT i.id, i.price FROM {TABLE} AS i",
        }
    )
    catalog = Catalog(Path(), {TABLE: CONTRACT, gold.table: gold})
    lake, sent = Lake(str(tmp_path / "lake")), play(STORY).sent
    land(lake, catalog, sent[:2], [2])
    build(lake, catalog, gold.table, batch_id="b", now=NOW)
    for start in range(2, len(sent)):
        Bronze(lake, catalog).land(batch(sent[start : start + 1], start))
    apply(lake, catalog, TABLE, now=NOW)
    build(lake, catalog, gold.table, batch_id="c", now=NOW)
    before = {table: lake.version(table) for table in lake.tables()}
    sql = f"SELECT item_key, id, price FROM {gold.table} ORDER BY id"
    then = query_as_of(lake, catalog, sql, parse_moment("lsn:0/3F4")).rows
    assert [(key, i, str(price)) for key, i, price in then.rows()] == [
        (1, 1, "1.50"),
        (2, 2, "2.00"),
    ]
    assert {table: lake.version(table) for table in lake.tables()} == before


def test_a_row_that_waited_for_its_parent_is_silver_once_the_parent_came(tmp_path):
    rule = {
        "name": "known",
        "reference": {"column": "id", "table": "silver.shop.parents", "column_there": "id"},
    }
    child = CONTRACT.model_copy(update={"rules": (RuleSpec.model_validate(rule),)})
    parent = CONTRACT.model_copy(
        update={
            "table": "silver.shop.parents",
            "source": CONTRACT.source and CONTRACT.source.model_copy(update={"bronze": BRONZE}),
        }
    )
    catalog = Catalog(Path(), {TABLE: child, parent.table: parent})
    lake = Lake(str(tmp_path / "lake"))
    Bronze(lake, CATALOG).land(batch(play(STORY).sent, 0))
    apply(lake, catalog, TABLE, now=NOW)  # no parent is there yet, so all wait
    assert silver(lake, catalog, "0/1000/1001") == {}
    apply(lake, catalog, parent.table, now=NOW)
    assert silver(lake, catalog, "0/1000/1001") == {1: (100, "n1")}


@pytest.mark.parametrize(
    ("moment", "oldest", "newest", "epoch"),
    [
        ("5/1/1", 0, 9, 5),
        ("0/1/1", 0, 9, 0),
        ("0/1/1", 4, 9, 9),  # the moment's topic knew no snapshot, this table's did
        ("5/1/1", 0, 0, 0),
        ("lsn:0/1", 0, 9, 9),
    ],
)
def test_a_moment_of_one_topic_is_read_in_the_epochs_of_another(moment, oldest, newest, epoch):
    assert (parse_moment(moment).among(oldest, newest).position or ())[0] == epoch
