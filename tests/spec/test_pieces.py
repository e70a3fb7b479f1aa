"""What silver and history hold does not depend on how the events were cut into runs."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from pipelines.applying import Work
from pipelines.bronze import Bronze
from pipelines.change.decode import BRONZE_COLUMNS
from pipelines.cut import Limit
from pipelines.feed import Chunk
from pipelines.replay import check
from pipelines.silver import apply
from pipelines.storage import Lake
from tests.spec.test_partitions import batch
from tests.spec.test_snapshots import TABLE, Record, catalog_of, event, held, past

PLACEHOLDER = "__debezium_unavailable_value"


def lake_after(folder: Path, *runs: list[Record]) -> Lake:
    """Each run captured and applied."""
    lake, catalog, offsets = Lake(str(folder)), catalog_of(), dict[int, int]()
    for records in runs:
        Bronze(lake, catalog).land(batch(records, offsets))
        apply(lake, catalog, TABLE, now=datetime(2026, 1, 1, tzinfo=UTC))
    return lake


def truncate(at: int) -> Record:
    partition, written, _, value = event("t", 0, None, at=at)
    return partition, written, None, {**value, "after": None}


def test_a_truncate_is_no_news_to_a_row_deleted_before(tmp_path: Path):
    events = [event("c", 1, "a", at=10), event("d", 1, None, at=20), truncate(30)]
    at_once = lake_after(tmp_path / "at_once", events)
    one_by_one = lake_after(tmp_path / "one_by_one", *[[each] for each in events])
    assert past(at_once) == past(one_by_one)


@pytest.mark.parametrize(
    "runs",
    [
        "in order",
        "newest first",
    ],
)
def test_a_value_read_after_its_placeholder_is_found(tmp_path: Path, runs: str):
    first = event("c", 1, "long", at=10, partition=0)
    second = event("u", 1, PLACEHOLDER, at=20, partition=1)
    order = ([first], [second]) if runs == "in order" else ([second], [first])
    assert held(lake_after(tmp_path, *order)) == {1: "long"}


def test_the_past_finds_a_value_read_after_its_placeholder(tmp_path: Path):
    """Partitions were added, and the one with the older events is read last."""
    events = [
        event("c", 1, "long", at=10, partition=0),
        event("u", 1, PLACEHOLDER, at=20, partition=1),
        event("u", 1, PLACEHOLDER, at=30, partition=1),
        event("d", 1, None, at=40, partition=1),
        event("c", 1, "other", at=50, partition=1),
        event("u", 1, PLACEHOLDER, at=60, partition=1),
    ]
    lake = lake_after(tmp_path, *[[each] for each in reversed(events)])
    versions = lake.scan("history.x.t").sort("source_commit").collect()
    assert versions["note"].to_list() == ["long", "long", "long", None, "other", "other"]
    assert versions["verdict"].to_list() == ["kept", "kept", "kept", "deleted", "kept", "kept"]
    replayed = check(lake, catalog_of(), TABLE, now=datetime(2026, 1, 1, tzinfo=UTC))
    assert (replayed.differing, replayed.differences) == (0, ())


PARENT = "silver.x.p"
KNOWN = {"name": "known", "reference": {"column": "note", "table": PARENT, "column_there": "id"}}


@pytest.mark.parametrize("newer", [True, False], ids=["with the next version", "alone"])
def test_the_past_is_judged_again_when_the_parent_comes(tmp_path: Path, newer: bool):
    lake, catalog, offsets = Lake(str(tmp_path)), catalog_of(rules=[KNOWN]), dict[int, int]()
    parents = lake.create(PARENT, {"id": pl.String()})

    def run(*records: Record) -> list[str]:
        Bronze(lake, catalog).land(batch(list(records), offsets))
        apply(lake, catalog, TABLE, now=datetime(2026, 1, 1, tzinfo=UTC))
        return lake.scan("history.x.t").sort("source_commit").collect()["verdict"].to_list()

    assert run(event("c", 1, "a", at=10)) == ["quarantined"]
    lake.write(parents, pl.DataFrame({"id": ["a"]}), mode="append")
    more = [event("u", 1, "a", at=20)] if newer else []
    assert run(*more) == ["kept"] * (1 + len(more))
    assert held(lake) == {1: "a"}


def test_an_event_applied_again_finds_the_value_that_it_found_before(tmp_path: Path):
    """A cut has events applied once more: the placeholder must not become unknown by that."""
    events = [event("c", 1, "long", at=10), event("u", 1, PLACEHOLDER, at=20)]
    lake, catalog, offsets = Lake(str(tmp_path)), catalog_of(), dict[int, int]()
    Bronze(lake, catalog).land(batch(events, offsets))
    limit = Limit(version=1, position=(0, 30, 30))
    Bronze(lake, catalog).land(batch([event("u", 1, "late", at=40)], offsets))
    for version in (1, 2, 2):
        held_back = replace(limit, version=version)
        apply(lake, catalog, TABLE, now=datetime(2026, 1, 1, tzinfo=UTC), limit=held_back)
        assert held(lake) == {1: "long"}
        assert len(past(lake)) == 2
    bronze = lake.handle("bronze.x.t")
    rows = lake.scan_handle(bronze).collect().filter(source_commit=20)
    again = Chunk(rows=rows.select(BRONZE_COLUMNS), version=None)
    now = datetime(2026, 1, 1, tzinfo=UTC)
    Work(lake=lake, catalog=catalog, contract=catalog[TABLE], now=now, app_id="again").apply_chunk(
        again
    )
    assert (held(lake), len(past(lake))) == ({1: "long"}, 2)
    assert lake.scan("quarantine.x.t").collect().is_empty()
