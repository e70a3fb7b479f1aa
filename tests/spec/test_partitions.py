"""Partitions of one topic are read at different speed; what they say is still told in one order.

The broker hands a topic's partitions over one after the other, so a later batch may hold older records.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.bronze import Bronze
from pipelines.capture.blocks import BlockCutter
from pipelines.capture.records import Columns, Origin, Partition, RecordBatch, to_frame
from pipelines.replay import check
from pipelines.silver import apply
from pipelines.storage import Lake
from tests.spec.test_snapshots import NOW, TABLE, TOPIC, Record, catalog_of, event, held, snapshot

SNAPSHOT = snapshot(1, 2, 3, began=1_000)
#: Read first, written last.
NEWS_OF_TWO = event("u", 2, "b", at=2_500)


def batch(records: list[Record], offsets: dict[int, int]) -> RecordBatch:
    """The next records of each partition; `offsets` goes on."""
    numbers = list[int]()
    for partition, *_ in records:
        numbers.append(offsets.get(partition, 0))
        offsets[partition] = numbers[-1] + 1
    columns = Columns(
        topics=[TOPIC] * len(records),
        partitions=[partition for partition, *_ in records],
        offsets=numbers,
        timestamps=[(1, written) for _, written, *_ in records],
        keys=[json.dumps(key).encode() for *_, key, _ in records],
        values=[json.dumps(value).encode() for *_, value in records],
    )
    frame, schemas = to_frame(columns, BlockCutter())
    nexts = {Partition(TOPIC, partition): offset for partition, offset in offsets.items()}
    return RecordBatch(
        frame=frame,
        start_offsets={},
        next_offsets=nexts,
        origin=Origin(cluster="c"),
        schemas=schemas,
    )


def silver_after(folder: Path, *batches: list[Record], anew: bool) -> dict[int, str]:
    """Silver when these batches have landed, all in one process or each in its own.

    It is the same whether silver is brought on after each batch or at the end, and what bronze makes.
    """
    seen = list[dict[int, str]]()
    for often in (False, True):
        lake, catalog, offsets = Lake(str(folder / str(often))), catalog_of(), dict[int, int]()
        bronze = Bronze(lake, catalog)
        for records in batches:
            bronze = Bronze(lake, catalog) if anew else bronze
            bronze.land(batch(records, offsets))
            if often:
                apply(lake, catalog, TABLE, now=NOW)
        bronze.finish([TOPIC], NOW)
        apply(lake, catalog, TABLE, now=NOW)
        replayed = check(lake, catalog, TABLE, now=NOW)
        assert (replayed.differing, replayed.differences) == (0, ())
        seen.append(held(lake))
    assert seen[0] == seen[1]
    return seen[0]


@pytest.mark.parametrize("anew", [False, True])
def test_a_key_that_moved_to_an_added_partition_keeps_its_news(tmp_path: Path, anew: bool):
    """Partitions were added after the snapshot: the next change of row 1 is in another one."""
    moved = event("u", 1, "moved", at=2_000, partition=1)
    batches = [*SNAPSHOT, NEWS_OF_TWO], [moved]
    assert silver_after(tmp_path, *batches, anew=anew) == {1: "moved", 2: "b", 3: "s"}


@pytest.mark.parametrize("anew", [False, True])
def test_a_truncate_in_a_partition_without_snapshot_rows_is_obeyed(tmp_path: Path, anew: bool):
    """A truncate has no key, so it may come in any partition."""
    partition, written, _, value = event("t", 0, None, at=2_000, partition=1)
    truncate = partition, written, None, {**value, "after": None, "op": "t"}
    batches = [*SNAPSHOT, NEWS_OF_TWO], [truncate]
    assert silver_after(tmp_path, *batches, anew=anew) == {2: "b"}


def test_a_long_partition_does_not_make_another_ones_events_old(tmp_path: Path):
    many = [event("u", 2, "b", at=3_000 + number) for number in range(10_050)]
    moved = event("u", 1, "moved", at=2_000, partition=1)
    batches = [*SNAPSHOT, event("u", 2, "a", at=1_100)], many, [moved]
    assert silver_after(tmp_path, *batches, anew=True) == {1: "moved", 2: "b", 3: "s"}


def whole_snapshot(note: str, began: int, later: int) -> list[Record]:
    """Row 1 lies in partition 0, rows 2 and 3 in partition 1."""
    return [
        event("r", 1, note, at=began, mark="first", partition=0, written=began),
        event("r", 2, note, at=began, mark="true", partition=1, written=began + later),
        event("r", 3, note, at=began, mark="last", partition=1, written=began + later),
    ]


@pytest.mark.parametrize("later", [0, 1])
@pytest.mark.parametrize("apart", [False, True])
def test_a_row_of_a_new_snapshot_is_not_closed_by_it(tmp_path: Path, later: int, apart: bool):
    """A connector made anew before anything was streamed, and a topic of two partitions."""
    again = [*whole_snapshot("t", 9_000, later), event("u", 1, "u", at=9_900)]
    batches = [again[1:3], [again[0], again[3]]] if apart else [again]
    silver = silver_after(tmp_path, whole_snapshot("s", 1_000, 5), *batches, anew=False)
    assert silver == {1: "u", 2: "t", 3: "t"}


def in_three_partitions(note: str, began: int, later: int) -> list[Record]:
    """A row in each of three partitions; the one between bears no mark of beginning or end."""
    marks = ("first", "true", "last")
    return [
        event("r", row, note, at=began, mark=mark, partition=row - 1, written=began + wait)
        for row, mark, wait in zip((1, 2, 3), marks, (0, later, later), strict=True)
    ]


@pytest.mark.parametrize("later", [0, 1])
def test_a_partition_without_marks_read_ahead_is_not_closed(tmp_path: Path, later: int):
    """The broker may hand out a partition before the one in which the snapshot begins."""
    first, second, third = in_three_partitions("t", 9_000, later)
    batches = [second], [first, third, event("u", 1, "u", at=9_900)]
    silver = silver_after(tmp_path, in_three_partitions("s", 1_000, 5), *batches, anew=False)
    assert silver == {1: "u", 2: "t", 3: "t"}


def flat(op: str, key: int, note: str, *, at: int, partition: int) -> Record:
    """A row as ExtractNewRecordState leaves it: nothing says where a snapshot begins or ends."""
    value = {
        "id": key,
        "note": note,
        "__deleted": "false",
        "__op": op,
        "__lsn": at,
        "__source_ts_ms": at,
    }
    return partition, at, {"id": key}, value


@pytest.mark.parametrize("first_read", [0, 1])
def test_a_flat_row_of_a_new_snapshot_is_not_closed_by_it(tmp_path: Path, first_read: int):
    def both(note: str, at: int) -> list[Record]:
        return [flat("r", 1, note, at=at, partition=0), flat("r", 2, note, at=at, partition=1)]

    again = both("t", 9_000)
    batches = [again[first_read]], [again[1 - first_read], flat("u", 1, "u", at=9_900, partition=0)]
    streamed = [flat("u", 1, "v", at=2_000, partition=0)]
    silver = silver_after(tmp_path, both("s", 1_000), streamed, *batches, anew=False)
    assert silver == {1: "u", 2: "t"}


@pytest.mark.parametrize("ahead", [False, True])
def test_an_added_partition_may_be_read_before_the_snapshot(tmp_path: Path, ahead: bool):
    """Partitions were added after the snapshot and before the first capture."""
    moved = [event("u", 1, "moved", at=2_000, partition=1)]
    batches = [moved, SNAPSHOT] if ahead else [SNAPSHOT, moved]
    assert silver_after(tmp_path, *batches, anew=False) == {1: "moved", 2: "s", 3: "s"}


@pytest.mark.parametrize("partition", [0, 1])
def test_a_flat_snapshot_is_whole_once_anything_is_streamed(tmp_path: Path, partition: int):
    """Row 2 was deleted while the connector was away; row 1 lies in partition 0."""
    before = [flat("r", 1, "s", at=1_000, partition=0), flat("r", 2, "s", at=1_000, partition=0)]
    streamed = [flat("u", 1, "v", at=2_000, partition=0)]
    after = [
        flat("r", 1, "t", at=9_000, partition=0),
        flat("c", 3, "new", at=9_900, partition=partition),
    ]
    silver = silver_after(tmp_path, before, streamed, after, anew=False)
    assert silver == {1: "t", 3: "new"}
