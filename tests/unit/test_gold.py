"""Gold is its SQL: built once, exact or refused, with keys that stay."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable

from pipelines.contract import Catalog, load_catalog
from pipelines.errors import (
    ConflictError,
    ContractError,
    LakeError,
    LossError,
    QualityError,
    QueryError,
)
from pipelines.gold import build, order_of
from pipelines.storage import Lake

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SOURCE = "silver.shop.items"


class Bench:
    def __init__(self, root: Path) -> None:
        self.assets, self.lake = root / "assets", Lake(str(root / "lake"))
        (self.assets / "shop" / "gold").mkdir(parents=True)

    def items(self, *rows: tuple[str | None, float]) -> None:
        frame = pl.DataFrame(rows, schema={"id": pl.String, "amount": pl.Float64}, orient="row")
        self.lake.write(self.lake.create(SOURCE, frame.schema), frame, mode="overwrite")

    def table(self, sql: str, columns: str, extra: str = "", name: str = "a") -> Catalog:
        path = self.assets / "shop" / "gold" / f"{name}.yaml"
        path.write_text(
            f"table: gold.shop.{name}\ndescription: d\nowner: o\nkey: [id]\n{extra}columns: {columns}\n"
        )
        path.with_suffix(".sql").write_text(sql)
        return load_catalog(self.assets)

    def build(self, catalog: Catalog, batch: str = "b1"):
        return build(self.lake, catalog, "gold.shop.a", batch_id=batch, now=NOW)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_nothing_is_written_where_nothing_changed(bench: Bench):
    bench.items(("x", 1.0))
    catalog = bench.table(
        f"SELECT id FROM {SOURCE}", "{id: {type: string}, etl: {type: string}}", "batch_id: etl\n"
    )
    first, second = bench.build(catalog), bench.build(catalog, "b2")
    assert (first.changed, second.changed, second.version) == (True, False, first.version)
    bench.items(("x", 2.0))
    assert bench.build(catalog, "b3").changed is False, "the rows that gold shows are the same"
    bench.items(("y", 2.0))
    assert bench.build(catalog, "b4").changed is True
    assert bench.lake.scan("gold.shop.a").collect().rows() == [("y", "b4")]


def test_a_contract_that_changes_a_type_reshapes_the_table(bench: Bench):
    bench.items(("x", 1.0))
    bench.build(
        bench.table(
            f"SELECT id, CAST(amount AS INTEGER) AS n FROM {SOURCE}",
            "{id: {type: string}, n: {type: int32}}",
        )
    )
    bench.build(
        bench.table(
            f"SELECT id, CAST(amount AS BIGINT) AS n, 1 = 1 AS new FROM {SOURCE}",
            "{id: {type: string}, n: {type: int64}, new: {type: bool}}",
        )
    )
    assert bench.lake.scan("gold.shop.a").collect().schema == {
        "id": pl.String,
        "n": pl.Int64,
        "new": pl.Boolean,
    }


@pytest.mark.parametrize(
    ("columns", "extra"),
    [
        ("{id: {type: string}}", ""),
        ("{id: {type: string}, v: {type: float64}, etl: {type: string}}", "batch_id: etl\n"),
    ],
    ids=["one fewer", "a batch added"],
)
def test_a_contract_that_names_other_columns_reshapes_the_table(
    bench: Bench, columns: str, extra: str
):
    bench.items(("x", 1.0))
    sql = f"SELECT id, amount AS v FROM {SOURCE}"
    bench.build(bench.table(sql, "{id: {type: string}, v: {type: float64}}"))
    fewer = f"SELECT id FROM {SOURCE}" if "v:" not in columns else sql
    catalog = bench.table(fewer, columns, extra)
    assert bench.build(catalog).changed is True
    shown = bench.lake.scan("gold.shop.a").collect_schema().names()
    assert set(shown) == set(catalog["gold.shop.a"].columns)


def test_an_unchanged_input_is_not_even_read(bench: Bench):
    bench.items(("x", 1.0))
    catalog = bench.table(f"SELECT id FROM {SOURCE}", "{id: {type: string}}")
    bench.build(catalog)
    for file in Path(bench.lake.path(SOURCE)).glob("*.parquet"):
        file.unlink()
    again = bench.build(catalog, "b2")
    assert (again.changed, again.rows) == (False, 1)


def test_a_commit_tells_what_the_table_was_made_of(bench: Bench):
    bench.items(("x", 1.0))
    catalog = bench.table(f"SELECT id FROM {SOURCE}", "{id: {type: string}}")
    done = bench.build(catalog)
    told: Mapping[str, Any] = bench.lake.handle("gold.shop.a").history(1)[0]
    recipe = json.loads(told["recipe"])
    assert done.input_versions == {SOURCE: 1}
    assert recipe["inputs"][SOURCE].endswith("@1")
    assert {"sql", "contract", "contract_version", "code"} < set(recipe)
    assert told["batch_id"] == "b1"


# ---- SURROGATE KEYS ---- #

NUMBERED = "surrogate_key: {column: k, of: [id]}\n"
WITH_KEY = "{k: {type: int64}, id: {type: string}}"


def given_keys(bench: Bench) -> dict[str, int]:
    if bench.lake.version("keys.shop.a") is None:
        return {}
    return dict(bench.lake.scan("keys.shop.a").select("id", "k").collect().rows())


def test_surrogate_keys_outlive_their_table(bench: Bench):
    catalog = bench.table(
        f"SELECT id FROM {SOURCE}",
        WITH_KEY,
        NUMBERED,
    )
    bench.items(("b", 1.0), ("a", 1.0))
    bench.build(catalog)
    before = dict(bench.lake.scan("gold.shop.a").select("id", "k").collect().rows())
    shutil.rmtree(bench.lake.path("gold.shop.a"))
    bench.items(("0", 1.0), ("b", 1.0), ("a", 1.0))
    bench.build(catalog)
    after = dict(bench.lake.scan("gold.shop.a").select("id", "k").collect().rows())
    assert before == {"a": 1, "b": 2}
    assert after == {"a": 1, "b": 2, "0": 3}


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([("a", 1.0), (None, 1.0)], "1 rows whose natural key is null"),
        ([("a", 1.0), ("a", 2.0)], "2 rows that share one"),
    ],
)
def test_a_refused_build_gives_no_keys(bench: Bench, rows: list[tuple[Any, float]], said: str):
    catalog = bench.table(f"SELECT id FROM {SOURCE}", WITH_KEY, NUMBERED)
    bench.items(*rows)
    for _ in range(2):
        with pytest.raises(QualityError, match=said):
            bench.build(catalog)
    assert given_keys(bench) == {}
    bench.items(("b", 1.0))
    bench.build(catalog)
    assert given_keys(bench) == {"b": 1}


def test_keys_are_given_to_the_contracts_values_not_to_the_sqls(bench: Bench):
    catalog = bench.table(
        f"SELECT CAST(id AS SMALLINT) AS id FROM {SOURCE}",
        "{id: {type: int64}, k: {type: int32}}",
        NUMBERED,
    )
    bench.items(("10", 1.0), ("9", 1.0))
    bench.build(catalog)
    assert bench.lake.scan("gold.shop.a").collect().rows() == [(9, 1), (10, 2)]


class Raced(Lake):
    """A lake in which somebody else writes the same table a moment earlier, once."""

    def write(self, handle: DeltaTable, frame: pl.DataFrame, **more: Any) -> int:
        other = Lake(self.root)
        name = ".".join(handle.table_uri.rstrip("/").split("/")[-3:])
        if other.version(name) == handle.version():
            theirs = frame.with_columns(id=pl.lit("theirs"))
            other.write(other.handle(name), theirs, **(more | {"metadata": {}}))  # pyright: ignore[reportArgumentType]
        return super().write(handle, frame, **more)


@pytest.mark.parametrize("extra", ["", NUMBERED], ids=["the table", "its keys"])
def test_of_two_builders_the_later_is_refused_and_can_go_again(bench: Bench, extra: str):
    catalog = bench.table(
        f"SELECT id FROM {SOURCE}", WITH_KEY if extra else "{id: {type: string}}", extra
    )
    bench.items(("mine", 1.0))
    alone, bench.lake = bench.lake, Raced(bench.lake.root)
    with pytest.raises(ConflictError, match="another writer came first"):
        bench.build(catalog)
    bench.lake = alone
    bench.build(catalog)
    assert bench.lake.scan("gold.shop.a").collect()["id"].to_list() == ["mine"]
    if extra:
        assert given_keys(bench) == {"theirs": 1, "mine": 2}


@pytest.mark.parametrize(
    ("columns", "extra", "said"),
    [
        ("{id: {type: string}}", NUMBERED, "column 'k'"),
        (WITH_KEY, "surrogate_key: {column: k, of: [idd]}\n", "did you mean 'id'?"),
        (WITH_KEY, "surrogate_key: {column: k, of: [k]}\n", "column 'k'"),
        ("{id: {type: string}}", "batch_id: etl\n", "column 'etl'"),
    ],
)
def test_a_key_or_a_batch_that_is_no_column_is_refused(
    bench: Bench, columns: str, extra: str, said: str
):
    bench.items(("x", 1.0))
    with pytest.raises(ContractError) as raised:
        bench.build(bench.table(f"SELECT id FROM {SOURCE}", columns, extra))
    assert said in str(raised.value)
    assert bench.lake.tables() == [SOURCE]


def test_keys_that_were_given_to_other_columns_are_not_mixed(bench: Bench):
    bench.items(("x", 1.0))
    bench.build(bench.table(f"SELECT id FROM {SOURCE}", WITH_KEY, NUMBERED))
    changed = bench.table(
        f"SELECT id, amount FROM {SOURCE}",
        "{k: {type: int64}, id: {type: string}, amount: {type: float64}}",
        "surrogate_key: {column: k, of: [id, amount]}\n",
    )
    with pytest.raises(ContractError, match=r"keys\.shop\.a"):
        bench.build(changed)
    assert given_keys(bench) == {"x": 1}


# ---- REFUSED ---- #


@pytest.mark.parametrize(
    ("sql", "columns", "error", "said"),
    [
        (f"SELECT id, amount FROM {SOURCE}", '{id: {type: string}, amount: {type: "decimal(10,2)"}}', LossError, "column 'amount' is Float64"),
        (f"SELECT id, amount FROM {SOURCE}", "{id: {type: string}, amount: {type: int32}}", LossError, "cast it in the SQL"),
        (f"SELECT id FROM {SOURCE}", "{id: {type: string}, total: {type: float64}}", ContractError, "column 'total' is not in the SQL's result"),
        (f"SELECT id, amount FROM {SOURCE}", "{id: {type: string}}", ContractError, "gives column 'amount'"),
        (f"SELECT id, ARRAY[1] AS n FROM {SOURCE}", "{id: {type: string}, n: {type: date}}", LossError, "column 'n'"),
        (f"SELECT 'one' AS id FROM {SOURCE}", "{id: {type: string}}", QualityError, "2 rows that share one"),
        (f"SELECT NULL AS id FROM {SOURCE}", "{id: {type: string}}", QualityError, "2 rows without a key"),
        ("SELECT id FROM silver.shop.nothing", "{id: {type: string}}", LakeError, "its input silver.shop.nothing is not in the lake yet"),
        (f"SELECT nope AS id FROM {SOURCE}", "{id: {type: string}}", QueryError, "a.sql"),
        ("SELECT FROM WHERE", "{id: {type: string}}", ContractError, "a.sql"),
    ],
)  # fmt: skip
def test_what_cannot_be_right_is_refused_and_nothing_is_written(
    bench: Bench, sql: str, columns: str, error: type[Exception], said: str
):
    bench.items(("x", 1.005), ("y", 2.5))
    with pytest.raises(error) as raised:
        bench.build(bench.table(sql, columns))
    assert said in str(raised.value)
    assert bench.lake.version("gold.shop.a") is None


def test_tables_are_built_after_those_they_read_and_circles_are_refused(bench: Bench):
    bench.table("SELECT id FROM gold.shop.b", "{id: {type: string}}")
    catalog = bench.table(f"SELECT id FROM {SOURCE}", "{id: {type: string}}", name="b")
    assert order_of(catalog) == ["gold.shop.b", "gold.shop.a"]
    circle = bench.table("SELECT id FROM gold.shop.a", "{id: {type: string}}", name="b")
    with pytest.raises(ContractError, match="read each other"):
        order_of(circle)
