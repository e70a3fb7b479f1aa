"""A contract's mistakes: each is said with file, line, and what to write instead."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.contract import DataType, load_catalog, parse_type
from pipelines.contract.model import AUDIT_COLUMNS, parse_duration
from pipelines.contract.rules import rules_of
from pipelines.contract.types import UnknownTypeError
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
        (("connector: postgres", "connector: db2"), "orders.yaml:4: source.connector:"),
        (("min: 0}", "min: 0}\n  a b: {type: string}"), "does not allow in a name"),
        (("min: 0}", "min: 0}\n  _x: {type: string}"), "is reserved for the columns silver adds"),
        (("min: 0}", "min: 0}\n  m: {type: enum}"), "an enum lists its 'values'"),
        (("min: 0}", "min: 0}\nrules:\n  - {name: a, not_null: {column: totl}}"), "rule 'a' names column 'totl'"),
        (("min: 0}", "min: 0}\nrules:\n  - {name: a, unqiue: {columns: [total]}}"), "did you mean 'unique'?"),
        (("min: 0}", "min: 0}\nrules:\n  - {name: a, not_null: {column: total}, unique: {columns: [total]}}"), "names 2 kinds"),
        (("min: 0}", "min: 0}\nrules:\n  - {name: a, reference: {column: total, table: silver.shop.order, column_there: x}}"), "did you mean 'silver.shop.orders'?"),
        (("key: [order_id]", "key: [order_id]\nfreshness: soon"), "'soon' is not a duration; write for example '15 minutes'"),
        (("description: One", "description: [One"), "not YAML"),
        (("description: One", "descr: a\ndescription: One"), "orders.yaml:2: 'descr' is not a key of a contract\n  Hint: did you mean 'description'?"),
        (("key: [order_id]", "key: [order_id]\nwithheld: [total]"), "column 'total' takes 'total', which is withheld"),
        (("key: [order_id]", "key: [order_id]\ntenant: shop_id"), "tenant names column 'shop_id', which the contract does not have"),
        (("required: true", "requird: true"), "orders.yaml:7: 'columns.order_id.requird' is not a key of a contract\n  Hint: did you mean 'required'?"),
        (("required: true", "zzz: true"), "Hint: the keys here are type, required,"),
        (("postgres, topic", "postgres, tpoic: x, topic"), "orders.yaml:4: 'source.tpoic' is not a key of a contract\n  Hint: did you mean 'topic'?"),
        (("type: uuid", "typ: uuid"), "orders.yaml:7: columns.order_id.type: Field required"),
        (("{type: uuid, required: true}", "uuid"), "orders.yaml:7: columns.order_id: Input should be a valid dictionary"),
        (("{type: uuid, required: true}", "{type: uuid, required: true}\n  order_id: {type: uuid}"), "orders.yaml:8: key 'order_id' stands twice"),
        (("decimal(10,2)", "decimal(2,10)"), "orders.yaml:8: columns.total.type: 'decimal(2,10)' has more digits"),
        (("decimal(10,2)", "list<strng>"), "orders.yaml:8: columns.total.type: 'strng' is not a type; the types are string, bool"),
        (("decimal(10,2)", "struct<a>"), "has a member 'a' without a name and a type"),
        (("key: [order_id]", "key: []"), "orders.yaml:5: key:"),
        (("silver.shop.orders", "bronze.shop.orders"), "a contract is for silver, gold or export"),
        (("silver.shop.orders", "Silver.Shop"), "orders.yaml:1: table: String should match pattern"),
        (("source: {connector: postgres, topic: shop.public.orders}\n", ""), "a silver table has a 'source'"),
        (("description: One", "path: /\ndescription: One"), "orders.yaml:2: 'path' is not a key of a contract"),
        (("min: 0}", "min: 0}\n  m: {type: enum, values: []}"), "orders.yaml:9: columns.m: an enum lists its 'values'"),
        (("min: 0}", "min: 0}\nrules:\n  - {name: a}"), "orders.yaml:10: rules.0: rule 'a' names 0 kinds; give one of not_null"),
        (("min: 0}", "min: 0}\nrules:\n  - {name: a, unique: {columns: [totl]}}"), "rule 'a' names column 'totl'"),
        (("min: 0}", "min: 0}\nrules:\n  - {name: a, not_null: {column: total}}\n  - {name: a, unique: {columns: [total]}}"), "two rules share the name 'a'"),
        (("min: 0}", "min: 0}\nrules:\n  - {name: a, severity: fatal, not_null: {column: total}}"), "orders.yaml:10: rules.0.severity:"),
        (("min: 0}", "min: 0}\nrules:\n  - {name: a, reference: {column: total, table: silver.shop.orders, column_there: totl}}"), "'totl', which is no column of silver.shop.orders\n  Hint: did you mean 'total'?"),
        (("key: [order_id]", "key: [order_id]\nretention: {tombstones: 3}"), "orders.yaml:6: retention.tombstones: '3' is not a duration"),
    ],
)  # fmt: skip
def test_a_mistake_is_said_where_it_is(tmp_path: Path, change: tuple[str, str], said: str):
    write(tmp_path, GOOD.replace(*change))
    with pytest.raises(ContractError) as raised:
        load_catalog(tmp_path)
    assert said in str(raised.value)


@pytest.mark.parametrize("character", [*" ,;{}()=", "\\n", "\\t"])
def test_a_column_has_no_character_that_delta_refuses(tmp_path: Path, character: str):
    write(tmp_path, GOOD + f'  "a{character}b": {{type: string}}\n')
    with pytest.raises(
        ContractError, match=r"(?s)orders\.yaml:9: .* give the column a plain name .* 'source:'"
    ):
        load_catalog(tmp_path)


@pytest.mark.parametrize("name", AUDIT_COLUMNS)
def test_a_column_that_silver_adds_cannot_be_named(tmp_path: Path, name: str):
    write(tmp_path, GOOD + f"  {name}: {{type: string}}\n")
    with pytest.raises(ContractError, match=rf"orders\.yaml:9: .*'{name}' is reserved"):
        load_catalog(tmp_path)


@pytest.mark.parametrize("text", [b"", b"- a\n- b\n", b"silver.shop.orders\n", b"42\n"])
def test_a_contract_is_a_mapping(tmp_path: Path, text: bytes):
    write(tmp_path, "").write_bytes(text)
    with pytest.raises(ContractError, match=r"orders\.yaml:1: .*\n  Hint: start it with 'table: "):
        load_catalog(tmp_path)


@pytest.mark.parametrize("text", [b"\xff\xfe", b"a: b\n\tc: d\n", b"a: 1\n---\na: 2\n"])
def test_what_is_not_yaml_is_said_with_its_file(tmp_path: Path, text: bytes):
    write(tmp_path, "").write_bytes(text)
    with pytest.raises(ContractError, match=r"orders\.yaml: not YAML: "):
        load_catalog(tmp_path)


def test_a_folder_that_is_not_there_is_said_with_its_option(tmp_path: Path):
    with pytest.raises(ContractError, match=r"no such folder of contracts\n  Hint: .*--assets"):
        load_catalog(tmp_path / "none")


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
    with pytest.raises(ContractError) as raised:
        load_catalog(tmp_path)
    assert "orders.yaml: 'shop.public.orders' feeds silver.shop.more already" in str(raised.value)
    assert "shop/silver/more.yaml)" in str(raised.value)


def test_gold_needs_its_sql(tmp_path: Path):
    text = "table: gold.shop.a\ndescription: d\nowner: o\nkey: [x]\ncolumns: {x: {type: string}}\n"
    write(tmp_path, text, "a", "gold")
    with pytest.raises(
        ContractError, match=r"a\.yaml: a gold table has its SQL beside it\n  Hint: write a\.sql"
    ):
        load_catalog(tmp_path)
    (tmp_path / "shop" / "gold" / "a.sql").write_text("SELECT 'x' AS x")
    assert load_catalog(tmp_path)["gold.shop.a"].sql == "SELECT 'x' AS x"


def test_a_table_that_no_contract_has_is_said_with_the_nearest(tmp_path: Path):
    write(tmp_path, GOOD)
    with pytest.raises(ContractError, match=r"Hint: did you mean 'silver\.shop\.orders'\?"):
        load_catalog(tmp_path)["silver.shop.order"]


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ('{name: a, pattern: {column: order_id, regex: "("}}', "the regular expression does not compile"),
        ('{name: a, expression: {sql: "total >"}}', "the SQL condition does not parse"),
        ("{name: a, range: {column: total, min: 3, max: 1}}", "min 3 is larger than max 1"),
        ("{name: a, range: {column: order_id, min: 3}}", "has no range"),
        ("{name: a, range: {column: total}}", "RANGE wants 'min', 'max' or both"),
        ("{name: a, range: {column: total, min: cheap}}", r"'cheap' is no Decimal\(precision=10, scale=2\) to compare 'total' with"),
        ('{name: a, pattern: {column: order_id, regex: "(?=a)"}}', "look-around and back references are not known"),
        ('{name: a, expression: {sql: "totl > 0"}}', r"names column 'totl'(?s:.*)Hint: did you mean 'total'\?"),
        ('{name: a, expression: {sql: "total > AVG(total)"}}', r"AVG\(total\) looks at other rows"),
        ('{name: a, expression: {sql: "nosuch(total)"}}', "the SQL condition does not parse: unsupported function 'nosuch'"),
    ],
)  # fmt: skip
def test_a_rule_that_cannot_be_judged_is_refused(tmp_path: Path, rule: str, said: str):
    write(tmp_path, GOOD + f"rules:\n  - {rule}\n")
    with pytest.raises(ContractError, match=rf"orders\.yaml:\d+: rule 'a'.*{said}"):
        rules_of(load_catalog(tmp_path)["silver.shop.orders"])


def test_a_rule_of_a_column_that_is_not_there_is_said_with_line_and_hint(tmp_path: Path):
    write(tmp_path, GOOD + "rules:\n  - {name: a, not_null: {column: totl}}\n")
    line = len(GOOD.splitlines()) + 2
    with pytest.raises(ContractError) as refused:
        load_catalog(tmp_path)
    assert f"orders.yaml:{line}: rules.0: rule 'a' names column 'totl'" in str(refused.value)
    assert "Hint: did you mean 'total'?" in str(refused.value)


WORDS = ("no", "on", "off", "yes", "y", "n", "No", "ON")


@pytest.mark.parametrize("word", WORDS)
def test_words_that_old_yaml_takes_for_booleans_are_names_and_values(tmp_path: Path, word: str):
    text = f"  {word}: {{type: enum, values: [{word}, other], description: {word}}}\n"
    write(tmp_path, GOOD.replace("key: [order_id]", f"key: [order_id, {word}]") + text)
    contract = load_catalog(tmp_path)["silver.shop.orders"]
    assert contract.key == ("order_id", word)
    assert contract.columns[word].values == (word, "other")
    assert [rule.name for rule in rules_of(contract)][-1] == f"{word}_values"


def test_true_and_false_stay_what_they_are(tmp_path: Path):
    write(tmp_path, GOOD + "  a: {type: bool, required: false, unique: true}\n")
    column = load_catalog(tmp_path)["silver.shop.orders"].columns["a"]
    assert (column.required, column.unique) == (False, True)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("1 second", timedelta(seconds=1)),
        ("15 minutes", timedelta(minutes=15)),
        ("2 hours", timedelta(hours=2)),
        (" 1  day ", timedelta(days=1)),
        ("2 weeks", timedelta(days=14)),
        ("1 month", timedelta(days=30)),
        ("7 years", timedelta(days=7 * 365)),
    ],
)
def test_a_duration_is_a_number_and_a_unit(text: str, meant: timedelta):
    assert parse_duration(text) == meant


@pytest.mark.parametrize(
    "text", ["", "15", "minutes", "-1 day", "1.5 hours", "1 day 2 hours", "1d", 15]
)
def test_anything_else_is_no_duration(text: object):
    with pytest.raises(ValueError, match="write for example '15 minutes' or '2 days'"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("string", "string"),
        ("decimal( 38 , 10 )", "decimal(38,10)"),
        ("list< int64 >", "list<int64>"),
        ("struct<x:float64,y:timestamp_ntz>", "struct<x: float64, y: timestamp_ntz>"),
        ("list<struct<a: int64, b: list<decimal(5,1)>>>", "list<struct<a: int64, b: list<decimal(5,1)>>>"),
    ],
)  # fmt: skip
def test_a_type_has_one_way_of_being_written(text: str, written: str):
    assert str(parse_type(text)) == written


PLAIN = ["string", "bool", "int8", "int16", "int32", "int64", "float32", "float64", "date", "time", "timestamp", "timestamp_ntz", "uuid", "json", "enum", "binary"]  # fmt: skip
TYPES = st.recursive(
    st.sampled_from(PLAIN).map(DataType)
    | st.integers(1, 38).flatmap(
        lambda digits: st.integers(0, digits).map(lambda s: DataType("decimal", digits, s))
    ),
    lambda inner: (
        inner.map(lambda item: DataType("list", item=item))
        | st.dictionaries(st.from_regex(r"[a-z][a-z0-9_]{0,8}", fullmatch=True), inner, min_size=1)
        .map(lambda fields: DataType("struct", fields=fields))
    ),
    max_leaves=8,
)  # fmt: skip


@given(TYPES)
def test_a_type_is_read_as_it_is_written(given_type: DataType):
    again = parse_type(str(given_type))
    assert again == given_type
    assert again.stored == given_type.stored


@given(st.text(alphabet="decimalstruct<>(),: 0123456789ab", max_size=30))
def test_any_other_text_is_refused_with_the_list_of_types(text: str):
    try:
        again = str(parse_type(text))
    except UnknownTypeError as error:
        assert "the types are string, bool" in str(error)  # noqa: PT017 - most texts are no type, some are
    else:
        assert str(parse_type(again)) == again
