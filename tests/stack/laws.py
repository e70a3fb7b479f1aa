"""What must hold when a history is over, whatever happened in it."""

from __future__ import annotations

from pathlib import Path

import polars as pl

from pipelines.bronze import DEAD_LETTERS, UNKEYED_EVENTS
from pipelines.change.position import ORDER
from pipelines.contract import Catalog, load_catalog
from pipelines.query import query
from pipelines.storage import Lake
from tests.stack.connect import TABLES
from tests.stack.crew import Crew
from tests.stack.test_silver import assert_history_ends_in_the_source, assert_silver_is_the_source
from tests.stack.wire import Wire


def hold(wire: Wire, crew: Crew) -> int:
    """Checks every law on a lake that was brought to the end of all topics; events in bronze.

    Raises:
        AssertionError: A law is broken; with the table and how many rows.
    """
    catalog, lake = load_catalog(crew.assets), Lake(str(crew.lake))
    events = _bronze_holds_every_offset_once(wire, catalog, lake)
    _nothing_was_set_aside(lake)
    assert_silver_is_the_source(wire.shop, crew.lake)
    assert_history_ends_in_the_source(wire.shop, crew.lake)
    _gold_is_its_sql(catalog, lake)
    return events


def versions(lake: Path) -> dict[str, int | None]:
    """The version of each table that only news may change."""
    opened = Lake(str(lake))
    names = [name for name in opened.tables() if not name.startswith(("system.", "bronze.side."))]
    return {name: opened.version(name) for name in names}


def _bronze_holds_every_offset_once(wire: Wire, catalog: Catalog, lake: Lake) -> int:
    total = 0
    for table in TABLES:
        bronze = catalog[f"silver.commerce.{table}"].bronze
        rows = lake.scan(bronze).select("event_id", "kafka_partition", "kafka_offset").collect()
        twice = rows.select(pl.struct("kafka_partition", "kafka_offset").is_duplicated()).sum()
        assert not rows["event_id"].is_duplicated().any(), f"{bronze}: an event landed twice"
        assert not twice.item(), f"{bronze}: an offset landed twice"
        held = dict(rows.group_by("kafka_partition").agg(pl.len()).iter_rows())
        ends = {partition: end for partition, end in wire.ends(table).items() if end}
        assert held == ends, f"{bronze}: holds {held} of offsets {ends}"
        total += len(rows)
    return total


def _nothing_was_set_aside(lake: Lake) -> None:
    for table in (DEAD_LETTERS, UNKEYED_EVENTS):
        rows = lake.scan(table).collect() if table in lake.tables() else pl.DataFrame()
        assert rows.is_empty(), f"{table}: {rows.select('topic', 'reason').unique().rows()}"


def _gold_is_its_sql(catalog: Catalog, lake: Lake) -> None:
    for contract in catalog.layer("gold"):
        again = query(lake, contract.sql or "")
        held = lake.scan(contract.table).select(again.columns).collect()
        key = [name for name in contract.key if name in again.columns] or again.columns
        exact = again.select(pl.col(n).cast(t) for n, t in held.schema.items()).sort(key)
        assert held.sort(key).equals(exact), f"{contract.table}: is not what its SQL says"
        surrogate = contract.surrogate_key
        if surrogate:
            numbers = lake.scan(contract.table).select(surrogate.column).collect().to_series()
            assert numbers.is_unique().all(), f"{contract.table}: a surrogate key is given twice"


def made_anew_is_the_same(crew: Crew) -> None:
    """A lake made from the same topics in one go holds the same: neither kills nor small batches left a trace.

    Which of the rows that refer to another table are kept is left out: a reference is judged by what
    silver holds at that moment, so it differs rightly.

    Raises:
        AssertionError: Naming the first table that differs, and in what.
    """
    catalog, one, other = load_catalog(crew.assets), Lake(str(crew.lake)), Lake(str(crew.anew))
    interval = ["valid_from", "valid_to", "is_current", "is_deleted"]
    for table in TABLES:
        contract = catalog[f"silver.commerce.{table}"]
        row = [*contract.columns, *ORDER]
        _same((contract.bronze,), ["event_id", *ORDER[:3]], one, other)
        _same((contract.table, contract.sibling("quarantine")), row, one, other)
        if contract.history:
            _same((contract.sibling("history"),), [*row, *interval], one, other)


def _same(places: tuple[str, ...], columns: list[str], one: Lake, other: Lake) -> None:
    left, right = (
        pl.concat([lake.scan(place).select(columns) for place in places])
        .collect()
        .sort(columns[0], *(n for n in ORDER if n in columns), columns[-1], nulls_last=True)
        for lake in (one, other)
    )
    what = " + ".join(places)
    assert len(left) == len(right), f"{what}: {len(left)} rows, {len(right)} made anew"
    for name in columns:
        differ = (~left[name].eq_missing(right[name])).sum()
        assert not differ, f"{what}, {name}: {differ} of {len(left)} differ when made anew"
