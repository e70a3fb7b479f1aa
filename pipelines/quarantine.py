"""What somebody decides of quarantined rows: released, dropped, or judged again.

A decision takes effect by judging the table's waiting rows once more, as every apply does. Steps,
each of which may be repeated, so that the same command after a crash at any moment ends as one that
did not crash:

1. audit what was decided before a crash, and not audited any more
2. keep the decisions (`system.main.quarantine_decisions`), which is what apply and rebuild read
3. audit them (`system.main.audit_log`)
4. judge what waits: released rows go to silver, dropped ones leave a tombstone
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from pipelines.applying import Applied, Work
from pipelines.audit import AUDIT_LOG, AUDIT_TABLE, Actor, record
from pipelines.change.reduce import UNAVAILABLE, UNDECODABLE
from pipelines.contract import Catalog, Contract
from pipelines.decisions import DECISIONS, DECISIONS_TABLE, RELEASE, row_id
from pipelines.errors import LakeError, SettingsError
from pipelines.evolution import follow_contract
from pipelines.state import OWN_ISSUES, State, open_state, progress_of
from pipelines.storage import Lake
from pipelines.waiting import Choice, fits, is_named, key_text, named, refuse_unknown_rule

#: Values that silver would not hold as the source has them, whatever somebody decides.
_UNKNOWN = f"^({UNDECODABLE}|{UNAVAILABLE}):"


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """What became of a decision: `decided` rows now, of which `already` had it; `unfit` could not have it."""

    table: str
    act: str
    decided: int
    already: int = 0
    unfit: int = 0
    released: int = 0
    dropped: int = 0
    waiting: int = 0


# ---- DECIDE ---- #


def decide(
    lake: Lake,
    catalog: Catalog,
    table: str,
    act: str,
    choice: Choice,
    *,
    why: str,
    actor: Actor,
    now: datetime,
) -> Decided:
    """Releases or drops quarantined rows for a reason, and judges what waits.

    Raises:
        SettingsError: when a named row does not wait, or `why` says nothing.
        LakeError: when none of the rows can be released, since silver would not hold their values.
        ConflictError: when another process wrote meanwhile; the same command again is right.
    """
    if not why.strip():
        raise SettingsError("a decision has a reason", hint='say it with --why "..."')
    _audit_decisions(lake)
    work = _work(lake, catalog, table, now)
    state = open_state(lake, work.contract)
    decided = _decisions_on(lake, table, act, choice.ids)
    chosen = _chosen(work.contract, state, choice, decided, now)
    fit = chosen if act != RELEASE else chosen.filter(~_holds_unknown())
    if len(chosen) and not len(fit):
        raise LakeError(
            f"{table}: {len(chosen):,} rows hold a value that could not be read or never came",
            hint="mend the contract and 'retry', or 'drop' them: silver never shows a null that is none",
        )
    new = _new_decisions(work, fit, act, why, actor, decided)
    _keep(lake, new)
    _audit_decisions(lake)
    report = _judge_again(work)
    return Decided(
        table=table,
        act=act,
        decided=len(fit),
        already=len(fit) - len(new) if len(fit) else len(decided),
        unfit=len(chosen) - len(fit),
        released=report.released,
        dropped=report.dropped,
        waiting=open_state(lake, work.contract).quarantine.snapshot.num_rows,
    )


def retry(
    lake: Lake, catalog: Catalog, table: str, *, why: str, actor: Actor, now: datetime
) -> Decided:
    """Judges what waits in a table by the rules, the parents and the decisions as they are now.

    Raises:
        ConflictError: when another process wrote meanwhile; the same command again is right.
    """
    _audit_decisions(lake)
    work = _work(lake, catalog, table, now)
    before = open_state(lake, work.contract).quarantine.snapshot.num_rows
    if not before:
        return Decided(table=table, act="retry", decided=0)
    told = {"table_name": table, "why": why or None, "before": f'{{"quarantined": {before}}}'}
    record(lake, _entry("quarantine.retry", actor, now, **told))
    report = _judge_again(work)
    after = open_state(lake, work.contract).quarantine.snapshot.num_rows
    outcome = f'{{"quarantined": {after}, "released": {report.released}}}'
    record(lake, _entry("quarantine.retried", actor, now, **told, after=outcome))
    return Decided(
        table=table, act="retry", decided=before, released=report.released, waiting=after
    )


def _work(lake: Lake, catalog: Catalog, table: str, now: datetime) -> Work:
    if lake.version(table) is None:
        raise LakeError(f"{table}: no such table in the lake", hint="run 'medallion run' first")
    contract = follow_contract(lake, catalog, table, now)
    return Work(
        lake=lake,
        catalog=catalog.having(contract),
        contract=contract,
        now=now,
        app_id=progress_of(lake.handle(contract.bronze)),
    )


def _judge_again(work: Work) -> Applied:
    state = open_state(work.lake, work.contract)
    stored = {name: column.type.stored for name, column in work.contract.columns.items()}
    return work.settle(state, pl.DataFrame(schema=stored), app={})


def _chosen(
    contract: Contract, state: State, choice: Choice, decided: pl.DataFrame, now: datetime
) -> pl.DataFrame:
    """The waiting rows that were chosen, with the issues that they were refused for."""
    rows = state.quarantine.rows(list(state.quarantine.snapshot.schema))
    if choice.ids:
        done = [n for n in choice.ids if len(decided.filter(is_named(pl.col("row_id"), n)))]
        ids = row_id(contract)
        left = [n for n in choice.ids if n not in done or len(rows.filter(is_named(ids, n)))]
        return named(contract, rows, left)
    issues = rows.rename({"quality_issues": "issues"})
    refuse_unknown_rule(contract, issues, choice.rule)
    return rows.filter(issues.select(fits(now, choice.rule, choice.older_than)).to_series())


def _holds_unknown() -> pl.Expr:
    unknown = pl.element().str.contains(_UNKNOWN)
    return pl.col("quality_issues").list.eval(unknown).list.any().fill_null(value=False)


# ---- KEEP ---- #


def _decisions_on(lake: Lake, table: str, act: str, ids: Sequence[str]) -> pl.DataFrame:
    """The decisions of this kind on a table's rows; of rows that are named, only theirs."""
    if lake.version(DECISIONS) is None:
        return pl.DataFrame(schema=dict(DECISIONS_TABLE))
    is_ours = (pl.col("table_name") == table) & (pl.col("act") == act)
    rows = lake.scan(DECISIONS).filter(is_ours).collect()
    theirs = [is_named(pl.col("row_id"), name) for name in ids]
    return rows.filter(pl.any_horizontal(theirs)) if theirs else rows


