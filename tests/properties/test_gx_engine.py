"""Our engine against the one that Great Expectations brings for pandas, on generated frames.

Every expectation below is judged once by each engine on each frame: 60 frames by default, and
2,000 with `--hypothesis-profile nightly`. Where pandas cannot hold what a frame holds, the difference
has a test of its own, at the end.
"""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from functools import cache
from typing import Any

import polars as pl
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.slow

CASES = 60 if settings.default.max_examples <= 100 else settings.default.max_examples

TEXTS = ["", "a", "b", "ab", "1", "A1", "é", "a\nb", " a", "😀"]
REGEXES = ["^a", "b", "[0-9]", "^[A-Z][0-9]", "^.$", "é|b"]
FLOATS = [-1.5, -0.1, 0.0, 0.1, 0.3, 1e-7, 2.5, 1e6]
DECIMALS = [Decimal(text) for text in ("-1.50", "-0.10", "0.00", "0.10", "0.30", "2.50", "99.99")]
#: No sum or mean of the values comes near these, so that rounding decides no verdict.
LIMITS = [-1.2345678, 0.3719283, 2.2360680]
DAYS = [dt.date(1969, 12, 31), dt.date(2024, 2, 29), dt.date(2024, 3, 1), dt.date(2026, 1, 1)]
MOMENTS = [dt.datetime(1969, 12, 31, 23, 59, 59), dt.datetime(2024, 2, 29), dt.datetime(2026, 1, 1)]

SCHEMA = {
    "id": pl.Int64(),
    "n": pl.Int64(),
    "m": pl.Int64(),
    "f": pl.Float64(),
    "d": pl.Decimal(10, 2),
    "s": pl.String(),
    "t": pl.String(),
    "day": pl.Date(),
    "at": pl.Datetime("us"),
}
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "n": st.integers(-4, 4),
    "m": st.integers(-4, 4),
    "f": st.sampled_from(FLOATS),
    "d": st.sampled_from(DECIMALS),
    "s": st.sampled_from(TEXTS),
    "t": st.sampled_from(TEXTS),
    "day": st.sampled_from(DAYS),
    "at": st.sampled_from(MOMENTS),
}


def frames() -> st.SearchStrategy[pl.DataFrame]:
    row = st.tuples(*(st.none() | values for values in VALUES.values()))
    return st.lists(row, max_size=12).map(
        lambda rows: pl.DataFrame(
            [(at, *row) for at, row in enumerate(rows)], schema=SCHEMA, orient="row"
        )
    )


# ---- EXPECTATIONS ---- #

Kwargs = st.SearchStrategy[dict[str, Any]]


def of(*columns: str) -> Kwargs:
    return st.sampled_from(columns).map(lambda column: {"column": column})


def between(*columns: str, strict: bool = True) -> Kwargs:
    """A column with one bound or two of its own kind."""

    def bounds(column: str) -> Kwargs:
        of_kind = VALUES[column] if column != "d" else st.sampled_from([-1.5, 0.0, 0.25, 2.5])
        return st.tuples(of_kind, of_kind, st.integers(0, 2), *[st.booleans()] * 2).map(
            lambda drawn: _bounds(column, *drawn, strict=strict)
        )

    return st.sampled_from(columns).flatmap(bounds)


def _bounds(
    column: str, one: Any, other: Any, which: int, low: bool, high: bool, *, strict: bool
) -> dict[str, Any]:
    least, most = sorted((one, other))
    made: dict[str, Any] = {"column": column}
    if which != 1:
        made |= {"min_value": least, **({"strict_min": low} if strict else {})}
    if which != 0:
        made |= {"max_value": most, **({"strict_max": high} if strict else {})}
    return made


def shares() -> Kwargs:
    return st.tuples(of("n", "s", "d"), st.sampled_from([0.0, 0.25, 0.5, 1.0])).map(
        lambda drawn: {**drawn[0], "min_value": drawn[1], "max_value": 1.0}
    )


def sums(*columns: str) -> Kwargs:
    return st.tuples(of(*columns), st.sampled_from(LIMITS)).map(
        lambda drawn: {**drawn[0], "min_value": drawn[1]}
    )


