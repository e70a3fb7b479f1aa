"""What each kind of rule says of a row, what a split does with it, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

import polars as pl
import pytest

from quality_rules.results import judge
from quality_rules.rule import Rule, RuleError, RuleKind, Severity
from quality_rules.split import split

PARENTS = {"r": pl.Series([1, 2], dtype=pl.Int64)}


def rule(kind: str, *columns: str, name: str = "r", severity: str = "error", **params: Any) -> Rule:
    return Rule(
        table="shop.orders",
        name=name,
        kind=RuleKind(kind),
        columns=columns,
        severity=Severity(severity),
        params=params,
    )


def money(*values: str | None) -> pl.Series:
    return pl.Series([value and Decimal(value) for value in values], dtype=pl.Decimal(12, 2))


CASES: list[tuple[str, Rule, Mapping[str, Any], list[int]]] = [
    # what, rule, columns, positions of the rows that break it
    ("not null", rule("NOT_NULL", "a"), {"a": [1, None, 3]}, [1]),
    ("an empty text is no null", rule("NOT_NULL", "a"), {"a": ["", None]}, [1]),
    ("bounds are allowed", rule("RANGE", "a", min=1, max=3), {"a": [0, 1, 3, 4]}, [0, 3]),
    ("only a minimum", rule("RANGE", "a", min=1), {"a": [0, 1, 10**12]}, [0]),
    ("only a maximum", rule("RANGE", "a", max=1), {"a": [-5, 1, 2]}, [2]),
    ("a range allows null", rule("RANGE", "a", min=1), {"a": [None, 1]}, []),
    ("cents", rule("RANGE", "a", min="0.01"), {"a": money("0.00", "0.01", None)}, [0]),
    ("a float bound of cents", rule("RANGE", "a", max=0.1), {"a": money("0.10", "0.11")}, [1]),
    ("large numbers", rule("RANGE", "a", max=2**60 + 1), {"a": [2**60 + 1, 2**60 + 2]}, [1]),
    (
        "dates",
        rule("RANGE", "a", min="2024-01-02"),
        {"a": [date(2024, 1, 1), date(2024, 1, 2)]},
        [0],
    ),
    (
        "a pattern is searched",
        rule("PATTERN", "a", regex="@"),
        {"a": ["x@y", "xy", "", None]},
        [1, 2],
    ),
    ("an anchored pattern", rule("PATTERN", "a", regex="^[A-Z]{3}$"), {"a": ["EUR", "EURO"]}, [1]),
    ("a pattern on a number", rule("PATTERN", "a", regex="^4"), {"a": [41, 14]}, [1]),
    ("a set", rule("SET", "a", values=["x", "y"]), {"a": ["x", "z", None]}, [1]),
    ("a set of numbers", rule("SET", "a", values=[1, 2]), {"a": [1, 3, None]}, [1]),
    ("the empty set", rule("SET", "a", values=[]), {"a": ["x", None]}, [0]),
    ("a parent is found", rule("REFERENCE", "a", table="p", column="id"), {"a": [1, 3, None]}, [1]),
    ("a length in characters", rule("LENGTH", "a", max=2), {"a": ["éé", "abc", "", None]}, [1]),
    ("a list's length", rule("LENGTH", "a", min=1), {"a": [["x"], [], None]}, [1]),
    ("integers", rule("TYPE", "a", type="integer"), {"a": ["-1", "1.0", "", "x", None]}, [1, 2, 3]),
    (
        "numbers",
        rule("TYPE", "a", type="number"),
        {"a": ["1e-3", ".5", "1.", "NaN", "1,0"]},
        [3, 4],
    ),
    (
        "dates are of the calendar",
        rule("TYPE", "a", type="date"),
        {"a": ["2024-02-29", "2023-02-29", "2024-1-1", None]},
        [1, 2],
    ),
    (
        "times",
        rule("TYPE", "a", type="timestamp"),
        {"a": ["2024-01-01T00:00:00Z", "2024-01-01 23:59", "2024-13-01T00:00", "2024-01-01T24:00"]},
        [2, 3],
    ),
    (
        "addresses",
        rule("FORMAT", "a", format="email"),
        {"a": ["a.b+c@x-y.org", "a@b", "a b@x.org", "@x.org", "a@x..org", None]},
        [1, 2, 3, 4],
    ),
    (
        "web addresses",
        rule("FORMAT", "a", format="url"),
        {"a": ["https://x.org/a?b=c#d", "HTTP://[::1]:80/", "x.org", "http://", "http://a b.org"]},
        [2, 3, 4],
    ),
    (
        "uuids",
        rule("FORMAT", "a", format="uuid"),
        {"a": ["550e8400-e29b-41d4-a716-446655440000", "550e8400e29b41d4a716446655440000"]},
        [1],
    ),
    ("countries", rule("FORMAT", "a", format="country"), {"a": ["DE", "XX", "de", None]}, [1, 2]),
    ("currencies", rule("FORMAT", "a", format="currency"), {"a": ["EUR", "EURO", "ZZZ"]}, [1, 2]),
    (
        "hosts",
        rule("FORMAT", "a", format="ipv4"),
        {"a": ["255.0.0.1", "256.0.0.1", "1.2.3"]},
        [1, 2],
    ),
    ("an expression", rule("EXPRESSION", sql="a <= b"), {"a": [1, 2, None], "b": [1, 1, 1]}, [1]),
]


@pytest.mark.parametrize(("rule", "columns", "wrong"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])  # fmt: skip
def test_rows_that_break_a_rule_are_quarantined_and_counted(
    rule: Rule, columns: Mapping[str, Any], wrong: list[int]
) -> None:
    rows = pl.DataFrame(columns).with_row_index("id")
    both = split(rows, [rule], PARENTS)
    assert both.quarantined["id"].to_list() == wrong
    assert both.kept["id"].to_list() == [i for i in range(rows.height) if i not in wrong]
    (result,) = judge(rows.lazy(), [rule], ["id"], PARENTS)
    assert (result.record_count, result.failed_count) == (rows.height, len(wrong))
    assert [row["id"] for row in result.sample] == wrong


def test_twins_are_counted_and_kept() -> None:
    rows = pl.DataFrame({"a": [1, 1, 2, None, None], "b": ["x", "x", "x", "x", None]})
    one, two = rule("UNIQUE", "a", name="one"), rule("UNIQUE", "a", "b", name="two")
    assert [r.failed_count for r in judge(rows.lazy(), [one, two], ["a"], {})] == [2, 2]
    both = split(rows, [one, two], {})
    assert both.quarantined.is_empty()
    assert both.kept["quality_checks_passed"].to_list() == [[]] * 5


@pytest.mark.parametrize(
    ("severity", "kept", "score"),
    [("error", 1, "0.27"), ("warning", 2, "0.81"), ("info", 2, "0.90")],
)
def test_severity_decides_what_follows(severity: str, kept: int, score: str) -> None:
    rules = [
        rule("NOT_NULL", "a", name=name, severity=name) for name in ("error", "warning", "info")
    ]
    broken = [rule(r.kind, "b" if r.name == severity else "a", name=r.name, severity=r.severity) for r in rules]  # fmt: skip
    both = split(pl.DataFrame({"a": [1, 1], "b": [1, None]}), broken, {})
    assert both.kept.height == kept
    (verdict,) = pl.concat([both.kept, both.quarantined]).filter(pl.col("b").is_null()).to_dicts()
    assert verdict["data_quality_score"] == Decimal(score)
    assert verdict["quality_issues"] == [severity]
    assert verdict["quality_checks_passed"] == [r.name for r in broken if r.name != severity]
    assert both.kept["data_quality_score"].max() == Decimal("1.00")


def test_an_issue_found_before_counts_as_an_error_and_stands_first() -> None:
    rows = pl.DataFrame({"a": [1, None, 1], "_issues": [["amount: no number"], ["late"], []]})
    both = split(rows, [rule("NOT_NULL", "a", severity="warning")], {})
    assert both.kept["_issues"].to_list() == [[]]
    assert both.quarantined["quality_issues"].to_list() == [["amount: no number"], ["late", "r"]]
    assert both.quarantined["data_quality_score"].to_list() == [Decimal("0.00")] * 2


def test_no_rows_and_no_rules() -> None:
    rows = pl.DataFrame({"a": [1, 2]})
    assert split(rows, [], {}).kept["data_quality_score"].to_list() == [Decimal("1.00")] * 2
    assert split(rows.clear(), [rule("NOT_NULL", "a")], {}).kept.height == 0
    (result,) = judge(rows.clear().lazy(), [rule("NOT_NULL", "a")], ["a"], {})
    assert (result.failed_count, result.success_rate) == (0, Decimal("100.00"))


def test_an_inactive_rule_says_nothing() -> None:
    off = Rule(table="t", name="r", kind=RuleKind.NOT_NULL, columns=("a",), active=False)
    rows = pl.DataFrame({"a": [None, 1]})
    assert judge(rows.lazy(), [off], ["a"], {}) == []
    assert split(rows, [off], {}).kept.height == 2


def test_a_rate_of_100_means_all() -> None:
    rows = pl.LazyFrame({"a": [None, *range(99_999)]})
    (result,) = judge(rows, [rule("NOT_NULL", "a")], ["a"], {})
    assert result.success_rate == Decimal("99.99")


def test_hidden_keys_are_masked_and_samples_end() -> None:
    rows = pl.LazyFrame({"id": range(50), "mail": ["m"] * 50, "a": [None] * 50})
    (result,) = judge(rows, [rule("NOT_NULL", "a")], ["id", "mail"], {}, hidden=frozenset({"mail"}))
    assert len(result.sample) == 20
    assert {row["mail"] for row in result.sample} == {"***"}


REFUSED: list[tuple[str, Sequence[str], Mapping[str, Any], str]] = [
    ("PATTERN", ["a"], {"regex": "("}, "does not compile"),
    ("PATTERN", ["a"], {"regex": "(?=x)"}, "look-around"),
    ("PATTERN", ["a"], {}, "lacks the parameter 'regex'"),
    ("RANGE", ["a"], {"min": 3, "max": 1}, "no value is valid"),
    ("RANGE", ["a"], {}, "'min', 'max' or both"),
    ("RANGE", ["a"], {"low": 3}, "has no parameter 'low'; it takes max, min"),
    ("REFERENCE", ["a"], {"table": "p"}, "lacks the parameter 'column'"),
    ("EXPRESSION", [], {"sql": "a >"}, "does not parse"),
    ("FORMAT", ["a"], {"format": "mail"}, "'mail' is no format; there are email,"),
    ("TYPE", ["a"], {"type": "int"}, "'int' is no type; there are integer,"),
    ("LENGTH", ["a"], {}, "'min', 'max' or both"),
    ("VOLUME", ["a"], {}, "wants 'at_least', 'at_most' or both"),
    ("VOLUME", [], {"at_least": 0.5}, "wants the column that tells the day"),
    ("DRIFT", ["a"], {}, "the time to part it by"),
]


@pytest.mark.parametrize(("kind", "columns", "params", "text"), REFUSED)
def test_a_rule_that_cannot_be_judged_is_refused(
    kind: str, columns: Sequence[str], params: Mapping[str, Any], text: str
) -> None:
    with pytest.raises(RuleError) as refused:
        rule(kind, *columns, name="mine", **params)
    assert "rule 'mine'" in str(refused.value)
    assert text in str(refused.value)


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        (rule("NOT_NULL", "nope"), "names column 'nope'; the columns are a, s"),
        (rule("RANGE", "a", min="many"), "'many' is no Int64 to compare 'a' with"),
    ],
)
def test_a_rule_that_does_not_fit_the_rows_is_refused(bad: Rule, text: str) -> None:
    rows = pl.DataFrame({"a": [1], "s": ["x"]})
    with pytest.raises(RuleError, match=text):
        judge(rows.lazy(), [bad], ["a"], {})
    with pytest.raises(RuleError, match=text):
        split(rows, [bad], {})


@pytest.mark.parametrize(
    ("bad", "text"),
    [
        (rule("EXPRESSION", sql="a > b"), "names column 'b'; the columns are a, s"),
        (rule("EXPRESSION", sql="a + 1"), "is of type Int64; a condition is true or false"),
        (rule("EXPRESSION", sql="s > 1"), "does not fit the columns"),
        (rule("SET", "a", values=["x"]), "which not all of its values can be"),
        (rule("LENGTH", "a", max=3), "column 'a' is Int64, which has no length"),
        (rule("FRESHNESS", "at", within_seconds=1), "names column 'at'"),
        (rule("FRESHNESS", "a", within_seconds=1), "column 'a' is Int64, which is no time"),
    ],
)
def test_a_check_refuses_what_no_row_could_be_judged_by(bad: Rule, text: str) -> None:
    with pytest.raises(RuleError, match=text):
        bad.check({"a": pl.Int64(), "s": pl.String()})


def test_a_rule_that_raises_on_some_rows_is_not_judged_on_exactly_those() -> None:
    rows = pl.DataFrame({"id": range(5), "a": ["1", "x", "-5", None, "y"]})
    odd = rule("EXPRESSION", sql="CAST(a AS INT) > 0", name="odd")
    mild = rule("EXPRESSION", sql="CAST(a AS INT) > 0", name="mild", severity="warning")
    full = rule("NOT_NULL", "a", name="full")
    both = split(rows, [full, odd], {})
    assert both.kept["id"].to_list() == [0]
    issues = dict(
        zip(both.quarantined["id"], both.quarantined["quality_issues"].to_list(), strict=True)
    )
    assert issues == {1: ["unjudged: odd"], 2: ["odd"], 3: ["full"], 4: ["unjudged: odd"]}
    passed = both.quarantined["quality_checks_passed"].to_list()
    assert passed == [["full"], ["full"], ["odd"], ["full"]]
    assert split(rows, [mild], {}).kept.sort("id")["quality_issues"].to_list() == [
        [], ["unjudged: mild"], ["mild"], [], ["unjudged: mild"],
    ]  # fmt: skip
    first, second = judge(rows.lazy(), [full, odd], ["id"], {})
    assert (first.failed_count, first.unjudged_count, first.passed) == (1, 0, False)
    assert (second.record_count, second.failed_count, second.unjudged_count) == (5, 1, 2)
    assert [row["id"] for row in second.sample] == [1, 2, 4]
    assert (second.success_rate, second.passed) == (Decimal("40.00"), False)


def test_mostly_is_the_tables_to_keep_and_not_the_rows() -> None:
    rows = pl.DataFrame({"a": [None, *range(99)]})
    for mostly, passed in ((0.99, True), (0.995, False)):
        each = replace(rule("NOT_NULL", "a"), mostly=mostly)
        assert judge(rows.lazy(), [each], ["a"], {})[0].passed is passed
        assert split(rows, [each], {}).quarantined.height == 1
    with pytest.raises(RuleError, match="mostly 99 is no share"):
        replace(rule("NOT_NULL", "a"), mostly=99)


def test_a_rule_keeps_its_identity() -> None:
    assert rule("NOT_NULL", "a").rule_id == rule("NOT_NULL", "b").rule_id
    assert rule("NOT_NULL", "a").rule_id != rule("NOT_NULL", "a", name="other").rule_id
