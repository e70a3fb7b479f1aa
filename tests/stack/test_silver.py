"""Law 2 on the real stack: silver and quarantine together are the source, whatever was killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import polars as pl
import pytest

from pipelines.contract import load_catalog
from pipelines.storage import Lake
from tests.stack import source
from tests.stack.connect import TABLES, Form
from tests.stack.shop import Shop
from tests.stack.workload import Plan

ASSETS = Path(__file__).parents[2] / "assets"


def medallion(shop: Shop, lake: Path, *arguments: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "MEDALLION_LAKE": str(lake), "MEDALLION_BOOTSTRAP": shop.bootstrap}
    return subprocess.Popen([sys.executable, "-m", "assets.cli", *arguments], env=environment)


def run_once(shop: Shop, lake: Path, *arguments: str) -> None:
    assert medallion(shop, lake, *arguments).wait(timeout=300) == 0


def assert_silver_is_the_source(shop: Shop, folder: Path) -> None:
    lake, catalog = Lake(str(folder)), load_catalog(ASSETS)
    truth = source.read_all(shop.dsn, TABLES)
    for table in TABLES:
        contract = catalog[f"silver.commerce.{table}"]
        columns, key = list(contract.columns), list(contract.key)
        kept = lake.scan(contract.table).select(columns).collect()
        waiting = lake.scan(contract.sibling("quarantine")).select(columns).collect()
        assert kept.join(waiting, on=key, how="semi").is_empty(), f"{table}: a key is in both"
        held = pl.concat([kept, waiting]).sort(key)
        expected = truth[table].select(columns).sort(key)
        assert held.schema == expected.schema
        lost, extra = (
            expected.join(held, on=key, how="anti"),
            held.join(expected, on=key, how="anti"),
        )
        assert (len(lost), len(extra)) == (0, 0), (
            f"{table}: {len(lost)} lost, {len(extra)} too many"
        )
        for name in columns:
            different = held.filter(~held[name].eq_missing(expected[name]))
            assert different.is_empty(), (
                f"{table}.{name}: {len(different)} of {len(held)} values differ"
            )


def assert_history_ends_in_the_source(shop: Shop, folder: Path) -> None:
    lake, catalog = Lake(str(folder)), load_catalog(ASSETS)
    for table in TABLES:
        contract = catalog[f"silver.commerce.{table}"]
        if contract.history:
            columns, key = list(contract.columns), list(contract.key)
            versions = lake.scan(contract.sibling("history")).collect()
            current = versions.filter(pl.col("is_current")).select(columns).sort(key)
            assert current.equals(source.read(shop.dsn, table).select(columns).sort(key)), table
            opened = versions.filter(pl.col("ended_epoch").is_null()).select(key)
            assert not opened.is_duplicated().any(), f"{table}: two versions of one key are open"


@pytest.mark.stack
@pytest.mark.parametrize("form", list(Form))
def test_silver_equals_the_source_after_the_workload(quiet_shop: Shop, tmp_path: Path, form: Form):
    # ExtractNewRecordState drops truncates (tests of the stack prove it): they cannot be followed.
    unwrapped = form in (Form.UNWRAPPED, Form.UNWRAPPED_SCHEMAS)
    quiet_shop.connect(form, partitions=3, prefix="shop")
    quiet_shop.work(
        Plan(seed=11, transactions=1500, connections=4, truncate=not unwrapped, pgbench_seconds=2)
    )
    quiet_shop.wait_until_streamed()
    run_once(quiet_shop, tmp_path, "run")
    assert_silver_is_the_source(quiet_shop, tmp_path)
    assert_history_ends_in_the_source(quiet_shop, tmp_path)
    quiet_shop.work(
        Plan(seed=12, transactions=500, connections=3, truncate=False, pgbench_seconds=1)
    )
    quiet_shop.wait_until_streamed()
    run_once(quiet_shop, tmp_path, "run")
    assert_silver_is_the_source(quiet_shop, tmp_path)
    before = {
        table: Lake(str(tmp_path)).version(table)
        for table in Lake(str(tmp_path)).tables()
        if not table.startswith(("system", "bronze.side"))
    }
    run_once(quiet_shop, tmp_path, "run")
    assert {table: Lake(str(tmp_path)).version(table) for table in before} == before, (
        "a run without news wrote something"
    )


@pytest.mark.stack
def test_silver_equals_the_source_after_ten_kills(quiet_shop: Shop, tmp_path: Path):
    quiet_shop.connect(Form.ENVELOPED_SCHEMAS, partitions=3, prefix="shop")
    chance = random.Random(5)
    work = threading.Thread(
        target=quiet_shop.work,
        args=(Plan(seed=13, transactions=3000, connections=4, truncate=True, pgbench_seconds=6),),
    )
    work.start()
    for number in range(10):
        capturing = medallion(
            quiet_shop,
            tmp_path,
            "capture",
            "--follow",
            "--max-seconds",
            "0.1",
            "--max-records",
            "400",
        )
        applying = medallion(quiet_shop, tmp_path, "apply")
        time.sleep(chance.uniform(1.2, 4.0))
        for process in (capturing, applying) if number % 2 else (capturing,):
            process.send_signal(signal.SIGKILL)
            process.wait()
        applying.wait(timeout=120)
    work.join()
    quiet_shop.wait_until_streamed()
    run_once(quiet_shop, tmp_path, "run")
    assert_silver_is_the_source(quiet_shop, tmp_path)
    assert_history_ends_in_the_source(quiet_shop, tmp_path)
    lake, catalog = Lake(str(tmp_path)), load_catalog(ASSETS)
    for table in TABLES:
        events = (
            lake.scan(catalog[f"silver.commerce.{table}"].bronze)
            .select("event_id", "kafka_partition", "kafka_offset")
            .collect()
        )
        assert not events["event_id"].is_duplicated().any(), "an event landed twice"
        spans = events.group_by("kafka_partition").agg(
            pl.len(), lost=pl.col("kafka_offset").max() + 1 - pl.len()
        )
        assert spans["lost"].sum() == 0, "an offset is missing"


@pytest.mark.stack
def test_a_follower_ends_on_sigterm_with_its_batch_landed(shop: Shop, tmp_path: Path):
    follower = medallion(shop, tmp_path, "capture", "--follow", "--max-seconds", "60")
    time.sleep(4)
    follower.send_signal(signal.SIGTERM)
    assert follower.wait(timeout=30) == 0
