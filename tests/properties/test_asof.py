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
from pipelines.errors import QueryError
from pipelines.moment import BRONZE_ORDER, parse_moment
from pipelines.silver import apply
from pipelines.storage import Lake
from tests.properties.test_laws import CATALOG, CONTRACT, CUTS, HISTORY, NOW, TABLE, batch, play

FORGETFUL = Catalog(Path(), {TABLE: CONTRACT.model_copy(update={"history": False})})
BRONZE, PAST = "bronze.shop.items", "history.shop.items"


def land(lake: Lake, catalog: Catalog, sent: list, cuts: list[int], *, applied: bool = True):
    at = 0
    for size in itertools.cycle(cuts):
        if at >= len(sent):
            return
        Bronze(lake, catalog).land(batch(sent[at : at + size], at))
        if applied:
            apply(lake, catalog, TABLE, now=NOW)
        at += size


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


@settings(max_examples=25)
@given(HISTORY, CUTS)
def test_silver_as_of_each_commit_is_the_source_then(history, cuts):
    """With history, without it, and where silver has applied nothing: by position and by log position."""
    source = play([step for step in history if step[0] == "transact"])
    if not source.sent:
        return
    for catalog, applied in ((CATALOG, True), (FORGETFUL, True), (CATALOG, False)):
        with tempfile.TemporaryDirectory() as folder:
            lake = Lake(folder)
            land(lake, catalog, source.sent, cuts, applied=applied)
            for sent, rows in source.past:
                if sent:
                    assert silver(lake, catalog, position(lake, sent, 3)) == kept(rows)
                    commit = int(position(lake, sent).split("/")[1])
                    last = max(
                        s
                        for s, _ in source.past
                        if s and position(lake, s).split("/")[1] == str(commit)
                    )
                    then = next(r for s, r in reversed(source.past) if s == last)
                    assert silver(lake, catalog, f"lsn:0/{commit:X}") == kept(then)
