"""How far each table lags, step by step, and whether that is idleness, work under way, or a standstill.

An old newest event says nothing: the source may be silent. What tells is what waits: records on the
broker that bronze lacks, versions of bronze that silver lacks, versions of silver that gold lacks, and
since when. A connector's heartbeats tell a silent source from a connector that is gone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

import polars as pl
from deltalake import DeltaTable

from pipelines.contract import Catalog, Contract
from pipelines.gold import inputs_of, last_inputs
from pipelines.state import progress_of
from pipelines.storage import Lake
from pipelines.topics import prefix_of, table_of

#: A step that has let something wait for this long, without a move, stands still.
STUCK_AFTER = timedelta(minutes=5)


class Pace(StrEnum):
    """How a step fares."""

    IDLE = "idle"
    BEHIND = "behind"
    STUCK = "stuck"
    SILENT = "silent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """One table: what waits for it, since when, and the clocks of its newest event.

    `waiting` counts records for a table of the broker's (bronze), versions for silver and gold.
    """

    table: str
    pace: Pace
    waiting: int
    since: datetime | None = None
    #: Source time and Kafka time of the newest event, and when the table last moved.
    newest_event: datetime | None = None
    newest_record: datetime | None = None
    moved: datetime | None = None
    why: str = ""


def lag(
    lake: Lake,
    catalog: Catalog,
    *,
    on_broker: Mapping[str, int],
    now: datetime,
    stuck_after: timedelta = STUCK_AFTER,
) -> list[Lag]:
    """Every table of the contracts, bronze first; `on_broker` are records a topic that bronze lacks.

    Raises:
        LakeError: when a table cannot be read.
    """
    beats = {
        prefix: _heartbeat(lake, catalog, prefix)
        for prefix in {prefix_of(topic) for topic in catalog.topics()}
    }
    found = list[Lag]()
    for contract in catalog.layer("silver"):
        if contract.source is not None:
            topic = contract.source.topic
            beat = beats[prefix_of(topic)]
            found.append(_bronze(lake, contract, on_broker.get(topic, 0), beat, now, stuck_after))
            found.append(_silver(lake, contract, now, stuck_after))
    found += [_gold(lake, contract) for contract in catalog.layer("gold")]
    return sorted(found, key=lambda each: _LAYERS.index(each.table.split(".")[0]))


_LAYERS = ("bronze", "silver", "gold")


def _bronze(
    lake: Lake,
    contract: Contract,
    waiting: int,
    beat: datetime | None,
    now: datetime,
    stuck_after: timedelta,
) -> Lag:
    handle = lake.open(contract.bronze)
    event = record = moved = None
    if handle is not None:
        moved = _moved(handle)
        event, record = (
            lake.scan_handle(handle)
            .select(pl.col("event_timestamp").max(), pl.col("kafka_timestamp").max())
            .collect(engine="streaming")
            .row(0)
        )
    heard = max(filter(None, (beat, record)), default=None)
    if waiting:
        still = moved is None or now - moved > stuck_after
        pace, why = (Pace.STUCK, "nothing lands") if still else (Pace.BEHIND, "")
    elif beat is not None and heard is not None and now - heard > stuck_after:
        pace, why = (
            Pace.SILENT,
            f"the connector's last sign of life is of {heard:%Y-%m-%d %H:%M:%S}Z",
        )
    else:
        pace, why = Pace.IDLE, "" if beat else "no heartbeats: a connector that is gone looks idle"
    return Lag(
        table=contract.bronze, pace=pace, waiting=waiting, since=moved if waiting else None,
        newest_event=event, newest_record=record, moved=moved, why=why,
    )  # fmt: skip


def _heartbeat(lake: Lake, catalog: Catalog, prefix: str) -> datetime | None:
    """When a connector last gave a sign of life that is no event; None where it sends none."""
    table = table_of(f"__debezium-heartbeat.{prefix}", catalog)
    handle = lake.open(table) if table else None
    if handle is None:
        return None
    newest = lake.scan_handle(handle).select(pl.col("kafka_timestamp").max())
    return newest.collect(engine="streaming").item()


def _silver(lake: Lake, contract: Contract, now: datetime, stuck_after: timedelta) -> Lag:
    bronze, handle = lake.open(contract.bronze), lake.open(contract.table)
    moved = _moved(handle) if handle is not None else None
    reached = -1
    if handle is not None and bronze is not None:
        known = handle.transaction_version(progress_of(bronze))
        reached = -1 if known is None else known
    waiting, since = _after(bronze, reached)
    pace = _pace(waiting, since, moved, now, stuck_after)
    why = "versions of bronze are not applied" if pace is Pace.STUCK else ""
    return Lag(table=contract.table, pace=pace, waiting=waiting, since=since, moved=moved, why=why)


def _gold(lake: Lake, contract: Contract) -> Lag:
    handle = lake.open(contract.table)
    moved = _moved(handle) if handle is not None else None
    snapshot = lake.snapshot(contract.table)
    built = last_inputs(snapshot) if snapshot is not None else {}
    waiting, oldest = 0, list[datetime]()
    for name in inputs_of(contract):
        count, since = _after(lake.open(name), built.get(name, -1))
        waiting += count
        oldest += [since] if since is not None else []
    since = min(oldest, default=None)
    return Lag(
        table=contract.table,
        pace=Pace.BEHIND if waiting else Pace.IDLE,
        waiting=waiting,
        since=since,
        moved=moved,
        why="not built since, or built with the same result, which writes nothing"
        if waiting
        else "",
    )


def _pace(
    waiting: int,
    since: datetime | None,
    moved: datetime | None,
    now: datetime,
    stuck_after: timedelta,
) -> Pace:
    """Something waits: whether the step has moved since it does, or has had no time to."""
    if not waiting or since is None:
        return Pace.IDLE
    last = max(since, moved) if moved is not None else since
    return Pace.STUCK if now - last > stuck_after else Pace.BEHIND


def _moved(handle: DeltaTable) -> datetime:
    return _time(handle.history(1)[0])


def _after(handle: DeltaTable | None, reached: int) -> tuple[int, datetime | None]:
    """Versions with rows after one, and when the first of them was written."""
    if handle is None or handle.version() <= reached:
        return 0, None
    entries = [
        entry
        for entry in handle.history(handle.version() - max(reached, 0) + 1)
        if entry["version"] > reached and _has_rows(entry)
    ]
    return len(entries), min(map(_time, entries), default=None)


def _has_rows(entry: Mapping[str, Any]) -> bool:
    """Whether a commit changed rows: neither the making of the table, nor a compaction, nor a mark."""
    metrics = entry.get("operationMetrics") or {}
    counted = ("num_added_rows", "num_removed_rows", "num_deleted_rows")
    return entry.get("operation") != "OPTIMIZE" and any(metrics.get(n) for n in counted)


def _time(entry: Mapping[str, Any]) -> datetime:
    return datetime.fromtimestamp(entry["timestamp"] / 1000, UTC)
