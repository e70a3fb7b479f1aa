"""A demo's stream through every layer, and its source in DuckDB, to hold the one to the other."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import polars.selectors as cs

from assets.demo_source import PLACEHOLDER, Database, Record, recorded_lines
from pipelines.avro import Wire
from pipelines.contract import Catalog, load_catalog
from pipelines.cut import plan_cut
from pipelines.gold import Built
from pipelines.ingest import capture_file, capture_kafka
from pipelines.query import query
from pipelines.refine import apply_all, build_all, chosen
from pipelines.settings import load_settings
from pipelines.storage import Lake
from pipelines.tenant import query_as_tenant

ASSETS = Path(__file__).parents[2] / "assets"
CATALOG = load_catalog(ASSETS)
NOW = datetime(2026, 6, 6, tzinfo=UTC)

#: How the connector writes what a contract calls by these types. DuckDB gets instants as local times
#: of UTC: its time zones are an extension.
_WRITTEN = {
    "timestamp": lambda name: pl.col(name).str.to_datetime("%Y-%m-%dT%H:%M:%S%.fZ", time_unit="us"),
    "timestamp_ntz": lambda name: pl.from_epoch(pl.col(name), "us"),
    "date": lambda name: pl.from_epoch(pl.col(name), "d"),
}


def only(domain: str) -> Catalog:
    """The contracts of one domain."""
    tables = {n: c for n, c in CATALOG.contracts.items() if c.domain == domain}
    return Catalog(CATALOG.root, tables)


class Refinery:
    """A lake that takes in pieces of a stream."""

    def __init__(self, folder: Path, domain: str, wire: Wire | None = None) -> None:
        self.folder, self.catalog, self.wire = folder, only(domain), wire
        self.lake, self.taken = Lake(str(folder / "lake")), list[Record]()

    def take(self, records: Sequence[Record]) -> list[Built]:
        """Captures, applies and builds what came, after what came before; what was built."""
        self.taken += records
        file = self.folder / f"{len(self.taken)}.jsonl"
        file.write_text("\n".join(recorded_lines(self.taken)))
        capture_file(self.lake, self.catalog, file, wire=self.wire)
        return self._refine(NOW)

    def catch_up(self, bootstrap: str) -> None:
        """The same for what a broker holds by now."""
        capture_kafka(load_settings(lake=self.lake.root, bootstrap=bootstrap), self.catalog)
        self._refine(datetime.now(UTC))

    def _refine(self, now: datetime) -> list[Built]:
        names = chosen(self.catalog, "silver", None)
        _, failed = apply_all(
            self.lake,
            self.catalog,
            names,
            cut=plan_cut(self.lake, self.catalog),
            now=now,
            after=lambda _: None,
        )
        wanted = chosen(self.catalog, "gold", None)
        done, more = build_all(self.lake, self.catalog, wanted, now=now, after=lambda _: None)
        assert failed | more == {}
        return done

    def rows(self, table: str) -> pl.DataFrame:
        """A table's rows, in the order of their columns."""
        contract = self.catalog.contracts.get(table)
        frame = self.lake.scan(table).collect()
        return frame.select(contract.columns.keys()).sort(contract.key) if contract else frame


def source_of(database: Database, domain: str) -> duckdb.DuckDBPyConnection:
    """The source's tables as they stand at the end, and `<table>_log`: every change once, in order."""
    here = truth_of(database.truth, domain)
    for name in database.truth:
        contract = CATALOG[f"silver.{domain}.{name}"]
        schema = {n: _source_type(column.type.stored) for n, column in contract.columns.items()}
        told = pl.DataFrame(
            list(_log(database, name, schema)), schema=_log_schema(schema), orient="row"
        )
        written = [
            _WRITTEN[column.type.kind](n).alias(n)
            for n, column in contract.columns.items()
            if column.type.kind in _WRITTEN
        ]
        here.register(f"arrow_{name}_log", told.with_columns(written).to_arrow())
        here.execute(f"CREATE TABLE {name}_log AS SELECT * FROM arrow_{name}_log")
    return here


def _source_type(stored: pl.DataType) -> pl.DataType:
    """Decimals as wide as they can be: the source has rows that the contract does not hold."""
    return pl.Decimal(38, stored.scale) if isinstance(stored, pl.Decimal) else stored


def truth_of(
    truth: Mapping[str, Mapping[str, Mapping[str, Any]]], domain: str
) -> duckdb.DuckDBPyConnection:
    """The source's tables as they stand at the end."""
    here = duckdb.connect()
    for name, rows in truth.items():
        columns = CATALOG[f"silver.{domain}.{name}"].columns
        schema = {n: _source_type(column.type.stored) for n, column in columns.items()}
        whole = pl.DataFrame(list(rows.values()), schema=schema, orient="row", strict=False)
        naive = whole.with_columns(cs.datetime(time_zone="*").dt.replace_time_zone(None))
        here.register(f"arrow_{name}", naive.to_arrow())
        here.execute(f"CREATE TABLE {name} AS SELECT * FROM arrow_{name}")
    return here


