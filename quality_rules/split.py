"""Rows split by rules: kept and quarantined, each with what it passed, what it broke, and a score.

The score is the share of the rules' weights (`WEIGHTS`) that the row kept, rounded down to
hundredths: 1.00 means every rule. A rule that raised on a row was not kept: the row's issue says
`unjudged: <rule>`, and an error rule has it quarantined as if it were broken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

import polars as pl

from quality_rules.conditions import RAISED
from quality_rules.rule import Rule, Severity
from quality_rules.unjudged import UNJUDGED, judge_each

#: What a broken rule takes from a row's score, as a share of the weights of all its rules: an error
#: weighs four warnings, a warning two remarks. All kept: 1.00.
WEIGHTS: Mapping[Severity, int] = {Severity.ERROR: 8, Severity.WARNING: 2, Severity.INFO: 1}

SCORE = pl.Decimal(3, 2)
VERDICT: Mapping[str, pl.DataType] = {
    "data_quality_score": SCORE,
    "quality_checks_passed": pl.List(pl.String()),
    "quality_issues": pl.List(pl.String()),
}

#: Begins an issue that only tells: the value is null since nothing holds what the source says.
SPECIAL = "special"

#: More rules than bits in a mask, and the mask would wrap.
_MOST_RULES = 63


@dataclass(frozen=True, slots=True)
class Split:
    """`kept` and `quarantined` together are the rows that went in, each in one of them."""

    kept: pl.DataFrame
    quarantined: pl.DataFrame


def split(rows: pl.DataFrame, rules: Sequence[Rule], parents: Mapping[str, pl.Series]) -> Split:
    """The rows with their verdict; a row that breaks an error rule, or brings issues, is quarantined.

    `rows` may have a column `_issues` of what was found wrong before (a value that could not be
    decoded): such issues count as errors and stand first, save for those that begin with `special:`,
    which are only told. `parents` holds for each REFERENCE rule, by its name, the values it finds.
    Rows come out in no promised order. Cost: one pass over the rows, and the lists of each; those of
    the rows that keep every rule are all the same, and made once.
    """
    active = [rule for rule in rules if rule.active and rule.on_rows]
    if len(active) > _MOST_RULES:
        raise ValueError(
            f"{len(active)} rules on the rows of {active[0].table}; at most {_MOST_RULES} are judged at once"
        )
    failed = _failed(rows, active, parents)
    bad = failed["bad"]
    if "_issues" in rows.columns:
        bad = bad | (rows["_issues"].list.len() > 0).fill_null(value=False)
    clean = _with_all_passed(rows.filter(~bad), active)
    judged = _judged(rows.filter(bad), failed.filter(bad), active)
    refused = judged["_refused"]
    judged = judged.drop("_refused")
    return Split(
        kept=pl.concat([clean, judged.filter(~refused)]), quarantined=judged.filter(refused)
    )


def _failed(
    rows: pl.DataFrame, rules: Sequence[Rule], parents: Mapping[str, pl.Series]
) -> pl.DataFrame:
    """Where each row fails: `b0` where it breaks the first rule, `r0` where that raised; `bad`: anywhere.

    Where no rule raised on any row, there are no columns that say so.
    """
    types = dict(rows.schema)
    valid = [rule.valid(types, parents) for rule in rules]
    try:
        each = [(~one).alias(f"b{at}") for at, one in enumerate(valid)]  # null: does not apply
        failed = rows.select(pl.int_range(pl.len()).alias("_at"), *each).drop("_at")
    except RAISED:
        found = [judge_each(rows, one) for one in valid]
        columns = {f"b{at}": broken for at, (broken, _) in enumerate(found)}
        failed = pl.DataFrame(columns | {f"r{at}": raised for at, (_, raised) in enumerate(found)})
    if not valid:
        return pl.select(pl.repeat(value=False, n=len(rows), dtype=pl.Boolean).alias("bad"))
    return failed.with_columns(pl.any_horizontal(pl.all()).fill_null(value=False).alias("bad"))


#: Rows that share the lists of one block: their texts are written once a block, and copied as bytes.
_BLOCK_ROWS = 4096


def _with_all_passed(rows: pl.DataFrame, rules: Sequence[Rule]) -> pl.DataFrame:
    """The rows with the verdict of those that keep every rule."""
    told = _verdicts([(0, 0)], rules).select(VERDICT.keys())
    block = told.select(pl.all().gather(pl.repeat(0, _BLOCK_ROWS, dtype=pl.UInt32)))
    whole, rest = divmod(len(rows), _BLOCK_ROWS)
    return rows.hstack(
        [pl.concat([*[each] * whole, each.head(rest)]).rechunk() for each in block.get_columns()]
    )


def _judged(rows: pl.DataFrame, failed: pl.DataFrame, rules: Sequence[Rule]) -> pl.DataFrame:
    """The rows with the verdict of the rules they fail, and whether it refuses them."""
    masks = [
        _mask(failed, prefix, len(rules)).alias(name)
        for prefix, name in zip("br", _MASKS, strict=True)
    ]
    marked = rows.hstack(failed.select(masks))
    told = _verdicts(marked.select(_MASKS).unique().rows(), rules)
    return _with_prior_issues(marked.join(told, on=_MASKS, how="left").drop(_MASKS))


#: One bit a rule: those that the row broke, and those that raised on it.
_MASKS = ("_broken", "_raised")


def _mask(failed: pl.DataFrame, prefix: str, number: int) -> pl.Expr:
    bits = [
        pl.col(f"{prefix}{at}").cast(pl.UInt64) * (1 << at)
        for at in range(number)
        if f"{prefix}{at}" in failed.columns
    ]
    return (pl.sum_horizontal(bits) if bits else pl.repeat(0, pl.len())).cast(pl.UInt64)


def _verdicts(masks: Sequence[tuple[int, int]], rules: Sequence[Rule]) -> pl.DataFrame:
    """The verdict of each combination of broken rules, errors first."""
    ordered = sorted(enumerate(rules), key=lambda pair: (-WEIGHTS[pair[1].severity], pair[0]))
    most = sum(WEIGHTS[rule.severity] for rule in rules)
    rows = list[tuple[object, ...]]()
    for broken, raised in masks:
        failed = [
            (rule, raised >> bit & 1) for bit, rule in ordered if (broken | raised) >> bit & 1
        ]
        passed = [rule.name for bit, rule in enumerate(rules) if not (broken | raised) >> bit & 1]
        lost = sum(WEIGHTS[rule.severity] for rule, _ in failed)
        score = Decimal(100 * (most - lost) // most if most else 100) / 100
        issues = [f"{UNJUDGED}: {rule.name}" if odd else rule.name for rule, odd in failed]
        refused = any(rule.severity is Severity.ERROR for rule, _ in failed)
        rows.append((broken, raised, score, passed, issues, refused))
    schema = {**dict.fromkeys(_MASKS, pl.UInt64()), **VERDICT, "_refused": pl.Boolean()}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _with_prior_issues(judged: pl.DataFrame) -> pl.DataFrame:
    if "_issues" not in judged.columns:
        return judged
    told = pl.col("_issues").list.len() > 0
    prior = told
    if judged["_issues"].explode().drop_nulls().str.starts_with(f"{SPECIAL}:").any():
        refusing = pl.col("_issues").list.eval(~pl.element().str.starts_with(f"{SPECIAL}:"))
        prior = refusing.list.any().fill_null(value=False)
    return judged.with_columns(
        pl.when(prior)
        .then(pl.lit(Decimal("0.00"), SCORE))
        .otherwise("data_quality_score")
        .alias("data_quality_score"),
        pl.when(told)
        .then(pl.concat_list("_issues", "quality_issues"))
        .otherwise("quality_issues")
        .alias("quality_issues"),
        (pl.col("_refused") | prior).alias("_refused"),
    )
