"""The cut: how far the tables of one source may be applied so that no transaction shows in part.

A connector with `provide.transaction.metadata` writes how many events each transaction has in each
table (Postgres connector, "Transaction metadata"). The cut is the position of the first event whose
transaction is not in bronze as a whole; every table is applied up to it, and not beyond. It is fixed
once a run, with the versions of bronze that it was found in, so that what lands meanwhile changes
nothing. Transactions are known by their number: the LSN behind it is another in each event.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from pipelines.bronze import marker
from pipelines.change.position import ORDER, is_after
from pipelines.contract import Catalog, Contract
from pipelines.delta import ActiveFile, files_added, live_rows, read_snapshot
from pipelines.errors import LagError, LakeError
from pipelines.feed import chunks
from pipelines.state import CUT, State, open_state, progress_of
from pipelines.storage import Lake
from pipelines.topics import prefix_of, table_of
from pipelines.transactions import ends_of

#: Says in a payload that the event carries transaction metadata.
_HAS = r'"transaction"\s*:\s*\{|"__transaction_id"\s*:\s*"'

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


def _first_open(
    lake: Lake, prefix: str, contracts: list[Contract], versions: Mapping[str, int], side: str
) -> tuple[Position | None, list[str]]:
    """The first position of a transaction that bronze holds in part only, and their names."""
    pending = _pending(lake, contracts, versions)
    if not len(pending):
        return None, []
    ends = ends_of(lake, side, pending)
    topics = {contract.source.topic: contract for contract in contracts if contract.source}
    wanted = ends.counts.with_columns(
        pl.concat_str([pl.lit(prefix + "."), "collection"]).alias("topic")
    ).filter(pl.col("topic").is_in(list(topics)) & (pl.col("wanted") > 0))
    wanted = wanted.join(pending.select("transaction_id").unique(), on="transaction_id", how="semi")
    begun = pending.group_by("transaction_id").agg(
        pl.col(name).sort_by(*ORDER[:3]).first() for name in ORDER[:3]
    )
    counts = pending.select("transaction_id", "topic", "events")
    seen = (
        wanted.join(counts, on=["transaction_id", "topic"], how="left")
        .with_columns(pl.col("events").fill_null(0))
        .join(begun, on="transaction_id")
    )
    short = seen.filter((pl.col("events") < pl.col("wanted")) & ~pl.col("settled"))
    short = _still_short(lake, short, topics, versions)
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


def _still_short(
    lake: Lake, short: pl.DataFrame, topics: Mapping[str, Contract], versions: Mapping[str, int]
) -> pl.DataFrame:
    """Those that are short also when the events applied before are counted: a restart sends some again.

    Events beyond the cut's versions do not count: no table is applied as far as that.
    """
    kept = [short.clear()]
    for (topic,), part in short.partition_by("topic", as_dict=True).items():
        contract = topics[str(topic)]
        if contract.table not in versions:
            kept.append(part)
            continue
        all_seen = _counted(_events_of(lake, contract, part, versions[contract.table]))
        ever = all_seen.select("transaction_id", pl.col("events").alias("ever"))
        both = part.join(ever, on="transaction_id", how="left")
        kept.append(both.filter(pl.col("ever").fill_null(0) < pl.col("wanted")).drop("ever"))
    return pl.concat(kept)


def _events_of(lake: Lake, contract: Contract, part: pl.DataFrame, version: int) -> pl.DataFrame:
    """The events of some transactions that landed in a table up to a version.

    Only files are opened that reach up to where the transactions begin: none of the old ones, when these are new.
    """
    snapshot = read_snapshot(lake.path(contract.bronze), lake.options)
    later = {
        file.path
        for each in range(version + 1, snapshot.version + 1)
        for file in files_added(snapshot.store(), each)
    }
    epoch, commit = part.select(ORDER[:2]).sort(ORDER[:2]).row(0)
    files = [
        file for file in snapshot.files if file.path not in later and _reaches(file, epoch, commit)
    ]
    columns = ["transaction_id", "topic", "key", "operation_type", "kafka_timestamp", "event_timestamp", *ORDER[:3]]  # fmt: skip
    names = part["transaction_id"].unique().implode()
    of_them = pl.col("transaction_id").is_in(names) & (pl.col(ORDER[1]) > 0)
    return live_rows(replace(snapshot, files=tuple(files)), columns, of_them).collect()


def _reaches(file: ActiveFile, epoch: int, commit: int) -> bool:
    """Whether a file may hold events of an epoch from a commit on, or of an older epoch."""
    lows, highs = file.stats.get("minValues", {}), file.stats.get("maxValues", {})
    highest, oldest = highs.get(ORDER[1]), lows.get(ORDER[0])
    return highest is None or oldest is None or highest >= commit or oldest < epoch


def reached(lake: Lake, contract: Contract) -> int | None:
    """The version of bronze that a silver table has fully applied."""
    if lake.version(contract.table) is None:
        return None
    progress = progress_of(lake.handle(contract.bronze))
    return lake.handle(contract.table).transaction_version(progress)


# ---- GOLD ---- #


def refuse_half_transactions(
    lake: Lake, catalog: Catalog, table: str, inputs: Iterable[str], cut: Cut | None = None
) -> None:
    """Nothing, when the inputs of a gold table stand at one position of their source.

    What landed beyond the versions of the cut that they were brought to is no lag of theirs.

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
            _refuse_lag(lake, table, contracts, cut or Cut())


def _refuse_lag(lake: Lake, table: str, contracts: Sequence[Contract], cut: Cut) -> None:
    for late in contracts:
        limit = cut.of(late.table)
        found = _first_unapplied(lake, late, limit.version if limit else None)
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


def _first_unapplied(
    lake: Lake, contract: Contract, upto: int | None
) -> tuple[Position, str | None] | None:
    """Position and transaction of the first event up to a version that a silver table has yet to apply."""
    handle, firsts = lake.handle(contract.bronze), list[tuple[Position, str | None]]()
    applied = read_snapshot(lake.path(contract.table), lake.options).app_versions
    cut = [applied.get(name, 0) for name in CUT]
    for chunk in chunks(handle, reached(lake, contract), upto=upto):
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