def sets(*columns: str) -> Kwargs:
    def values(column: str) -> Kwargs:
        return st.lists(VALUES[column], min_size=1, max_size=4).map(
            lambda drawn: {"column": column, "value_set": drawn}
        )

    return st.sampled_from(columns).flatmap(values)


PAIRS = st.sampled_from([("n", "m"), ("s", "t")])
PAIR_MISSING = st.sampled_from(["both_values_are_missing", "either_value_is_missing", "neither"])
LIST_MISSING = st.sampled_from(["all_values_are_missing", "any_value_is_missing", "never"])
LISTS = st.sampled_from([["n", "m"], ["s", "t"], ["n", "s", "day"], ["n", "d"]])


def pair(**more: st.SearchStrategy[Any]) -> Kwargs:
    return st.tuples(PAIRS, PAIR_MISSING, st.fixed_dictionaries(more)).map(
        lambda p: {"column_A": p[0][0], "column_B": p[0][1], "ignore_row_if": p[1], **p[2]}
    )


def columns(lists: st.SearchStrategy[Any], **more: st.SearchStrategy[Any]) -> Kwargs:
    return st.fixed_dictionaries({"column_list": lists, "ignore_row_if": LIST_MISSING, **more})


def mostly(kwargs: Kwargs) -> Kwargs:
    return st.tuples(kwargs, st.sampled_from([1.0, 1.0, 0.5, 0.9])).map(
        lambda drawn: {**drawn[0], "mostly": drawn[1]}
    )


REGEX = st.sampled_from(REGEXES)
REGEX_LIST = st.lists(REGEX, min_size=1, max_size=3, unique=True)
EVERY = tuple(VALUES)
QUANTILES = st.just({"quantiles": [0.0, 0.3, 1.0], "value_ranges": [[None, 2], [-1, 1], [0, None]]})

