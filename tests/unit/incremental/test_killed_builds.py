"""A process killed at any write of a build, a fold or an upkeep leaves what the next one makes right."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.contract import Catalog, load_catalog
from pipelines.delta import columns, fold, index, read_snapshot
from pipelines.gold import build
from pipelines.incremental import inputs
from pipelines.storage import Lake
from pipelines.upkeep import keep_up
from tests.properties.small_shop import GOLD, NOW, ORDERS, Change, change, whole
from tests.spec.test_summed_gold import EVERY, order, table
from tests.stack.dying import Death, When, arrange

STEP: Change = {ORDERS: ({1: order(2, 9), 5: order(3, 1)}, {2})}
NEXT: Change = {ORDERS: ({7: order(1, 5)}, {3})}


def fold_all(lake: Lake, _: Catalog) -> None:
    for name in (ORDERS, GOLD):
        fold(read_snapshot(lake.path(name), {}), stats_columns=[], small_rows=10, many_small=2)


def build_part(lake: Lake, catalog: Catalog) -> None:
    assert build(lake, catalog, GOLD, batch_id="b", now=NOW).computed == "part"


def keep_all(lake: Lake, _: Catalog) -> None:
    keep_up(lake, [ORDERS, GOLD], retention_hours=0)


WORKS: dict[str, Callable[[Lake, Catalog], None]] = {
    "build": build_part,
    "fold": fold_all,
    "upkeep": keep_all,
}


def as_large() -> None:
    """Tables so small are read as large ones are: by an index, and mapped columns."""
    index.WORTH_ROWS = columns.WORTH_ROWS = 0
    inputs._MOST = 2  # pyright: ignore[reportPrivateUsage]


def labour(folder: str, work: str, when: When, first: int, last: int) -> None:
    """The work on a lake for each death at one of the writes from first to last, killed at it.

    One process a death costs a second; so a process forks for each before Polars has any thread.
    """
    as_large()
    for nth in range(first, last):
        child = os.fork()
        if child == 0:
            lake = Lake(f"{folder}/{nth}/lake")
            arrange(Death(when, nth))
            WORKS[work](lake, load_catalog(Path(folder) / str(nth) / "assets"))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        assert killed or os.WEXITSTATUS(status) == 0
        (Path(folder) / str(nth) / ("killed" if killed else "done")).touch()


#: More writes than any of the works does.
MOST = 9


CASES = [("build", EVERY), ("build", "COUNT(DISTINCT o.units) AS d"), ("fold", EVERY), ("upkeep", EVERY)]  # fmt: skip


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("work", "measures"), CASES, ids=["sums", "groups", "fold", "upkeep"])
def test_gold_is_right_after_a_death_at_any_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, measures: str, when: When, work: str
):
    monkeypatch.setattr(index, "WORTH_ROWS", 0)
    monkeypatch.setattr(columns, "WORTH_ROWS", 0)
    monkeypatch.setattr(inputs, "_MOST", 2)
    made = dict[int, tuple[Lake, Catalog]]()
    for nth in range(1, MOST):
        made[nth] = lake, catalog = table(tmp_path / str(nth), measures)
        change(lake, STEP)
        if work != "build":
            build_part(lake, catalog)
            change(lake, NEXT)
    spawn = multiprocessing.get_context("spawn")
    process = spawn.Process(target=labour, args=(str(tmp_path), work, when, 1, MOST))
    process.start()
    process.join(120)
    assert process.exitcode == 0
    for nth, (lake, catalog) in made.items():
        build(lake, catalog, GOLD, batch_id="again", now=NOW)
        shown = lake.scan(GOLD).drop("etl").collect()
        assert shown.sort("k").equals(whole(lake, catalog).sort("k")), nth
    assert (tmp_path / "2" / "killed").exists(), "there is more than one write to die at"
    assert (tmp_path / str(MOST - 1) / "done").exists(), "each write was died at"
