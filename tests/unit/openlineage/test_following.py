"""What a follower tells: a run a table, RUNNING now and then with what is new, and how it ends."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any

import pytest

from pipelines.capture.embedded import EmbeddedBroker, Outgoing
from pipelines.contract import load_catalog
from pipelines.follow import Follower, Pace
from pipelines.settings import load_settings
from tests.unit.openlineage.parts import Listening, Shop

TABLES = ("capture.bronze.shop.notes", "apply.silver.shop.notes", "build.gold.shop.kinds")


@contextmanager
def following(shop: Shop, monkeypatch: pytest.MonkeyPatch, tell: float) -> Iterator[EmbeddedBroker]:
    """A follower of the shop, which is told to stop and awaited at the end."""
    for name, value in shop.environment.items():
        monkeypatch.setenv(name, value)
    with EmbeddedBroker() as broker:
        settings = load_settings(bootstrap=broker.bootstrap)
        catalog = load_catalog(settings.assets)
        pace = Pace(batch=0.05, ends=1.0, quality=600.0, tell=tell)
        follower = Follower(settings=settings, catalog=catalog, pace=pace)
        thread = Thread(target=follower.run)
        produce(shop, broker, 1)
        thread.start()
        try:
            yield broker
        finally:
            follower.stop()
            thread.join(60)
    until(lambda: not shop.waiting())


def produce(shop: Shop, broker: EmbeddedBroker, *numbers: int, removed: bool = False) -> None:
    shop.record(*((f"note {'x' * number}", number) for number in numbers))
    lines = [json.loads(line) for line in (shop.root / "stream.jsonl").read_text().splitlines()]
    if removed:
        for line in lines:
            event = json.loads(line["value"]) | {"op": "d", "after": None}
            event["source"] |= {"lsn": 100, "sequence": '["100","100"]'}
            line["value"] = json.dumps(event)
    broker.produce(
        Outgoing(r["topic"], r["key"].encode(), r["value"].encode(), (), 0, r["timestamp"])
        for r in lines
    )


def until(met: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def told(listening: Listening, job: str, *states: str) -> list[dict[str, Any]]:
    return [
        event
        for event in list(listening.events)
        if event["job"]["name"] == job and event["eventType"] in states
    ]


def rows(event: dict[str, Any]) -> int:
    statistics = event["outputs"][0].get("outputFacets", {}).get("outputStatistics", {})
    return statistics.get("rowCount", 0)


def test_a_follower_tells_one_run_a_table_and_each_row_once(
    shop: Shop, listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    silver = "apply.silver.shop.notes"
    with following(shop, monkeypatch, tell=0.2) as broker:
        until(lambda: sum(map(rows, told(listening, silver, "RUNNING"))) == 1)
        produce(shop, broker, 2, 3)
        until(lambda: sum(map(rows, told(listening, silver, "RUNNING"))) == 3)
        quiet = len(told(listening, silver, "RUNNING"))
        time.sleep(1.0)  # five times the pace, without news
        assert len(told(listening, silver, "RUNNING")) == quiet
    assert listening.faults == []
    for job in TABLES:
        first, *between, last = told(listening, job, "START", "RUNNING", "COMPLETE", "FAIL")
        assert {e["run"]["runId"] for e in between} == {first["run"]["runId"]}
        assert {e["eventType"] for e in between} == {"RUNNING"}
        assert (first["eventType"], last["eventType"]) == ("START", "COMPLETE")
        assert first["job"]["facets"]["jobType"]["processingType"] == "STREAMING"
    for job in TABLES[:2]:
        assert sum(map(rows, told(listening, job, "RUNNING", "COMPLETE"))) == 3
    whole = Counter(
        e["eventType"] for e in told(listening, "medallion.follow", "START", "COMPLETE")
    )
    assert whole == {"START": 1, "COMPLETE": 1}
    assert told(listening, "check.silver.shop.notes", "COMPLETE")


def test_a_table_that_fails_ends_its_run_and_begins_another_once_it_is_mended(
    shop: Shop, listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql = shop.root / "assets" / "shop" / "gold" / "kinds.sql"
    sql.write_text(
        "SELECT kind, CAST(SUM(1 / (id - 2)) AS BIGINT) AS notes FROM silver.shop.notes GROUP BY kind"
    )
    gold = "build.gold.shop.kinds"
    with following(shop, monkeypatch, tell=0.2) as broker:
        until(lambda: bool(told(listening, gold, "RUNNING")))
        produce(shop, broker, 2)
        until(lambda: bool(told(listening, gold, "FAIL")))
        produce(shop, broker, 3)  # another try, that fails as well
        time.sleep(1.0)
        produce(shop, broker, 2, removed=True)
        until(lambda: len(told(listening, gold, "RUNNING")) == 2)
    assert listening.faults == []
    states = [e["eventType"] for e in told(listening, gold, "START", "RUNNING", "COMPLETE", "FAIL")]
    assert states == ["START", "RUNNING", "FAIL", "START", "RUNNING", "COMPLETE"]
