"""A contract's mistakes: each is said with file, line, and what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.contract import load_catalog, parse_type
from pipelines.contract.rules import rules_of
from pipelines.errors import ContractError

GOOD = """table: silver.shop.orders
description: One row per order
owner: me
source: {connector: postgres, topic: shop.public.orders}
key: [order_id]
columns:
  order_id: {type: uuid, required: true}
  total: {type: "decimal(10,2)", min: 0}
"""


def write(root: Path, text: str, name: str = "orders", layer: str = "silver") -> Path:
    path = root / "shop" / layer / f"{name}.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("owner: me", "ownr: me"), "orders.yaml:3: 'ownr' is not a key of a contract\n  Hint: did you mean 'owner'?"),
        (("decimal(10,2)", "decimal(10"), "orders.yaml:8: columns.total.type: 'decimal(10' wants its digits"),
        (("decimal(10,2)", "decimal(39,2)"), "has more digits than a decimal holds (38)"),
        (("type: uuid", "type: uid"), "orders.yaml:7: columns.order_id.type: 'uid' is not a type"),
        (("owner: me", "owner: me\nowner: you"), "orders.yaml:4: key 'owner' stands twice"),
        (("key: [order_id]", "key: [id]"), "key names column 'id', which the contract does not have"),
        (("silver.shop.orders", "silver.shop.order"), "but the file's place says 'silver.shop.orders'"),
        (("connector: postgres", "connector: oracle"), "orders.yaml:4: source.connector:"),
        (("min: 0}", "min: 0}\n  a b: {type: string}"), "does not allow in a name"),
        (("min: 0}", "min: 0}\n  _x: {type: string}"), "is reserved for the columns silver adds"),
        (("min: 0}", "min: 0}\n  m: {type: enum}"), "an enum lists its 'values'"),
        (("min: 0}", "min: 0}\nrules:\n  - {name: a, not_null: {column: totl}}"), "rule 'a' names column 'totl'"),
        (("min: 0}", "min: 0}\nrules:\n  - {name: a, unqiue: {columns: [total]}}"), "did you mean 'unique'?"),
        (("min: 0}", "min: 0}\nrules:\n  - {name: a, not_null: {column: total}, unique: {columns: [total]}}"), "names 2 kinds"),
        (("min: 0}", "min: 0}\nrules:\n  - {name: a, reference: {column: total, table: silver.shop.order, column_there: x}}"), "did you mean 'silver.shop.orders'?"),
        (("key: [order_id]", "key: [order_id]\nfreshness: soon"), "'soon' is not a duration; write for example '15 minutes'"),
        (("description: One", "description: [One"), "not YAML"),
    ],
)  # fmt: skip
def test_a_mistake_is_said_where_it_is(tmp_path: Path, change: tuple[str, str], said: str):
    write(tmp_path, GOOD.replace(*change))
    with pytest.raises(ContractError) as raised:
        load_catalog(tmp_path)
    assert said in str(raised.value)


def test_all_mistakes_are_said_at_once(tmp_path: Path):
    write(tmp_path, GOOD.replace("uuid", "uid").replace("owner: me", "ownr: me"))
    write(tmp_path, "- a list", "others")
    with pytest.raises(ContractError) as raised:
        load_catalog(tmp_path)
    assert all(
        part in str(raised.value)
        for part in ("'uid'", "'ownr'", "others.yaml:1: a contract is a mapping")
    )


def test_two_contracts_cannot_read_one_topic(tmp_path: Path):
    write(tmp_path, GOOD)
    write(tmp_path, GOOD.replace("silver.shop.orders", "silver.shop.more"), "more")
    with pytest.raises(ContractError, match=r"'shop\.public\.orders' feeds"):
        load_catalog(tmp_path)


def test_gold_needs_its_sql(tmp_path: Path):
    text = "table: gold.shop.a\ndescription: d\nowner: o\nkey: [x]\ncolumns: {x: {type: string}}\n"
    write(tmp_path, text, "a", "gold")
    with pytest.raises(ContractError, match=r"write a\.sql"):
        load_catalog(tmp_path)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ('{name: a, pattern: {column: order_id, regex: "("}}', "the regular expression does not compile"),
        ('{name: a, expression: {sql: "total >"}}', "the SQL condition does not parse"),
        ("{name: a, range: {column: total, min: 3, max: 1}}", "min 3 is larger than max 1"),
        ("{name: a, range: {column: order_id, min: 3}}", "has no range"),
    ],
)  # fmt: skip
def test_a_rule_that_cannot_be_judged_is_refused(tmp_path: Path, rule: str, said: str):
    write(tmp_path, GOOD + f"rules:\n  - {rule}\n")
    with pytest.raises(ContractError, match=said):
        rules_of(load_catalog(tmp_path)["silver.shop.orders"])


def test_words_that_old_yaml_takes_for_booleans_are_names(tmp_path: Path):
    write(tmp_path, GOOD + "  no: {type: string}\n  on: {type: bool}\n  yes: {type: date}\n")
    assert {"no", "on", "yes"} <= set(load_catalog(tmp_path)["silver.shop.orders"].columns)


@pytest.mark.parametrize(
    "text",
    [
        "string",
        "decimal(38,10)",
        "list<struct<a: int64, b: list<decimal(5,1)>>>",
        "struct<x: float64, y: timestamp_ntz>",
    ],
)
def test_a_type_is_written_as_it_is_read(text: str):
    assert str(parse_type(text)) == text
