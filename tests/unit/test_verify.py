"""What equal means: one form a value, differences by key, ranges that leave no row out."""

from __future__ import annotations

import itertools
import math
from datetime import UTC, date, datetime
from decimal import Decimal

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.contract.types import parse_type
from pipelines.verify.compare import ISSUES, PLACE, compare, within, without_key
from pipelines.verify.values import Field, json_form, of_lake, of_source, typed, why_not


def field(kind: str, origin: str, name: str = "c") -> Field:
    return Field(
        name=name,
        field=name,
        kind=parse_type(kind),
        origin=origin.removesuffix("[]"),
        is_array=origin.endswith("[]"),
    )


def forms(kind: str, origin: str, text: str | None, value: object) -> tuple[object, object]:
    column = field(kind, origin)
    there = pl.select(of_source(pl.lit(pl.Series([text], dtype=pl.String)), column)).item()
    stored = pl.Series([value], dtype=column.kind.stored)
    here = pl.select(of_lake(pl.lit(stored), column)).item()
    plain = [each.to_list() if isinstance(each, pl.Series) else each for each in (there, here)]
    return plain[0], plain[1]


@pytest.mark.parametrize(
    ("kind", "origin", "text", "value"),
    [
        ("decimal(10,2)", "numeric", "1.5", Decimal("1.50")),
        ("decimal(10,2)", "numeric", "-0.00", Decimal("0.00")),
        ("decimal(38,0)", "numeric", "9" * 38, Decimal("9" * 38)),
        ("decimal(10,2)", "int4", "1500", Decimal("1500.00")),
        ("decimal(19,2)", "money", "12.30", Decimal("12.30")),
        ("int64", "int8", "-9223372036854775808", -(2**63)),
        ("int64", "numeric", "5.00", 5),
        ("string", "numeric", "0.0000000001", "1E-10"),
        ("string", "numeric", "NaN", "NaN"),
        ("string", "text", "", ""),
        ("string", "bpchar", "ab   ", "ab   "),
        ("string", "text", " é漢🦀\n\\", " é漢🦀\n\\"),
        ("float64", "float8", "NaN", math.nan),
        ("float64", "float8", "-Infinity", -math.inf),
        ("float64", "float8", "-0", -0.0),
        ("float64", "float8", "1e+300", 1e300),
        ("float64", "float8", "0.30000000000000004", 0.1 + 0.2),
        ("float64", "numeric", "9007199254740992", 2.0**53),
        ("float32", "float4", "0.1", 0.1),
        ("timestamp", "timestamptz", "2026-02-28 22:59:59+00", datetime(2026, 2, 28, 22, 59, 59, tzinfo=UTC)),
        ("timestamp", "timestamptz", "0001-01-01 00:00:00.00001+00", datetime(1, 1, 1, 0, 0, 0, 10, tzinfo=UTC)),
        ("timestamp_ntz", "timestamp", "9999-12-31 23:59:59.999999", datetime(9999, 12, 31, 23, 59, 59, 999999)),
        ("date", "date", "0001-01-01", date(1, 1, 1)),
        ("time", "time", "24:00:00", "24:00:00.000000"),
        ("time", "timetz", "03:04:05.6", "03:04:05.600000"),
        ("uuid", "uuid", "0a0b0c0d-0000-4000-8000-000000000001", "0a0b0c0d-0000-4000-8000-000000000001"),
        ("binary", "bytea", "\\x00ff", b"\x00\xff"),
        ("binary", "bytea", "\\x", b""),
        ("bool", "bool", "true", True),
        ("enum", "mood", "sad", "sad"),
        ("list<int32>", "int4[]", "[1,null,3]", [1, None, 3]),
        ("list<string>", "text[]", '["a,\\"b\\"",null,""]', ['a,"b"', None, ""]),
        ("list<decimal(10,2)>", "numeric[]", "[1.5,2]", [Decimal("1.50"), Decimal(2)]),
        ("list<bool>", "bool[]", "[true,false]", [True, False]),
        ("list<float64>", "float8[]", '["NaN",1.5]', [math.nan, 1.5]),
        ("list<timestamp>", "timestamptz[]", '["2026-02-28T22:59:59.5+00:00"]', [datetime(2026, 2, 28, 22, 59, 59, 500000, tzinfo=UTC)]),
        ("list<json>", "jsonb[]", '[{"a":1.0,"b":[]},null]', ['{"b": [], "a": 1}', None]),
        ("list<list<int32>>", "int4[]", "[[1,2],[3,4]]", [[1, 2], [3, 4]]),
        ("list<int32>", "int4[]", "[]", []),
    ],
)  # fmt: skip
def test_a_value_has_one_form_on_both_sides(kind: str, origin: str, text: str, value: object):
    assert why_not(field(kind, origin)) is None
    there, here = forms(kind, origin, text, value)
    assert there == here
    assert forms(kind, origin, None, None) == (None, None)


