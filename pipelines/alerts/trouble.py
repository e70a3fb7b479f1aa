"""What is wrong now: failed error rules, quarantines that grow, tables without news.

Nothing here names a value of a row; a text holds tables, rules, counts and times.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import polars as pl

from pipelines.alerts.configuration import OnQuarantine
from pipelines.contract import Catalog, Contract
from pipelines.contract.rules import rules_of
from pipelines.quality import RESULTS
from pipelines.status import count
from pipelines.storage import Lake
from quality_rules.rule import Severity

FAILED_RULE, QUARANTINE, STALE = "failed_rule", "quarantine", "stale"

LEVELS = "system.main.alert_levels"
_LEVELS: Mapping[str, pl.DataType] = {
    "table_name": pl.String(),
    "at_rest": pl.Int64(),
    "rows": pl.Int64(),
    "grown_at": pl.Datetime("us", "UTC"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """One thing that is wrong: what makes it the same as before, and how it is said."""

    kind: str
    table: str
    subject: str = ""
    detail: str

    @property
    def identity(self) -> tuple[str, str, str]:
        """The same for the same trouble at another time."""
        return self.kind, self.table, self.subject


# ---- FAILED RULES ---- #


def failed_rules(lake: Lake, catalog: Catalog) -> Iterator[Trouble]:
    """The active error rules of the contracts whose newest result did not pass."""
    if lake.version(RESULTS) is None:
        return
    active = {
        (contract.table, rule.name)
        for contract in catalog.contracts.values()
        for rule in rules_of(contract)
        if rule.active and rule.severity is Severity.ERROR
    }
    results = lake.scan(RESULTS)
    failed = pl.col("failed_count") > 0
    if "passed" in results.collect_schema():
        failed = ~pl.col("passed").fill_null(~failed)
    newest = (
        results.sort("checked_at")
        .group_by("table_name", "rule_name")
        .agg(pl.all().last())
        .filter(failed)
        .select("table_name", "rule_name", "failed_count", "record_count")
        .sort("table_name", "rule_name")
        .collect()
    )
    for table, rule, wrong, rows in newest.rows():
        if (table, rule) in active:
            detail = f"{table}: rule '{rule}' fails on {wrong:,} of {rows:,} rows"
            yield Trouble(kind=FAILED_RULE, table=table, subject=rule, detail=detail)


# ---- QUARANTINES ---- #


@dataclass(frozen=True, slots=True, kw_only=True)
class Level:
    """How full a quarantine is, and was when it last was at rest."""

    at_rest: int = 0
    rows: int = 0
    grown_at: datetime

    def after(self, rows: int, now: datetime, quiet: timedelta) -> Level:
        """The level with what is counted now: at rest again when it is no fuller, or quiet so long."""
        grown_at = now if rows > self.rows else self.grown_at
        at_rest = rows if now - grown_at >= quiet else min(self.at_rest, rows)
        return Level(at_rest=at_rest, rows=rows, grown_at=grown_at)


def growing_quarantines(
    lake: Lake, catalog: Catalog, on: OnQuarantine, now: datetime
) -> Iterator[Trouble]:
    """The quarantines that hold more rows than when they last were at rest; keeps the levels.

    A table that is looked at for the first time counts from nothing.

    Raises:
        ConflictError: when another process looks at the same time.
    """
    handle = lake.create(LEVELS, _LEVELS)
    stored = lake.scan_handle(handle).collect()
    known = {
        table: Level(at_rest=at_rest, rows=rows, grown_at=grown_at)
        for table, at_rest, rows, grown_at in stored.select(*_LEVELS).rows()
    }
    levels = dict[str, Level]()
    for contract in catalog.layer("silver"):
        rows = count(lake, contract.sibling("quarantine"))
        if rows is not None:
            before = known.get(contract.table, Level(grown_at=now))
            levels[contract.table] = before.after(rows, now, on.quiet)
    if levels != {table: known[table] for table in levels if table in known}:
        new = [(t, each.at_rest, each.rows, each.grown_at) for t, each in levels.items()]
        others = stored.filter(~pl.col("table_name").is_in(list(levels)))
        frame = pl.concat([others, pl.DataFrame(new, schema=dict(_LEVELS), orient="row")])
        lake.write(handle, frame, mode="overwrite", app={LEVELS: handle.version() + 1})
    for table, level in sorted(levels.items()):
        if level.rows - level.at_rest > on.rows:
            yield Trouble(
                kind=QUARANTINE,
                table=table,
                detail=f"{table}: {level.rows:,} rows in quarantine, "
                f"{level.rows - level.at_rest:,} more than when it was at rest",
            )


# ---- STALE TABLES ---- #


def stale_tables(lake: Lake, catalog: Catalog, now: datetime) -> Iterator[Trouble]:
    """The silver tables whose newest event is older than their contract's `freshness`.

    A table that never had an event is not stale: its source may have no row.
    """
    for contract in catalog.layer("silver"):
        if contract.freshness is None:
            continue
        newest = newest_event(lake, contract)
        if newest is not None and now - newest > contract.freshness:
            yield Trouble(
                kind=STALE,
                table=contract.table,
                detail=f"{contract.table}: no news since {newest.astimezone(UTC):%Y-%m-%d %H:%M} UTC; "
                f"the contract allows {lasting(contract.freshness)}",
            )


def newest_event(lake: Lake, contract: Contract) -> datetime | None:
    """When Kafka took the newest event of a table; only the last day of bronze is read."""
    handle = lake.open(contract.bronze)
    days = [] if handle is None else [each["ingestion_date"] for each in handle.partitions()]
    if handle is None or not days:
        return None
    last = pl.lit(max(days)).str.to_date()
    rows = lake.scan_handle(handle).filter(pl.col("ingestion_date") == last)
    return rows.select(pl.col("kafka_timestamp").max()).collect().item()


def lasting(time: timedelta) -> str:
    """A duration as people say it: its two largest units."""
    seconds = int(time.total_seconds())
    units = {"day": 86_400, "hour": 3_600, "minute": 60, "second": 1}
    parts = list[str]()
    for name, size in units.items():
        number, seconds = divmod(seconds, size)
        if number:
            parts.append(f"{number:,} {name}{'s' if number > 1 else ''}")
    return " ".join(parts[:2]) or "no time"
