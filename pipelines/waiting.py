"""What waits in quarantine and why: rows listed, counted, named by their ids, and shown without a classified value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from pipelines.contract import Contract, did_you_mean
from pipelines.contract.rules import rules_of
from pipelines.decisions import row_id
from pipelines.errors import SettingsError
from pipelines.shape import payload_shape, shown
from pipelines.storage import Lake

#: The shortest beginning or end of a row's id that names it.
_SHORTEST = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which rows of a table's quarantine: by id, or by what they break and how long they wait.

    Raises:
        SettingsError: on construction, when it names no row and does not say `everything`.
    """

    ids: tuple[str, ...] = ()
    rule: str | None = None
    older_than: timedelta | None = None
    everything: bool = False

    def __post_init__(self) -> None:
        filtered = self.rule is not None or self.older_than is not None or self.everything
        if bool(self.ids) == filtered:
            raise SettingsError(
                "rows are named either by their ids or by --rule, --older-than or --all",
                hint="'medallion quarantine list TABLE' shows the ids",
            )
        for name in self.ids:
            if len(name) < _SHORTEST:
                raise SettingsError(
                    f"'{name}' is too short to name a row",
                    hint=f"give at least {_SHORTEST} characters of its id",
                )


def waiting_rows(
    lake: Lake,
    contract: Contract,
    now: datetime,
    *,
    rule: str | None = None,
    older_than: timedelta | None = None,
) -> pl.DataFrame:
    """What waits in one table: ids, keys (classified parts as `***`), issues, and since when.

    Raises:
        SettingsError: when no row breaks such a rule and the contract has none of the name.
    """
    table = contract.sibling("quarantine")
    if lake.version(table) is None:
        return pl.DataFrame(schema=_LISTED)
    rows = lake.scan(table)
    times = pl.col("times_seen") if "times_seen" in rows.collect_schema() else pl.lit(1)
    listed = rows.select(
        pl.lit(contract.table).alias("table"),
        row_id(contract).alias("row_id"),
        key_text(contract).alias("key"),
        pl.col("quality_issues").alias("issues"),
        times.cast(pl.Int64).alias("times_seen"),
        "first_seen_at",
    ).collect()
    refuse_unknown_rule(contract, listed, rule)
    return listed.filter(fits(now, rule, older_than)).sort("first_seen_at", "key", "row_id")


_LISTED = {
    "table": pl.String(),
    "row_id": pl.String(),
    "key": pl.String(),
    "issues": pl.List(pl.String()),
    "times_seen": pl.Int64(),
    "first_seen_at": pl.Datetime("us", "UTC"),
}


