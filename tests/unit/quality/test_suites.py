"""Every word of the vocabulary as an expectation: the same verdict as ours, from the suite's JSON too."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from quality_rules.aggregates import Facts
from quality_rules.results import judge
from quality_rules.rule import Rule, RuleKind

pytestmark = pytest.mark.slow

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
ROWS = pl.DataFrame(
    {
        "id": range(120),
        "amount": [None, *range(119)],
        "code": ["A1", "b", None, "A1"] * 30,
        "mail": ["a@example.org", "nobody", None] * 40,
        "at": [NOW - timedelta(hours=3 * at) for at in range(120)],
        "tags": [["x"] * (at % 4) for at in range(120)],
    }
)
FACTS = Facts(now=NOW, source_rows=121, source_counted_at=NOW)
PARENTS = {"reference": pl.Series([1, 2, 3])}


def rule(kind: str, *columns: str, name: str | None = None, **params: Any) -> Rule:
    mostly = params.pop("mostly", 1.0)
    return Rule(
        table="silver.shop.orders",
        name=name or kind.lower(),
        kind=RuleKind(kind),
        columns=columns,
        params=params,
        mostly=mostly,
    )


RULES = [
    rule("NOT_NULL", "amount"),
    rule("NOT_NULL", "amount", name="nearly", mostly=0.9),
    rule("RANGE", "amount", min=2, max=50),
    rule("RANGE", "amount", name="at_most_half", max=50, mostly=0.4),
    rule("RANGE", "amount", name="beyond_floats", max=2**53 + 1),
    rule("RANGE", "at", name="since", min="2026-02-20T12:00:00"),
    rule("RANGE", "at", name="since_day", min="2026-02-20"),
    rule("LENGTH", "code", min=2),
    rule("LENGTH", "tags", name="items", max=2),
    rule("PATTERN", "code", regex="^[A-Z]"),
    rule("SET", "code", values=["A1"]),
    rule("TYPE", "code", type="integer"),
    rule("FORMAT", "mail", format="email"),
    rule("REFERENCE", "amount", table="silver.shop.parents", column="id"),
    rule("EXPRESSION", sql="amount < 100 OR code = 'b'"),
    rule("UNIQUE", "amount"),
    rule("UNIQUE", "code", "mail", name="both"),
    rule("UNIQUE", "code", name="some", mostly=0.1),
    rule("FRESHNESS", "at", within_seconds=60),
    rule("VOLUME", min=200),
    rule("VOLUME", "at", name="by_day", at_least=0.5, days=3),
    rule("DRIFT", "amount", "at", days=7),
    rule("DRIFT", "amount", "at", name="too_few", days=1),
    rule("SCHEMA", columns={"id": "Int64", "gone": "String"}),
    rule("RECONCILIATION", within=0.001),
]


def test_all_words_are_here() -> None:
    assert {each.kind for each in RULES} == set(RuleKind)


def test_expectations_say_of_every_word_what_the_rules_say() -> None:
    from quality_rules.expectations import validate

    rows = ROWS.lazy()
    report = validate(rows, RULES, PARENTS, table="t", key=["id"], facts=FACTS)
    found = {each.rule: each for each in report.results}
    for result in judge(rows, RULES, ["id"], PARENTS, facts=FACTS):
        told, name = found[result.rule.name], result.rule.name
        assert told.success == result.passed, name
        assert (told.error is not None) == bool(result.unjudged_count), (name, told.error)
        if not result.unjudged_count:
            counts = (result.record_count, result.failed_count)
            assert (told.evaluated, told.unexpected, told.sample) == (*counts, result.sample), name
    assert found["too_few"].error == "not judged: fewer than 50 rows on a side"


def test_a_core_expectation_says_it_where_there_is_one() -> None:
    from quality_rules.gx.suite import suite_of

    told = {
        each["meta"]["rule"]: each["type"]
        for each in suite_of("t", RULES).to_json_dict()["expectations"]
    }
    ours = {name for name, kind in told.items() if kind.endswith("_keep_rule")}
    assert ours == {
        "at_most_half",  # its tolerance counts missing values, as the core's does not
        "beyond_floats",  # the core makes a float of it
        "since",  # and a day of a moment
        "type",
        "format",
        "reference",
        "expression",
        "some",
        "freshness",
        "by_day",
        "drift",
        "too_few",
        "schema",
        "reconciliation",
    }


def test_a_suite_goes_through_json() -> None:
    from great_expectations.core.expectation_suite import ExpectationSuite

    from quality_rules.gx.suite import suite_of

    suite = suite_of("t", RULES)
    text = json.dumps(suite.to_json_dict())
    again = ExpectationSuite(**json.loads(text))
    assert sorted(map(str, again.to_json_dict()["expectations"])) == sorted(
        map(str, json.loads(text)["expectations"])
    )
