"""Laws of quality over generated histories: every row is in one place, by the rules and parents of now.

An oracle of plain Python says where each row of the source belongs; the lake may get there by any
way: changes of both tables, rules that come and go, runs that die between any two writes.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipelines.contract import Catalog
from pipelines.errors import LakeError
from pipelines.storage import Lake
from tests.spec.orders import (
    KNOWN,
    Change,
    Desk,
    account,
    catalog_of,
    disk_that_fails,
    order,
)

Row = Mapping[str, Any]

#: The rules to draw from, each with what it says in plain Python of an order.
SAID: Mapping[str, tuple[Mapping[str, Any], Any]] = {
    "known_account": ({"reference": KNOWN["reference"]}, None),
    "small": ({"range": {"column": "amount", "max": 5}}, lambda row: row["amount"] is None or row["amount"] <= 5),
    "paid": ({"not_null": {"column": "amount"}}, lambda row: row["amount"] is not None),
    "short": ({"length": {"column": "note", "max": 2}}, lambda row: row["note"] is None or len(row["note"]) <= 2),
    # Raises on a note that is no number.
    "counted": ({"expression": {"sql": "CAST(note AS INT) < 50"}}, lambda row: row["note"] is None or (row["note"].isdigit() and int(row["note"]) < 50)),
}  # fmt: skip
LEVEL = {"name": "level", "not_null": {"column": "level"}}

ACCOUNTS, ORDERS = st.integers(1, 3), st.integers(1, 4)
CHANGES = st.one_of(
    st.builds(account, st.just("u"), ACCOUNTS, st.none() | st.integers(1, 2)),
    st.builds(account, st.just("d"), ACCOUNTS),
    st.builds(order, st.just("u"), ORDERS, st.none() | ACCOUNTS, st.none() | st.integers(3, 8), st.sampled_from([None, "7", "99", "x", "long"])),
    st.builds(order, st.just("d"), ORDERS, st.none()),
)  # fmt: skip
RULES = st.dictionaries(
    st.sampled_from(sorted(SAID)), st.sampled_from(["error", "warning", "off"]), max_size=4
)
STEPS = st.lists(
    st.tuples(st.lists(CHANGES, max_size=5), RULES, st.booleans(), st.none() | st.integers(1, 16)),
    min_size=1,
    max_size=4,
)


def catalog(rules: Mapping[str, str], *, level: bool) -> Catalog:
    made = [
        {
            "name": name,
            "active": how != "off",
            **({} if how == "off" else {"severity": how}),
            **SAID[name][0],
        }
        for name, how in sorted(rules.items())
    ]
    return catalog_of(made, accounts=[LEVEL] if level else [])


def told(changes: Sequence[Change], table: str) -> dict[int, Row]:
    """The source's rows after the changes."""
    rows = dict[int, Row]()
    for where, op, key, values in changes:
        if where == table:
            rows.pop(key, None)
            if op != "d":
                rows[key] = values
    return rows


def belongs(
    changes: Sequence[Change], rules: Mapping[str, str], *, level: bool
) -> tuple[dict[int, set[str]], dict[int, set[str]]]:
    """The orders kept and those quarantined, with the rules they break."""
    accounts = {
        key
        for key, row in told(changes, "accounts").items()
        if not level or row["level"] is not None
    }
    kept, quarantined = dict[int, set[str]](), dict[int, set[str]]()
    for key, row in told(changes, "orders").items():
        broken = {
            name
            for name, how in rules.items()
            if how != "off"
            and not (
                row["account"] is None or row["account"] in accounts
                if name == "known_account"
                else SAID[name][1](row)
            )
        }
        refused = any(rules[name] == "error" for name in broken)
        (quarantined if refused else kept)[key] = broken
    return kept, quarantined


def names(rows: Mapping[int, list[str]]) -> dict[int, set[str]]:
    return {key: {issue.removeprefix("unjudged: ") for issue in each} for key, each in rows.items()}


def run(desk: Desk, rules: Catalog, changes: Sequence[Change], dies_at: int | None) -> None:
    """A run that may die before one of its writes, and the next one that goes on."""
    try:
        with disk_that_fails(dies_at):
            desk.run(rules, *changes)
    except LakeError:
        desk.run(rules)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(STEPS)
def test_every_row_is_where_rules_and_parents_of_now_put_it(steps: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        desk, seen = Desk(Lake(folder)), list[Change]()
        for changes, rules, level, dies_at in steps:
            seen += changes
            run(desk, catalog(rules, level=level), changes, dies_at)
            kept, quarantined = belongs(seen, rules, level=level)
            assert (names(desk.kept()), names(desk.waiting())) == (kept, quarantined)
            assert set(kept) | set(quarantined) == set(told(seen, "orders"))
        settled = desk.versions()
        desk.run(catalog(steps[-1][1], level=steps[-1][2]))
        assert desk.versions() == settled, "again is free"
        desk.run(catalog({}, level=False))
        assert (desk.waiting(), desk.waiting("accounts")) == ({}, {}), "without rules nothing waits"
        assert set(desk.kept()) == set(told(seen, "orders"))


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(CHANGES, min_size=1, max_size=8))
def test_the_quarantine_empties_when_rows_or_parents_are_mended(changes: list[Change]) -> None:
    rules = catalog(dict.fromkeys(SAID, "error"), level=True)
    with tempfile.TemporaryDirectory() as folder:
        desk = Desk(Lake(folder))
        desk.run(rules, *changes)
        mended = [
            order("u", key, row["account"], 1, "7") for key, row in told(changes, "orders").items()
        ]
        desk.run(rules, *mended)
        assert all(issues == ["known_account"] for issues in desk.waiting().values())
        desk.run(rules, *(account("u", key, 1) for key in (1, 2, 3)))
        assert (desk.waiting(), desk.waiting("accounts")) == ({}, {})
        assert set(desk.kept()) == set(told(changes, "orders"))
