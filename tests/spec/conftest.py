"""`silver_spec`: a table of changes, a table of rows; each written case is run in four ways."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pytest

from pipelines.bronze import Bronze
from pipelines.silver import apply
from pipelines.storage import Lake
from tests.properties.test_laws import CATALOG, TABLE, _base64, batch

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OPERATIONS = {"c", "u", "r", "d", "t"}
PLACEHOLDER = "__debezium_unavailable_value"

Spec = Callable[..., None]


def rows_of(table: str) -> list[dict[str, str]]:
    """The rows of an ASCII table; a cell of `-` is null."""
    lines = [[cell.strip() for cell in line.split("|")] for line in table.strip().splitlines()]
    return [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]


def sent(row: dict[str, str]) -> tuple[str | None, str | None, list[list[str]]]:
    """One change as Debezium sends it; `was` names the key that a row had before."""
    op, key = row["op"], None if row["op"] == "t" else {"id": int(row["id"])}
    note = {"-": None, "same": PLACEHOLDER}.get(row.get("note", "-"), row.get("note"))
    after = {**(key or {}), "price": _price(row["cents"]), "note": note} if op in "cur" else None
    lsn = int(row["lsn"])
    source = {
        "name": "p",
        "schema": "public",
        "table": "items",
        "snapshot": "false",
        "lsn": lsn,
        "sequence": json.dumps([str(lsn), str(lsn)]),
        "ts_ms": lsn,
    }
    before = {**key, "price": "AA==", "note": None} if op == "d" and key else None
    value = {
        "before": before,
        "after": after,
        "source": source,
        "op": op,
        "ts_ms": 1,
        "transaction": None,
    }
    headers = (
        [["__debezium.oldkey", json.dumps({"id": int(row["was"])})]]
        if row.get("was", "-") != "-"
        else []
    )
    return key and json.dumps(key), json.dumps(value), headers


def _price(cents: str) -> str:
    return cents if cents == "???" else _base64(int(cents))


WAYS = {
    "in one batch": lambda changes: [changes],
    "row by row": lambda changes: [[change] for change in changes],
    "replayed": lambda changes: [changes, changes],
    "backwards": lambda changes: [[change] for change in reversed(changes)],
}


@pytest.fixture(params=WAYS)
def silver_spec(request: pytest.FixtureRequest) -> Iterator[Spec]:
    with tempfile.TemporaryDirectory() as folder:

        def check(
            *, given: str, then: str, quarantined: str = "id | issues", needs_order: bool = False
        ) -> None:
            lake, offset = Lake(folder), 0
            for piece in WAYS[request.param]([sent(row) for row in rows_of(given)]):
                Bronze(lake, CATALOG).land(batch(piece, offset))
                apply(lake, CATALOG, TABLE, now=NOW)
                offset += len(piece)
            expected = {
                (int(row["id"]), int(row["cents"]), None if row["note"] == "-" else row["note"])
                for row in rows_of(then)
            }
            if needs_order and request.param == "backwards":
                # What a change leaves out is known only from the changes before it: nothing is made up.
                assert held(lake) <= expected
                return
            assert held(lake) == expected
            waiting = (
                lake.scan("quarantine.shop.items").select("id", "quality_issues").collect().rows()
            )
            assert {(key, " ".join(issues)) for key, issues in waiting} == {
                (int(row["id"]), row["issues"]) for row in rows_of(quarantined)
            }

        yield check


def held(lake: Lake) -> set[tuple[int, int, str | None]]:
    rows = lake.scan(TABLE).select("id", "price", "note").collect().rows()
    return {(key, int(price.scaleb(2)), note) for key, price, note in rows}
