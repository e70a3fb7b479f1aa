"""Laws of quality: no row is lost by a split, and every way of counting counts the same."""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quality_rules.results import judge
from quality_rules.rule import Rule, RuleKind, Severity
from quality_rules.split import split

Row = Mapping[str, Any]

SCHEMA = {"id": pl.Int64, "n": pl.Int64, "f": pl.Float64, "s": pl.String}
TEXTS = ["", "a", "b", "ab", "1", "A1", "é", "a\nb", " a", "😀"]
REGEXES = ["^a", "b$", "[0-9]", "^[A-Z][0-9]$", "^.$", "é|b"]
NUMBERS = st.integers(-4, 4)
FLOATS = st.sampled_from([-1.5, -0.1, 0.0, 0.1, 0.3, 1e-7, 2.5, 1e16])


def frames(most: int = 12) -> st.SearchStrategy[pl.DataFrame]:
    row = st.tuples(st.none() | NUMBERS, st.none() | FLOATS, st.none() | st.sampled_from(TEXTS))
    return st.lists(row, min_size=1, max_size=most).map(
        lambda rows: pl.DataFrame(
            [(at, *row) for at, row in enumerate(rows)], schema=SCHEMA, orient="row"
        )
    )


def bounds(of: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    pairs = st.tuples(of, of).map(sorted)
    return st.one_of(
        pairs.map(lambda p: {"min": p[0], "max": p[1]}),
        of.map(lambda v: {"min": v}),
        of.map(lambda v: {"max": v}),
    )


COLUMNS = st.sampled_from(["n", "f", "s"])
PARTS = st.one_of(
    COLUMNS.map(lambda c: ("NOT_NULL", (c,), {})),
    bounds(NUMBERS).map(lambda p: ("RANGE", ("n",), p)),
    bounds(FLOATS).map(lambda p: ("RANGE", ("f",), p)),
    st.sampled_from(REGEXES).map(lambda r: ("PATTERN", ("s",), {"regex": r})),
    st.lists(st.sampled_from(TEXTS), max_size=4).map(lambda v: ("SET", ("s",), {"values": v})),
    st.lists(NUMBERS, min_size=1, max_size=4).map(lambda v: ("SET", ("n",), {"values": v})),
    COLUMNS.map(lambda c: ("UNIQUE", (c,), {})),
    st.permutations(["n", "f", "s"]).map(lambda c: ("UNIQUE", tuple(c[:2]), {})),
)
OURS = st.one_of(
    PARTS,
    st.just(("REFERENCE", ("n",), {"table": "parent", "column": "id"})),
    st.just(("EXPRESSION", (), {"sql": "n < 2 OR f > 0"})),
)


def rules(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Rule]]:
    pairs = st.lists(st.tuples(parts, st.sampled_from(list(Severity))), min_size=1, max_size=6)
    return pairs.map(
        lambda made: [
            Rule(
                table="t",
                name=f"r{at}",
                kind=RuleKind(kind),
                columns=columns,
                params=params,
                severity=severity,
            )
            for at, ((kind, columns, params), severity) in enumerate(made)
        ]
    )


PARENT = [0, 1, 2]


def parents_of(rules: Sequence[Rule]) -> dict[str, pl.Series]:
    held = pl.Series(PARENT, dtype=pl.Int64)
    return {rule.name: held for rule in rules if rule.kind is RuleKind.REFERENCE}


# ---- THE ORACLE: the same promises in plain Python, null being None ---- #


def _in_range(rule: Rule, value: Any) -> bool:
    low, high = rule.params.get("min"), rule.params.get("max")
    return (low is None or value >= low) and (high is None or value <= high)


KEEPS: Mapping[RuleKind, Callable[[Rule, Any], bool]] = {
    RuleKind.RANGE: _in_range,
    RuleKind.PATTERN: lambda rule, value: (
        re.search(_python(rule.params["regex"]), value) is not None
    ),
    RuleKind.SET: lambda rule, value: value in rule.params["values"],
    RuleKind.REFERENCE: lambda _rule, value: value in PARENT,
}


def _python(regex: str) -> str:
    """`$` is the end of the text, and not also before a last line feed."""
    return regex.replace("$", r"\Z")


def _or(*sides: bool | None) -> bool | None:
    return True if True in sides else None if None in sides else False


def keeps(rule: Rule, row: Row) -> bool:
    if rule.kind is RuleKind.EXPRESSION:
        n, f = row["n"], row["f"]
        return _or(None if n is None else n < 2, None if f is None else f > 0) is not False
    value = row[rule.columns[0]]
    if rule.kind is RuleKind.NOT_NULL:
        return value is not None
    return value is None or KEEPS[rule.kind](rule, value)


def broken_rows(rule: Rule, rows: Sequence[Row]) -> list[int]:
    if rule.kind is not RuleKind.UNIQUE:
        return [row["id"] for row in rows if not keeps(rule, row)]
    values = {row["id"]: tuple(row[name] for name in rule.columns) for row in rows}
    times = Counter(values.values())
    return [at for at, value in values.items() if None not in value and times[value] > 1]


# ---- THE LAWS ---- #