def counted(rows: pl.DataFrame, by: Sequence[str]) -> pl.DataFrame:
    """Waiting rows counted by `table`, or by `table` and `rule`: a row that breaks two rules counts in both."""
    if "rule" in by:
        rows = rows.explode("issues").rename({"issues": "rule"})
    return (
        rows.group_by(by)
        .agg(
            pl.len().alias("rows"),
            pl.col("times_seen").sum(),
            pl.col("first_seen_at").min(),
            pl.col("first_seen_at").max().alias("last_seen_first_at"),
        )
        .sort("rows", *by, descending=[True, *(False for _ in by)])
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One quarantined row: nothing of it is a classified value.

    `columns` are its values as they may be shown; `failed` the shape of each value that a failed
    rule speaks of; `event` where it stands in bronze and in Kafka; `payload` the message's fields,
    each as its shape.
    """

    row: dict[str, Any]
    columns: dict[str, str]
    failed: list[dict[str, str]]
    event: dict[str, Any]
    payload: dict[str, str]


def show_row(lake: Lake, contract: Contract, name: str) -> Shown:
    """One row by its id, or by the beginning or the end of its id.

    Raises:
        SettingsError: when no row, or more than one, is named like this.
    """
    if lake.version(contract.sibling("quarantine")) is None:
        raise _no_such_row(contract, name)
    rows = lake.scan(contract.sibling("quarantine")).collect()
    (found,) = named(contract, rows, Choice(ids=(name,)).ids).rows(named=True)
    hidden = contract.classified()
    failed = [
        _failed(contract, found, issue) for issue in found["quality_issues"] or ["(no issue)"]
    ]
    return Shown(
        row={
            "table": contract.table,
            "row_id": found["row_id" if contract.identity == "row" else "source_bronze_id"],
            "first_seen_at": found["first_seen_at"],
            "times_seen": found.get("times_seen", 1),
            "processing_version": found["processing_version"],
        },
        columns={n: shown(found[n], hidden=n in hidden) for n in contract.columns},
        failed=[each for group in failed for each in group],
        event=_event(lake, contract, found),
        payload=payload_shape(found["raw_payload"])
        if not contract.withheld
        else {"(message)": "kept in bronze alone, since it holds withheld fields"},
    )


def _failed(contract: Contract, row: dict[str, Any], issue: str) -> list[dict[str, str]]:
    """The values that an issue speaks of, as shapes; of a rule over several columns, each."""
    rules = {rule.name: rule for rule in rules_of(contract)}
    name = issue.rsplit(":", 1)[-1]
    rule = rules.get(issue) or rules.get(name)
    columns = rule.columns if rule is not None else (name,)
    told = rule.description or f"{rule.kind}" if rule is not None else "what came is no such value"
    hidden = contract.classified()
    return [
        {
            "issue": issue,
            "says": told,
            "column": column,
            "value": shown(row.get(column), hidden=column in hidden),
        }
        for column in columns or ("",)
        if column in contract.columns
    ] or [{"issue": issue, "says": told, "column": "", "value": ""}]


_EVENT = (
    "event_id",
    "operation_type",
    "topic",
    "kafka_partition",
    "kafka_offset",
    "kafka_timestamp",
    "event_timestamp",
    "transaction_id",
)


def _event(lake: Lake, contract: Contract, row: dict[str, Any]) -> dict[str, Any]:
    position = [row[f"source_{part}"] for part in ("epoch", "commit", "event", "offset")]
    told = {"position": "/".join(str(part) for part in position)}
    if lake.version(contract.bronze) is None:
        return told
    same = pl.col("event_id") == pl.lit(row["source_bronze_id"], pl.String)
    found = lake.scan(contract.bronze).filter(same).select(_EVENT).head(1).collect()
    return {**told, **(found.row(0, named=True) if len(found) else {})}


# ---- CHOOSE ---- #


def is_named(ids: pl.Expr, name: str) -> pl.Expr:
    """Whether a row's id begins or ends like this."""
    return ids.str.starts_with(name) | ids.str.ends_with(name)


def named(contract: Contract, rows: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """The rows whose id is one of these, or begins or ends with one.

    Raises:
        SettingsError: when no row's id does so with one of them, or more than one.
    """
    ids = rows.select(row_id(contract)).to_series()
    mask = pl.Series([False]).new_from_index(0, len(rows))
    for name in names:
        like = rows.select(is_named(row_id(contract), name)).to_series()
        if like.sum() == 0:
            raise _no_such_row(contract, name)
        if like.sum() > 1 and not (ids == name).any():
            raise SettingsError(
                f"{contract.table}: the ids of {like.sum():,} quarantined rows begin or end with '{name}'",
                hint="give more of the id; ids of one topic differ at their ends",
            )
        mask |= (ids == name) if (ids == name).any() else like
    return rows.filter(mask)


def _no_such_row(contract: Contract, name: str) -> SettingsError:
    return SettingsError(
        f"{contract.table}: no quarantined row has the id '{name}'",
        hint=f"'medallion quarantine list {contract.table}' shows what waits",
    )


def fits(now: datetime, rule: str | None, older_than: timedelta | None) -> pl.Expr:
    """Whether a row with `issues` and `first_seen_at` breaks a rule and waits longer than this."""
    fits = pl.lit(value=True)
    if rule is not None:
        fits &= pl.col("issues").list.eval(_is_issue(rule)).list.any().fill_null(value=False)
    if older_than is not None:
        fits &= pl.col("first_seen_at") <= now - older_than
    return fits


def _is_issue(rule: str) -> pl.Expr:
    """Whether an issue is of a rule, or of a column that could not be read."""
    return (pl.element() == rule) | pl.element().str.ends_with(f":{rule}")


def refuse_unknown_rule(contract: Contract, rows: pl.DataFrame, rule: str | None) -> None:
    """Nothing, when a rule is one of the contract's, or an issue or a column that rows name.

    Raises:
        SettingsError: with the nearest name.
    """
    issues = rows["issues"].explode().drop_nulls().unique().to_list()
    known = {*(each.name for each in rules_of(contract)), *contract.columns, *issues}
    if rule is not None and rule not in known:
        raise SettingsError(
            f"{contract.table} has no rule '{rule}'", hint=did_you_mean(rule, known)
        )


def key_text(contract: Contract) -> pl.Expr:
    """A row's key as text, its classified parts as `***`."""
    hidden = contract.classified()
    parts = [
        pl.lit("***") if name in hidden else pl.col(name).cast(pl.String).fill_null("null")
        for name in contract.key
    ]
    return pl.concat_str(parts, separator="/")