EXPECTATIONS: dict[str, Kwargs] = {
    "expect_column_values_to_not_be_null": mostly(of(*EVERY)),
    "expect_column_values_to_be_null": mostly(of(*EVERY)),
    "expect_column_values_to_be_unique": mostly(of(*EVERY)),
    "expect_column_values_to_be_between": mostly(between("n", "f", "d", "day")),
    "expect_column_values_to_be_in_set": mostly(sets("n", "f", "s", "day")),
    "expect_column_values_to_not_be_in_set": mostly(sets("n", "f", "s", "day")),
    "expect_column_values_to_match_regex": mostly(
        st.fixed_dictionaries({"column": st.sampled_from("st"), "regex": REGEX})
    ),
    "expect_column_values_to_not_match_regex": mostly(
        st.fixed_dictionaries({"column": st.sampled_from("st"), "regex": REGEX})
    ),
    "expect_column_values_to_match_regex_list": mostly(
        st.fixed_dictionaries(
            {
                "column": st.just("s"),
                "regex_list": REGEX_LIST,
                "match_on": st.sampled_from(["any", "all"]),
            }
        )
    ),
    "expect_column_values_to_not_match_regex_list": mostly(
        st.fixed_dictionaries({"column": st.just("s"), "regex_list": REGEX_LIST})
    ),
    "expect_column_value_lengths_to_be_between": mostly(
        st.integers(0, 2).map(lambda low: {"column": "s", "min_value": low, "max_value": low + 1})
    ),
    "expect_column_value_lengths_to_equal": mostly(
        st.integers(0, 3).map(lambda value: {"column": "s", "value": value})
    ),
    "expect_column_values_to_be_increasing": mostly(
        st.fixed_dictionaries({"column": st.sampled_from("nf"), "strictly": st.booleans()})
    ),
    "expect_column_values_to_be_decreasing": mostly(
        st.fixed_dictionaries({"column": st.sampled_from("nf"), "strictly": st.booleans()})
    ),
    "expect_column_pair_values_a_to_be_greater_than_b": pair(or_equal=st.booleans()).map(
        lambda kwargs: {**kwargs, "column_A": "n", "column_B": "m"}
    ),
    "expect_column_pair_values_to_be_equal": pair(),
    "expect_column_pair_values_to_be_in_set": pair(
        value_pairs_set=st.just([(0, 1), (1, None), ("a", "b"), ("a", None)])
    ),
    "expect_compound_columns_to_be_unique": columns(LISTS),
    "expect_select_column_values_to_be_unique_within_record": columns(
        st.sampled_from([["n", "m"], ["s", "t"]])
    ),
    "expect_multicolumn_sum_to_equal": columns(st.just(["n", "m"]), sum_total=st.integers(-2, 2)),
    "expect_column_min_to_be_between": between("n", "f", "d", "day"),
    "expect_column_max_to_be_between": between("n", "f", "d", "day"),
    "expect_column_mean_to_be_between": sums("n", "f"),
    "expect_column_median_to_be_between": sums("n", "f"),
    "expect_column_sum_to_be_between": sums("n", "f"),
    "expect_column_stdev_to_be_between": st.tuples(of("n", "f"), st.sampled_from(LIMITS)).map(
        lambda drawn: {**drawn[0], "min_value": drawn[1]}
    ),
    "expect_column_quantile_values_to_be_between": st.tuples(of("n", "f"), QUANTILES).map(
        lambda drawn: {**drawn[0], "quantile_ranges": drawn[1], "allow_relative_error": "lower"}
    ),
    "expect_column_unique_value_count_to_be_between": st.tuples(of(*EVERY), st.integers(0, 4)).map(
        lambda drawn: {**drawn[0], "min_value": drawn[1], "max_value": drawn[1] + 2}
    ),
    "expect_column_proportion_of_unique_values_to_be_between": shares(),
    "expect_column_proportion_of_non_null_values_to_be_between": shares(),
    "expect_column_distinct_values_to_be_in_set": sets("n", "s", "day"),
    "expect_column_distinct_values_to_contain_set": sets("n", "s", "day"),
    "expect_column_most_common_value_to_be_in_set": sets("n", "s"),
    "expect_table_row_count_to_be_between": st.integers(0, 8).map(
        lambda low: {"min_value": low, "max_value": low + 4}
    ),
    "expect_table_row_count_to_equal": st.integers(0, 8).map(lambda value: {"value": value}),
    "expect_table_column_count_to_equal": st.integers(8, 10).map(lambda value: {"value": value}),
    "expect_table_columns_to_match_set": st.sampled_from([[*SCHEMA], ["id", "n"], ["zz"]]).map(
        lambda names: {"column_set": names, "exact_match": False}
    ),
    "expect_table_columns_to_match_ordered_list": st.sampled_from([[*SCHEMA], [*SCHEMA][::-1]]).map(
        lambda names: {"column_list": names}
    ),
    "expect_column_to_exist": st.sampled_from(["n", "zz"]).map(lambda name: {"column": name}),
}

# ---- BOTH ENGINES ---- #


@cache
def context() -> Any:
    from quality_rules.expectations import context

    return context()


@cache
def asset(kind: str) -> Any:
    sources = context().data_sources
    if kind == "polars":
        return sources.add_polars(name="ours").add_lazyframe_asset(name="t")
    return sources.add_pandas(name="theirs").add_dataframe_asset(name="t")


def in_pandas(frame: pl.DataFrame) -> Any:
    """The frame as somebody with pandas would have it: dates and decimals as objects."""
    import pandas as pd

    kinds = {"f": "float64", "at": "datetime64[us]"}
    made = {}
    for name in frame.columns:
        values = frame[name].to_list()
        whole = frame[name].dtype == pl.Int64()
        numbers = "int64" if None not in values else "float64"
        made[name] = pd.Series(values, dtype=numbers if whole else kinds.get(name, "object"))
    return pd.DataFrame(made)


