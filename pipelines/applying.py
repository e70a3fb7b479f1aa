"""One chunk of events applied to a silver table and what belongs to it.

These steps, each of which may be repeated:

1. decode; what has no readable key is set aside
2. fill unchanged values from the batch, then from what is stored
3. per key, let the newest of the events, silver, quarantine and tombstones win
4. judge the winners by the rules, and by what people decided: kept, quarantined or dropped
5. write: history (what waited is known to be dropped until its tombstone says so), tombstones,
   quarantine, silver with the bronze version it has reached (the commit point); then take from
   quarantine what silver or a delete has replaced
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import polars as pl
from deltalake import DeltaTable

from pipelines.absent import deletes, to_close
from pipelines.bronze import keep_unkeyed, schema_blocks
from pipelines.change.decode import EVENT_COLUMNS, decode_events
from pipelines.change.images import DELETE, UPSERT
from pipelines.change.position import ORDER, is_after, is_newer
from pipelines.change.reduce import newest, split_truncates
from pipelines.contract import Catalog, Contract
from pipelines.decisions import DROPPED, Decisions, decisions_of
from pipelines.delta import Snapshot, commit_changes, locate, read_snapshot
from pipelines.feed import Chunk
from pipelines.history import extend_history
from pipelines.quality import judge_rows
from pipelines.state import (
    CLOSED,
    CUT,
    FOUND,
    TIMES_SEEN,
    State,
    has_same_verdict,
    in_epoch,
    no_place,
    open_state,
    quarantine_schema,
    seen,
    shaped,
    silver_schema,
    stats_columns,
    tombstones,
)
from pipelines.storage import Lake
from pipelines.unchanged import fill_from_lake
from pipelines.version import CODE_VERSION
from quality_rules.split import Split


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """What an apply did: counts of events and rows, and where the table stands."""

    table: str
    events: int = 0
    kept: int = 0
    deleted: int = 0
    quarantined: int = 0
    released: int = 0
    dropped: int = 0
    late: int = 0
    unkeyed: int = 0
    #: Rows of silver whose verdict changed by a rule or a parent; the refused ones are among `quarantined`.
    rejudged: int = 0
    version: int | None = None
    bronze_version: int | None = None
    position: tuple[int, ...] | None = None
    #: How the source departs from the contract, where the contract lets it.
    notices: tuple[str, ...] = ()
    seconds: float = 0.0

    def after(self, other: Applied) -> Applied:
        """This and then the other."""
        counts = (
            "events", "kept", "deleted", "quarantined", "released", "dropped", "late", "unkeyed", "rejudged",
        )  # fmt: skip
        sums = {name: getattr(self, name) + getattr(other, name) for name in counts}
        position = max(filter(None, (self.position, other.position)), default=None)
        notices = tuple(dict.fromkeys((*self.notices, *other.notices)))
        return replace(other, **sums, position=position, notices=notices)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Decision:
    """Where each touched key must end: rows to add, and stored rows to take away, by table."""

    kept: pl.DataFrame
    quarantined: pl.DataFrame
    tombstones: pl.DataFrame
    decisions: Decisions
    from_silver: pl.DataFrame
    from_quarantine: pl.DataFrame
    #: The keys of rows that had waited in quarantine, and no longer do, or for other reasons.
    rejudged: pl.DataFrame
    report: Applied


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """Events applied to one table under one contract."""

    lake: Lake
    catalog: Catalog
    contract: Contract
    now: datetime
    app_id: str

    @property
    def key(self) -> list[str]:
        """The columns that identify a row."""
        return list(self.contract.key)

    def apply_chunk(self, chunk: Chunk, blocks: Mapping[str, str] | None = None) -> Applied:
        """One chunk, in the steps that the module's text tells; its schema blocks, where they are at hand."""
        blocks = schema_blocks(self.lake, chunk.rows) if blocks is None else blocks
        state = open_state(self.lake, self.contract)
        events = decode_events(chunk.rows, self.contract, blocks)
        unkeyed = keep_unkeyed(self.lake, events.unkeyed, self.now)
        rows, truncates = split_truncates(events.frame)
        waiting = state.waiting(self.contract)
        rows, waiting = fill_from_lake(
            self.lake, self.contract, state, rows, waiting, events.unchanged, truncates
        )
        decision = self._decide(rows, waiting, truncates, state)
        self._write(state, decision, rows, truncates, app=self.progress(state, chunk))
        return replace(decision.report, unkeyed=unkeyed)

    def progress(self, state: State, chunk: Chunk) -> dict[str, int]:
        """What silver has yet to say it has reached: a version of bronze, a cut in those after it, epochs."""
        reached = {} if chunk.version is None else {self.app_id: chunk.version}
        epochs = {in_epoch(epoch): 1 for epoch in chunk.epochs}
        told = reached | epochs | dict(zip(CUT, chunk.cut or (), strict=False))
        stored = state.silver.snapshot.app_versions
        return {name: version for name, version in told.items() if stored.get(name) != version}

    def close_snapshots(
        self, bronze: DeltaTable, total: Applied, *, upto: int | None = None
    ) -> Applied:
        """`total`, and then the deletes that full snapshots up to an epoch tell by what they lack."""
        state = open_state(self.lake, self.contract)
        closed = state.silver.snapshot.app_versions.get(CLOSED, 0)
        for epoch in to_close(self.lake, self.contract, bronze, closed):
            if upto is not None and epoch > upto:
                break
            state = open_state(self.lake, self.contract)
            rows = deletes(self.lake, self.contract, state, epoch)
            report = self.settle(state, rows, app={CLOSED: epoch})
            total = total.after(replace(report, events=0, late=0, position=total.position))
        return total

    def settle(self, state: State, events: pl.DataFrame, *, app: Mapping[str, int]) -> Applied:
        """Events that somebody else worked out, decided and written like those of a chunk."""
        typed = {name: column.type.stored for name, column in self.contract.columns.items()}
        rows = shaped(events, {**typed, **EVENT_COLUMNS})
        none = rows.clear()
        decision = self._decide(rows, state.waiting(self.contract), none, state)
        self._write(state, decision, rows, none, app=app)
        return decision.report

    # ---- DECIDE ---- #

    def _decide(
        self, rows: pl.DataFrame, waiting: pl.DataFrame, truncates: pl.DataFrame, state: State
    ) -> _Decision:
        candidates = self._candidates(rows, waiting)
        keys = candidates.select(self.key)
        buried = newest(state.tombstones.find(keys, self.key, list(ORDER)).drop(FOUND), self.key)
        silver = state.silver.find_older(candidates, self.key, buried.select(self.key))
        truncated = self._last_truncate(truncates, state)
        compared = _beside(
            _beside(candidates, newest(silver, self.key), self.key, "silver:"),
            buried,
            self.key,
            "buried:",
        )
        wins = (
            is_newer("", "silver:")
            & is_newer("", "buried:")
            & (pl.lit(value=True) if truncated is None else is_after(truncated))
        )
        winners = compared.filter(wins).select(candidates.columns)
        upserts, deletes = (
            winners.filter(pl.col("_verb") == UPSERT),
            winners.filter(pl.col("_verb") == DELETE),
        )
        decisions = decisions_of(self.lake, self.contract)
        gone = decisions.dropped(upserts)
        verdict = self.judge(upserts.filter(~gone))
        from_silver = self._leaving_silver(silver, winners, buried, truncates, truncated, state)
        decision = self._decision(
            rows, waiting, winners, deletes, verdict, from_silver, truncates, decisions
        )
        return self._with_dropped(decision, upserts.filter(gone))

    def _with_dropped(self, decision: _Decision, dropped: pl.DataFrame) -> _Decision:
        """The decision and what people dropped, which leaves a tombstone.

        A row that is told apart by all its columns has nothing older that could come back.
        """
        buried = dropped.clear() if self.contract.identity == "row" else dropped
        left = dropped.filter("_waits").select(self.key)
        return replace(
            decision,
            tombstones=pl.concat([decision.tombstones, self._buried(buried, DROPPED)]),
            rejudged=pl.concat([decision.rejudged, left]),
            report=replace(decision.report, dropped=len(dropped)),
        )

    def _candidates(self, rows: pl.DataFrame, waiting: pl.DataFrame) -> pl.DataFrame:
        """The newest of the new events and the quarantined rows, a key; a row that waits comes before its twin."""
        marked = [
            rows.with_columns(pl.lit(value=False).alias("_waits")),
            waiting.with_columns(pl.lit(value=True).alias("_waits")),
        ]
        return newest(pl.concat(marked, how="diagonal_relaxed"), self.key, then=["_waits"])

    def _last_truncate(self, truncates: pl.DataFrame, state: State) -> tuple[int, ...] | None:
        """The position of the newest truncate that the table has ever seen."""
        kept = state.truncates()
        known = pl.concat([truncates.select(ORDER), kept.select(ORDER)])
        return tuple(known.sort(ORDER).row(-1)) if len(known) else None

    def _leaving_silver(
        self,
        silver: pl.DataFrame,
        winners: pl.DataFrame,
        buried: pl.DataFrame,
        truncates: pl.DataFrame,
        truncated: tuple[int, ...] | None,
        state: State,
    ) -> pl.DataFrame:
        """Silver rows that a winner replaces, a tombstone outlives, or a truncate takes away."""
        replaced = silver.join(winners.select(self.key), on=self.key, how="semi").select(FOUND)
        outlived = (
            _beside(silver, buried, self.key, "buried:")
            .filter(~is_newer("", "buried:"))
            .select(FOUND)
        )
        parts = [replaced, outlived]
        if len(truncates) and truncated is not None:
            parts.append(state.silver.older_than(truncated, self.key).select(FOUND))
        return pl.concat(parts, how="vertical_relaxed").unique()

    def _decision(
        self,
        rows: pl.DataFrame,
        waiting: pl.DataFrame,
        winners: pl.DataFrame,
        deletes: pl.DataFrame,
        verdict: Split,
        from_silver: pl.DataFrame,
        truncates: pl.DataFrame,
        decisions: Decisions,
    ) -> _Decision:
        waits = pl.col("_waits") & has_same_verdict()
        stays = verdict.quarantined.filter(waits)
        refused = seen(verdict.quarantined.filter(~waits), waiting, self.key)
        leaves = waiting.join(stays.select(FOUND), on=FOUND, how="anti").select(FOUND)
        events = winners.filter(~pl.col("_waits"))
        report = Applied(
            table=self.contract.table,
            events=len(rows) + len(truncates),
            kept=verdict.kept.filter(~pl.col("_waits")).height,
            released=verdict.kept.filter(pl.col("_waits")).height,
            deleted=len(deletes),
            quarantined=refused.filter(~pl.col("_waits")).height,
            late=rows.select(self.key).n_unique() - len(events) if len(rows) else 0,
            position=tuple(rows.select(ORDER).sort(ORDER).row(-1)) if len(rows) else None,
        )
        buried = [self._buried(deletes, "DELETE"), self._buried(truncates, "TRUNCATE")]
        return _Decision(
            kept=self.audited(verdict.kept),
            quarantined=self.audited(refused),
            tombstones=pl.concat(buried),
            decisions=decisions,
            from_silver=from_silver,
            from_quarantine=leaves,
            rejudged=pl.concat([verdict.kept, refused]).filter("_waits").select(self.key),
            report=report,
        )

    def audited(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows with when, and by which contract and code, they were judged."""
        return rows.with_columns(
            pl.lit(self.now).alias("processed_at"),
            pl.lit(f"{self.contract.version}+{CODE_VERSION}").alias("processing_version"),
        )

    def refused(self, rows: pl.DataFrame) -> pl.DataFrame:
        """The rows of quarantine; where the event holds what never leaves bronze, its id must do."""
        if self.contract.withheld:
            rows = rows.drop("raw_payload", strict=False)
        rows = shaped(rows, quarantine_schema(self.contract))
        return rows.with_columns(
            pl.col("first_seen_at").fill_null(self.now), pl.col(TIMES_SEEN).fill_null(1)
        )

    def _buried(self, rows: pl.DataFrame, operation: str) -> pl.DataFrame:
        return tombstones(self.contract, rows, operation, self.now)

    def judge(self, rows: pl.DataFrame) -> Split:
        """The rows split by the contract's rules, the parents that silver holds now, and what was released."""
        split = judge_rows(rows, self.contract, self._parents)
        if split.quarantined.is_empty():
            return split
        return decisions_of(self.lake, self.contract).with_released(split)

    def _parents(self, table: str, column: str, values: pl.Series) -> pl.DataFrame:
        """Those of `values` that stand in a column of another silver table."""
        if self.lake.version(table) is None:
            return values.clear().alias(column).to_frame()
        snapshot = read_snapshot(self.lake.path(table), self.lake.options)
        return locate(
            snapshot, values.alias(column).to_frame().drop_nulls().unique(), [column], []
        ).select(column)

    # ---- WRITE ---- #

    def _write(
        self,
        state: State,
        decision: _Decision,
        rows: pl.DataFrame,
        truncates: pl.DataFrame,
        *,
        app: Mapping[str, int],
    ) -> None:
        if (contract := self.contract).history:
            verdict = self.judge(rows.filter(pl.col("_verb") == UPSERT))
            versions = [
                self.audited(verdict.kept),
                self.audited(verdict.quarantined),
                rows.filter(pl.col("_verb") == DELETE),
            ]
            known, again, said = state.truncates(), decision.rejudged, decision.decisions
            extend_history(self.lake, contract, versions, truncates, known, self.judge, again, said)
        self.change(state.tombstones.snapshot, added=decision.tombstones)
        self.change(state.quarantine.snapshot, added=self.refused(decision.quarantined))
        self.change(
            state.silver.snapshot,
            added=shaped(decision.kept, silver_schema(contract)),
            removed=decision.from_silver,
            app=app,
            metadata=self._metadata(decision.report),
        )
        if len(decision.from_quarantine):
            path = self.lake.path(contract.sibling("quarantine"))
            self.change(read_snapshot(path, self.lake.options), removed=decision.from_quarantine)

    def _metadata(self, report: Applied) -> dict[str, str]:
        position = (
            "" if report.position is None else "/".join(str(part) for part in report.position)
        )
        return {
            "contract_version": self.contract.version,
            "code_version": CODE_VERSION,
            "position": position,
        }

    def change(
        self,
        snapshot: Snapshot,
        *,
        added: pl.DataFrame | None = None,
        removed: pl.DataFrame | None = None,
        app: Mapping[str, int] = {},
        metadata: Mapping[str, str] = {},
        stats: Sequence[str] | None = None,
    ) -> None:
        """One commit on one table of the state, guarded by what was read; none where there is nothing to say."""
        nothing = not (added is not None and len(added)) and not (
            removed is not None and len(removed)
        )
        if nothing and not app:
            return
        commit_changes(
            snapshot,
            removed=no_place() if removed is None else removed,
            added=pl.DataFrame(schema=snapshot.schema) if added is None else added,
            app_transactions=app,
            metadata=metadata,
            stats_columns=stats_columns(self.contract) if stats is None else stats,
        )


def _beside(left: pl.DataFrame, right: pl.DataFrame, key: list[str], prefix: str) -> pl.DataFrame:
    """The rows of `left` with the order columns of the same key in `right`, null where it has none."""
    renamed = right.select(*key, *(pl.col(name).alias(f"{prefix}{name}") for name in ORDER))
    return left.join(renamed, on=key, how="left")