@pytest.mark.parametrize(
    ("kind", "origin", "text", "value"),
    [
        ("decimal(10,2)", "numeric", "12.505", Decimal("12.51")),
        ("decimal(10,2)", "numeric", "12.505", Decimal("12.50")),
        ("decimal(10,2)", "numeric", "NaN", None),
        ("float64", "numeric", "9007199254740993", 9007199254740992.0),
        ("float64", "numeric", "1e400", math.inf),
        ("float32", "float8", "0.1234567890123", 0.12345679),
        ("float64", "float8", "0", None),
        ("timestamp", "timestamptz", "infinity", None),
        ("timestamp", "timestamptz", "0044-03-15 00:00:00+00 BC", datetime(44, 3, 15, tzinfo=UTC)),
        ("timestamp", "timestamptz", "2026-02-28 22:59:59+00", datetime(2026, 2, 28, 23, 59, 59, tzinfo=UTC)),
        ("date", "date", "0044-03-15 BC", date(44, 3, 15)),
        ("date", "date", "10000-01-01", date(1000, 1, 1)),
        ("time", "time", "24:00:00", "00:00:00.000000"),
        ("string", "text", "", None),
        ("string", "text", "a ", "a"),
        ("list<int32>", "int4[]", "[1,null]", [1]),
        ("list<int32>", "int4[]", "[]", None),
        ("list<int32>", "int4[]", "[[1]]", [1]),
        ("list<string>", "text[]", '["1"]', ["1", None]),
    ],
)  # fmt: skip
def test_what_is_not_the_value_has_another_form(kind: str, origin: str, text: str, value: object):
    there, here = forms(kind, origin, text, value)
    assert there != here


@pytest.mark.parametrize(
    ("kind", "origin"),
    [
        ("string", "interval"),
        ("string", "timestamptz"),
        ("int64", "text"),
        ("int32", "int4[]"),
        ("list<int32>", "int4"),
        ("struct<x: float64, y: float64>", "point"),
        ("timestamp", "date"),
    ],
)
def test_a_column_without_one_form_is_refused_with_both_types(kind: str, origin: str):
    reason = why_not(field(kind, origin))
    assert reason is not None
    assert origin in reason
    assert kind in reason


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ('{"a": 1, "b": [1.0]}', '{"b":[1],"a":1}', True),
        ("1e2", "100", True),
        ("-0", "0.00", True),
        ("12345678901234567890.1", "12345678901234567890.2", False),
        ('{"a": 1, "a": 2}', '{"a": 2}', False),
        ('{"a": "1"}', '{"a": 1}', False),
        ('{"a": null}', "{}", False),
        ("true", "1", False),
        ("[1, 2]", "[2, 1]", False),
        ('{"members": []}', "{}", False),
        ('{"number": "1e0"}', "1", False),
        ("not json", "not json", True),
        ("1e999999999999999999999", "1e999999999999999999998", False),
    ],
)
def test_json_is_compared_by_what_it_says(one: str, other: str, same: bool):
    assert (json_form(one) == json_form(other)) is same


def test_the_forms_of_a_key_are_the_stored_values_again():
    stored: list[tuple[str, str, object]] = [
        ("decimal(10,2)", "numeric", Decimal("-1.50")),
        ("timestamp", "timestamptz", datetime(2026, 2, 28, 1, 2, 3, 4, tzinfo=UTC)),
        ("timestamp_ntz", "timestamp", datetime(2026, 2, 28)),
        ("date", "date", date(1, 1, 1)),
        ("binary", "bytea", b"\x00\xff"),
        ("bool", "bool", True),
        ("int8", "int2", -7),
        ("string", "text", "é"),
    ]
    for kind, origin, value in stored:
        series = pl.Series([value], dtype=parse_type(kind).stored)
        form = pl.select(of_lake(pl.lit(series), field(kind, origin))).to_series()
        assert typed(form, parse_type(kind)).to_list() == [value]
    assert typed(pl.Series(["infinity"]), parse_type("timestamp")).to_list() == [None]


# ---- DIFFERENCES ---- #

FIELDS = (
    field("int32", "int4", "id"),
    field("string", "text", "name"),
    field("json", "jsonb", "data"),
)


