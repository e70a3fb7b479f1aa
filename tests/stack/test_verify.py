"""verify finds what is planted, names the row, and finds nothing where nothing was planted."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import polars as pl
import psycopg2
import pytest

from pipelines.contract import Contract, load_catalog
from pipelines.settings import load_settings
from pipelines.state import open_state
from pipelines.status import lags_of
from pipelines.storage import Lake
from pipelines.verify import Report, VerifyError, verify
from tests.stack.connect import TABLES, Form
from tests.stack.services import Stack
from tests.stack.shop import Shop, open_shop
from tests.stack.workload import Plan

ASSETS = Path(__file__).parents[2] / "assets"
CATALOG = load_catalog(ASSETS)
ANY = pl.lit(value=True)
ORDERS = CATALOG["silver.commerce.orders"]

Frame = pl.DataFrame
#: The differing rows: key, kind, columns.
Named = set[tuple[str, str, tuple[str, ...]]]


@dataclass(frozen=True, slots=True)
class Landed:
    """A shop whose changes are all in a lake."""

    shop: Shop
    lake: Path


def medallion(shop: Shop, lake: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    settings = {"MEDALLION_LAKE": str(lake), "MEDALLION_BOOTSTRAP": shop.bootstrap}
    return subprocess.run(
        [sys.executable, "-m", "assets.cli", *arguments],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def landed(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Landed]:
    lake = tmp_path_factory.mktemp("verify") / "lake"
    with open_shop(stack) as shop:
        shop.connect(Form.ENVELOPED, partitions=3, prefix="shop")
        shop.work(Plan(seed=21, transactions=800, connections=3, truncate=False, pgbench_seconds=1))
        shop.wait_until_streamed()
        ran = medallion(shop, lake, "run")
        assert ran.returncode == 0, ran.stderr
        yield Landed(shop, lake)


@pytest.fixture
def copy(landed: Landed, tmp_path: Path) -> Lake:
    shutil.copytree(landed.lake, tmp_path / "lake")
    return Lake(str(tmp_path / "lake"))


def named(report: Report, key: str) -> Named:
    rows = report.found.select(key, "kind", "columns").rows()
    return {(str(value), kind, tuple(columns)) for value, kind, columns in rows}


def change(lake: Lake, table: str, how: Callable[[Frame], Frame]) -> None:
    """Writes the table anew; its schema is as it was."""
    handle = lake.handle(table)
    rows = lake.scan_handle(handle).collect()
    lake.write(handle, how(rows).select(rows.columns).cast(dict(rows.schema)), mode="overwrite")


# ---- NOTHING PLANTED ---- #


@pytest.mark.stack
@pytest.mark.parametrize("table", TABLES)
def test_nothing_is_found_where_nothing_was_planted(landed: Landed, table: str):
    contract = CATALOG[f"silver.commerce.{table}"]
    lake = Lake(str(landed.lake))
    for range_rows in (7, 200_000):
        report = verify(lake, contract, landed.shop.dsn, range_rows=range_rows)
        assert report.is_equal, report.counts
        assert report.source_rows == report.silver_rows + report.quarantined_rows > 0
        assert (report.settled, report.set_aside, report.looks) == (0, 0, 0)
        assert report.not_compared == {}


@pytest.mark.stack
def test_the_command_ends_with_0_and_tells_the_position(landed: Landed):
    ran = medallion(
        landed.shop, landed.lake, "verify", "silver.commerce.orders",
        "--source", landed.shop.dsn, "--json",
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    said = json.loads(ran.stdout)
    assert said["equal"]
    assert said["differences"] == []
    assert "/" in said["moment"]["source_position"]
    assert (said["moment"]["lag"], said["moment"]["unapplied_versions"]) == (0, 0)


# ---- FAULTS ---- #


def at(row: pl.Expr, column: str, value: pl.Expr) -> Callable[[Frame], Frame]:
    return lambda rows: rows.with_columns(pl.when(row).then(value).otherwise(column).alias(column))


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is done to a row of silver's orders, which row can have it, and what is to be found."""

    plant: Callable[[Frame, pl.Expr], Frame]
    suits: pl.Expr = ANY
    kind: str = "different"
    columns: tuple[str, ...] = ()


def other(column: str, value: pl.Expr, suits: pl.Expr = ANY) -> Fault:
    return Fault(
        plant=lambda rows, row: at(row, column, value)(rows), suits=suits, columns=(column,)
    )


