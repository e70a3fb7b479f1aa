"""Catalogs of any size: contracts with SQL over several layers, and a lake in which their tables exist."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
from playwright.sync_api import sync_playwright

from pipelines.contract import Catalog, load_catalog
from pipelines.contract.rules import rules_of
from pipelines.history import history_schema
from pipelines.landing import BRONZE
from pipelines.quality import RESULTS
from pipelines.state import silver_schema
from pipelines.storage import Lake
from quality_rules.results import RESULTS_TABLE, RuleResult, result_rows
from quality_rules.rule import Rule

DOMAINS = (
    "sales", "stock", "billing", "support", "people", "fleet",
    "energy", "claims", "lending", "travel", "media", "research",
)  # fmt: skip
_THINGS = (
    "orders", "accounts", "tickets", "meters", "policies", "routes", "invoices", "parcels",
    "visits", "contracts", "devices", "payments", "readings", "shifts", "tariffs", "offers",
)  # fmt: skip
_FIELDS = (
    "status", "amount", "quantity", "country", "email", "phone", "note", "channel", "city", "rate",
    "created_at", "updated_at", "score", "segment", "reference", "currency",
)  # fmt: skip
_TYPES = {
    "amount": "decimal(12,2)", "quantity": "int32", "rate": "float64", "score": "float64",
    "created_at": "timestamp", "updated_at": "timestamp",
}  # fmt: skip
_CLASSES = {"email": "confidential", "phone": "restricted", "note": "confidential"}

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def write_contracts(root: Path, tables: int, columns: int, seed: int = 1) -> Catalog:
    """Contracts of so many tables, two of three in silver, with so many columns each (six at least); the same for a seed."""
    chance = random.Random(seed)
    domains = DOMAINS[: max(1, min(len(DOMAINS), tables // 12))]
    silver = [
        (domains[number % len(domains)], f"{_THINGS[number % len(_THINGS)]}_{number:03}")
        for number in range(tables - tables // 3)
    ]
    made = [(f"silver.{domain}.{name}", _silver_columns(columns)) for domain, name in silver]
    for (domain, name), (_, names) in zip(silver, made, strict=True):
        _write(root / domain / "silver" / f"{name}.yaml", _silver(domain, name, names))
    for number in range(tables // 3):
        domain = domains[number % len(domains)]
        name = f"{('daily', 'by', 'fact', 'dim')[number // len(domains) % 4]}_{_THINGS[number % len(_THINGS)]}_{number:03}"
        # The last third of gold reads gold, so that ways are as long as in a grown lake.
        near = [each for each in made if f".{domain}." in each[0]] or made
        first, second = chance.choice(near[-12:]), chance.choice(made)
        names, sql = _gold(first, second, columns)
        _write(root / domain / "gold" / f"{name}.yaml", _gold_contract(domain, name, names))
        _write(root / domain / "gold" / f"{name}.sql", sql)
        made.append((f"gold.{domain}.{name}", names))
    return load_catalog(root)


def fill_lake(root: Path, catalog: Catalog, runs: int = 30) -> Lake:
    """A lake in which each table exists with no rows, and each rule was judged so many days in a row."""
    lake = Lake(str(root))
    results = list[pl.DataFrame]()
    for contract in catalog.contracts.values():
        if contract.layer == "silver":
            lake.create(contract.bronze, BRONZE, partition_by=["ingestion_date"])
            lake.create(contract.table, silver_schema(contract))
            lake.create(contract.sibling("history"), history_schema(contract))
        else:
            stored = {name: column.type.stored for name, column in contract.columns.items()}
            lake.create(contract.table, stored)
        results += _judged(contract.table, rules_of(contract), runs)
    lake.write(lake.create(RESULTS, RESULTS_TABLE), pl.concat(results), mode="append")
    return lake


def _judged(table: str, rules: tuple[Rule, ...], runs: int) -> list[pl.DataFrame]:
    chance = random.Random(table)
    weak = {rule.name for rule in rules if chance.random() < 0.08}
    return [
        result_rows(
            [
                RuleResult(
                    rule=rule,
                    record_count=10_000 + 37 * run,
                    failed_count=chance.randrange(400) if rule.name in weak else 0,
                )
                for rule in rules
            ],
            NOW - timedelta(days=runs - run),
            f"run {run}",
        )
        for run in range(runs)
    ]


def _silver_columns(columns: int) -> list[str]:
    turns = -(-columns // len(_FIELDS))
    names = [
        f"{name}{'' if turn == 0 else f'_{turn + 1}'}" for turn in range(turns) for name in _FIELDS
    ]
    return ["id", *names[: columns - 1]]


def _type_of(name: str) -> str:
    return "int64" if name == "id" else _TYPES.get(_field(name), "string")


def _field(name: str) -> str:
    return name if name in _FIELDS else name.rsplit("_", 1)[0]


def _column(name: str, *, gold: bool) -> str:
    field = _field(name)
    extra = ""
    if field in _CLASSES and not gold:
        extra = f", classification: {_CLASSES[field]}, mask: hash"
    if name in ("id", "status", "created_at"):
        extra += ", required: true"
    return f'  {name}: {{type: "{_type_of(name)}"{extra}, description: "The {name.replace("_", " ")} as the business means it"}}'


def _silver(domain: str, name: str, columns: list[str]) -> str:
    lines = [
        f"table: silver.{domain}.{name}",
        f"description: One row for each of {name.rsplit('_', 1)[0]}, newest state, kept for {domain}.",
        f"owner: {domain}-data",
        f"source: {{connector: postgres, topic: {domain}.public.{name}}}",
        "key: [id]",
        "history: true",
        "freshness: 1 hour",
        "columns:",
        *(_column(column, gold=False) for column in columns),
        "rules:",
        '  - {name: not_negative, severity: warning, description: Nothing is owed to nobody, expression: {sql: "quantity >= 0"}}',
        "  - {name: known_country, severity: warning, set: {column: country, values: [NL, BE, DE, FR]}}",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _gold(
    first: tuple[str, list[str]], second: tuple[str, list[str]], columns: int
) -> tuple[list[str], str]:
    """The columns and the SQL of a table that joins two."""
    public = [name for name in first[1] if _field(name) not in _CLASSES]
    others = [name for name in second[1] if _field(name) not in _CLASSES and name not in public]
    names = [*public, *others][:columns]
    sums = [name for name in names if _type_of(name).startswith(("decimal", "float", "int32"))]
    plain = [name for name in names if name not in sums]
    from_second = [name for name in plain if name not in first[1]]
    lines = ["WITH chosen AS (", "  SELECT"]
    lines.append(",\n".join(f"    a.{name}" for name in first[1] if name in public))
    lines += [f"  FROM {first[0]} AS a", "  WHERE a.status <> 'cancelled'", ")", "SELECT"]
    wanted = [
        f"  SUM(c.{name}) AS {name}" if name in sums and name in public
        else f"  SUM(b.{name}) AS {name}" if name in sums
        else f"  b.{name}" if name in from_second
        else f"  c.{name}"
        for name in names
    ]  # fmt: skip
    lines.append(",\n".join(wanted))
    lines += ["FROM chosen AS c", f"LEFT JOIN {second[0]} AS b ON b.id = c.id", "GROUP BY"]
    lines.append(",\n".join(f"  {'b' if name in from_second else 'c'}.{name}" for name in plain))
    return names, "\n".join(lines) + "\n"


def _gold_contract(domain: str, name: str, columns: list[str]) -> str:
    lines = [
        f"table: gold.{domain}.{name}",
        f"description: What {domain} reports of {name.replace('_', ' ')}; cancelled ones left out.",
        f"owner: {domain}-analytics",
        "key: [id]",
        "freshness: 1 day",
        "columns:",
        *(_column(column, gold=True) for column in columns),
    ]
    return "\n".join(lines) + "\n"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "utf-8")


# ---- MEASURED ---- #

#: Resolves, once the fragment changed, with the milliseconds from releasing the button to the second frame after.
_ANSWER = """() => { window.answer = new Promise((done) => {
  let began = 0;
  addEventListener("mouseup", () => { began = performance.now(); }, { once: true, capture: true });
  addEventListener("hashchange", () => requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - began))), { once: true });
}); }"""

_PLACE = """(key) => {
  const canvas = document.getElementById("canvas");
  const node = canvas._cyreg.cy.getElementById(key);
  canvas._cyreg.cy.center(node);
  const box = canvas.getBoundingClientRect();
  const { x, y } = node.renderedPosition();
  return [box.x + x, box.y + y];
}"""


def build_seconds(root: Path) -> float:
    """The seconds of `medallion catalog` over `root`'s assets and lake, its start included."""
    command = [sys.executable, "-m", "assets.cli", "catalog", "--out", str(root / "site")]
    places = ["--assets", str(root / "assets"), "--lake", str(root / "lake")]
    began = time.monotonic()
    subprocess.run([*command, *places], check=True, capture_output=True)
    return time.monotonic() - began


def click_milliseconds(site: Path, chromium: str, clicks: int = 12) -> dict[str, list[float]]:
    """What clicks on a domain, on tables and on columns of a graph take to be answered and drawn."""
    found: dict[str, list[float]] = {"domain": [], "table": [], "column": []}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(f"{site.as_uri()}/lineage.html")
        page.wait_for_function("document.getElementById('canvas')._cyreg?.cy.nodes().length > 0")
        names = page.evaluate("graph.tables.filter(t => t.layer === 'gold').map(t => [t.id, t.domain])")  # fmt: skip
        for table, domain in names[:clicks]:
            column = page.evaluate("t => graph.tables[t].columns[1]", table)
            page.evaluate("location.hash = ''")
            page.wait_for_timeout(300)
            for what, key in (
                ("domain", f"group gold {domain}"),
                ("table", f"table {table}"),
                ("column", f"column {column}"),
            ):
                place = page.evaluate(_PLACE, key)
                page.wait_for_timeout(200)
                page.evaluate(_ANSWER)
                page.mouse.click(*place)
                found[what].append(page.evaluate("window.answer"))
        browser.close()
    return found
