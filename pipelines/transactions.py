"""What a connector says of its transactions in its topic of them: how many events, and whether they are over.

With `provide.transaction.metadata` a connector writes a BEGIN and an END of each transaction, the END
with the number of its events in each table (Postgres connector, "Transaction metadata").
Transactions are known by their number: the LSN behind it is another in each event.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from pipelines.delta import ActiveFile, Snapshot, live_rows, read_snapshot
from pipelines.storage import Lake

#: An END this much older than a complete reading of all topics has all its events in bronze.
_SETTLED = timedelta(minutes=1)

#: How long before its last event a transaction may have begun, for its BEGIN to be found.
_LONGEST = timedelta(days=1)

#: Where the END of a transaction is looked for first: this long before its first event. Clocks differ.
_NEAR = timedelta(minutes=2)

#: A transaction whose END has not come after this long, with nothing after it, is over.
_IDLE = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ends:
    """What a connector said of its transactions: events a table of each END, and which are over."""

    counts: pl.DataFrame
    over: pl.DataFrame
    #: Up to when all topics of the connector have been read to their ends.
    read_to: datetime


def ends_of(lake: Lake, side: str, pending: pl.DataFrame) -> Ends:
    """What was said of the transactions in hand; sought further back only where nothing is found near."""
    names = pending.select("transaction_id").unique()
    since: datetime | None = None if pending["since"].null_count() else pending["since"].min()  # pyright: ignore[reportAssignmentType] - times
    ends = _ends(lake, side, None if since is None else since - _NEAR, names)
    silent = pending.join(ends.over, on="transaction_id", how="anti")
    if since is None or silent.filter(pl.col("since") < ends.read_to - _SETTLED).is_empty():
        return ends
    return _ends(lake, side, since - _LONGEST, names)


def _ends(lake: Lake, side: str, since: datetime | None, names: pl.DataFrame) -> Ends:
    """What was said since a time of the transactions named."""
    snapshot = read_snapshot(lake.path(side), lake.options)
    read_to = datetime.fromtimestamp(snapshot.app_versions.get("read", 0) / 1000, UTC)
    rows = _told(snapshot, since).with_columns(_NAME.alias("transaction_id"))
    is_end = pl.col("raw_payload").str.contains('"END"', literal=True).fill_null(value=False)
    ends = rows.filter(is_end).join(names, on="transaction_id", how="semi")
    at = pl.col("kafka_timestamp").fill_null(read_to)
    marks = ends.select(
        "raw_payload",
        (at < read_to - _SETTLED).alias("settled"),
    )
    found = [(*pair, *told) for text, *told in marks.rows() for pair in _counts_of(text)]
    schema = {
        "transaction_id": pl.String,
        "collection": pl.String,
        "wanted": pl.Int64,
        "settled": pl.Boolean,
    }
    counts = pl.DataFrame(found, schema=schema, orient="row")
    left = _left_behind(rows.filter(~is_end), read_to)
    return Ends(
        counts=counts.filter(pl.col("collection") != ""),
        over=pl.concat([counts.select("transaction_id"), left]).unique(),
        read_to=read_to,
    )


#: A transaction's number in what a connector says of it.
_NAME = pl.coalesce(
    pl.col("raw_payload").str.extract(r'"id"\s*:\s*"(\d+):\d+"'),
    pl.col("raw_payload").str.extract(r'"id"\s*:\s*"([^"]*)"'),
)


def _told(snapshot: Snapshot, since: datetime | None) -> pl.DataFrame:
    """Payload, offset and time of what a connector said since a time; older files are not opened."""
    files = [file for file in snapshot.files if since is None or _may_be_since(file, since)]
    rows = live_rows(
        replace(snapshot, files=tuple(files)), ["raw_payload", "kafka_offset", "kafka_timestamp"]
    )
    if since is not None:
        at = pl.col("kafka_timestamp")
        rows = rows.filter(at.is_null() | (at >= since))
    return rows.drop("_file", "_row").sort("kafka_offset").collect()


def _may_be_since(file: ActiveFile, since: datetime) -> bool:
    newest = file.stats.get("maxValues", {}).get("kafka_timestamp")
    unknown = file.stats.get("nullCount", {}).get("kafka_timestamp", 1)
    # Statistics hold milliseconds (Delta protocol, "Per-file Statistics").
    return (
        bool(unknown)
        or newest is None
        or datetime.fromisoformat(newest) >= since - timedelta(milliseconds=1)
    )


def _left_behind(begins: pl.DataFrame, read_to: datetime) -> pl.DataFrame:
    """Transactions without an END that none will come for.

    A connector sends one after another, so one that is new after it shows that it is over: it held
    no rows, or its connector was made anew and takes a snapshot. The last transaction of a source
    may have to wait for the next one for its END (MySQL); after some time it is taken as it is.
    """
    first = pl.col("kafka_offset").min().alias("first")
    seen = begins.group_by("transaction_id").agg(
        first,
        pl.col("kafka_offset").max().alias("last"),
        pl.col("kafka_timestamp").max().alias("at"),
    )
    old = seen.filter(pl.col("at") < read_to - _SETTLED)
    newest = old.select(pl.col("first").max()).item() if len(old) else -1
    long_ago = pl.col("at") < read_to - _IDLE
    return seen.filter((pl.col("last") < newest) | long_ago).select("transaction_id")


def _counts_of(text: str | None) -> Iterator[tuple[str, str, int]]:
    """Transaction, table and number of events for each table of an END; one line at least."""
    try:
        told: Any = json.loads(text or "{}")
        name = transaction_name(str(told["id"]))
        yield name, "", 0
        for each in told.get("data_collections") or ():
            yield (
                name,
                re.sub(r"[^A-Za-z0-9._-]", "_", str(each["data_collection"])),
                int(each["event_count"]),
            )
    except (ValueError, KeyError, TypeError):
        return


def transaction_name(identity: str) -> str:
    """The part of a transaction's id that all its events share."""
    match = re.fullmatch(r"(\d+):\d+", identity)
    return match[1] if match else identity