def judged(kind: str, frame: Any, cases: dict[str, dict[str, Any]], form: Any) -> dict[str, Any]:
    from great_expectations.core.expectation_suite import ExpectationSuite
    from great_expectations.expectations.registry import get_expectation_impl

    suite = ExpectationSuite(name="t")
    suite.expectations = [
        get_expectation_impl(name)(meta={"case": name}, **kwargs) for name, kwargs in cases.items()
    ]
    it = asset(kind)
    batch = it.get_batch(it.build_batch_request({"dataframe": frame}))
    found = batch.validate(suite, result_format=form)
    return {each.expectation_config.meta["case"]: told(each) for each in found.results}


#: What both tell, whatever the type that they tell it in.
TOLD = (
    "element_count",
    "unexpected_count",
    "missing_count",
    "unexpected_percent",
    "unexpected_percent_total",
    "unexpected_percent_nonmissing",
    "partial_unexpected_list",
    "partial_unexpected_index_list",
    "observed_value",
)


def told(result: Any) -> dict[str, Any]:
    info = result.exception_info or {}
    assert info.get("raised_exception") is False, (result.expectation_config, info)
    kept = {name: plain(result.result[name]) for name in TOLD if name in result.result}
    return {"success": bool(result.success), **kept}


def plain(value: Any) -> Any:
    """A value as Python has it: numbers as floats, what is missing as None, sets as lists."""
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set):
        return [plain(each) for each in value]
    if str(value) == "NaT":
        return None
    if isinstance(value, Decimal | int | float) and not isinstance(value, bool):
        return None if math.isnan(value) else float(value)
    return value