def _log_schema(schema: dict[str, pl.DataType]) -> dict[str, Any]:
    raw = {n: pl.String() if t == pl.Datetime("us", "UTC") else t for n, t in schema.items()}
    raw = {n: pl.Int64() if isinstance(t, pl.Datetime | pl.Date) else t for n, t in raw.items()}
    return {**raw, "op": pl.String, "commit": pl.Int64, "lsn": pl.Int64, "told_us": pl.Int64}


def _log(
    database: Database, table: str, schema: Mapping[str, pl.DataType]
) -> Iterator[dict[str, Any]]:
    """Each change of a table once, whatever came again, with the values that it left out."""
    scales = {n: t.scale for n, t in schema.items() if isinstance(t, pl.Decimal)}
    flags = [n for n, t in schema.items() if t == pl.Boolean]  # a MariaDB's are 0 and 1
    seen, key = set[tuple[Any, ...]](), database.tables[table].key
    held = dict[bytes, dict[str, Any]]()
    for record in database.records:
        if record.topic != database.topic(table) or not record.value or not record.key:
            continue
        try:
            body = json.loads(record.value)
        except ValueError:
            continue
        if body["op"] not in "crud" or body["source"]["snapshot"] == "incremental":
            continue
        commit, lsn = _place(body["source"])
        place = (commit, lsn, body["op"], record.key)
        if place not in seen:
            seen.add(place)
            told = body["after"] or {key: json.loads(record.key)[key]}
            before = held.get(record.key, {})
            row = {n: before[n] if v == PLACEHOLDER else v for n, v in told.items()}
            row |= {n: _decimal(row[n], scale) for n, scale in scales.items() if n in row}
            row |= {n: bool(row[n]) for n in flags if row.get(n) is not None}
            held[record.key] = row
            yield {**row, "op": body["op"], "commit": commit, "lsn": lsn, "told_us": body["source"]["ts_us"]}  # fmt: skip


def _place(source: dict[str, Any]) -> tuple[int, int]:
    """Where in the log a change was committed, and where it stands itself; a snapshot comes before all."""
    if source["snapshot"] != "false":
        return 0, 0
    if source["connector"] == "postgresql":
        commit, lsn = json.loads(source["sequence"])  # of a connector's first transaction no commit
        return int(commit or lsn), int(lsn)
    return int(source["file"].rpartition(".")[2]), (source["pos"] << 24) + (source["row"] or 0)


def _decimal(written: Any, scale: int) -> Decimal | None:
    """A decimal as the connector writes it: base64 of the unscaled number."""
    if not isinstance(written, str):
        return written
    return Decimal(int.from_bytes(base64.b64decode(written), signed=True)).scaleb(-scale)


def assert_equal(made: pl.DataFrame, source: duckdb.DuckDBPyConnection, sql: str) -> None:
    """The rows are those of an independent query over the source, value for value; and there are some."""
    assert len(made) > 0
    assert differences(made, source, sql) == []


def differences(made: pl.DataFrame, source: duckdb.DuckDBPyConnection, sql: str) -> list[str]:
    """The first rows that are only here, or only in the independent query."""
    found = source.execute(sql)
    names = [column[0] for column in found.description or ()]
    expected = [dict(zip(names, row, strict=True)) for row in found.fetchall()]
    naive = made.with_columns(cs.datetime(time_zone="*").dt.replace_time_zone(None)).to_dicts()
    held, wanted = (
        _ordered(naive),
        _ordered([{n: row[n] for n in made.columns} for row in expected]),
    )
    if held == wanted:
        return []
    here = [f"made: {row}" for row in held if row not in wanted]
    there = [f"source: {row}" for row in wanted if row not in held]
    return [f"{len(held)} rows, {len(wanted)} in the source", *here[:2], *there[:2]]


def _ordered(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(rows, key=lambda row: repr(list(row.values())))


# ---- README ---- #

_EXAMPLE = re.compile(r'^medallion query "([^"]+)"(?:.* --tenant (\S+))?', re.MULTILINE)
_NAMED = re.compile(r"`((?:silver|gold|export)\.[a-z_.]+|test_[a-z_]+)`")


def examples_of(domain: str) -> list[tuple[str, str | None]]:
    """The queries that a domain's README tells, each with its tenant."""
    text = (ASSETS / domain / "README.md").read_text("utf-8")
    return [(found[1], found[2]) for found in _EXAMPLE.finditer(text)]


def assert_examples_run(domain: str, lake: Lake, catalog: Catalog) -> None:
    """Each query of the README finds rows, a tenant's as the tenant."""
    examples = examples_of(domain)
    assert len(examples) >= 4
    for sql, tenant in examples:
        rows = query(lake, sql) if tenant is None else query_as_tenant(lake, catalog, sql, tenant)
        assert len(rows) > 0, sql


def assert_checklist(domain: str) -> None:
    """Every table of the domain is on its README's checklist, and what it names is there."""
    text = (ASSETS / domain / "README.md").read_text("utf-8")
    named = {found[1] for found in _NAMED.finditer(text)}
    tables = {name for name in CATALOG.contracts if name.split(".")[1] == domain}
    assert {name for name in named if not name.startswith("test_")} == tables
    tests = "".join(
        path.read_text("utf-8") for path in Path(__file__).parents[1].rglob("test_*.py")
    )
    for name in named - tables:
        assert f"def {name}(" in tests, name
