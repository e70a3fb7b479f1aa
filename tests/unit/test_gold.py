"""Gold is its SQL: built once, exact or refused, with keys that stay."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest

from pipelines.contract import Catalog, load_catalog
from pipelines.errors import ContractError, LakeError, LossError, QualityError, QueryError
from pipelines.gold import build, order_of
from pipelines.storage import Lake

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SOURCE = "silver.shop.items"


class Bench:
    def __init__(self, root: Path) -> None:
        self.assets, self.lake = root / "assets", Lake(str(root / "lake"))
        (self.assets / "shop" / "gold").mkdir(parents=True)

    def items(self, *rows: tuple[str, float]) -> None:
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


def test_surrogate_keys_outlive_their_table(bench: Bench):
    catalog = bench.table(
        f"SELECT id FROM {SOURCE}",
        "{k: {type: int64}, id: {type: string}}",
        "surrogate_key: {column: k, of: [id]}\n",
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
    ("sql", "columns", "error", "said"),
    [
        (f"SELECT id, amount FROM {SOURCE}", '{id: {type: string}, amount: {type: "decimal(10,2)"}}', LossError, "column 'amount' is Float64"),
        (f"SELECT id, amount FROM {SOURCE}", "{id: {type: string}, amount: {type: int32}}", LossError, "cast it in the SQL"),
        (f"SELECT id FROM {SOURCE}", "{id: {type: string}, total: {type: float64}}", ContractError, "column 'total' is not in the SQL's result"),
        (f"SELECT id, amount FROM {SOURCE}", "{id: {type: string}}", ContractError, "gives column 'amount'"),
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
