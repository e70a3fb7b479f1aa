"""What each rule of a whole table says, and when it cannot be judged."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from quality_rules.aggregates import FEWEST_ROWS, Facts
from quality_rules.results import RuleResult, judge
from quality_rules.rule import Rule, RuleKind
from quality_rules.split import split

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
TODAY = date(2026, 3, 10)


def found(
    kind: str,
    rows: dict[str, Sequence[Any]],
    *columns: str,
    facts: Facts | None = None,
    **params: Any,
) -> RuleResult:
    """The one rule judged over the rows, in a table of its own."""
    made = Rule(table="t", name="r", kind=RuleKind(kind), columns=columns, params=params)
    frame = pl.DataFrame(rows)
    assert split(frame, [made], {}).kept.height == frame.height, "no row is blamed"
    (result,) = judge(frame.lazy(), [made], [], {}, facts=facts or Facts(now=NOW))
    assert result.record_count == 1
    return result


@pytest.mark.parametrize(
    ("newest", "passed"),
    [
        (NOW - timedelta(minutes=15), True),
        (NOW - timedelta(minutes=15, seconds=1), False),
        (datetime(2026, 3, 10, 11, 50), True),
        (TODAY, True),
        (TODAY - timedelta(days=1), False),
    ],
)
def test_fresh_is_the_newest_time(newest: Any, passed: bool) -> None:
    result = found("FRESHNESS", {"at": [newest, None]}, "at", within_seconds=15 * 60)
    assert result.passed is passed
    assert result.failed_count == (not passed)


def test_an_empty_table_is_not_fresh() -> None:
    empty = {"at": pl.Series([], dtype=pl.Datetime("us", "UTC"))}
    assert found("FRESHNESS", empty, "at", within_seconds=60).failed_count == 1


@pytest.mark.parametrize(
    ("yesterday", "passed"), [(0, False), (4, False), (5, True), (20, True), (21, False)]
)
def test_volume_is_yesterday_against_the_days_before(yesterday: int, passed: bool) -> None:
    days = [TODAY] * 500 + [TODAY - timedelta(days=1)] * yesterday
    days += [TODAY - timedelta(days=2 + at) for at in range(7) for _ in range(10)]
    days += [TODAY - timedelta(days=9)] * 1000
    result = found("VOLUME", {"at": days}, "at", at_least=0.5, at_most=2.0)
    assert (result.passed, result.observed["rows_of_day"]) == (passed, yesterday)


def test_volume_without_days_before_is_not_judged() -> None:
    result = found("VOLUME", {"at": [TODAY - timedelta(days=1)]}, "at", at_least=0.5)
    assert (result.unjudged_count, result.failed_count, result.passed) == (1, 0, False)


def test_volume_bounds_the_table() -> None:
    assert found("VOLUME", {"a": [1, 2]}, min=2, max=2).passed
    assert not found("VOLUME", {"a": [1, 2]}, min=3).passed
    assert not found("VOLUME", {"a": [1, 2]}, max=1).passed


@pytest.mark.parametrize("cast", [pl.Float64, pl.Decimal(10, 2), pl.String])
def test_drift_is_another_distribution(cast: Any) -> None:
    before, recent = NOW - timedelta(days=30), NOW - timedelta(days=1)
    values = [*range(10)] * 100
    times = [before] * 500 + [recent] * 500
    same = {"v": pl.Series(values).cast(cast), "at": times}
    assert found("DRIFT", same, "v", "at").passed
    moved = {"v": pl.Series(values[:500] + [9] * 500).cast(cast), "at": times}
    result = found("DRIFT", moved, "v", "at")
    assert result.failed_count == 1
    assert result.observed["index"] > 0.2  # type: ignore[operator]


def test_drift_of_too_few_rows_is_not_judged() -> None:
    times = [NOW - timedelta(days=30)] * 500 + [NOW] * (FEWEST_ROWS - 1)
    assert found("DRIFT", {"v": [1] * len(times), "at": times}, "v", "at").unjudged_count == 1


def test_a_schema_names_what_is_missing_other_and_unknown() -> None:
    wanted = {"a": "Int64", "b": "String", "c": "Date"}
    rows = {"a": [1], "b": [1], "d": [1]}
    result = found("SCHEMA", rows, columns=wanted, exact=True)
    assert result.observed == {"missing": ["c"], "of_other_type": ["b"], "unknown": ["d"]}
    assert found("SCHEMA", rows, columns={"a": "Int64"}, exact=False).passed
    stored = Facts(now=NOW, columns={"a": pl.Int64()})
    assert found("SCHEMA", rows, facts=stored, columns={"a": "Int64"}, exact=True).passed


@pytest.mark.parametrize(
    ("there", "within", "failed", "unjudged"),
    [(100, 0, 0, 0), (101, 0, 1, 0), (101, 0.01, 0, 0), (98, 0.01, 1, 0), (None, 0, 0, 1)],
)
def test_reconciliation_compares_with_the_sources_count(
    there: int | None, within: float, failed: int, unjudged: int
) -> None:
    facts = Facts(now=NOW, source_rows=there)
    result = found("RECONCILIATION", {"a": [*range(100)]}, facts=facts, within=within)
    assert (result.failed_count, result.unjudged_count) == (failed, unjudged)
