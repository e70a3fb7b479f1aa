"""Whole transactions: silver stops before one that is not all there, and gold shows none in part.

Two tables of one source; the lines are records as they land, in runs divided by `--`.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipelines.bronze import Bronze
from pipelines.capture.blocks import BlockCutter
from pipelines.capture.records import Columns, Origin, Partition, RecordBatch, to_frame
from pipelines.contract import Catalog
from pipelines.contract.model import Contract
from pipelines.cut import (
    _first_open,  # pyright: ignore[reportPrivateUsage] - a race, told by its two halves
    plan_cut,
)
from pipelines.errors import LagError
from pipelines.gold import build
from pipelines.silver import apply
from pipelines.storage import Lake

NOW = datetime(2026, 1, 1, tzinfo=UTC)
#: Epoch milliseconds of the records; a reading to the end is a second later.
WRITTEN = 1_760_000_000_000


def silver(name: str) -> Contract:
    return Contract.model_validate(
        {
            "table": f"silver.x.{name}", "description": "d", "owner": "o", "key": ["id"],
            "source": {"connector": "postgres", "topic": f"p.public.{name}"},
            "columns": {"id": {"type": "int32"}, "of": {"type": "int32"}},
        }
    )  # fmt: skip


GOLD = Contract.model_validate(
    {
        "table": "gold.x.g", "description": "d", "owner": "o", "key": ["id"],
        "columns": {"id": {"type": "int32"}, "items": {"type": "int64"}},
        "sql": "SELECT o.id, CAST(COUNT(i.id) AS BIGINT) AS items FROM silver.x.orders o LEFT JOIN silver.x.items i ON i.of = o.id GROUP BY o.id",
    }
)  # fmt: skip
CATALOG = Catalog(Path(), {c.table: c for c in (silver("orders"), silver("items"), GOLD)})


class Shop:
    def __init__(self, folder: Path) -> None:
        self.lake, self.offsets = Lake(str(folder)), dict[str, int]()

    def land(
        self, *records: tuple[str, Any, Any], read_all: bool = False, written: int = WRITTEN
    ) -> None:
        rows = list[tuple[str, int, Any, Any]]()
        for topic, key, value in records:
            rows.append((topic, self.offsets.get(topic, 0), key, value))
            self.offsets[topic] = self.offsets.get(topic, 0) + 1
        columns = Columns(
            topics=[t for t, *_ in rows], partitions=[0] * len(rows), offsets=[o for _, o, *_ in rows], timestamps=[(1, written)] * len(rows),
            keys=[json.dumps(k).encode() for *_, k, _ in rows], values=[json.dumps(v).encode() for *_, v in rows],
        )  # fmt: skip
        frame, schemas = to_frame(columns, BlockCutter())
        nexts = {Partition(topic, 0): offset for topic, offset in self.offsets.items()}
        bronze = Bronze(self.lake, CATALOG)
        bronze.land(
            RecordBatch(
                frame=frame,
                start_offsets={},
                next_offsets=nexts,
                origin=Origin(cluster="c"),
                schemas=schemas,
            )
        )
        if read_all:
            bronze.finish(
                list(CATALOG.topics()), datetime.fromtimestamp(WRITTEN / 1000 + 3600, UTC)
            )

    def apply(self, *names: str) -> tuple[str, ...]:
        cut = plan_cut(self.lake, CATALOG)
        for name in names or ("orders", "items"):
            table = f"silver.x.{name}"
            apply(self.lake, CATALOG, table, now=NOW, limit=cut.of(table))
        return cut.notices

    def held(self, name: str) -> list[int]:
        return sorted(self.lake.scan(f"silver.x.{name}").select("id").collect().to_series())

    def gold(self) -> dict[int, int]:
        build(self.lake, CATALOG, "gold.x.g", batch_id="b", now=NOW)
        return dict(self.lake.scan("gold.x.g").collect().rows())


def event(
    table: str, key: int, of: int, *, tx: int, lsn: int, order: int = 1
) -> tuple[str, Any, Any]:
    source = {
        "name": "p",
        "schema": "public",
        "table": table,
        "snapshot": "false",
        "lsn": lsn,
        "sequence": f'["{tx * 100}","{lsn}"]',
        "ts_ms": 1,
        "txId": tx,
    }
    transaction = {"id": f"{tx}:{lsn}", "total_order": order, "data_collection_order": 1}
    value = {
        "before": None,
        "after": {"id": key, "of": of},
        "source": source,
        "op": "c",
        "ts_ms": 1,
        "transaction": transaction,
    }
    return f"p.public.{table}", {"id": key}, value


def end(tx: int, **counts: int) -> tuple[str, Any, Any]:
    told = [
        {"data_collection": f"public.{table}", "event_count": count}
        for table, count in counts.items()
    ]
    value = {
        "status": "END",
        "id": f"{tx}:{tx * 100 + 99}",
        "event_count": sum(counts.values()),
        "data_collections": told,
        "ts_ms": 1,
    }
    return "p.transaction", {"id": value["id"]}, value


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


FIRST = [
    event("orders", 1, 0, tx=1, lsn=101),
    event("items", 11, 1, tx=1, lsn=102),
    end(1, orders=1, items=1),
]


def test_a_whole_transaction_is_applied(shop: Shop):
    shop.land(*FIRST)
    assert shop.apply() == ()
    assert (shop.held("orders"), shop.held("items"), shop.gold()) == ([1], [11], {1: 1})


def test_one_whose_items_are_missing_waits_and_so_does_what_is_behind_it(shop: Shop):
    shop.land(*FIRST)
    later = [event("orders", 3, 0, tx=3, lsn=301), end(3, orders=1)]
    shop.land(event("orders", 2, 0, tx=2, lsn=201), end(2, orders=1, items=1), *later)
    assert shop.apply() == ("p: waits for the rest of transaction 2",)
    assert (shop.held("orders"), shop.gold()) == ([1], {1: 1})
    shop.land(event("items", 21, 2, tx=2, lsn=202))
    assert shop.apply() == ()
    assert (shop.held("orders"), shop.held("items"), shop.gold()) == (
        [1, 2, 3],
        [11, 21],
        {1: 1, 2: 1, 3: 0},
    )


def test_what_lands_while_the_cut_is_made_is_beyond_it(shop: Shop):
    shop.land(*FIRST)
    shop.land(event("orders", 2, 0, tx=2, lsn=201), end(2, orders=1, items=1))
    contracts = list(CATALOG.layer("silver"))
    versions = {each.table: shop.lake.version(each.bronze) or 0 for each in contracts}
    shop.land(event("items", 21, 2, tx=2, lsn=202))
    position, names = _first_open(shop.lake, "p", contracts, versions, "bronze.side.p_transaction")
    assert (position is None, names) == (False, ["2"])


def test_an_event_that_lands_before_an_old_cut_waits_with_its_transaction(shop: Shop):
    shop.land(*FIRST)
    shop.land(event("orders", 2, 0, tx=2, lsn=202), event("items", 31, 3, tx=3, lsn=301))
    shop.apply()
    shop.land(event("items", 21, 2, tx=2, lsn=201))
    shop.apply()
    assert (shop.held("orders"), shop.held("items"), shop.gold()) == ([1], [11], {1: 1})


def test_one_without_its_end_waits(shop: Shop):
    shop.land(*FIRST)
    shop.land(event("orders", 2, 0, tx=2, lsn=201), event("items", 21, 2, tx=2, lsn=202))
    shop.apply()
    assert shop.held("items") == [11]
    shop.land(end(2, orders=1, items=1))
    shop.apply()
    assert shop.held("items") == [11, 21]


def test_what_lands_while_a_run_goes_on_waits_for_the_next(shop: Shop):
    shop.land(*FIRST)
    cut = plan_cut(shop.lake, CATALOG)
    apply(shop.lake, CATALOG, "silver.x.orders", now=NOW, limit=cut.of("silver.x.orders"))
    shop.land(
        event("orders", 2, 0, tx=2, lsn=201),
        event("items", 21, 2, tx=2, lsn=202),
        end(2, orders=1, items=1),
    )
    apply(shop.lake, CATALOG, "silver.x.items", now=NOW, limit=cut.of("silver.x.items"))
    assert (shop.held("orders"), shop.held("items"), shop.gold()) == ([1], [11], {1: 1})


def test_a_table_that_lags_is_named_and_gold_stays_as_it_was(shop: Shop):
    shop.land(*FIRST)
    shop.apply()
    assert shop.gold() == {1: 1}
    shop.land(
        event("orders", 2, 0, tx=2, lsn=201),
        event("items", 21, 2, tx=2, lsn=202),
        end(2, orders=1, items=1),
    )
    shop.apply("orders")
    with pytest.raises(LagError, match=r"gold.x.g: silver.x.items lags behind silver.x.orders"):
        shop.gold()
    assert dict(shop.lake.scan("gold.x.g").collect().rows()) == {1: 1}
    shop.apply("items")
    assert shop.gold() == {1: 1, 2: 1}


def test_events_sent_again_count_once_and_hold_nothing_up(shop: Shop):
    shop.land(*FIRST)
    shop.apply()
    shop.land(
        FIRST[1], event("orders", 2, 0, tx=2, lsn=201), end(1, orders=1, items=1), end(2, orders=1)
    )
    assert shop.apply() == ()
    assert shop.held("orders") == [1, 2]


def test_an_event_sent_again_days_after_its_end_holds_nothing_up(shop: Shop):
    """A mirror that restarts sends one topic again, and the END lies in another, days before."""
    old = [event("orders", 1, 0, tx=1, lsn=110), event("items", 7, 1, tx=1, lsn=120)]
    shop.land(*old, end(1, orders=1, items=1))
    assert shop.apply() == ()
    new = [event("orders", 2, 0, tx=2, lsn=210), event("items", 8, 2, tx=2, lsn=220)]
    three_days = 3 * 86_400_000
    shop.land(old[0], *new, end(2, orders=1, items=1), written=WRITTEN + three_days)
    assert shop.apply() == ()
    assert shop.gold() == {1: 1, 2: 1}


def test_events_that_a_filter_took_are_not_waited_for_for_ever(shop: Shop):
    shop.land(event("orders", 1, 0, tx=1, lsn=101), end(1, orders=1, items=2))
    assert shop.apply() == ("p: waits for the rest of transaction 1",)
    shop.land(event("orders", 2, 0, tx=2, lsn=201), end(2, orders=1), read_all=True)
    assert shop.apply() == ()
    assert shop.held("orders") == [1, 2]


def test_without_metadata_every_event_is_applied(shop: Shop):
    topic, key, value = event("orders", 1, 0, tx=1, lsn=101)
    shop.land((topic, key, {**value, "transaction": None}))
    assert shop.apply() == ()
    assert shop.held("orders") == [1]
    again = {table: shop.lake.version(table) for table in shop.lake.tables()}
    shop.apply()
    assert {table: shop.lake.version(table) for table in shop.lake.tables()} == again
    assert shop.lake.scan("silver.x.orders").select(pl.len()).collect().item() == 1


def test_a_snapshot_closes_no_row_before_all_events_before_it_are_applied(shop: Shop):
    def row(key: int, mark: str, began: int) -> tuple[str, Any, Any]:
        topic, _, value = event("orders", key, 0, tx=1, lsn=1)
        source = {**value["source"], "snapshot": mark, "ts_ms": began, "sequence": None}
        return topic, {"id": key}, {**value, "op": "r", "source": source, "transaction": None}

    shop.land(row(1, "first", 1000), row(2, "last", 1000))
    shop.land(event("items", 11, 1, tx=1, lsn=102), end(1, orders=1, items=1))
    shop.apply()
    shop.land(event("items", 21, 3, tx=2, lsn=201), read_all=True)
    late = event("orders", 3, 0, tx=2, lsn=202)
    shop.land(
        event("orders", 9, 0, tx=1, lsn=101),
        late,
        row(1, "first", 9_000_000_000_000),
        row(2, "last", 9_000_000_000_000),
        read_all=True,
    )
    shop.apply()
    shop.land(end(2, orders=1, items=1))
    shop.apply()
    assert shop.held("orders") == [1, 2]


def begin(tx: int) -> tuple[str, Any, Any]:
    value = {
        "status": "BEGIN",
        "id": f"{tx}:{tx * 100}",
        "event_count": None,
        "data_collections": None,
        "ts_ms": 1,
    }
    return "p.transaction", {"id": value["id"]}, value


def test_one_whose_end_is_lost_is_over_when_another_has_begun_and_all_is_read(shop: Shop):
    """Its connector was deleted before it could say the END; the next one takes a new snapshot."""
    shop.land(begin(2), event("orders", 2, 0, tx=2, lsn=201))
    assert shop.apply() == ("p: waits for the rest of transaction 2",)
    shop.land(begin(3), event("orders", 3, 0, tx=3, lsn=301), end(3, orders=1))
    assert shop.apply() == ("p: waits for the rest of transaction 2",)
    shop.land(begin(4), event("orders", 4, 0, tx=4, lsn=401), end(4, orders=1), read_all=True)
    assert shop.apply() == ()
    assert shop.held("orders") == [2, 3, 4]


def test_one_that_is_sent_again_is_not_over_by_what_was_sent_before_it(shop: Shop):
    shop.land(begin(1), *FIRST)
    shop.land(begin(2), event("orders", 2, 0, tx=2, lsn=201))
    shop.land(begin(1), *FIRST, read_all=False)  # the connector starts again before its last commit
    assert shop.apply() == ("p: waits for the rest of transaction 2",)
    shop.land(
        begin(2),
        event("orders", 2, 0, tx=2, lsn=201),
        event("items", 21, 2, tx=2, lsn=202),
        end(2, orders=1, items=1),
    )
    assert shop.apply() == ()
    assert (shop.held("orders"), shop.held("items")) == ([1, 2], [11, 21])


def test_one_that_a_new_snapshot_overtook_is_not_waited_for(shop: Shop):
    shop.land(begin(1), *FIRST)
    shop.apply()
    shop.land(begin(2), event("orders", 2, 0, tx=2, lsn=201))
    assert shop.apply() == ("p: waits for the rest of transaction 2",)
    topic, _, value = event("orders", 1, 0, tx=9, lsn=1)
    source = {**value["source"], "sequence": None, "ts_ms": 9_000_000_000_000}
    marks = [(1, "first_in_data_collection"), (2, "true"), (3, "last_in_data_collection")]
    rows = [
        (
            topic,
            {"id": key},
            {
                **value,
                "op": "r",
                "transaction": None,
                "after": {"id": key, "of": 0},
                "source": {**source, "snapshot": mark},
            },
        )
        for key, mark in marks
    ]
    shop.land(*rows, read_all=True)
    assert shop.apply() == ()
    assert shop.held("orders") == [1, 2, 3]
