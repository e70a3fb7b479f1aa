"""The cut: how far the tables of one source may be applied so that no transaction shows in part.

A connector with `provide.transaction.metadata` writes how many events each transaction has in each
table (Postgres connector, "Transaction metadata"). The cut is the position of the first event whose
transaction is not in bronze as a whole; every table is applied up to it, and not beyond. It is fixed
once a run, with the versions of bronze that it was found in, so that what lands meanwhile changes
nothing. Transactions are known by their number: the LSN behind it is another in each event.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from pipelines.bronze import marker
from pipelines.change.position import ORDER, is_after
from pipelines.contract import Catalog, Contract
from pipelines.delta import live_rows, read_snapshot
from pipelines.errors import LagError, LakeError
from pipelines.feed import chunks
from pipelines.state import CUT, State, open_state, progress_of
from pipelines.storage import Lake
from pipelines.topics import prefix_of, table_of

#: Says in a payload that the event carries transaction metadata.
_HAS = r'"transaction"\s*:\s*\{|"__transaction_id"\s*:\s*"'

#: An END this much older than a complete reading of all topics has all its events in bronze.
_SETTLED = timedelta(minutes=1)

#: How long before its last event a transaction may have begun, for its BEGIN to be found.
_LONGEST = timedelta(days=1)

#: A transaction whose END has not come after this long, with nothing after it, is over.
_IDLE = timedelta(minutes=10)

Position = tuple[int, int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """How far one table may be applied: a version of bronze, and a position in it (None: all of it)."""

    version: int
    position: Position | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """The limits of all silver tables, and what is to be said of transactions that hold others up."""

    limits: Mapping[str, Limit] = field(default_factory=dict[str, Limit])
    notices: tuple[str, ...] = ()

    def of(self, table: str) -> Limit | None:
        """The limit of a silver table; None when bronze was not there yet."""
        return self.limits.get(table)


def plan_cut(lake: Lake, catalog: Catalog) -> Cut:
    """The cut of every source as bronze is now."""
    by_prefix: dict[str, list[Contract]] = {}
    for contract in catalog.layer("silver"):
        if contract.source is not None:
            by_prefix.setdefault(prefix_of(contract.source.topic), []).append(contract)
    limits, notices = dict[str, Limit](), list[str]()
    for prefix, contracts in by_prefix.items():
        side = table_of(f"{prefix}.transaction", catalog)
        contracts = [contract for contract in contracts if _is_sound(lake, contract)]
        versions = {
            contract.table: version
            for contract in contracts
            if (version := lake.version(contract.bronze)) is not None
        }
        position = None
        if side is not None and lake.version(side) is not None:
            position, names = _first_open(lake, prefix, contracts, versions, side)
            notices += [f"{prefix}: waits for the rest of transaction {name}" for name in names[:3]]
        limits |= {
            table: Limit(version=version, position=position) for table, version in versions.items()
        }
    return Cut(limits=limits, notices=tuple(notices))


def _is_sound(lake: Lake, contract: Contract) -> bool:
    """Whether a table can be read; one that cannot holds up no other, and its own apply says why."""
    try:
        reached(lake, contract)
        lake.version(contract.bronze)
    except LakeError:
        return False
    return True


# ---- TRANSACTIONS ---- #


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ends:
    """What a connector said of its transactions: events a table of each END, and which are over."""

    counts: pl.DataFrame
    over: pl.DataFrame


def _ends(lake: Lake, side: str, since: datetime | None) -> _Ends:
    """What was said of transactions since a time, and a while before: one may be longer than others."""
    handle = lake.handle(side)
    read_to = datetime.fromtimestamp((handle.transaction_version("read") or 0) / 1000, UTC)
    columns = ["raw_payload", "kafka_offset", "kafka_timestamp"]
    told = lake.scan_handle(handle)
    if since is not None:
        told = told.filter(
            pl.col("ingestion_date") >= (since - _LONGEST).date(),
            pl.col("kafka_timestamp").is_null() | (pl.col("kafka_timestamp") >= since - _LONGEST),
        )
    rows = told.select(columns).sort("kafka_offset").collect()
    settled = rows["kafka_timestamp"].fill_null(read_to) < read_to - _SETTLED
    ends = rows["raw_payload"].str.contains('"END"', literal=True).fill_null(value=False)
    told = zip(rows["raw_payload"].filter(ends), settled.filter(ends), strict=True)
    found = [(*pair, old) for text, old in told for pair in _counts_of(text)]
    schema = {
        "transaction_id": pl.String,
        "collection": pl.String,
        "wanted": pl.Int64,
        "settled": pl.Boolean,
    }
    counts = pl.DataFrame(found, schema=schema, orient="row")
    left = _left_behind(rows.filter(~ends), read_to)
    return _Ends(
        counts=counts.filter(pl.col("collection") != ""),
        over=pl.concat([counts.select("transaction_id"), left]).unique(),
    )


def _left_behind(begins: pl.DataFrame, read_to: datetime) -> pl.DataFrame:
    """Transactions without an END that none will come for.

    A connector sends one after another, so one that is new after it shows that it is over: it held
    no rows, or its connector was made anew and takes a snapshot. The last transaction of a source
    may have to wait for the next one for its END (MySQL); after some time it is taken as it is.
    """
    first = pl.col("kafka_offset").min().alias("first")
    seen = (
        begins.with_columns(pl.col("raw_payload").str.extract(r'"id"\s*:\s*"([^"]*)"').alias("id"))
        .with_columns(
            pl.coalesce(pl.col("id").str.extract(r"^(\d+):\d+$"), "id").alias("transaction_id")
        )
        .group_by("transaction_id")
        .agg(
            first,
            pl.col("kafka_offset").max().alias("last"),
            pl.col("kafka_timestamp").max().alias("at"),
        )
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


def _first_open(
    lake: Lake, prefix: str, contracts: list[Contract], versions: Mapping[str, int], side: str
) -> tuple[Position | None, list[str]]:
    """The first position of a transaction that bronze holds in part only, and their names."""
    pending = _pending(lake, contracts, versions)
    if not len(pending):
        return None, []
    unknown = pending["since"].null_count() > 0
    ends = _ends(lake, side, None if unknown else pending["since"].min())  # pyright: ignore[reportArgumentType] - times
    topics = {contract.source.topic: contract for contract in contracts if contract.source}
    wanted = ends.counts.with_columns(
        pl.concat_str([pl.lit(prefix + "."), "collection"]).alias("topic")
    ).filter(pl.col("topic").is_in(list(topics)) & (pl.col("wanted") > 0))
    wanted = wanted.join(pending.select("transaction_id").unique(), on="transaction_id", how="semi")
    seen = wanted.join(pending, on=["transaction_id", "topic"], how="left").with_columns(
        pl.col("events").fill_null(0)
    )
    short = seen.filter((pl.col("events") < pl.col("wanted")) & ~pl.col("settled"))
    short = _still_short(lake, short, topics)
    without_end = pending.join(ends.over, on="transaction_id", how="anti").select("transaction_id")
    names = pl.concat([short.select("transaction_id"), without_end]).unique()
    open_rows = pending.join(names, on="transaction_id", how="semi").sort(ORDER[:3])
    if not len(open_rows):
        return None, []
    first = open_rows.row(0, named=True)
    return (first[ORDER[0]], first[ORDER[1]], first[ORDER[2]]), open_rows["transaction_id"].unique(
        maintain_order=True
    ).to_list()


def _pending(lake: Lake, contracts: list[Contract], versions: Mapping[str, int]) -> pl.DataFrame:
    """Events not yet applied, counted by transaction and topic, with the first position of each.

    Those from before a complete snapshot of their table are left out: the snapshot shows what their
    transactions left, and a connector that was made anew never ends one that the old one began.
    """
    parts = list[pl.DataFrame]()
    for contract in contracts:
        if contract.table not in versions:
            continue
        handle = lake.handle(contract.bronze)
        topic = contract.source.topic if contract.source else ""
        snapshot = handle.transaction_version(marker(topic)) or 0
        counts = (pl.col(ORDER[1]) > 0) & (pl.col(ORDER[0]) >= snapshot)
        for chunk in chunks(handle, reached(lake, contract), upto=versions[contract.table]):
            told = chunk.rows.filter(pl.col("raw_payload").str.contains(_HAS) & counts)
            parts.append(_counted(told))
    if not parts:
        return pl.DataFrame(schema={"transaction_id": pl.String})
    firsts = [pl.col(name).sort_by(*ORDER[:3]).first() for name in ORDER[:3]]
    since = pl.col("since").min()
    return (
        pl.concat(parts)
        .group_by("transaction_id", "topic")
        .agg(pl.col("events").sum(), since, *firsts)
    )


def _counted(rows: pl.DataFrame) -> pl.DataFrame:
    """Events by transaction and topic, one that was sent again once."""
    firsts = [pl.col(name).sort_by(*ORDER[:3]).first() for name in ORDER[:3]]
    once = rows.unique(["topic", *ORDER[1:3], "key", "operation_type", "transaction_id"])
    return once.group_by("transaction_id", "topic").agg(
        pl.len().cast(pl.Int64).alias("events"),
        # An event that is sent again is younger in Kafka than its transaction, not in its source.
        pl.min_horizontal("kafka_timestamp", "event_timestamp").min().alias("since"),
        *firsts,
    )


def _still_short(lake: Lake, short: pl.DataFrame, topics: Mapping[str, Contract]) -> pl.DataFrame:
    """Those that are short also when the events applied before are counted: a restart sends some again."""
    kept = [short.clear()]
    for (topic,), part in short.partition_by("topic", as_dict=True).items():
        if lake.version(topics[str(topic)].bronze) is None:
            kept.append(part)
            continue
        names = part["transaction_id"].unique().to_list()
        rows = (
            lake.scan(topics[str(topic)].bronze)
            .filter(pl.col("transaction_id").is_in(names) & (pl.col(ORDER[1]) > 0))
            .select(
                *("transaction_id", "topic", "key", "operation_type"),
                *("kafka_timestamp", "event_timestamp", *ORDER[:3]),
            )
            .collect()
        )
        all_seen = _counted(rows).select("transaction_id", pl.col("events").alias("ever"))
        both = part.join(all_seen, on="transaction_id", how="left")
        kept.append(both.filter(pl.col("ever").fill_null(0) < pl.col("wanted")).drop("ever"))
    return pl.concat(kept)


def reached(lake: Lake, contract: Contract) -> int | None:
    """The version of bronze that a silver table has fully applied."""
    if lake.version(contract.table) is None:
        return None
    progress = progress_of(lake.handle(contract.bronze))
    return lake.handle(contract.table).transaction_version(progress)


# ---- GOLD ---- #


def refuse_half_transactions(
    lake: Lake, catalog: Catalog, table: str, inputs: Iterable[str]
) -> None:
    """Nothing, when the inputs of a gold table stand at one position of their source.

    Raises:
        LagError: naming a table that has yet to apply what another one shows already.
    """
    named = {name.replace("history.", "silver.", 1) for name in inputs}
    silver = sorted(name for name in named if name in catalog.contracts and catalog[name].source)
    by_prefix: dict[str, list[Contract]] = {}
    for name in silver:
        source = catalog[name].source
        if source is not None and lake.version(catalog[name].bronze) is not None:
            by_prefix.setdefault(prefix_of(source.topic), []).append(catalog[name])
    for prefix, contracts in by_prefix.items():
        side = table_of(f"{prefix}.transaction", catalog)
        if len(contracts) > 1 and side is not None and lake.version(side) is not None:
            _refuse_lag(lake, table, contracts)


def _refuse_lag(lake: Lake, table: str, contracts: Sequence[Contract]) -> None:
    for late in contracts:
        found = _first_unapplied(lake, late)
        for other in contracts if found is not None else ():
            if other is late or found is None:
                continue
            position, name = found
            began = min([position, *_positions_of(lake, other, name)])
            if _shows_from(open_state(lake, other), began):
                raise LagError(
                    f"{table}: {late.table} lags behind {other.table}; the table was left as it is",
                    hint=f"bring both to one position: medallion apply {late.table} {other.table}",
                )


def _first_unapplied(lake: Lake, contract: Contract) -> tuple[Position, str | None] | None:
    """Position and transaction of the first event that a silver table has yet to apply."""
    handle, firsts = lake.handle(contract.bronze), list[tuple[Position, str | None]]()
    applied = read_snapshot(lake.path(contract.table), lake.options).app_versions
    cut = [applied.get(name, 0) for name in CUT]
    for chunk in chunks(handle, reached(lake, contract)):
        placed = chunk.rows.with_columns(pl.col("kafka_offset").alias(ORDER[3]))
        rows = placed.filter((pl.col(ORDER[1]) > 0) & is_after((*cut, -1))).sort(ORDER[:3]).head(1)
        firsts += [(row[:3], row[3]) for row in rows.select(*ORDER[:3], "transaction_id").rows()]
    return min(firsts, key=lambda each: each[0], default=None)


def _positions_of(lake: Lake, contract: Contract, transaction: str | None) -> list[Position]:
    """The first position of a transaction in another table."""
    if transaction is None:
        return []
    of_it = (pl.col("transaction_id") == transaction) & (pl.col(ORDER[1]) > 0)
    rows = lake.scan(contract.bronze).filter(of_it).select(ORDER[:3]).collect()
    return rows.sort(ORDER[:3]).head(1).rows()


def _shows_from(state: State, position: Position) -> bool:
    """Whether a table has applied an event at a position or after it."""
    after = is_after((*position, -1))
    return any(
        live_rows(place.snapshot, list(ORDER), predicate=after).select(pl.len()).collect().item()
        for place in (state.silver, state.quarantine, state.tombstones)
    )
