"""Follow: the same tables as a bounded run, in micro-batches, through a kill, with probes that tell."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread

import polars as pl
import pytest

from assets.demo import STORIES, assets_of
from assets.demo_shop import generate
from pipelines.capture.embedded import EmbeddedBroker, Outgoing
from pipelines.contract import Catalog, Contract, load_catalog
from pipelines.cut import plan_cut
from pipelines.follow import Follower, Pace, Vitals, serve
from pipelines.follow.refinery import readers_of
from pipelines.ingest import capture_kafka
from pipelines.refine import apply_all, build_all, chosen
from pipelines.settings import Settings
from pipelines.storage import Lake

SHOP = generate(days=1, orders_a_day=12)
PIECES = 6


@pytest.fixture(scope="module")
def assets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return assets_of([STORIES["commerce"]], tmp_path_factory.mktemp("follow") / "assets")


@pytest.fixture(scope="module")
def catalog(assets: Path) -> Catalog:
    return load_catalog(assets)


@pytest.fixture
def broker() -> Iterator[EmbeddedBroker]:
    with EmbeddedBroker() as running:
        yield running


def pieces() -> Iterator[list[Outgoing]]:
    records = [
        Outgoing(r.topic, r.key, r.value, r.headers, 0, r.timestamp_ms) for r in SHOP.records
    ]
    size = -(-len(records) // PIECES)
    for start in range(0, len(records), size):
        yield records[start : start + size]


def rows_of(lake: Lake, catalog: Catalog) -> dict[str, pl.DataFrame]:
    """Silver and gold without what tells when and how they were made."""
    return {
        contract.table: lake.scan(contract.table)
        .select(name for name in contract.columns if name not in _as_they_came(contract))
        .sort(contract.key)
        .collect()
        for layer in ("silver", "gold")
        for contract in catalog.layer(layer)
    }


def _as_they_came(contract: Contract) -> tuple[str | None, ...]:
    """The build's mark, and numbers that are given as rows come."""
    number = contract.surrogate_key
    return contract.batch_id, number and number.column


def bounded(settings: Settings, catalog: Catalog) -> dict[str, pl.DataFrame]:
    capture_kafka(settings, catalog)
    lake, now = Lake(settings.lake), datetime.now(UTC)
    cut = plan_cut(lake, catalog)
    _, failed = apply_all(
        lake, catalog, chosen(catalog, "silver", None), now=now, cut=cut, after=lambda _: None
    )
    _, broken = build_all(
        lake, catalog, chosen(catalog, "gold", None), now=now, after=lambda _: None
    )
    assert not failed
    assert not broken
    return rows_of(lake, catalog)


def wait_until(met: Callable[[], bool], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not met():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)


def assert_same(left: dict[str, pl.DataFrame], right: dict[str, pl.DataFrame]) -> None:
    foreign = pl.selectors.matches("_key$") & pl.selectors.integer()  # other tables' such numbers
    for table, rows in right.items():
        assert rows.drop(foreign).equals(left[table].drop(foreign)), table


def test_following_ends_with_what_a_bounded_run_makes(
    tmp_path: Path, catalog: Catalog, assets: Path, broker: EmbeddedBroker
):
    settings = Settings(lake=str(tmp_path / "lake"), bootstrap=broker.bootstrap, assets=assets)
    told = list[str]()
    follower = Follower(
        settings=settings,
        catalog=catalog,
        pace=Pace(batch=0.1, ends=1.0, upkeep=0.5),
        report=lambda done: told.append(done.table),
    )
    landed = follower.vitals.landed.labels("bronze")
    thread, sent = Thread(target=follower.run), 0
    first, *rest = pieces()
    broker.produce(first)
    thread.start()
    wait_until(lambda: follower.vitals.ready)
    for piece in rest:
        before, sent = landed._value.get(), sent + len(piece)
        broker.produce(piece)
        wait_until(lambda before=before: landed._value.get() > before)
    follower.stop()
    thread.join(120)
    assert not thread.is_alive()
    assert set(follower.vitals.troubles) <= {"capture"}
    assert {contract.table for contract in catalog.layer("gold")} <= set(told)
    other = Settings(lake=str(tmp_path / "other"), bootstrap=broker.bootstrap, assets=assets)
    assert_same(rows_of(Lake(settings.lake), catalog), bounded(other, catalog))


def test_a_killed_follower_goes_on_and_drains_when_it_is_told_to_end(
    tmp_path: Path, catalog: Catalog, assets: Path, broker: EmbeddedBroker
):
    lake = Lake(str(tmp_path / "lake"))
    command = [
        sys.executable, "-m", "assets.cli", "follow", "--lake", lake.root, "--bootstrap", broker.bootstrap,
        "--assets", str(assets), "--batch-seconds", "0.05", "--port", "0", "--no-report",
    ]  # fmt: skip
    first, *rest = pieces()
    broker.produce(first)
    for number, piece in enumerate(rest[:3]):
        # A group of its own: in the same one a killed member keeps its partitions until it times out.
        process = subprocess.Popen([*command, "--group", f"killed-{number}"])
        broker.produce(piece)
        wait_until(lambda: any(name.startswith("bronze.commerce") for name in lake.tables()))
        time.sleep(0.5 + number)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    broker.produce([record for piece in rest[3:] for record in piece])
    process = subprocess.Popen(command)
    other = Settings(lake=str(tmp_path / "other"), bootstrap=broker.bootstrap, assets=assets)
    wanted = bounded(other, catalog)
    wait_until(lambda: all(lake.version(table) is not None for table in wanted))
    wait_until(
        lambda: (
            {n: len(r) for n, r in rows_of(lake, catalog).items()}
            == {n: len(r) for n, r in wanted.items()}
        )
    )
    process.send_signal(signal.SIGTERM)
    assert process.wait(120) == 0
    assert_same(rows_of(lake, catalog), wanted)


def test_probes_tell_what_fails(tmp_path: Path):
    vitals = Vitals()

    def ask(path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    with serve(vitals, "127.0.0.1", 0) as port:
        assert ask("/readyz")[0] == 503
        vitals.reached()
        vitals.turned("refine")
        assert (ask("/readyz")[0], ask("/healthz")[0]) == (200, 200)
        vitals.trouble("capture", ValueError("no broker"))
        status, body = ask("/readyz")
        assert status == 503
        assert json.loads(body)["troubles"] == {"capture": "ValueError: no broker"}
        assert 'medallion_failing{of="capture"} 1.0' in ask("/metrics")[1]
        vitals.fine("capture")
        assert ask("/readyz")[0] == 200
        assert 'medallion_failing{of="capture"} 0.0' in ask("/metrics")[1]
        assert ask("/")[0] == 404


def test_news_of_a_table_reach_all_that_reads_it(catalog: Catalog):
    readers = readers_of(catalog)
    assert "gold.commerce.daily_sales" in readers["silver.commerce.orders"]  # through order_facts
    assert "silver.commerce.order_items" in readers["silver.commerce.orders"]  # refers to it
    assert "silver.commerce.customers" not in readers["silver.commerce.orders"]
