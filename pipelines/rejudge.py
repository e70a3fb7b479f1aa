"""Silver rows judged again when a rule changes, or a table that rules refer to.

Rows that wait in quarantine are judged again by every apply. What is in silver was judged when its
event came, so an apply also looks whether its verdict may have changed since:

* a rule of rows was added, changed, removed, or switched on or off: every row is judged again, for
  each row says which rules it passed;
* a table that a REFERENCE names has rows that went or came: only the rows that refer to the values
  which went or came. A row whose parent was deleted, or was quarantined itself, goes to quarantine,
  and comes back with its parent; so do the rows that refer to it, in the order of the tables.

A row whose verdict is as it was is not written. What silver was last judged by is kept as app
transactions of the quarantine table, written when all is done: a crash before has the same rows
judged once more, and changes nothing that was changed already. History keeps each version with the
verdict it had in its time; of the current one that is the newest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import polars as pl

from pipelines.applying import Applied, Work
from pipelines.change.images import UPSERT
from pipelines.contract import Contract
from pipelines.contract.rules import rules_of
from pipelines.delta import Snapshot, live_rows, locate, read_snapshot
from pipelines.errors import LakeError
from pipelines.feed import CHUNK_EVENTS
from pipelines.history import history_schema, open_history
from pipelines.incremental.changes import changes_between
from pipelines.incremental.errors import NotProvable
from pipelines.state import (
    FOUND,
    OWN_ISSUES,
    WAS,
    State,
    has_same_verdict,
    no_place,
    open_state,
    shaped,
    silver_schema,
)
from pipelines.storage import Lake
from quality_rules.rule import Rule, RuleKind
from quality_rules.split import VERDICT

#: App transactions of the quarantine table: what the rows of silver were last judged by.
_RULES = "judged/rules"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What silver's rows were judged by: a digest of the rules, and a version of each parent table."""

    rules: int
    parents: Mapping[str, tuple[str, int]]
    """By table: the app transaction that names it (a table made anew is another), and its version."""

    def marks(self) -> dict[str, int]:
        """These as app transactions."""
        return {_RULES: self.rules, **dict(self.parents.values())}


def standing(lake: Lake, contract: Contract) -> Judged:
    """The rules and the parent tables as they are now."""
    rules = _rules(contract)
    parents = dict[str, tuple[str, int]]()
    for rule in rules:
        if rule.kind is RuleKind.REFERENCE:
            table: str = rule.params["table"]
            there = lake.snapshot(table)
            if there is not None:
                parents[table] = (f"judged/{table}/{there.identity}", there.version)
    return Judged(rules=_digest(rules), parents=parents)


def rejudge(work: Work, now: Judged, *, was_empty: bool) -> Applied:
    """Brings silver's verdicts to rules and parents that are at least as new as `now`.

    `was_empty`: silver had no row when `now` was looked up, so that all it has was judged since.

    Raises:
        ConflictError: when another process wrote meanwhile; running again is right.
    """
    state, total = open_state(work.lake, work.contract), Applied(table=work.contract.table)
    known = state.quarantine.snapshot.app_versions
    news = {name: version for name, version in now.marks().items() if known.get(name) != version}
    if not news:
        return total
    if not was_empty:
        for rows in _touched(work, state, now, known):
            total = total.after(_settle(work, rows))
    work.change(read_snapshot(*_where(work, "quarantine")), app=news)
    return total


def _where(work: Work, layer: str) -> tuple[str, Mapping[str, str]]:
    return work.lake.path(work.contract.sibling(layer)), work.lake.options


def _rules(contract: Contract) -> list[Rule]:
    return [rule for rule in rules_of(contract) if rule.active and rule.on_rows]


def _digest(rules: Sequence[Rule]) -> int:
    """A number for what the rules say of rows, and for their order, in which verdicts list them."""
    said = [(r.name, r.kind, r.columns, r.severity, dict(r.params)) for r in rules]
    text = json.dumps(said, default=str, sort_keys=True)
    return int(hashlib.sha256(text.encode()).hexdigest()[:15], 16)  # below 2^63: an app version


# ---- WHICH ROWS ---- #


def _touched(
    work: Work, state: State, now: Judged, known: Mapping[str, int]
) -> Iterator[pl.DataFrame]:
    """The silver rows whose verdict may have changed, with their places, in pieces."""
    silver, columns = state.silver.snapshot, list(silver_schema(work.contract))
    if known.get(_RULES) != now.rules:
        yield from _all_rows(work, silver, columns)
        return
    for rule in _rules(work.contract):
        if rule.kind is not RuleKind.REFERENCE:
            continue
        parent: str = rule.params["table"]
        app, version = now.parents.get(parent, ("", None))
        if known.get(app) == version:
            continue
        values = _moved_values(work.lake, rule, known.get(app), version)
        if values is None:
            yield from _all_rows(work, silver, columns)
            return
        column = rule.columns[0]
        for piece in values.cast(silver.schema[column]).to_frame(column).iter_slices(CHUNK_EVENTS):
            fresh = read_snapshot(*_where(work, "silver"))  # the pieces before have changed it
            yield locate(fresh, piece, [column], columns)


