"""Laws of uploads, over any sequence of files, with a crash between any two writes.

Kept and set aside together are what was uploaded; the same bytes again change nothing; silver is what
the files that were kept say, the last word counting.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.bronze import DEAD_LETTERS
from pipelines.contract import Catalog
from pipelines.contract.model import Contract
from pipelines.files.upload import UPLOADS, Verdict, upload
from pipelines.silver import apply
from pipelines.storage import Lake

NOW = datetime(2026, 6, 1, tzinfo=UTC)
TABLE, BRONZE = "silver.ads.days", "bronze.ads.days"
CATALOG = Catalog(
    Path(),
    {
        TABLE: Contract.model_validate(
            {
                "table": TABLE,
                "description": "d",
                "owner": "o",
                "source": {"connector": "events", "topic": "ads.ads.days", "files": {"names": "*.csv"}},
                "key": ["ad"],
                "columns": {"ad": {"type": "int32"}, "clicks": {"type": "int64"}},
            }
        )
    },
)  # fmt: skip


class DiedError(Exception):
    """The process is killed."""


@dataclass(frozen=True, slots=True)
class MortalLake(Lake):
    """A lake whose process dies before, or just after, one of its writes."""

    lives: list[int] = field(default_factory=list)

    def write(self, *given: Any, **named: Any) -> int:
        left = self.lives.pop() if self.lives else -1
        if left == 0:
            raise DiedError
        if left > 1:
            self.lives.append(left - 2)
        version = Lake.write(self, *given, **named)
        if left == 1:
            raise DiedError
        return version


def text_of(rows: list[tuple[int, int]], *, bad: bool) -> bytes:
    lines = ["ad,clicks", *(f"{ad},{clicks}" for ad, clicks in rows)]
    return "\n".join([*lines, "x,y"] if bad else lines).encode()


rows = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3)), min_size=1, max_size=4, unique_by=lambda r: r[0])  # fmt: skip
files = st.builds(text_of, rows, bad=st.booleans())
#: A file, and after how many half-writes the process dies (-1: never).
histories = st.lists(st.tuples(files, st.integers(-1, 5)), min_size=1, max_size=5)


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@settings(max_examples=20)
@given(histories)
def test_kept_and_set_aside_are_what_was_uploaded(history: list[tuple[bytes, int]]):
    with folder() as here:
        kept, aside, truth = set[bytes](), set[bytes](), dict[int, int]()
        for data, dies in history:
            path = here / "days.csv"
            path.write_bytes(data)
            mortal = MortalLake(str(here / "lake"), {}, [dies] if dies >= 0 else [])
            with suppress(DiedError):
                upload(mortal, CATALOG, path, now=NOW)
            lake = Lake(str(here / "lake"))
            done = upload(lake, CATALOG, path, now=NOW)
            before = {table: lake.version(table) for table in lake.tables()}
            again = upload(lake, CATALOG, path, now=NOW)
            assert {table: lake.version(table) for table in lake.tables()} == before
            assert (done.rows, again.rows == done.rows) == (again.rows, True)
            if done.verdict is Verdict.SET_ASIDE:
                aside.add(data)
            elif data not in kept:
                kept.add(data)
                truth |= {
                    int(ad): int(n) for ad, n in (r.split(b",") for r in data.split(b"\n")[1:])
                }
        letters = lake.scan(DEAD_LETTERS).collect()["value"].to_list() if aside else []
        assert sorted(letters) == sorted(aside)
        told = lake.scan(UPLOADS).collect()
        assert len(told) == len(kept) + len(aside) == len({data for data, _ in history})
        assert told["row_count"].sum() == sum(data.count(b"\n") for data in kept)
        if kept:
            assert len(lake.scan(BRONZE).collect()) == told["row_count"].sum()
            apply(lake, CATALOG, TABLE, now=NOW)
            assert dict(lake.scan(TABLE).select("ad", "clicks").collect().rows()) == truth
