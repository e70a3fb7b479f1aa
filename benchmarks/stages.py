"""`python -m benchmarks.stages [WORKLOAD ...]`: where the time of capture and apply goes, as Markdown.

For each workload the share of each stage, in processor seconds: a stage's own, without those it calls.
Beside it what the machine can do at most with the same bytes: copy them, and have them parsed as JSON.
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import UTC, datetime
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
    """One capture of the events into a new lake and one apply; a small one before them warms up."""
    stages = dict[str, dict[str, float]]()
    keys, values = zip(*workload.messages(), strict=True)
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        for part, lake in ((500, Lake(f"{folder}/warm")), (len(keys), Lake(f"{folder}/lake"))):
            for name, watched, step in (
                ("capture", _CAPTURE, lambda lake=lake, part=part: _capture(lake, workload, keys[:part], values[:part])),
                ("apply", _APPLY, lambda lake=lake: silver.apply(lake, workload.catalog, workload.contract.table, now=datetime.now(UTC))),
            ):  # fmt: skip
                with _watched(watched) as watch:
                    watch.around("rest", step)()
                stages[name] = watch.spent
    lines = b"\n".join(values)
    return Spent(
        workload=workload,
        bytes=len(lines) // len(values),
        stages=stages,
        copied=_timed(lambda: np.frombuffer(lines, np.uint8).copy()),
        parsed=_timed(lambda: pl.read_ndjson(io.BytesIO(lines), schema=_schema(workload))),
    )


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
    lake: Lake, workload: Workload, keys: tuple[bytes, ...], values: tuple[bytes, ...]
) -> None:
    count = len(keys)
    columns = Columns(
        topics=[workload.topic] * count,
        partitions=[0] * count,
        offsets=list(range(count)),
        timestamps=[(1, 1795225400299)] * count,
        keys=keys,
        values=values,
    )
    frame, schemas = records.to_frame(columns, BlockCutter())
    place = Partition(workload.topic, 0)
    batch = RecordBatch(
        frame=frame,
        start_offsets={place: 0},
        next_offsets={place: count},
        origin=Origin(cluster="bench"),
        schemas=schemas,
    )
    Bronze(lake, workload.catalog).land(batch)


def table(spent: Spent) -> str:
    """A workload's stages as Markdown, microseconds of processor an event."""
    events = spent.workload.events
    each = 1e6 / events
    lines = [
        f"### {spent.workload.name}: {events:,} events of {spent.bytes:,} bytes, {len(spent.workload.columns) + 1} columns",
        "",
        "| stage | µs an event | share |",
        "|---|---|---|",
    ]
    for name, stages in spent.stages.items():
        whole = sum(stages.values())
        limit = spent.parsed / whole
        lines.append(
            f"| **{name}** | **{whole * each:.2f}** | of which parsing alone would be {limit:.0%} |"
        )
        for stage, seconds in sorted(stages.items(), key=lambda told: -told[1]):
            lines.append(f"| {stage} | {seconds * each:.2f} | {seconds / whole:.0%} |")
    lines.append(
        f"\nThe same bytes copied: {spent.copied * each:.2f} µs an event; parsed by simd-json into texts: {spent.parsed * each:.2f}."
    )
    return "\n".join(lines)


def main() -> None:
    """Prints the tables of the workloads named, or of all."""
    known = {workload.name: workload for workload in WORKLOADS}
    names = sys.argv[1:] or list(known)
    if unknown := set(names) - set(known):
        sys.exit(f"{__doc__}\nno workload '{min(unknown)}'; there are {', '.join(known)}")
    for name in names:
        print(table(measure(known[name])), end="\n\n", flush=True)


if __name__ == "__main__":
    main()
