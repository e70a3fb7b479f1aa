"""`python -m benchmarks.stages [WORKLOAD ...]`: where the time of capture and apply goes, as Markdown.

For each workload what an event costs in each stage, in microseconds of processor: a stage's own, without
those it calls. Below them what the machine can do at most with the same bytes: parse them as JSON, copy them.
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import polars as pl

import pipelines.applying as applying
import pipelines.bronze as bronze
import pipelines.change.decode as decode
import pipelines.change.images as images
import pipelines.feed as feed
import pipelines.silver as silver
from benchmarks.workloads import WORKLOADS, Workload
from pipelines.applying import Work
from pipelines.bronze import Bronze
from pipelines.capture import records
from pipelines.capture.blocks import BlockCutter
from pipelines.capture.records import Columns, Origin, Partition, RecordBatch
from pipelines.change.values import raw_type
from pipelines.delta import read_snapshot
from pipelines.state import Place
from pipelines.storage import Lake

#: Stage -> the functions that are it, by where they are looked up. What none of them does is `rest`.
_CAPTURE: dict[str, list[tuple[Any, str]]] = {
    "columns, blocks cut": [(records, "to_frame")],
    "read metadata": [(bronze, "describe_records")],
    "order, epochs": [(bronze, "assign")],
    "write bronze": [(Lake, "write")],
}
_APPLY: dict[str, list[tuple[Any, str]]] = {
    "read bronze": [(feed, "_rows")],
    "drift": [(silver, "drifts_in")],
    "cut images": [(images, "_after_alone")],
    "parse JSON": [(images, "parse")],
    "types": [(decode, "_decode_group")],
    "unchanged values": [(applying, "fill_from_lake")],
    "find stored rows": [(Place, "find"), (Place, "find_older")],
    "newest a key": [(Work, "_candidates"), (applying, "newest")],
    "rules": [(Work, "judge")],
    "write silver": [(Work, "change")],
}


class Spent(NamedTuple):
    """Processor seconds of one workload's steps."""

    workload: Workload
    bytes: int
    stages: dict[str, dict[str, float]]
    #: Bytes on disk of an event in bronze and of a row in silver.
    stored: dict[str, float]
    copied: float
    parsed: float


