"""Kept lineage is that of the SQL and the columns as they are."""

from __future__ import annotations

from pathlib import Path

import pytest

from lineage.cache import Traces
from lineage.columns import trace
from lineage.errors import LineageError

SQL = "SELECT o.a, SUM(o.b) OVER (PARTITION BY o.c) AS s, 1 AS one FROM db.s.o AS o WHERE o.d > 1"
SCHEMA = {"db.s.o": ["a", "b", "c", "d"], "db.s.other": ["x"]}


@pytest.fixture(params=["memory", "folder"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path | None:
    return tmp_path / "kept" if request.param == "folder" else None


def test_what_is_kept_is_what_was_traced(folder: Path | None) -> None:
    first = Traces(folder)
    assert first.trace(SQL, SCHEMA) == trace(SQL, SCHEMA)
    again = first if folder is None else Traces(folder)
    found = again.trace(SQL, SCHEMA)
    assert found == trace(SQL, SCHEMA)
    assert hash(found) == hash(trace(SQL, SCHEMA))


def test_other_columns_dialects_and_texts_are_traced_anew(folder: Path | None) -> None:
    traces = Traces(folder)
    star = "SELECT * FROM db.s.o"
    assert [o.name for o in traces.trace(star, SCHEMA).outputs] == ["a", "b", "c", "d"]
    assert [o.name for o in traces.trace(star, {"db.s.o": ["z"]}).outputs] == ["z"]
    assert [o.name for o in traces.trace(star, SCHEMA, "snowflake").outputs] == ["A", "B", "C", "D"]
    with pytest.raises(LineageError, match="no table"):
        traces.trace(star, {})


def test_columns_of_tables_that_are_not_read_change_nothing(folder: Path | None) -> None:
    traces = Traces(folder)
    assert traces.trace(SQL, SCHEMA) is traces.trace(SQL, {**SCHEMA, "db.s.other": ["y"]})


def test_a_damaged_file_is_made_again(tmp_path: Path) -> None:
    Traces(tmp_path).trace(SQL, SCHEMA)
    (file,) = tmp_path.glob("*.json")
    file.write_text("{")
    assert Traces(tmp_path).trace(SQL, SCHEMA) == trace(SQL, SCHEMA)
    assert Traces(tmp_path).trace(SQL, SCHEMA) == trace(SQL, SCHEMA)
