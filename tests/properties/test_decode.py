"""The short ways through a message read what the long ones read."""

from __future__ import annotations

import json
import re
from typing import Any

import polars as pl
from hypothesis import example, given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal, assert_series_equal

from pipelines.change import images, ndjson, values
from pipelines.change.decode import BRONZE_COLUMNS
from pipelines.change.position import in_order
from pipelines.landing import BRONZE

_RAW = {"id": pl.String(), "text": pl.String(), "source": pl.String(), "after": pl.String()}
_KEY = {"id": pl.String()}

_LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from([',"source":{"version":"', '{"before":null,"after":', "}", '"', "\\", "ü"]),
)
_NESTED = st.dictionaries(st.sampled_from(["version", "source", "after", "x"]), _LEAVES, max_size=3)
_ROWS = st.fixed_dictionaries(
    {"id": st.integers()},
    optional={
        "text": _LEAVES,
        "source": st.one_of(_LEAVES, _NESTED),
        "after": st.one_of(_LEAVES, _NESTED),
        "more": st.one_of(_LEAVES, _NESTED, st.builds(dict, source=_NESTED)),
    },
)
_ENVELOPES = st.builds(
    lambda before, after, origin: json.dumps(
        {"before": before, "after": after, "source": origin, "op": "u"},
        separators=(",", ":"),
        ensure_ascii=False,
    ),
    st.one_of(st.none(), _ROWS),
    st.one_of(st.none(), _ROWS),
    st.one_of(st.just({"version": "3", "table": "t"}), st.just({"table": "t"}), st.none()),
)
_NESTED_SOURCE = {"id": 1, "more": {"source": {"version": "1"}}}


def _bronze(payloads: list[str], verbs: list[str]) -> pl.DataFrame:
    """Rows as decoding hands them on to have their images read; each has a place of its own."""
    given = {"raw_payload": payloads, "_verb": verbs, "kafka_offset": range(len(payloads))}
    rest = [name for name in BRONZE_COLUMNS if name not in given]
    return pl.DataFrame(given).with_columns(pl.lit(None, BRONZE[name]).alias(name) for name in rest)


@given(
    st.lists(st.tuples(_ENVELOPES, st.sampled_from(["upsert", "delete"])), min_size=1, max_size=5)
)
@example(
    [
        ('{"before":null,"after":{"id":1},"source":{"version":"1"}}', "upsert"),
        (json.dumps({"before": None, "after": _NESTED_SOURCE, "source": {"version": "1"}}, separators=(",", ":")), "upsert"),
    ]
)  # fmt: skip
def test_an_image_cut_from_its_envelope_is_the_image(messages: list[tuple[str, str]]):
    rows = _bronze([text for text, _ in messages], [verb for _, verb in messages])
    short = images._enveloped_images(rows, _RAW, _KEY).sort("kafka_offset")
    whole = images._whole_images(rows, _RAW, _KEY)
    assert_frame_equal(short, whole, check_column_order=False)


_PARTS = st.sampled_from(["2026-02-28", "T", "21:59:59", ".", "123456", "000", "Z", "+01:00", "1", " ", "60", "-", "+026", "99999", ":"])  # fmt: skip
_TIMES = st.one_of(
    st.datetimes().map(lambda time: time.isoformat() + "Z"),
    st.datetimes().map(lambda time: time.isoformat().rstrip("0") + "Z"),
    st.lists(_PARTS, max_size=8).map("".join),
    st.tuples(st.datetimes(), st.integers(0, 26), st.characters(codec="ascii")).map(
        lambda told: f"{(text := told[0].isoformat())[: told[1]]}{told[2]}{text[told[1] + 1 :]}Z"
    ),
)


@given(st.lists(st.one_of(st.none(), _TIMES), max_size=5))
@example(
    ["+026-01-28T10:00:19.123456Z", "2026-01-28T10:00:60.123456Z", " 026-01-28T10:00:19.123456Z"]
)
@example(
    ["0000-01-28T10:00:19.123456Z", "2026-01-28T10:00:19.1234567Z", "2026-01-28T10:00:19.1234560Z"]
)
def test_an_instant_read_in_bulk_is_the_instant(texts: list[str | None]):
    column = pl.Series("at", texts, dtype=pl.String)
    long = column.to_frame().select(values._any_instant(pl.col("at"))).to_series()
    assert_series_equal(values._instants(column), long, check_names=False)


_DIGITS = st.integers(0, 10**25).map(str)
_NUMBERS = st.one_of(
    st.tuples(_DIGITS, st.sampled_from([".", "e", ".0", "0."]), _DIGITS).map("".join),
    st.text(max_size=4),
)


@given(st.lists(st.lists(_NUMBERS, max_size=4).map(",".join), max_size=6))
def test_each_number_of_many_digits_is_seen(texts: list[str]):
    lines = ndjson._Lines.of(pl.Series(texts, dtype=pl.String))
    found = [at for at, text in enumerate(texts) if re.search(r"\.[0-9]{9}|[0-9]{9}\.", text)]
    assert lines.with_many_digits().tolist() == found


def test_a_float_that_a_parser_would_round_keeps_its_digits():
    payload: dict[str, Any] = {
        "before": None,
        "after": {"id": 1, "text": "@"},
        "source": {"version": "1"},
    }
    text = json.dumps(payload, separators=(",", ":")).replace('"@"', "1234567890.12345678901")
    read = images._enveloped_images(_bronze([text], ["upsert"]), _RAW, _KEY)
    assert read["text"].to_list() == ["1234567890.12345678901"]


_PAIRS = st.lists(
    st.tuples(st.none() | st.integers(0, 3), st.integers(0, 3), st.booleans()), max_size=6
)


@given(_PAIRS)
def test_rows_in_order_are_sorted_rows(rows: list[tuple[int | None, int, bool]]):
    frame = pl.DataFrame(rows, schema={"a": pl.Int64, "b": pl.Int64, "c": pl.Boolean}, orient="row")
    assert in_order(frame, ["a", "b", "c"]).equals(frame.sort("a", "b", "c"))