class _Watch:
    """Processor seconds of some functions, each without the watched ones that it calls."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}
        self._inner = [0.0]

    def around(self, stage: str, run: Callable[..., Any]) -> Callable[..., Any]:
        """The function, watched."""

        def watched(*arguments: Any, **named: Any) -> Any:
            self._inner.append(0.0)
            began = time.process_time()
            try:
                return run(*arguments, **named)
            finally:
                took = time.process_time() - began
                inner = self._inner.pop()
                self._inner[-1] += took
                self.spent[stage] = self.spent.get(stage, 0.0) + took - inner

        return watched


@contextmanager
def _watched(stages: dict[str, list[tuple[Any, str]]]) -> Generator[_Watch]:
    watch, before = _Watch(), list[tuple[Any, str, Any]]()
    for stage, functions in stages.items():
        for owner, name in functions:
            run = getattr(owner, name)
            before.append((owner, name, run))
            setattr(owner, name, watch.around(stage, run))
    try:
        yield watch
    finally:
        for owner, name, run in before:
            setattr(owner, name, run)


def measure(workload: Workload) -> Spent:
    """Capture and apply of as many events again as the lake holds already."""
    stages = dict[str, dict[str, float]]()
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        lake, table = Lake(folder), workload.contract.table
        landing = Bronze(lake, workload.catalog)
        for first in (0, workload.events):
            keys, values = zip(*workload.messages(first), strict=True)
            steps = (
                ("capture", _CAPTURE, partial(_capture, landing, workload, first, keys, values)),
                ("apply", _APPLY, partial(silver.apply, lake, workload.catalog, table, now=datetime.now(UTC))),
            )  # fmt: skip
            for name, watched, step in steps:
                with _watched(watched) as watch:
                    watch.around("rest", step)()
                stages[name] = watch.spent
        stored = {"bronze": _stored(lake, workload.contract.bronze), "silver": _stored(lake, table)}
    lines = b"\n".join(values)
    return Spent(
        workload=workload,
        bytes=len(lines) // len(values),
        stages=stages,
        stored=stored,
        copied=_timed(lambda: np.frombuffer(lines, np.uint8).copy()),
        parsed=_timed(lambda: pl.read_ndjson(io.BytesIO(lines), schema=_schema(workload))),
    )


def _stored(lake: Lake, name: str) -> float:
    snapshot = read_snapshot(lake.path(name), lake.options)
    size = sum(int(file.action["size"]) for file in snapshot.files)
    return size / max(1, sum(file.num_records for file in snapshot.files))


def _schema(workload: Workload) -> dict[str, pl.DataType]:
    row = {name: raw_type(column.type) for name, column in workload.contract.columns.items()}
    return {"after": pl.Struct(row)}


def _timed(run: Callable[[], object]) -> float:
    taken = list[float]()
    for _ in range(3):
        began = time.process_time()
        run()
        taken.append(time.process_time() - began)
    return min(taken)


def _capture(
    landing: Bronze,
    workload: Workload,
    first: int,
    keys: tuple[bytes, ...],
    values: tuple[bytes, ...],
) -> None:
    count = len(keys)
    columns = Columns(
        topics=[workload.topic] * count,
        partitions=[0] * count,
        offsets=list(range(first, first + count)),
        timestamps=[(1, 1795225400299)] * count,
        keys=keys,
        values=values,
    )
    frame, schemas = records.to_frame(columns, BlockCutter())
    place = Partition(workload.topic, 0)
    batch = RecordBatch(
        frame=frame,
        start_offsets={place: first},
        next_offsets={place: first + count},
        origin=Origin(cluster="bench"),
        schemas=schemas,
    )
    landing.land(batch)


def table(workloads: Sequence[Spent]) -> str:
    """The workloads beside each other as Markdown: microseconds of processor an event, and shares."""
    rows = [
        ("", [f"**{spent.workload.name.replace('_', ' ')}**" for spent in workloads]),
        ("---", ["---:" for _ in workloads]),
        ("columns", [str(len(spent.workload.columns) + 1) for spent in workloads]),
        ("bytes a message", [f"{spent.bytes:,}" for spent in workloads]),
        ("bytes an event of bronze", [f"{spent.stored['bronze']:,.0f}" for spent in workloads]),
        ("bytes a row of silver", [f"{spent.stored['silver']:,.0f}" for spent in workloads]),
    ]
    for name, stages in (("capture", _CAPTURE), ("apply", _APPLY)):
        rows.append(
            (f"**{name}**, µs an event", [f"**{_micros(each, name):.2f}**" for each in workloads])
        )
        rows += [
            (stage, [f"{_micros(each, name, stage):.2f}" for each in workloads])
            for stage in (*stages, "rest")
        ]
        rates = [f"{1e6 / _micros(each, name):,.0f}" for each in workloads]
        rows.append((f"{name}: events/s a core", rates))
    each_event = [1e6 / spent.workload.events for spent in workloads]
    parsed = [spent.parsed * micros for spent, micros in zip(workloads, each_event, strict=True)]
    copied = [spent.copied * micros for spent, micros in zip(workloads, each_event, strict=True)]
    rows.append(("limit: the messages parsed, µs", [f"{micros:.2f}" for micros in parsed]))
    for name in ("capture", "apply"):
        apart = [_micros(each, name) / limit for each, limit in zip(workloads, parsed, strict=True)]
        rows.append((f"{name} / that", [f"{ratio:.1f}" for ratio in apart]))
    rows.append(("limit: the messages copied, µs", [f"{micros:.2f}" for micros in copied]))
    return "\n".join(f"| {' | '.join([name, *cells])} |" for name, cells in rows)


def _micros(spent: Spent, step: str, stage: str | None = None) -> float:
    """Of a stage, or of all of a step, an event."""
    stages = spent.stages[step]
    seconds = sum(stages.values()) if stage is None else stages.get(stage, 0.0)
    return seconds * 1e6 / spent.workload.events


def main() -> None:
    """Prints the table of the workloads named, or of all."""
    known = {workload.name: workload for workload in WORKLOADS}
    names = sys.argv[1:] or list(known)
    if unknown := set(names) - set(known):
        sys.exit(f"{__doc__}\nno workload '{min(unknown)}'; there are {', '.join(known)}")
    print(table([measure(known[name]) for name in names]))


if __name__ == "__main__":
    main()