@given(frames(), rules(OURS))
def test_a_split_keeps_every_row_once(rows: pl.DataFrame, rules: list[Rule]) -> None:
    both = split(rows, rules, parents_of(rules))
    again = pl.concat([both.kept, both.quarantined]).sort("id")
    assert again.select(rows.columns).equals(rows)
    wrong = {
        at
        for rule in rules
        if rule.on_rows and rule.severity is Severity.ERROR
        for at in broken_rows(rule, rows.to_dicts())
    }
    assert set(both.quarantined["id"]) == wrong
    on_rows = {rule.name for rule in rules if rule.on_rows}
    for row in again.iter_rows(named=True):
        passed, issues = row["quality_checks_passed"], row["quality_issues"]
        assert sorted([*passed, *issues]) == sorted(on_rows)
        assert (row["data_quality_score"] == 1) == (not issues)


@given(frames(), rules(OURS))
def test_a_judge_counts_as_plain_python_does(rows: pl.DataFrame, rules: list[Rule]) -> None:
    results = judge(rows.lazy(), rules, ["id"], parents_of(rules))
    for rule, result in zip(rules, results, strict=True):
        wrong = broken_rows(rule, rows.to_dicts())
        assert (result.record_count, result.failed_count) == (rows.height, len(wrong))
        assert [row["id"] for row in result.sample] == wrong


@pytest.mark.slow
@settings(max_examples=60)
@given(frames(), rules(OURS))
def test_great_expectations_counts_as_the_judge(rows: pl.DataFrame, rules: list[Rule]) -> None:
    from quality_rules.expectations import validate

    parents, hidden = parents_of(rules), frozenset({"s"})
    report = validate(rows.lazy(), rules, parents, table="t", key=["id", "s"], hidden=hidden)
    judged = {
        r.rule.name: (r.failed_count == 0, r.record_count, r.failed_count, r.sample)
        for r in judge(rows.lazy(), rules, ["id", "s"], parents, hidden=hidden)
    }
    assert {
        r.rule: (r.success, r.evaluated, r.unexpected, r.sample) for r in report.results
    } == judged
    errors = [rule for rule in rules if rule.severity is Severity.ERROR]
    assert report.success == all(judged[rule.name][0] for rule in errors)
    assert bool(report.raw.success) == all(result[0] for result in judged.values())
    severities = {Severity.ERROR: "critical", Severity.WARNING: "warning", Severity.INFO: "info"}
    told: Any = report.raw.to_json_dict()["results"]
    assert {
        (each["expectation_config"]["meta"]["rule_id"], each["expectation_config"]["severity"])
        for each in told
    } == {(rule.rule_id, severities[rule.severity]) for rule in rules}


@pytest.mark.slow
@settings(max_examples=30)
@given(frames(), rules(PARTS))
def test_our_engine_counts_as_the_pandas_engine(rows: pl.DataFrame, rules: list[Rule]) -> None:
    from quality_rules.expectations import validate

    report = validate(rows.lazy(), rules, {}, table="t", key=["id"])
    ours = {result.rule: (result.success, result.unexpected) for result in report.results}
    assert ours == by_pandas(rows, rules)


def by_pandas(rows: pl.DataFrame, rules: Sequence[Rule]) -> dict[str, tuple[bool, int]]:
    """The rules by the engine that Great Expectations brings, without our suite."""
    import pandas as pd
    from great_expectations.core.batch import Batch
    from great_expectations.core.id_dict import IDDict
    from great_expectations.execution_engine import PandasExecutionEngine
    from great_expectations.expectations.registry import get_expectation_impl
    from great_expectations.validator.validator import Validator

    frame = pd.DataFrame(
        {
            name: pd.Series(rows[name].to_list(), dtype=object if name == "s" else float)
            for name in rows.columns
        }
    )
    batch = Batch(data=frame, batch_definition=IDDict({"call": uuid.uuid4().hex}))
    validator = Validator(execution_engine=PandasExecutionEngine(), batches=[batch])
    validator.metrics_calculator.show_progress_bars = False
    configurations = [
        get_expectation_impl(name)(meta={"rule": rule.name}, **kwargs).configuration
        for rule in rules
        for name, kwargs in [in_their_words(rule)]
    ]
    found = validator.graph_validate(
        configurations=configurations,
        runtime_configuration={"catch_exceptions": False, "result_format": "BASIC"},
    )
    return {
        each.expectation_config.meta["rule"]: (each.success, each.result["unexpected_count"])
        for each in found
    }


def in_their_words(rule: Rule) -> tuple[str, dict[str, Any]]:
    column, params = {"column": rule.columns[0]}, rule.params
    if rule.kind is RuleKind.UNIQUE and len(rule.columns) > 1:
        names = {"column_list": list(rule.columns), "ignore_row_if": "any_value_is_missing"}
        return "expect_compound_columns_to_be_unique", names
    return {
        RuleKind.NOT_NULL: lambda: ("expect_column_values_to_not_be_null", column),
        RuleKind.UNIQUE: lambda: ("expect_column_values_to_be_unique", column),
        RuleKind.RANGE: lambda: (
            "expect_column_values_to_be_between",
            column | {"min_value": params.get("min"), "max_value": params.get("max")},
        ),
        RuleKind.PATTERN: lambda: (
            "expect_column_values_to_match_regex",
            column | {"regex": params["regex"]},
        ),
        RuleKind.SET: lambda: (
            "expect_column_values_to_be_in_set",
            column | {"value_set": list(params["values"])},
        ),
    }[rule.kind]()
