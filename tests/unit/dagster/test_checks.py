"""What a rule's result is as an asset check."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import dagster as dg
import polars as pl
import pytest

from assets.checks import check_result
from pipelines.trends import bars, markdown
from quality_rules.results import RuleResult
from quality_rules.rule import Rule, RuleKind, Severity

KEY = dg.AssetKey(["silver", "shop", "orders"])


def result(severity: str = "error", mostly: float = 1.0, **counts: Any) -> RuleResult:
    rule = Rule(
        table="silver.shop.orders",
        name="paid",
        kind=RuleKind.NOT_NULL,
        columns=("paid_at",),
        severity=Severity(severity),
        mostly=mostly,
    )
    return RuleResult(rule=rule, **{"record_count": 100, "failed_count": 0, **counts})


@pytest.mark.parametrize(
    ("found", "passed", "severity"),
    [
        (result(), True, "ERROR"),
        (result(failed_count=1), False, "ERROR"),
        (result(failed_count=1, mostly=0.99), True, "ERROR"),
        (result(failed_count=2, mostly=0.99), False, "ERROR"),
        (result("warning", failed_count=1), False, "WARN"),
        (result("info", failed_count=1), False, "WARN"),
        # What could not be judged is an error and no pass, whatever the severity and the tolerance.
        (result("info", unjudged_count=1), False, "ERROR"),
        (result("warning", mostly=0.5, unjudged_count=1), False, "ERROR"),
    ],
)
def test_a_check_passes_when_enough_rows_keep_the_rule(
    found: RuleResult, passed: bool, severity: str
) -> None:
    check = check_result(found, KEY)
    assert (check.passed, check.severity.value) == (passed, severity)
    assert check.metadata["record_count"].value == 100
    assert check.metadata["failed_count"].value == found.failed_count
    if found.unjudged_count:
        assert check.metadata["unjudged_count"].value == 1
        assert check.description == "1 of 100 could not be judged"


def test_the_keys_that_were_sampled_are_a_table() -> None:
    check = check_result(result(failed_count=1, sample=({"order_id": 7, "email": "***"},)), KEY)
    shown: Any = check.metadata["sample_keys"]
    assert [record.data for record in shown.records] == [{"order_id": "7", "email": "***"}]


def test_a_trend_is_a_line_of_bars_and_a_row_for_each_check() -> None:
    began = datetime(2026, 3, 1, 2, tzinfo=UTC)
    trend = pl.DataFrame(
        {
            "checked_at": [began + timedelta(days=day) for day in range(3)],
            "record_count": [1000, 1000, 2000],
            "failed_count": [0, 1, 800],
            "success_rate": [Decimal("100.00"), Decimal("99.90"), Decimal("60.00")],
        }
    )
    assert markdown(trend).splitlines() == [
        "`▁▂█` failed rows",
        "",
        "| checked | rows | failed | kept |",
        "|---|--:|--:|--:|",
        "| 2026-03-03 02:00 | 2,000 | 800 | 60.00 % |",
        "| 2026-03-02 02:00 | 1,000 | 1 | 99.90 % |",
        "| 2026-03-01 02:00 | 1,000 | 0 | 100.00 % |",
    ]
    assert bars(pl.Series([0, 0])) == "▁▁"
    assert "60.00 %" in str(check_result(result(), KEY, trend).metadata["trend"].value)
