"""Where every table stands: rows, positions, what waits, and how far behind its source it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from pipelines.bronze import DEAD_LETTERS, UNKEYED_EVENTS, Bronze
from pipelines.capture.broker import Broker
from pipelines.contract import Catalog, Contract
from pipelines.delta import read_snapshot
from pipelines.settings import Settings
from pipelines.state import progress_of
from pipelines.storage import Lake


@dataclass(frozen=True, slots=True, kw_only=True)
class TableStatus:
    """One table. `lag` is records on the broker not yet in bronze, None when no broker was asked."""

    table: str
    rows: int | None
    version: int | None
    quarantined: int | None = None
    bronze_rows: int | None = None
    dead_letters: int | None = None
    unapplied_versions: int | None = None
    position: str | None = None
    lag: int | None = None


def status(
    lake: Lake, catalog: Catalog, lags: Mapping[str, int] | None = None
) -> list[TableStatus]:
    """Each declared table; one that has not been made yet has no rows and no version."""
    letters = _letters_by_topic(lake)
    silver = [_silver(lake, contract, letters, lags or {}) for contract in catalog.layer("silver")]
    gold = [
        TableStatus(table=c.table, rows=count(lake, c.table), version=lake.version(c.table))
        for c in catalog.layer("gold")
    ]
    return silver + gold


def count(lake: Lake, table: str) -> int | None:
    """The rows of a table; None when there is none."""
    if lake.version(table) is None:
        return None
    return int(lake.scan(table).select(pl.len()).collect().item())


def lags_of(settings: Settings, lake: Lake, catalog: Catalog) -> dict[str, int]:
    """Records each topic has on the broker beyond what bronze holds.

    Raises:
        BrokerError: when no broker answers.
    """
    broker = Broker(settings)
    topics = broker.topics(catalog.topics())
    origin, spans = broker.origin(catalog.topics()), broker.spans(topics.partitions)
    bronze, lags = Bronze(lake, catalog), dict[str, int]()
    for partition, span in spans.items():
        reached = bronze.next_offset(origin, partition.topic, partition.partition)
        lags[partition.topic] = (
            lags.get(partition.topic, 0) + span.end - (reached if reached is not None else span.low)
        )
    return lags


def _letters_by_topic(lake: Lake) -> dict[str, int]:
    found = dict[str, int]()
    for table in (DEAD_LETTERS, UNKEYED_EVENTS):
        if lake.version(table) is not None:
            counted = lake.scan(table).group_by("topic").agg(pl.len()).collect()
            for topic, number in counted.iter_rows():
                found[topic] = found.get(topic, 0) + number
    return found


def _silver(
    lake: Lake, contract: Contract, letters: Mapping[str, int], lags: Mapping[str, int]
) -> TableStatus:
    topic = contract.source.topic if contract.source else ""
    bronze = lake.open(contract.bronze)
    handle = lake.open(contract.table)
    applied = None
    if bronze is not None and handle is not None:
        applied = handle.transaction_version(progress_of(bronze))
    return TableStatus(
        table=contract.table,
        rows=count(lake, contract.table),
        version=None if handle is None else handle.version(),
        quarantined=count(lake, contract.sibling("quarantine")),
        bronze_rows=count(lake, contract.bronze),
        dead_letters=letters.get(topic, 0),
        unapplied_versions=None
        if bronze is None
        else bronze.version() - (-1 if applied is None else applied),
        position=_position(lake, contract) if handle is not None else None,
        lag=lags.get(topic),
    )


def _position(lake: Lake, contract: Contract) -> str | None:
    """The newest source position in the table, by the statistics of its files: epoch/commit/event."""
    snapshot = read_snapshot(lake.path(contract.table), lake.options)
    highest = [file.stats.get("maxValues", {}) for file in snapshot.files]
    found = [
        tuple(int(most.get(name, 0)) for name in ("source_epoch", "source_commit", "source_event"))
        for most in highest
    ]
    return "/".join(map(str, max(found))) if found else None