def _moved_values(lake: Lake, rule: Rule, since: int | None, upto: int | None) -> pl.Series | None:
    """The values of a parent's column that went or came between two versions; None: it cannot be told."""
    table, column = rule.params["table"], rule.params["column"]
    if since is None or upto is None or since > upto:
        return None
    path = lake.path(table)
    try:
        old, new = (read_snapshot(path, lake.options, version) for version in (since, upto))
        moved = changes_between(old, new, [column])
    except (NotProvable, LakeError):
        return None
    both = pl.concat([moved.removed([column]), moved.added([column])])
    return both[column].drop_nulls().unique()


def _all_rows(work: Work, silver: Snapshot, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
    """Every row of the files that silver had; those that were judged again meanwhile lie in newer ones."""
    for file in silver.files:
        for start in range(0, file.num_records, CHUNK_EVENTS):
            fresh = read_snapshot(*_where(work, "silver"))
            now = [each for each in fresh.files if each.path == file.path]
            yield _slice(replace(fresh, files=tuple(now)), columns, start)


def _slice(snapshot: Snapshot, columns: Sequence[str], start: int) -> pl.DataFrame:
    within = pl.col("_row").is_between(start, start + CHUNK_EVENTS - 1)
    return live_rows(snapshot, columns, predicate=within).collect(engine="streaming")


# ---- THEIR VERDICT ---- #


def _settle(work: Work, rows: pl.DataFrame) -> Applied:
    """Rows of silver judged again: those with another verdict are written again, or quarantined."""
    none = Applied(table=work.contract.table)
    if rows.is_empty():
        return none
    before = [pl.col(name).alias(f"{WAS}{name}") for name in VERDICT]
    own = pl.col("quality_issues").list.filter(pl.element().str.contains(OWN_ISSUES))
    asked = rows.with_columns(*before, own.alias("_issues"), pl.lit(UPSERT).alias("_verb"))
    verdict = work.judge(asked.drop(VERDICT.keys()))
    changed, refused = verdict.kept.filter(~has_same_verdict()), verdict.quarantined
    if changed.is_empty() and refused.is_empty():
        return none
    # Quarantine first: after a crash between the two, the older copy is the one in quarantine, and
    # the next apply takes it away again.
    work.change(
        read_snapshot(*_where(work, "quarantine")),
        added=work.refused(work.audited(_with_events(work, refused))),
    )
    _tell_history(work, changed, "kept")
    _tell_history(work, refused, "quarantined")
    work.change(
        read_snapshot(*_where(work, "silver")),
        added=shaped(work.audited(changed), silver_schema(work.contract)),
        removed=pl.concat([no_place(), changed.select(FOUND), refused.select(FOUND)]),
        metadata={"contract_version": work.contract.version, "judged_again": str(len(rows))},
    )
    return replace(none, rejudged=len(changed) + len(refused), quarantined=len(refused))


def _tell_history(work: Work, rows: pl.DataFrame, verdict: str) -> None:
    """The verdict of the rows' current versions; those before keep the one they had in their time."""
    contract = work.contract
    if not contract.history or rows.is_empty():
        return
    snapshot = read_snapshot(*_where(work, "history"))
    event, schema = [*work.key, "source_bronze_id"], history_schema(contract)
    stored = locate(snapshot, rows, work.key, [name for name in schema if name not in work.key])
    told = rows.select(*event, *VERDICT, pl.lit(verdict).alias("verdict"))
    again = stored.filter("is_current").drop(*VERDICT, "verdict").join(told, on=event, how="inner")
    work.change(
        snapshot,
        added=shaped(work.audited(again), schema),
        removed=again.select(FOUND),
        stats=open_history(work.lake, contract),
    )


def _with_events(work: Work, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with their events as they came, which quarantine keeps."""
    if rows.is_empty():
        return rows
    ids = rows["source_bronze_id"].drop_nulls()
    events = (
        work.lake.scan(work.contract.bronze)
        .select(pl.col("event_id").alias("source_bronze_id"), "raw_payload")
        .filter(pl.col("source_bronze_id").is_in(ids.implode()))
        .unique("source_bronze_id")
        .collect(engine="streaming")
    )
    return rows.join(events, on="source_bronze_id", how="left")