def _new_decisions(
    work: Work, rows: pl.DataFrame, act: str, why: str, actor: Actor, decided: pl.DataFrame
) -> pl.DataFrame:
    """Decisions on rows, each with the issues that the row has now, without those that stand already."""
    judged = work.judge(_as_events(rows))
    split = [judged.quarantined, judged.kept]
    contract = work.contract
    wanted = pl.concat(split, how="diagonal").select(
        pl.lit(contract.table).alias("table_name"),
        row_id(contract).alias("row_id"),
        key_text(contract).alias("row_key"),
        pl.lit(act).alias("act"),
        pl.col("quality_issues").list.sort().alias("issues"),
        pl.lit(why.strip()).alias("why"),
        pl.lit(actor.name).alias("decided_by"),
        pl.lit(actor.os_user).alias("os_user"),
        pl.lit(work.now).cast(pl.Datetime("us", "UTC")).alias("decided_at"),
    )
    newest = decided.sort("decided_at").unique("row_id", keep="last")
    same = newest.select("row_id", "act", "issues")
    new = wanted.join(same, on=["row_id", "act", "issues"], how="anti")
    ids = pl.Series("decision_id", [str(uuid.uuid4()) for _ in range(len(new))], pl.String)
    return new.with_columns(ids).select(*DECISIONS_TABLE)


def _as_events(rows: pl.DataFrame) -> pl.DataFrame:
    """Stored rows as what the rules judge: without their verdict, with the issues of their values."""
    own = pl.col("quality_issues").list.filter(pl.element().str.contains(OWN_ISSUES))
    verdict = ("data_quality_score", "quality_checks_passed", "quality_issues")
    return rows.with_columns(own.alias("_issues")).drop(*verdict)


def _keep(lake: Lake, rows: pl.DataFrame) -> None:
    if len(rows):
        handle = lake.create(DECISIONS, DECISIONS_TABLE, configuration={"delta.appendOnly": "true"})
        lake.write(handle, rows, mode="append", app={DECISIONS: handle.version() + 1})


def _audit_decisions(lake: Lake) -> None:
    """An entry for each decision that has none yet."""
    if lake.version(DECISIONS) is None:
        return
    place = pl.when(pl.col("act") == RELEASE).then(pl.lit("silver")).otherwise(pl.lit("nowhere"))
    before = pl.struct(pl.lit("quarantine").alias("place"), "issues").struct.json_encode()
    after = pl.struct(place.alias("place")).struct.json_encode()
    entries = lake.scan(DECISIONS).select(
        pl.col("decision_id").alias("entry_id"),
        pl.col("decided_at").alias("at"),
        pl.col("decided_by").alias("done_by"),
        "os_user",
        (pl.lit("quarantine.") + pl.col("act")).alias("act"),
        "table_name",
        "row_id",
        "row_key",
        "why",
        before.alias("before"),
        after.alias("after"),
    )
    record(lake, entries.collect())


def _entry(act: str, actor: Actor, now: datetime, **told: str | None) -> pl.DataFrame:
    row = {
        "entry_id": str(uuid.uuid4()),
        "at": now,
        "done_by": actor.name,
        "os_user": actor.os_user,
        "act": act,
        **told,
    }
    return pl.DataFrame([{**dict.fromkeys(AUDIT_TABLE), **row}], schema=dict(AUDIT_TABLE))


def audited(lake: Lake) -> pl.DataFrame:
    """The audit log, newest first."""
    if lake.version(AUDIT_LOG) is None:
        return pl.DataFrame(schema=dict(AUDIT_TABLE))
    return lake.scan(AUDIT_LOG).sort("at", "entry_id", descending=True).collect()
