"""A row's verdict follows its rules and its parents, whenever these change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipelines.errors import LakeError
from pipelines.replay import check
from pipelines.storage import Lake
from tests.spec.orders import KNOWN, NOW, ORDERS, Desk, account, catalog_of, disk_that_fails, order

SMALL = {"name": "small", "range": {"column": "amount", "max": 10}}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(Lake(str(tmp_path / "lake")))


def test_a_late_parent_releases_the_rows_that_wait_for_it(desk: Desk):
    catalog = catalog_of()
    desk.run(catalog, order("c", 1, account=7), order("c", 2, account=8), order("c", 3, None))
    assert (desk.kept(), desk.waiting()) == ({3: []}, {1: ["known_account"], 2: ["known_account"]})
    done = desk.run(catalog, account("c", 7))
    assert done["orders"].released == 1
    assert (desk.kept(), desk.waiting()) == ({1: [], 3: []}, {2: ["known_account"]})


def test_a_deleted_parent_takes_its_rows_back_until_it_returns(desk: Desk):
    catalog = catalog_of()
    desk.run(catalog, account("c", 7), account("c", 8), order("c", 1, 7), order("c", 2, 8))
    done = desk.run(catalog, account("d", 7))
    assert (done["orders"].rejudged, done["orders"].quarantined) == (1, 1)
    assert (desk.kept(), desk.waiting()) == ({2: []}, {1: ["known_account"]})
    (event,) = desk.lake.scan("quarantine.x.orders").select("raw_payload").collect()["raw_payload"]
    assert '"op": "c"' in event, "quarantine keeps the event as it came"
    desk.run(catalog, account("c", 7))
    assert (desk.kept(), desk.waiting()) == ({1: [], 2: []}, {})


def test_a_quarantined_parent_takes_its_rows_along(desk: Desk):
    catalog = catalog_of(accounts=[{"name": "level", "not_null": {"column": "level"}}])
    desk.run(catalog, account("c", 7), order("c", 1, 7))
    desk.run(catalog, account("u", 7, level=None))
    assert (desk.kept("accounts"), desk.waiting("accounts")) == ({}, {7: ["level"]})
    assert (desk.kept(), desk.waiting()) == ({}, {1: ["known_account"]})
    desk.run(catalog, account("u", 7, level=2))
    assert (desk.kept(), desk.waiting(), desk.waiting("accounts")) == ({1: []}, {}, {})


def test_a_mild_reference_notes_the_parents_going_and_coming(desk: Desk):
    catalog = catalog_of([{**KNOWN, "severity": "warning"}])
    desk.run(catalog, account("c", 7), order("c", 1, 7))
    for change, issues in ((account("d", 7), ["known_account"]), (account("c", 7), [])):
        desk.run(catalog, change)
        assert (desk.kept(), desk.waiting()) == ({1: issues}, {})


@pytest.mark.parametrize(
    ("before", "after", "waiting"),
    [
        ([], [SMALL], {2: ["small"]}),
        ([SMALL], [], {}),
        ([SMALL], [{**SMALL, "active": False}], {}),
        ([{**SMALL, "active": False}], [SMALL], {2: ["small"]}),
        ([SMALL], [{**SMALL, "severity": "warning"}], {}),
        ([{**SMALL, "severity": "info"}], [SMALL], {2: ["small"]}),
        ([SMALL], [{"name": "small", "range": {"column": "amount", "max": 0}}], {1: ["small"], 2: ["small"]}),
    ],
)  # fmt: skip
def test_a_changed_rule_is_put_to_every_row(
    desk: Desk, before: Any, after: Any, waiting: dict[int, list[str]]
):
    desk.run(catalog_of(before), order("c", 1, 7, amount=1), order("c", 2, 7, amount=99))
    desk.run(catalog_of(after))
    assert desk.waiting() == waiting
    assert set(desk.kept()) == {1, 2} - set(waiting)
    passed = desk.lake.scan(ORDERS).select("id", "quality_checks_passed").collect().rows()
    names = {rule["name"] for rule in after if rule.get("active", True)}
    assert all({*desk.kept()[key], *names_passed} >= names for key, names_passed in passed)


def test_nothing_is_written_where_nothing_changed(desk: Desk):
    catalog = catalog_of()
    desk.run(catalog, account("c", 7), order("c", 1, 7), order("c", 2, 9))
    settled = desk.versions()
    assert desk.run(catalog)["orders"].rejudged == 0
    assert desk.versions() == settled
    desk.run(catalog, account("c", 8))
    after = desk.versions()
    assert after[ORDERS] == settled[ORDERS], "no order belongs to the new account"
    assert after["silver.x.accounts"] != settled["silver.x.accounts"]


def test_an_update_of_a_parent_touches_no_row_that_refers_to_it(desk: Desk):
    catalog = catalog_of()
    desk.run(catalog, account("c", 7), order("c", 1, 7))
    before = desk.versions()[ORDERS]
    assert desk.run(catalog, account("u", 7, level=5))["orders"].rejudged == 0
    assert desk.versions()[ORDERS] == before


def test_rows_that_refer_to_their_own_table_find_each_other(desk: Desk):
    upper = {
        "name": "upper",
        "reference": {"column": "level", "table": "accounts", "column_there": "id"},
    }
    catalog = catalog_of([], accounts=[upper])
    desk.run(catalog, account("c", 1, level=1), account("c", 2, level=1), account("c", 3, level=9), account("c", 4, level=3))  # fmt: skip
    assert (desk.kept("accounts"), set(desk.waiting("accounts"))) == ({1: [], 2: []}, {3, 4})
    desk.run(catalog, account("u", 3, level=2))
    desk.run(catalog)
    assert set(desk.kept("accounts")) == {1, 2, 3, 4}
    desk.run(catalog, account("d", 2, level=1))
    for _ in range(2):
        desk.run(catalog)
    assert (set(desk.kept("accounts")), set(desk.waiting("accounts"))) == ({1}, {3, 4})


@pytest.mark.parametrize("write", [1, 2, 3, 5, 8])
def test_a_crash_between_any_two_writes_is_mended_by_the_next_run(desk: Desk, write: int):
    catalog = catalog_of()
    desk.run(catalog, account("c", 7), account("c", 8), order("c", 1, 7), order("c", 2, 8))
    desk.run(catalog, account("d", 7))
    stricter = catalog_of([KNOWN, SMALL])
    with disk_that_fails(write), pytest.raises(LakeError, match="the disk is gone"):
        desk.run(stricter, account("d", 8), order("c", 3, 8, amount=99))
    desk.run(stricter)
    desk.run(stricter)
    assert desk.kept() == {}
    assert desk.waiting() == {1: ["known_account"], 2: ["known_account"], 3: ["known_account", "small"]}  # fmt: skip
    replayed = check(desk.lake, stricter, ORDERS, now=NOW)
    assert (replayed.differing, replayed.differences) == (0, ())
