"""Masked tables and those of large groups alone, brought up to date in parts, are what the whole is."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.contract.mask import GroupSize, Mask
from pipelines.gold import build
from tests.properties.small_shop import (
    CUSTOMERS,
    GOLD,
    NOW,
    ORDERS,
    Change,
    change,
    contract_for,
    day,
    shop,
    whole,
)

BY_STATUS = f"SELECT o.status AS k, COUNT(DISTINCT o.customer_id) AS n, SUM(o.units) AS u FROM {ORDERS} o GROUP BY o.status"
LINES = f"SELECT o.order_id AS k, o.status AS s, c.country AS c FROM {ORDERS} o LEFT JOIN {CUSTOMERS} c ON o.customer_id = c.customer_id"

FIRST: Change = {
    ORDERS: (
        {
            1: (1, day(0), "paid", None, 2),
            2: (2, day(1), "paid", None, 1),
            3: (2, day(2), "new", None, 4),
            4: (3, day(3), "old", None, 1),
        },
        set(),
    ),
    CUSTOMERS: ({1: ("DE", None), 2: ("FR", 1), 3: ("DE", 2)}, set()),
}
#: `paid` loses a customer, `new` wins one; a country changes; a line goes.
NEXT: Change = {
    ORDERS: ({2: (2, day(1), "new", None, 7), 5: (3, day(1), "new", None, 1)}, {4}),
    CUSTOMERS: ({1: ("FR", None)}, set()),
}


@pytest.mark.parametrize(
    ("sql", "masks", "size"),
    [
        (BY_STATUS, {}, GroupSize(column="n", minimum=2, smaller="drop")),
        (BY_STATUS, {"k": Mask(method="hash")}, GroupSize(column="n", minimum=2, smaller="drop")),
        (LINES, {"s": Mask(method="hash"), "c": Mask(method="tokenise")}, None),
        (LINES, {"s": Mask(method="truncate", keep=2), "c": Mask(method="redact")}, None),
    ],
)
def test_parts_are_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sql: str, masks: dict[str, Mask], size: GroupSize | None
) -> None:  # fmt: skip
    monkeypatch.setenv("MEDALLION_MASK_SALT", "0123456789abcdef")
    lake, catalog = shop(tmp_path), contract_for(tmp_path, sql, ["k"])
    contract = catalog[GOLD]
    columns = {
        name: column.model_copy(update={"mask": masks.get(name)})
        for name, column in contract.columns.items()
    }
    catalog = catalog.having(contract.model_copy(update={"columns": columns, "group_size": size}))
    shown = []
    for number, step in enumerate((FIRST, NEXT, FIRST)):
        change(lake, step)
        build(lake, catalog, GOLD, batch_id=f"b{number}", now=NOW)
        expected = whole(lake, catalog)
        order = expected.columns
        assert lake.scan(GOLD).select(order).collect().sort(order).equals(expected.sort(order))
        shown.append(expected)
    assert not shown[0].equals(shown[1])
    assert all(len(rows) for rows in shown)