def alike(one: Any, other: Any) -> bool:
    """Equal, sums of floats up to the order in which they were added."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return math.isclose(one, other, rel_tol=1e-12, abs_tol=1e-9)
    return one == other


ALL = st.fixed_dictionaries(EXPECTATIONS)


@settings(max_examples=CASES, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(frames(), ALL)
def test_both_engines_say_the_same(frame: pl.DataFrame, cases: dict[str, dict[str, Any]]) -> None:
    form = {"result_format": "SUMMARY", "unexpected_index_column_names": ["id"]}
    ours = judged("polars", frame.lazy(), cases, form)
    theirs = judged("pandas", in_pandas(frame), cases, form)
    for name, kwargs in cases.items():
        assert alike(ours[name], theirs[name]), (name, kwargs, ours[name], theirs[name])


# ---- WHERE PANDAS CANNOT HOLD WHAT THE FRAME HOLDS ---- #


def one(kind: str, frame: Any, name: str, **kwargs: Any) -> dict[str, Any]:
    from great_expectations.expectations.registry import get_expectation_impl

    it = asset(kind)
    batch = it.get_batch(it.build_batch_request({"dataframe": frame}))
    result = batch.validate(get_expectation_impl(name)(**kwargs))
    info = result.exception_info or {}
    if info.get("raised_exception") is not False:
        return {"raised": True}
    return {"success": bool(result.success), **result.result}


def test_a_nan_is_a_value_and_no_null() -> None:
    frame = pl.DataFrame({"f": [1.0, math.nan, None]})
    null = {"name": "expect_column_values_to_not_be_null", "column": "f"}
    most = {"name": "expect_column_values_to_be_between", "column": "f", "max_value": 2.0}
    assert one("polars", frame, **null)["unexpected_count"] == 1
    assert one("polars", frame, **most)["unexpected_count"] == 1
    # pandas holds both as NaN, and takes both for missing.
    assert one("pandas", in_pandas(frame), **null)["unexpected_count"] == 2
    assert one("pandas", in_pandas(frame), **most)["unexpected_count"] == 0


def test_a_bound_of_decimals_is_what_was_written() -> None:
    frame = pl.DataFrame({"d": [Decimal("0.10")]}, schema={"d": pl.Decimal(10, 2)})
    most = {"name": "expect_column_values_to_be_between", "column": "d", "min_value": 0.1}
    assert one("polars", frame, **most)["unexpected_count"] == 0
    # The double next to 0.1 is a little larger than a tenth, and pandas compares with that one.
    assert one("pandas", in_pandas(frame), **most)["unexpected_count"] == 1


def test_large_integers_stay_themselves_beside_a_null() -> None:
    frame = pl.DataFrame({"n": [2**53, 2**53 + 1, None]})
    unique = {"name": "expect_column_values_to_be_unique", "column": "n"}
    assert one("polars", frame, **unique)["unexpected_count"] == 0
    # A null makes floats of the integers of pandas.
    assert one("pandas", in_pandas(frame), **unique)["unexpected_count"] == 2


def test_decimals_are_added_up_beside_a_null() -> None:
    frame = pl.DataFrame({"d": [Decimal("0.10")] * 3 + [None]}, schema={"d": pl.Decimal(10, 2)})
    total = {"name": "expect_column_sum_to_be_between", "column": "d", "min_value": 0}
    assert one("polars", frame, **total)["observed_value"] == 0.3
    assert one("pandas", in_pandas(frame), **total) == {"raised": True}
    without = in_pandas(frame.drop_nulls())
    assert one("pandas", without, **total)["observed_value"] == 0.1 + 0.1 + 0.1 != 0.3


def test_a_delta_table_is_a_batch_at_any_version(tmp_path: Any) -> None:
    import great_expectations.expectations as gxe

    for at in range(3):
        pl.DataFrame({"n": [at]}).write_delta(tmp_path, mode="append")
    source = context().data_sources.add_polars(name=str(tmp_path))
    it = source.add_delta_asset(name="t", uri=str(tmp_path))
    rows = [
        it.get_batch(it.build_batch_request(options)).validate(
            gxe.ExpectTableRowCountToEqual(value=0)
        )
        for options in ({}, {"version": 0})
    ]
    assert [each.result["observed_value"] for each in rows] == [3, 1]


def test_a_row_condition_chooses_the_rows() -> None:
    import great_expectations.expectations as gxe
    from great_expectations.expectations.row_conditions import Column

    frame = pl.DataFrame({"n": [1, 2, None, 9], "s": ["a", "b", "a", None]})
    it = asset("polars")
    batch = it.get_batch(it.build_batch_request({"dataframe": frame}))

    def unexpected(condition: Any) -> tuple[int, int]:
        found = batch.validate(
            gxe.ExpectColumnValuesToBeBetween(column="n", max_value=1, row_condition=condition)
        ).result
        return found["element_count"], found["unexpected_count"]

    assert unexpected(Column("s").is_null()) == (1, 1)
    assert unexpected((Column("s") == "a") | (Column("n") > 5)) == (3, 1)
    assert unexpected(Column("s").is_in(["b"]) & (Column("n") >= 2)) == (1, 1)


def test_what_cannot_be_judged_is_told_and_the_rest_is_judged() -> None:
    from quality_rules.expectations import validate
    from quality_rules.rule import Rule, RuleKind

    frame = pl.LazyFrame({"id": [1, 2], "s": ["a", None]})
    rules = [
        Rule(table="t", name="there", kind=RuleKind.NOT_NULL, columns=("s",)),
        Rule(table="t", name="gone", kind=RuleKind.NOT_NULL, columns=("zz",)),
        Rule(table="t", name="odd", kind=RuleKind.RANGE, columns=("s",), params={"min": 1}),
    ]
    report = validate(frame, rules, {}, table="t", key=["id"])
    found = {each.rule: (each.success, each.unexpected, each.error) for each in report.results}
    assert found["there"] == (False, 1, None)
    assert found["gone"][2] == "there is no column 'zz'; there are id, s"
    assert found["odd"][2] == "column 's' is String, which has no range"
    assert not report.success


def test_no_value_of_a_hidden_column_is_in_a_result() -> None:
    import json

    from quality_rules.expectations import validate
    from quality_rules.rule import Rule, RuleKind

    frame = pl.LazyFrame({"id": [7], "secret": ["Ada Lovelace"]})
    rules = [
        Rule(
            table="t",
            name="r",
            kind=RuleKind.PATTERN,
            columns=("secret",),
            params={"regex": "^[0-9]+$"},
        )
    ]
    for key in (["id"], ["secret"]):
        report = validate(frame, rules, {}, table="t", key=key, hidden=frozenset({"secret"}))
        assert "Lovelace" not in json.dumps(report.raw.to_json_dict(), default=str)
        assert report.results[0].unexpected == 1