OLDER = {
    "version": pl.col("version") - 1,
    "status": pl.lit("PENDING"),
    "updated_at": pl.col("created_at"),
}
FAULTS = {
    "a lost row": Fault(plant=lambda rows, row: rows.filter(~row), kind="lost"),
    "a doubled row": Fault(plant=lambda rows, row: pl.concat([rows, rows.filter(row)]), kind="doubled"),
    "an old value": Fault(
        plant=lambda rows, row: rows.with_columns(
            pl.when(row).then(value).otherwise(name).alias(name) for name, value in OLDER.items()
        ),
        suits=(pl.col("version") > 1) & (pl.col("status") != "PENDING") & (pl.col("updated_at") != pl.col("created_at")),
        columns=("status", "updated_at", "version"),
    ),
    "a rounded decimal": other(
        "total_amount",
        pl.col("total_amount").cast(pl.Float64).round(1).cast(pl.Decimal(10, 2)),
        pl.col("total_amount").cast(pl.String).str.contains(r"[1-9]$"),
    ),
    "a shifted hour": other("created_at", pl.col("created_at") + timedelta(hours=1)),
    "a microsecond": other("updated_at", pl.col("updated_at") + timedelta(microseconds=1)),
    "a null instead of a value": other("currency", pl.lit(None, pl.String)),
    "an empty text instead of null": other("note", pl.lit(""), pl.col("note").is_null()),
    "a null instead of an empty text": other("note", pl.lit(None, pl.String), pl.col("note") == ""),
    "a truncated text": other(
        "note", pl.col("note").str.head(-1), pl.col("note").str.len_chars() > 2000
    ),
    "swapped columns": Fault(
        plant=lambda rows, row: rows.with_columns(
            pl.when(row).then(pl.col("created_by")).otherwise("currency").alias("currency"),
            pl.when(row).then(pl.col("currency")).otherwise("created_by").alias("created_by"),
        ),
        columns=("created_by", "currency"),
    ),
}  # fmt: skip


