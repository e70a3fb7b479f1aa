"""Lag: what waits and since when; idleness is not taken for a standstill."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl

from pipelines.bronze import Bronze
from pipelines.lag import Pace, lag
from pipelines.silver import apply
from pipelines.storage import Lake
from tests.spec.test_partitions import batch
from tests.spec.test_snapshots import TABLE, TOPIC, catalog_of, event

LATER = timedelta(hours=1)


def paces(lake: Lake, now: datetime, on_broker: int = 0) -> dict[str, tuple[str, int]]:
    found = lag(lake, catalog_of(), on_broker={TOPIC: on_broker}, now=now)
    return {each.table: (each.pace.value, each.waiting) for each in found}


def test_what_waits_is_behind_and_then_stuck_and_what_does_not_is_idle(tmp_path: Path):
    lake, catalog, offsets = Lake(str(tmp_path)), catalog_of(), dict[int, int]()
    now = datetime.now(UTC)
    assert paces(lake, now) == {"bronze.x.t": ("idle", 0), TABLE: ("idle", 0)}
    assert paces(lake, now, on_broker=5)["bronze.x.t"] == ("stuck", 5)  # nothing ever landed

    Bronze(lake, catalog).land(batch([event("c", 1, "a", at=10)], offsets))
    Bronze(lake, catalog).land(batch([event("c", 2, "a", at=20)], offsets))
    now = datetime.now(UTC)
    assert paces(lake, now) == {"bronze.x.t": ("idle", 0), TABLE: ("behind", 2)}
    assert paces(lake, now, on_broker=3)["bronze.x.t"] == ("behind", 3)
    assert paces(lake, now + LATER, on_broker=3) == {
        "bronze.x.t": ("stuck", 3),
        TABLE: ("stuck", 2),
    }

    apply(lake, catalog, TABLE, now=now)
    assert paces(lake, now + LATER) == {"bronze.x.t": ("idle", 0), TABLE: ("idle", 0)}


def test_a_connector_whose_heartbeat_stopped_is_silent(tmp_path: Path):
    lake, catalog, offsets = Lake(str(tmp_path)), catalog_of(), dict[int, int]()
    Bronze(lake, catalog).land(batch([event("c", 1, "a", at=10)], offsets))
    beat = batch([(0, 1_000, {"serverName": "p"}, {"ts_ms": 1_000})], dict[int, int]())
    renamed = beat.frame.with_columns(topic=pl.lit("__debezium-heartbeat.p"))
    ends = {
        each._replace(topic="__debezium-heartbeat.p"): at for each, at in beat.next_offsets.items()
    }
    Bronze(lake, catalog).land(replace(beat, frame=renamed, next_offsets=ends))
    found = {each.table: each for each in lag(lake, catalog, on_broker={}, now=datetime.now(UTC))}
    assert found["bronze.x.t"].pace is Pace.SILENT
    assert "1970-01-01 00:00:01" in found["bronze.x.t"].why