def source(*rows: tuple[str, str | None, str | None]) -> pl.DataFrame:
    schema = {name.name: pl.String() for name in FIELDS}
    return pl.DataFrame(list(rows), schema=schema, orient="row")


def lake(*rows: tuple[str | None, str | None, str | None, str, list[str] | None]) -> pl.DataFrame:
    schema = {name.name: pl.String() for name in FIELDS}
    places = {PLACE: pl.String(), ISSUES: pl.List(pl.String())}
    return pl.DataFrame(list(rows), schema={**schema, **places}, orient="row")


def found(there: pl.DataFrame, here: pl.DataFrame) -> tuple[list[tuple[object, ...]], int]:
    rows, set_aside = compare(there, here, FIELDS, ["id"])
    return [tuple(row) for row in rows.rows()], set_aside


def test_nothing_is_found_where_all_is_equal():
    there = source(("1", "a", '{"x":1,"y":2}'), ("2", None, None))
    here = lake(
        ("2", None, None, "quarantine", []), ("1", "a", '{"y": 2, "x": 1.0}', "silver", None)
    )
    assert found(there, here) == ([], 0)
    assert found(source(), lake()) == ([], 0)


def test_each_kind_is_named_with_key_columns_and_places():
    there = source(
        ("1", "a", "{}"), ("2", "b", "{}"), ("3", "c", "{}"), ("4", "d", "{}"), ("5", "e", "{}")
    )
    here = lake(
        ("2", "", '{"a":1}', "silver", None),
        ("3", "c", "{}", "silver", None),
        ("3", "C", "{}", "quarantine", ["x:broken"]),
        ("4", "d", "{}", "silver", None),
        ("4", "d", "{}", "silver", None),
        ("5", "e", "{}", "silver", None),
        ("9", "z", "{}", "silver", None),
    )
    rows, set_aside = found(there, here)
    assert rows == [
        ("1", "lost", [], []),
        ("2", "different", ["data", "name"], ["silver"]),
        ("3", "doubled", ["name"], ["quarantine", "silver"]),
        ("4", "doubled", [], ["silver", "silver"]),
        ("9", "extra", [], ["silver"]),
    ]
    assert set_aside == 0


def test_what_quarantine_declares_unknown_is_set_aside_and_nothing_else():
    there = source(("1", "a", "{}"), ("2", "b", "{}"), ("3", "c", "{}"))
    here = lake(
        ("1", None, "{}", "quarantine", ["undecodable:name", "not_null:name"]),
        ("2", None, '{"a":1}', "quarantine", ["unavailable:name"]),
        ("3", None, None, "quarantine", ["undecodable:*no_after"]),
    )
    rows, set_aside = found(there, here)
    assert rows == [("2", "different", ["data"], ["quarantine"])]
    assert set_aside == 4


def test_a_row_without_a_key_is_extra_and_equals_nothing():
    here = lake((None, "a", "{}", "quarantine", ["undecodable:*x"]))
    assert found(source(("1", "a", "{}")), here)[0] == [
        (None, "extra", [], ["quarantine"]),
        ("1", "lost", [], []),
    ]
    twice = lake(*[(None, "a", "{}", "quarantine", None)] * 2)
    assert found(source(), twice)[0] == [(None, "extra", [], ["quarantine", "quarantine"])]


# ---- RANGES ---- #


@given(
    st.lists(
        st.tuples(st.integers(-3, 3), st.sampled_from(["", "a", "b", "é", "🦀"])), unique=True
    ),
    st.data(),
)
def test_ranges_between_any_bounds_hold_every_row_once(
    keys: list[tuple[int, str]], data: st.DataObject
):
    schema = {"n": pl.Int32(), "t": pl.String()}
    rows = pl.DataFrame(
        sorted(keys, key=lambda k: (k[0], k[1].encode())), schema=schema, orient="row"
    )
    cuts = sorted(data.draw(st.sets(st.integers(0, len(rows) - 1)))) if keys else []
    bounds = [None, *(rows[cut] for cut in cuts), None]
    parts = [
        rows.lazy().filter(within(["n", "t"], after, to)).collect()
        for after, to in itertools.pairwise(bounds)
    ]
    assert pl.concat(parts).rows() == rows.rows()


def test_a_key_with_a_null_is_in_no_range_and_found_apart():
    rows = pl.DataFrame({"n": [1, None, 2], "t": ["a", "b", None]})
    assert rows.filter(within(["n", "t"], None, None)).rows() == [(1, "a")]
    assert rows.filter(within(["n", "t"], None, rows[0])).rows() == [(1, "a")]
    assert rows.filter(without_key(["n", "t"])).rows() == [(None, "b"), (2, None)]
