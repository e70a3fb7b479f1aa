"""What `medallion quality` tells: the newest check of each rule, its trend, and the worst tables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from pipelines.quality import RESULTS, keep_results, keep_rules
from pipelines.standing import sparkline, standing
from pipelines.storage import Lake
from quality_rules.results import RESULTS_TABLE, RuleResult
from quality_rules.rule import Rule, RuleKind, Severity

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)


def rule(table: str, name: str, severity: str = "error") -> Rule:
    return Rule(table=table, name=name, kind=RuleKind.NOT_NULL, columns=("a",), severity=Severity(severity))  # fmt: skip


A, B, C = rule("silver.x.a", "a"), rule("silver.x.b", "b"), rule("silver.x.b", "c", "warning")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    lake = Lake(str(tmp_path))
    keep_rules(lake, [A], NOW)
    keep_rules(lake, [B, C], NOW)
    failed = {-20: (9, 9, 9), -2: (50, 0, 0), -1: (10, 10, 0), 0: (0, 20, 5)}
    for day, counts in failed.items():
        found = [
            RuleResult(rule=each, record_count=100, failed_count=count)
            for each, count in zip((A, B, C), counts, strict=True)
        ]
        keep_results(lake, found, NOW + timedelta(days=day), run_id=str(day))
    return lake


def test_what_fails_is_what_the_newest_check_found(lake: Lake) -> None:
    found = standing(lake, NOW, days=3)
    assert (found.rules, found.checks) == (3, 9)
    told = [(row["rule"], row["failed"], row["trend"]) for row in found.failures]
    assert told == [("b", 20, "█▅▁"), ("c", 5, "██▁")], (
        "errors first; a bar a day, the last is today"
    )
    assert found.tables == [
        {"table": "silver.x.b", "error_rules": 1, "other_rules": 1, "rows_of_the_worst": 20, "lowest_rate": pytest.approx(80)}
    ]  # fmt: skip
    assert standing(lake, NOW, days=3, tables=["silver.x.a"]).failures == []


def test_a_removed_rule_fails_no_more(lake: Lake) -> None:
    keep_rules(lake, [B], NOW)
    assert [row["rule"] for row in standing(lake, NOW).failures] == ["b"]


def test_results_of_an_older_make_are_read_and_go_on(tmp_path: Path) -> None:
    lake, old = Lake(str(tmp_path)), dict(RESULTS_TABLE)
    for name in ("unjudged_count", "passed", "observed"):
        del old[name]
    values = ("c", A.rule_id, A.table, "a", "error", NOW, 10, 3, None, "[]", "r")
    row = pl.DataFrame([values], schema=old, orient="row")
    lake.write(lake.create(RESULTS, old), row, mode="append")
    keep_rules(lake, [A], NOW)
    assert [each["failed"] for each in standing(lake, NOW).failures] == [3]
    later = NOW + timedelta(hours=1)
    keep_results(lake, [RuleResult(rule=A, record_count=10, failed_count=0)], later, run_id="s")
    assert standing(lake, later).failures == []
    assert lake.scan(RESULTS).select(pl.len()).collect().item() == 2


def test_a_lake_without_results_has_nothing_to_say(tmp_path: Path) -> None:
    assert standing(Lake(str(tmp_path)), NOW).rules == 0


@pytest.mark.parametrize(
    ("rates", "bars"),
    [([100, 100], "██"), ([100, None, 99], "█ ▁"), ([0, 50, 100], "▁▅█"), ([], "")],
)
def test_a_sparkline_reaches_from_the_lowest_to_all(rates: list[float | None], bars: str) -> None:
    assert sparkline(rates) == bars