def victims(rows: Frame, fault: Fault, apart_from: list[str]) -> str:
    able = rows.filter(fault.suits, ~pl.col("order_id").is_in(apart_from)).sort("order_id")
    assert len(able), "no row can have the fault"
    return str(able["order_id"][len(able) // 2])


@pytest.mark.stack
@pytest.mark.parametrize("name", list(FAULTS))
def test_a_planted_fault_is_found_and_named(landed: Landed, copy: Lake, name: str):
    fault = FAULTS[name]
    victim = victims(copy.scan(ORDERS.table).collect(), fault, [])
    change(copy, ORDERS.table, lambda rows: fault.plant(rows, pl.col("order_id") == victim))
    for range_rows in (50, 200_000):
        report = verify(copy, ORDERS, landed.shop.dsn, range_rows=range_rows)
        assert named(report, "order_id") == {(victim, fault.kind, fault.columns)}


@pytest.mark.stack
def test_all_faults_at_once_are_found_each_by_its_name(landed: Landed, copy: Lake):
    rows = copy.scan(ORDERS.table).collect()
    chosen = dict[str, str]()
    for name, fault in FAULTS.items():
        chosen[name] = victims(rows, fault, list(chosen.values()))
    for name, fault in FAULTS.items():
        victim, plant = pl.col("order_id") == chosen[name], fault.plant
        change(copy, ORDERS.table, lambda rows, victim=victim, plant=plant: plant(rows, victim))
    report = verify(copy, ORDERS, landed.shop.dsn, range_rows=60)
    wanted = {(chosen[name], fault.kind, fault.columns) for name, fault in FAULTS.items()}
    assert named(report, "order_id") == wanted
    assert report.looks == 1


@pytest.mark.stack
def test_a_wrong_key_is_a_lost_row_and_an_extra_one(landed: Landed, copy: Lake):
    first = str(copy.scan(ORDERS.table).select(pl.col("order_id").min()).collect().item())
    wrong = "00000000-0000-4000-8000-000000000000"
    change(copy, ORDERS.table, at(pl.col("order_id") == first, "order_id", pl.lit(wrong)))
    report = verify(copy, ORDERS, landed.shop.dsn)
    assert named(report, "order_id") == {(first, "lost", ()), (wrong, "extra", ())}


@pytest.mark.stack
def test_a_row_in_silver_and_quarantine_at_once_is_doubled(landed: Landed, copy: Lake):
    silver, quarantine = ORDERS.table, ORDERS.sibling("quarantine")
    row = copy.scan(silver).sort("order_id").head(1).collect()
    change(copy, quarantine, lambda rows: pl.concat([rows, row], how="diagonal"))
    report = verify(copy, ORDERS, landed.shop.dsn)
    assert named(report, "order_id") == {(row["order_id"][0], "doubled", ())}
    assert report.found["places"].to_list() == [["quarantine", "silver"]]


@pytest.mark.stack
def test_a_changed_value_in_quarantine_is_found_too(landed: Landed, copy: Lake):
    table = CATALOG["silver.commerce.products"]
    taken = copy.scan(table.table).sort("product_id").head(2).collect()
    change(copy, table.table, lambda rows: rows.join(taken, on="product_id", how="anti"))
    attributes = pl.Series("attributes", ['{"size": 1.00001}', None])
    issues = pl.Series("quality_issues", [[], ["unavailable:attributes"]])
    refused = taken.with_columns(attributes, issues)
    change(
        copy,
        table.sibling("quarantine"),
        lambda rows: pl.concat([rows, refused], how="diagonal"),
    )
    report = verify(copy, table, landed.shop.dsn)
    assert named(report, "product_id") == {(taken["product_id"][0], "different", ("attributes",))}
    assert report.set_aside == 1


@pytest.mark.stack
def test_the_command_names_rows_and_never_a_value(landed: Landed, copy: Lake):
    fault = FAULTS["a truncated text"]
    rows = copy.scan(ORDERS.table).collect()
    victim = victims(rows, fault, [])
    secret = str(rows.filter(pl.col("order_id") == victim)["note"][0])
    change(copy, ORDERS.table, lambda rows: fault.plant(rows, pl.col("order_id") == victim))
    arguments = ("verify", ORDERS.table, "--source", landed.shop.dsn)
    for form in ([], ["--json"], ["--limit", "0"]):
        ran = medallion(landed.shop, Path(copy.root), *arguments, *form)
        assert ran.returncode == 21, ran.stderr
        assert (victim in ran.stdout) == (form != ["--limit", "0"])
        assert secret[:12] not in ran.stdout + ran.stderr
    said = json.loads(medallion(landed.shop, Path(copy.root), *arguments, "--json").stdout)
    assert said["differences"] == [
        {
            "key": {"order_id": victim},
            "kind": "different",
            "columns": ["note"],
            "places": ["silver"],
        }
    ]
    assert said["counts"] == {"lost": 0, "extra": 0, "doubled": 0, "different": 1}


@pytest.mark.stack
def test_a_lake_much_larger_than_the_source_is_read_in_parts(landed: Landed, copy: Lake):
    def with_strangers(rows: Frame) -> Frame:
        strangers = [
            rows.head(100).with_columns(
                pl.format("{}-{}", pl.col("order_id").str.head(23), pl.lit(f"{n:012x}")).alias(
                    "order_id"
                )
            )
            for n in range(5)
        ]
        return pl.concat([rows, *strangers])

    change(copy, ORDERS.table, with_strangers)
    report = verify(copy, ORDERS, landed.shop.dsn, range_rows=20)
    assert report.counts == {"lost": 0, "extra": 500, "doubled": 0, "different": 0}


# ---- A SOURCE THAT MOVES ON ---- #


@pytest.mark.stack
def test_rows_on_their_way_are_told_apart_from_wrong_ones(landed: Landed, copy: Lake):
    shop, lake, table = landed.shop, copy, CATALOG["silver.commerce.payments"]
    keys = lake.scan(table.table).select("payment_id").sort("payment_id").collect()
    deleted, updated, lost = (str(keys["payment_id"][place]) for place in (0, 1, 2))
    with closing(psycopg2.connect(shop.dsn)) as db, db, db.cursor() as cursor:
        cursor.execute("delete from payments where payment_id = %s", [deleted])
        cursor.execute("update payments set version = 99 where payment_id = %s", [updated])
    change(lake, table.table, lambda rows: rows.filter(pl.col("payment_id") != lost))
    behind = verify(lake, table, shop.dsn)
    assert named(behind, "payment_id") == {
        (deleted, "extra", ()),
        (updated, "different", ("version",)),
        (lost, "lost", ()),
    }
    assert not behind.last_moment.reached

    def catch_up() -> None:
        time.sleep(1)
        shop.wait_until_streamed()
        for folder in (Path(copy.root), landed.lake):
            assert medallion(shop, folder, "run").returncode == 0

    catching = threading.Thread(target=catch_up)
    catching.start()
    settings = load_settings(lake=copy.root, assets=ASSETS, bootstrap=shop.bootstrap)
    report = verify(
        lake,
        table,
        shop.dsn,
        wait_seconds=30,
        lag=lambda: lags_of(settings, lake, CATALOG).get("shop.public.payments"),
    )
    catching.join()
    assert named(report, "payment_id") == {(lost, "lost", ())}
    assert report.settled == 2
    assert report.looks > 1
    assert report.last_moment.reached


# ---- EVERY TYPE, AND WHAT CANNOT BE COMPARED ---- #

KINDS = {
    "tenant": ("text", "string", "Ä"),
    "id": ("bigint", "int64", 1),
    "price": ("numeric(12,3)", "decimal(12,3)", Decimal("-12.345")),
    "loose": ("numeric", "string", "0.100"),
    "single": ("real", "float32", 0.1),
    "double": ("double precision", "float64", 1e-300),
    "at": ("timestamptz", "timestamp", datetime(2026, 3, 29, 1, 30, tzinfo=UTC)),
    "local": ("timestamp", "timestamp_ntz", datetime(1, 1, 1, 0, 0, 0, 1)),
    "day": ("date", "date", date(9999, 12, 31)),
    "clock": ("time", "time", "24:00:00.000000"),
    "zoned": ("timetz", "time", "22:30:00.000000"),
    "flag": ("boolean", "bool", False),
    "data": ("bytea", "binary", b"\x00\\x\xff"),
    "doc": ("json", "json", '{"b":[1.50,"ü"],"a":1e2}'),
    "fixed": ("char(5)", "string", "ab   "),
    "cash": ("money", "decimal(19,2)", Decimal("1234.50")),
    "marks": ("integer[]", "list<int32>", [1, None, 3]),
    "words": ("text[]", "list<string>", ['a,"b"', "", None]),
    "rates": ("numeric(6,2)[]", "list<decimal(6,2)>", [Decimal("1.50")]),
    "mood": ("mood", "enum", "sad"),
    "span": ("interval", "string", "86400000000"),
}
SQL_VALUES = {
    "zoned": "23:30:00+01", "doc": '{"a": 100, "b": [1.5, "ü"]}', "cash": "1234.5",
    "marks": "{1,NULL,3}", "words": '{"a,\\"b\\"","",NULL}', "rates": "{1.5}", "span": "1 day",
    "local": "0001-01-01 00:00:00.000001", "data": "\\x005c78ff", "single": "0.1",
}  # fmt: skip


def contract_of(**changes: Any) -> Contract:
    document = {
        "table": "silver.shop.kinds",
        "description": "Every type",
        "owner": "me",
        "source": {"connector": "postgres", "topic": "p.public.kinds"},
        "key": ["tenant", "id"],
        "columns": {
            name: {"type": kind, **({"values": ["sad", "glad"]} if kind == "enum" else {})}
            for name, (_, kind, _) in KINDS.items()
        },
    }
    return Contract.model_validate({**document, **changes})


@pytest.fixture
def kinds(stack: Stack) -> Iterator[str]:
    """A database with a table of every type and three rows."""
    with open_shop(stack) as shop, closing(psycopg2.connect(shop.dsn)) as db, db.cursor() as cursor:
        db.autocommit = True
        cursor.execute("create type mood as enum ('sad', 'glad')")
        columns = ", ".join(f"{name} {there}" for name, (there, _, _) in KINDS.items())
        cursor.execute(f"create table kinds ({columns}, extra int, primary key (tenant, id))")
        values = [SQL_VALUES.get(name, value) for name, (_, _, value) in KINDS.items()]
        insert = f"insert into kinds values ({', '.join(['%s'] * len(values))})"
        cursor.execute(insert, values)
        cursor.execute(insert, ["Z", 2, *[None] * (len(values) - 2)])
        cursor.execute(
            "insert into kinds (tenant, id, at, local, day, price) values (%s, 3, %s, %s, %s, %s)",
            ["z", "infinity", "-infinity", "0044-03-15 BC", "NaN"],
        )
        yield shop.dsn


def lake_of_kinds(root: Path, contract: Contract) -> Lake:
    """Silver with the first two rows, quarantine with the third, whose values no column holds."""
    lake = Lake(str(root))
    open_state(lake, contract)
    blank: dict[str, Any] = dict.fromkeys(KINDS)
    rows = [
        {name: value for name, (_, _, value) in KINDS.items()},
        {**blank, "tenant": "Z", "id": 2},
    ]
    lost = [f"undecodable:{name}" for name in ("at", "local", "day", "price")]
    third = {**blank, "tenant": "z", "id": 3, "quality_issues": lost}
    for table, content in ((contract.table, rows), (contract.sibling("quarantine"), [third])):
        handle = lake.handle(table)
        empty = lake.scan_handle(handle).collect()
        schema = {name: empty.schema[name] for name in content[0]}
        frame = pl.DataFrame(content, schema=schema, orient="row")
        lake.write(handle, pl.concat([empty, frame], how="diagonal"), mode="append")
    return lake


@pytest.mark.stack
@pytest.mark.parametrize("range_rows", [1, 2, 200_000])
def test_values_of_every_type_are_equal_to_themselves(kinds: str, tmp_path: Path, range_rows: int):
    lake = lake_of_kinds(tmp_path, contract_of())
    report = verify(lake, contract_of(), kinds, range_rows=range_rows)
    assert report.is_equal, report.found
    assert report.set_aside == 4
    assert list(report.not_compared) == ["span"]
    assert report.not_in_contract == ("extra",)


@pytest.mark.stack
@pytest.mark.parametrize("column", [name for name in KINDS if name not in ("tenant", "id", "span")])
def test_a_value_of_every_type_that_became_null_is_found(kinds: str, tmp_path: Path, column: str):
    contract = contract_of()
    lake = lake_of_kinds(tmp_path, contract)
    change(lake, contract.table, lambda rows: rows.with_columns(pl.lit(None).alias(column)))
    report = verify(lake, contract, kinds)
    assert report.found.select("tenant", "id", "kind", "columns").rows() == [
        ("Ä", "1", "different", [column])
    ]


@pytest.mark.stack
def test_what_cannot_be_compared_says_why(kinds: str, tmp_path: Path):
    contract = contract_of()
    lake = lake_of_kinds(tmp_path, contract)

    def refusal(url: str = kinds, contract: Contract = contract, **options: Any) -> str:
        with pytest.raises(VerifyError) as refused:
            verify(lake, contract, url, **options)
        return str(refused.value)

    def with_columns(**columns: Any) -> dict[str, Any]:
        given = {name: {"type": str(c.type)} for name, c in contract.columns.items()}
        return {**given, "mood": {"type": "string"}, **columns}

    assert "cannot be reached" in refusal(kinds + " port=1")
    assert "cannot be reached" in refusal("postgresql:// not a url")
    assert "no table 'public.kindz'" in refusal(source_table="kindz")
    assert "has no Postgres source" in refusal(contract=CATALOG["gold.commerce.daily_sales"])
    elsewhere = {"connector": "mysql", "topic": "p.shop.kinds"}
    assert "has no Postgres source" in refusal(contract=contract_of(source=elsewhere))
    misnamed = with_columns(price={"type": "decimal(12,3)", "source": "prize"})
    assert "did you mean 'price'?" in refusal(contract=contract_of(columns=misnamed))
    assert "has nulls in the source" in refusal(contract=contract_of(key=["mood"]))
    assert "key column 'span' cannot be compared" in refusal(contract=contract_of(key=["span"]))
    with closing(psycopg2.connect(kinds)) as db, db, db.cursor() as cursor:
        cursor.execute("insert into kinds (tenant, id) values ('z', 4)")
    for range_rows in (1, 200_000):
        said = refusal(contract=contract_of(key=["tenant"]), range_rows=range_rows)
        assert "the key (tenant) is not unique" in said
    narrow = {**with_columns(), "price": {"type": "decimal(12,2)"}}
    assert "column 'price'" in refusal(contract=contract_of(columns=narrow))
    assert "no such table" in refusal(contract=contract_of(table="silver.shop.others"))


@pytest.mark.stack
def test_a_classified_key_is_shown_as_a_hash(kinds: str, tmp_path: Path):
    contract = contract_of()
    lake = lake_of_kinds(tmp_path / "lake", contract)
    change(lake, contract.table, lambda rows: rows.filter(pl.col("tenant") != "Ä"))
    folder = tmp_path / "assets" / "shop" / "silver"
    folder.mkdir(parents=True)
    document = contract.model_dump(mode="json", exclude_defaults=True)
    for name, column in document["columns"].items():
        column["type"] = str(contract.columns[name].type)
    document["columns"]["tenant"]["classification"] = "restricted"
    (folder / "kinds.yaml").write_text(json.dumps(document))
    ran = subprocess.run(
        [sys.executable, "-m", "assets.cli", "verify", contract.table, "--source", kinds,
         "--lake", lake.root, "--assets", str(tmp_path / "assets")],
        capture_output=True,
        text=True,
    )  # fmt: skip
    assert ran.returncode == 21, ran.stderr
    assert "Ä" not in ran.stdout + ran.stderr
    assert "#" in ran.stdout
    assert "lost" in ran.stdout
