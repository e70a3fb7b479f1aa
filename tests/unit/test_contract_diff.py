"""What a proposed change of contracts breaks and reaches."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipelines.cli import app
from pipelines.errors import ContractError

ORDERS = """table: silver.shop.orders
description: Orders
owner: shop-data
version: 1.0.0
source: {connector: postgres, topic: p.public.orders}
key: [id]
history: true
columns:
  id: {type: int32}
  customer: {type: string}
  amount: {type: "decimal(10,2)", min: 0}
  status: {type: string}
rules:
  - {name: lost_is_free, expression: {sql: "status <> 'lost' OR amount = 0"}}
  - {name: known_customer, reference: {column: customer, table: silver.shop.customers, column_there: name}}
"""

CUSTOMERS = """table: silver.shop.customers
description: Customers
owner: crm
source: {connector: postgres, topic: p.public.customers}
key: [name]
columns:
  name: {type: string}
"""

TOTALS = """table: gold.shop.totals
description: Totals
owner: finance
key: [customer]
columns:
  customer: {type: string}
  total: {type: "decimal(18,2)", required: true}
"""

TOTALS_SQL = """SELECT o.customer, CAST(SUM(o.amount) AS DECIMAL(18, 2)) AS total
FROM silver.shop.orders AS o
WHERE o.status <> 'lost'
GROUP BY o.customer
"""


class Folders:
    """The contracts as they are, and as somebody proposes them."""

    def __init__(self, root: Path) -> None:
        self.old, self.new = root / "old", root / "new"
        for folder in (self.old, self.new):
            for layer, name, text in (
                ("silver", "orders", ORDERS),
                ("silver", "customers", CUSTOMERS),
                ("gold", "totals", TOTALS),
            ):
                (folder / "shop" / layer).mkdir(parents=True, exist_ok=True)
                (folder / "shop" / layer / f"{name}.yaml").write_text(text)
            (folder / "shop" / "gold" / "totals.sql").write_text(TOTALS_SQL)

    def propose(self, file: str, old: str, new: str) -> None:
        path = self.new / "shop" / file
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    def diff(self) -> dict[str, Any]:
        done = CliRunner().invoke(app, ["contract", "diff", str(self.old), str(self.new), "--json"])
        assert done.exit_code == 0, (done.output, done.exception)
        return json.loads(done.stdout)

    def check(self) -> str:
        done = CliRunner().invoke(
            app, ["contract", "diff", str(self.old), str(self.new), "--check"]
        )
        assert done.exception is None or isinstance(done.exception, (ContractError, SystemExit))
        return str(done.exception or "")


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    return Folders(tmp_path)


def test_the_same_contracts_do_not_differ(folders: Folders) -> None:
    assert folders.diff() == {"changes": [], "without_major_version": [], "faults": []}
    assert folders.check() == ""


def test_a_removed_column_reaches_its_history_its_gold_rules_and_owners(folders: Folders) -> None:
    folders.propose("silver/orders.yaml", '  amount: {type: "decimal(10,2)", min: 0}\n', "")
    folders.propose("silver/orders.yaml", " OR amount = 0", "")
    told = folders.diff()
    removed, *rules = told["changes"]
    assert (removed["column"], removed["what"], removed["breaking"]) == ("amount", "removed", True)
    assert removed["reaches"] == {
        "tables": ["gold.shop.totals", "history.shop.orders", "silver.shop.orders"],
        "columns": [
            "gold.shop.totals.total",
            "history.shop.orders.amount",
            "silver.shop.orders.amount",
        ],
        "rules": [
            "gold.shop.totals.total_required",
            "silver.shop.orders.amount_range",
            "silver.shop.orders.lost_is_free",
        ],
        "owners": ["finance", "shop-data"],
    }
    assert [(r["rule"], r["what"]) for r in rules] == [
        ("amount_range", "rule removed"),
        ("lost_is_free", "rule changed"),
    ]
    assert told["without_major_version"] == ["silver.shop.orders"]
    assert any("'amount'" in fault for fault in told["faults"])
    said = folders.check()
    assert "needs a new major version" in said
    assert "'amount'" in said


def test_a_column_that_only_decides_reaches_every_column_it_decides_about(
    folders: Folders,
) -> None:
    folders.propose("silver/orders.yaml", "status: {type: string}", "status: {type: json}")
    (change, *_) = folders.diff()["changes"]
    assert change["what"] == "type string -> json"
    assert {"gold.shop.totals.customer", "gold.shop.totals.total"} <= {
        *change["reaches"]["columns"]
    }


def test_a_key_reaches_the_rules_of_other_tables_that_refer_to_it(folders: Folders) -> None:
    folders.propose("silver/customers.yaml", "name: {type: string}", "name: {type: json}")
    change = folders.diff()["changes"][0]
    assert "silver.shop.orders.known_customer" in change["reaches"]["rules"]
    assert change["reaches"]["owners"] == ["crm"]


@pytest.mark.parametrize(
    ("old", "new", "breaking"),
    [
        ("id: {type: int32}", "id: {type: int64}", False),
        ("id: {type: int32}", "id: {type: int16}", True),
        ("decimal(10,2)", "decimal(12,2)", False),
        ("decimal(10,2)", "decimal(12,4)", True),
        ("customer: {type: string}", "customer: {type: string, required: true}", False),
        ("customer: {type: string}", "customer: {type: string, classification: restricted}", False),
        ("customer: {type: string}", "client: {type: string, was: [customer]}", True),
        ("history: true", "history: false", True),
        ("key: [id]", "key: [id, customer]", True),
    ],
)
def test_a_change_breaks_what_cannot_be_read_as_before(
    folders: Folders, old: str, new: str, breaking: bool
) -> None:
    folders.propose("silver/orders.yaml", old, new)
    if "client" in new:
        folders.propose(
            "silver/orders.yaml", "reference: {column: customer,", "reference: {column: client,"
        )
    changes = folders.diff()["changes"]
    assert any(change["breaking"] for change in changes) is breaking


def test_a_breaking_change_with_a_new_major_version_passes(folders: Folders) -> None:
    folders.propose("silver/orders.yaml", "id: {type: int32}", "id: {type: string}")
    assert "needs a new major version" in folders.check()
    folders.propose("silver/orders.yaml", "version: 1.0.0", "version: 2.0.0")
    assert folders.check() == ""


def test_other_sql_reaches_every_column_of_its_table(folders: Folders) -> None:
    folders.propose("gold/totals.sql", "<> 'lost'", "= 'paid'")
    (change,) = folders.diff()["changes"]
    assert (change["what"], change["breaking"]) == ("SQL changed", False)
    assert change["reaches"]["columns"] == ["gold.shop.totals.customer", "gold.shop.totals.total"]


def test_a_revision_of_git_is_what_the_folder_was_then(folders: Folders) -> None:
    git = ["git", "-C", str(folders.new), "-c", "user.name=t", "-c", "user.email=t@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*git, *command], check=True, capture_output=True)
    folders.propose("silver/orders.yaml", "owner: shop-data", "owner: sales")
    arguments = ["contract", "diff", "--assets", str(folders.new), "--json"]
    done = CliRunner().invoke(app, arguments)
    assert [c["what"] for c in json.loads(done.stdout)["changes"]] == ["owner changed"]
    done = CliRunner().invoke(app, [*arguments, "no-such-revision"])
    assert isinstance(done.exception, ContractError)
    assert "no git revision" in str(done.exception)


# ---- EXPORTS ---- #

SENT = """table: export.shop.totals
description: Totals for the bank
owner: treasury
export: {format: csv}
key: [customer]
columns:
  customer: {type: string}
  total: {type: "decimal(18,2)"}
"""


@pytest.fixture
def sending(folders: Folders) -> Folders:
    """The folders with an export of gold."""
    for folder in (folders.old, folders.new):
        (folder / "shop" / "export").mkdir()
        (folder / "shop" / "export" / "totals.yaml").write_text(SENT)
        sql = "SELECT t.customer, t.total FROM gold.shop.totals AS t"
        (folder / "shop" / "export" / "totals.sql").write_text(sql)
    return folders


def test_a_source_column_reaches_the_file_that_is_made_of_it(sending: Folders) -> None:
    sending.propose("silver/orders.yaml", "decimal(10,2)", "decimal(12,2)")
    told = sending.diff()
    assert "export.shop.totals.total" in json.dumps(told)
    assert "treasury" in json.dumps(told)


def test_another_file_of_an_export_breaks_its_reader(sending: Folders) -> None:
    sending.propose("export/totals.yaml", "{format: csv}", "{format: csv, path: bank/totals.csv}")
    (change,) = sending.diff()["changes"]
    assert (change["table"], change["breaking"]) == ("export.shop.totals", True)
