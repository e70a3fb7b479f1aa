"""Building in parts while others build, while a build dies, and over what others did to the tables."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from deltalake import DeltaTable

from pipelines import difference
from pipelines.contract import Catalog, load_catalog
from pipelines.delta import read_snapshot
from pipelines.errors import ConflictError, LossError, QualityError
from pipelines.gold import Built, build
from pipelines.storage import Lake
from tests.properties.small_shop import (
    CUSTOMERS,
    GOLD,
    NOW,
    ORDERS,
    Row,
    change,
    day,
    shop,
    silver_contracts,
)

SQL = f"SELECT o.order_id AS k, o.status, c.country FROM {ORDERS} o LEFT JOIN {CUSTOMERS} c ON o.customer_id = c.customer_id"
COLUMNS = "{k: {type: int64}, status: {type: string}, country: {type: string}, etl: {type: string}, n: {type: int64}}"
NUMBERED = "surrogate_key: {column: n, of: [k]}\n"


def catalog(
    folder: Path,
    sql: str = SQL,
    columns: str = COLUMNS,
    extra: str = NUMBERED,
    description: str = "d",
) -> Catalog:
    path = folder / "assets" / "shop" / "gold" / "a.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        f"table: {GOLD}\ndescription: {description}\nowner: o\nbatch_id: etl\nkey: [k]\n{extra}columns: {columns}\n"
    )
    path.with_suffix(".sql").write_text(sql)
    silver_contracts(folder)
    return load_catalog(folder / "assets")


def order(customer: int, status: str = "new") -> Row:
    return (customer, day(1), status, None, 1)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    made = shop(tmp_path)
    orders = {1: order(1), 2: order(2), 3: order(2)}
    change(made, {ORDERS: (orders, set()), CUSTOMERS: ({1: ("DE", None), 2: ("FR", None)}, set())})
    return made


def built(lake: Lake, contracts: Catalog, batch: str) -> Built:
    return build(lake, contracts, GOLD, batch_id=batch, now=NOW)


def rows(lake: Lake) -> list[tuple[Any, ...]]:
    columns = ["k", "status", "country", "etl", "n"]
    return lake.scan(GOLD).select(columns).sort("k").collect().rows()


def test_rows_bear_the_batch_and_the_key_they_were_given(lake: Lake, tmp_path: Path):
    contracts = catalog(tmp_path)
    built(lake, contracts, "b0")
    change(lake, {ORDERS: ({2: order(1, "paid"), 0: order(1)}, {3})})
    done = built(lake, contracts, "b1")
    assert (done.computed, done.removed, done.added, done.rows) == ("part", 2, 2, 3)
    assert rows(lake) == [
        (0, "new", "DE", "b1", 4),
        (1, "new", "DE", "b0", 1),
        (2, "paid", "DE", "b1", 2),
    ]


def test_a_commit_marks_old_rows_and_leaves_the_others_where_they_lie(lake: Lake, tmp_path: Path):
    contracts = catalog(tmp_path)
    built(lake, contracts, "b0")
    before = {file.path for file in read_snapshot(lake.path(GOLD), {}).files}
    change(lake, {CUSTOMERS: ({2: ("IT", None)}, set())})
    built(lake, contracts, "b1")
    files = read_snapshot(lake.path(GOLD), {}).files
    assert before < {file.path for file in files}
    assert [file.vector.cardinality for file in files if file.vector] == [2]
    told = lake.handle(GOLD).history(1)[0]
    assert json.loads(told["recipe"])["inputs"][CUSTOMERS].endswith("@2")


class Dying(Lake):
    """A lake whose process ends once new surrogate keys are kept, before the rows are written."""

    def write(self, handle: DeltaTable, frame: pl.DataFrame, **more: Any) -> int:
        version = super().write(handle, frame, **more)
        if "/keys/" in handle.table_uri:
            raise KeyboardInterrupt
        return version


def test_a_build_that_dies_after_numbering_is_finished_by_the_next(lake: Lake, tmp_path: Path):
    contracts = catalog(tmp_path)
    built(lake, contracts, "b0")
    change(lake, {ORDERS: ({9: order(1), 7: order(2)}, set())})
    before = rows(lake)
    with pytest.raises(KeyboardInterrupt):
        built(Dying(lake.root), contracts, "b1")
    assert rows(lake) == before
    change(lake, {ORDERS: ({8: order(2)}, set())})
    assert built(lake, contracts, "b2").computed == "part"
    given = {row[0]: row[4] for row in rows(lake)}
    assert given == {1: 1, 2: 2, 3: 3, 7: 4, 9: 5, 8: 6}


class Overtaken(Lake):
    """A lake in which another build finishes while this one reads."""

    def __init__(self, root: str, other: Any) -> None:
        super().__init__(root)
        object.__setattr__(self, "other", other)

    def scan_handle(self, handle: DeltaTable, version: int | None = None) -> pl.LazyFrame:
        other, _ = getattr(self, "other"), object.__setattr__(self, "other", None)  # noqa: B009
        if other is not None:
            other()
        return super().scan_handle(handle, version)


@pytest.mark.parametrize("newer", [False, True], ids=["of the same inputs", "of newer inputs"])
def test_of_two_builders_one_writes(lake: Lake, tmp_path: Path, newer: bool):
    contracts = catalog(tmp_path, columns=COLUMNS.replace(", n: {type: int64}", ""), extra="")
    built(lake, contracts, "b0")
    change(lake, {ORDERS: ({1: order(2, "paid")}, set())})

    def other() -> None:
        if newer:
            change(lake, {ORDERS: ({1: order(2, "gone"), 2: order(1)}, set())})
        built(lake, contracts, "theirs")

    with pytest.raises(ConflictError):
        built(Overtaken(lake.root, other), contracts, "mine")
    shown = lake.scan(GOLD).sort("k").collect()
    assert shown["etl"].to_list() == (
        ["theirs", "theirs", "b0"] if newer else ["theirs", "b0", "b0"]
    )
    assert built(lake, contracts, "again").computed == "nothing"


def test_another_contract_or_sql_is_computed_whole(lake: Lake, tmp_path: Path):
    built(lake, catalog(tmp_path), "b0")
    change(lake, {ORDERS: ({1: order(2, "paid")}, set())})
    other = built(lake, catalog(tmp_path, SQL + " WHERE o.order_id > 0"), "b1")
    assert (other.computed, other.why) == ("whole", "its SQL changed since the last build")
    told = built(lake, catalog(tmp_path, SQL + " WHERE o.order_id > 0", description="e"), "b2")
    assert (told.computed, told.changed) == ("whole", False)
    assert [row[3] for row in rows(lake)] == ["b1", "b0", "b0"], "equal rows keep their batch"
    assert (
        built(
            lake, catalog(tmp_path, SQL + " WHERE o.order_id > 0", description="e"), "b3"
        ).computed
        == "nothing"
    )


def test_an_input_that_was_made_anew_is_computed_whole(lake: Lake, tmp_path: Path):
    contracts = catalog(tmp_path)
    built(lake, contracts, "b0")
    shutil.rmtree(lake.path(CUSTOMERS))
    shop(tmp_path)
    done = built(lake, contracts, "b1")
    assert (done.computed, done.why) == ("whole", f"{CUSTOMERS} was made anew")
    assert [row[2] for row in rows(lake)] == [None] * 3


def test_a_compaction_of_gold_and_of_its_inputs_changes_nothing(lake: Lake, tmp_path: Path):
    contracts = catalog(tmp_path)
    built(lake, contracts, "b0")
    change(lake, {ORDERS: ({1: order(2)}, set())})
    built(lake, contracts, "b1")
    before = rows(lake)
    for table in (GOLD, ORDERS):
        lake.handle(table).optimize.compact()
    done = built(lake, contracts, "b2")
    assert (done.computed, done.changed) == ("part", False)
    assert rows(lake) == before


def test_rows_that_another_writer_changed_are_mended(lake: Lake, tmp_path: Path):
    contracts = catalog(tmp_path)
    built(lake, contracts, "b0")
    before = rows(lake)
    lake.handle(GOLD).delete("k = 2")
    done = built(lake, contracts, "b1")
    assert (done.computed, done.why) == ("whole", "no build of it is known")
    assert [row[:3] for row in rows(lake)] == [row[:3] for row in before]


def test_a_gold_table_of_an_older_release_learns_deletion_vectors(lake: Lake, tmp_path: Path):
    contracts = catalog(tmp_path)
    schema = {name: column.type.stored for name, column in contracts[GOLD].columns.items()}
    lake.create(GOLD, schema)
    for number, batch in enumerate(("b0", "b1")):
        change(lake, {ORDERS: ({1: order(2, f"s{number}")}, set())})
        built(lake, contracts, batch)
    assert [row[1] for row in rows(lake)] == ["s1", "new", "new"]
    assert [row[3] for row in rows(lake)] == ["b1", "b0", "b0"]


def test_a_key_that_a_row_outside_of_the_part_has_is_refused(lake: Lake, tmp_path: Path):
    sql = f"SELECT q.units AS k, q.status, q.customer_id FROM (SELECT o.status, o.customer_id, SUM(o.units) AS units FROM {ORDERS} o GROUP BY o.status, o.customer_id) q"
    columns = "{k: {type: int64}, status: {type: string}, customer_id: {type: int64}, etl: {type: string}}"
    contracts = catalog(tmp_path, sql, columns, extra="")
    built(lake, contracts, "b0")
    before = lake.scan(GOLD).collect()
    change(lake, {ORDERS: ({4: order(5, "paid")}, set())})
    with pytest.raises(QualityError, match="1 rows share their key"):
        built(lake, contracts, "b1")
    assert lake.scan(GOLD).collect().equals(before)


def test_a_value_that_does_not_fit_is_refused_in_a_part_too(lake: Lake, tmp_path: Path):
    sql = f"SELECT o.order_id AS k, o.units AS v FROM {ORDERS} o"
    contracts = catalog(
        tmp_path, sql, "{k: {type: int64}, v: {type: int16}, etl: {type: string}}", extra=""
    )
    built(lake, contracts, "b0")
    change(lake, {ORDERS: ({2: (1, day(1), "new", None, 70_000)}, set())})
    with pytest.raises(LossError, match="column 'v'"):
        built(lake, contracts, "b1")


def test_much_reading_for_nothing_is_noted(
    lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    contracts = catalog(tmp_path)
    first = built(lake, contracts, "b0")
    change(lake, {ORDERS: ({1: (1, day(5), "new", None, 9)}, set())})
    assert built(lake, contracts, "b1").version == first.version, (
        "no column that gold reads changed"
    )
    monkeypatch.setattr("pipelines.incremental.changes._SMALL_TABLE", -1)
    monkeypatch.setattr(difference, "_MUCH", 1)
    noted = built(lake, contracts, "b2")
    assert (noted.computed, noted.changed) == ("part", False)
    assert built(lake, contracts, "b3").computed == "nothing"
