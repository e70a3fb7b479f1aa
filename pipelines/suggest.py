"""Rules that a table's own rows speak for, each with its evidence, as a patch of its contract.

What a profile shows held for the rows there are; whether it must hold is for a person to say. So
every proposal is a warning. Values of classified columns are neither shown nor put into a rule.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import combinations
from typing import Any

import polars as pl
import yaml

from pipelines.contract import Catalog, Contract
from pipelines.contract.rules import rules_of
from pipelines.errors import LakeError
from pipelines.storage import Lake
from quality_rules.conditions import condition
from quality_rules.formats import TYPES
from quality_rules.kinds import RuleKind
from quality_rules.rule import Rule

#: Fewer rows are no evidence.
FEWEST_ROWS = 20
#: A column of few values, each of them often: the values are a list.
_MOST_VALUES, _ROWS_A_VALUE = 12, 20
#: A reference is proposed where nearly all values are found.
_MOSTLY_FOUND = 0.95
_FORMATS = ("uuid", "email", "url", "ipv4", "phone")
#: Short codes look alike: proposed where the column's name says which it is.
_NAMED_FORMATS = ("currency", "country", "country3", "language", "script")
_MOST_TIMES = 6
_DAYS = 14
_HOUR = 3600


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A rule in the words of a contract, and what in the table speaks for it."""

    rule: Mapping[str, Any]
    evidence: str


@dataclass(frozen=True, slots=True)
class _Profile:
    """One pass over the table: how many rows, and numbers of each column by name."""

    rows: int
    told: Mapping[str, Any]

    def of(self, column: str, what: str) -> Any:
        return self.told[f"{column}\n{what}"]


def suggest(lake: Lake, catalog: Catalog, table: str) -> list[Proposal]:
    """What the rows of a silver or gold table speak for, beyond the rules its contract has.

    Raises:
        LakeError: when there is no such table, or too few rows to say anything.
    """
    contract = catalog[table]
    rows = lake.scan(table).select(contract.columns.keys())
    profile = _profile(rows, contract)
    if profile.rows < FEWEST_ROWS:
        raise LakeError(
            f"{table} has {profile.rows} rows, which is evidence of nothing",
            hint=f"profile it again when it has {FEWEST_ROWS}",
        )
    found = [
        *_of_columns(rows, profile, contract),
        *_references(lake, catalog, contract, rows),
        *_of_times(rows, contract, profile),
    ]
    known = rules_of(contract)
    new = [each for each in found if not _is_said(each.rule, known)]
    taken = {rule.name for rule in known}
    return [each for each in new if each.rule["name"] not in taken]


def as_patch(table: str, proposals: Sequence[Proposal], now: datetime) -> str:
    """The proposals as the `rules` of a contract, the evidence of each above it."""
    if not proposals:
        return f"# {table}: nothing to propose beyond its contract\nrules: []\n"
    lines = [
        f"# {table}, profiled {now:%Y-%m-%d %H:%M} UTC: add what must hold to its contract",
        "rules:",
    ]
    for each in proposals:
        text = yaml.safe_dump(
            dict(each.rule), default_flow_style=True, sort_keys=False, width=math.inf
        )
        lines += [f"  # {each.evidence}", f"  - {text.strip()}"]
    return "\n".join(lines) + "\n"


def _is_said(rule: Mapping[str, Any], known: Sequence[Rule]) -> bool:
    """Whether the contract says the like already: a rule of this kind on these columns."""
    kind = list(rule)[-1]
    body: Mapping[str, Any] = rule[kind]
    if kind == "expression":
        asked = set(
            Rule(table="", name="r", kind=RuleKind.EXPRESSION, columns=(), params=body).reads
        )
        return any(each.kind is RuleKind.EXPRESSION and asked <= set(each.reads) for each in known)
    columns = tuple(body["columns"]) if "columns" in body else (body["column"],)
    return any(each.kind == kind.upper() and each.columns == columns for each in known)


# ---- PROFILE ---- #


def _profile(rows: pl.LazyFrame, contract: Contract) -> _Profile:
    wanted = [pl.len().alias("*rows")]
    for name, column in contract.columns.items():
        wanted += [
            value.alias(f"{name}\n{what}")
            for what, value in _numbers(name, column.type.stored).items()
        ]
    told = rows.select(wanted).collect(engine="streaming")
    values = dict(zip(told.columns, told.row(0), strict=True))
    return _Profile(values.pop("*rows"), values)


def _numbers(name: str, dtype: pl.DataType) -> dict[str, pl.Expr]:
    column = pl.col(name)
    numbers = {"filled": column.is_not_null().sum()}
    if not dtype.is_nested():
        numbers["distinct"] = column.drop_nulls().n_unique()
    if dtype.is_numeric():
        numbers["min"] = column.min()
    if dtype == pl.String:
        numbers |= {
            "shortest": column.str.len_chars().min(),
            "longest": column.str.len_chars().max(),
        }
        asked = dict.fromkeys((*_FORMATS, *_NAMED_FORMATS), RuleKind.FORMAT)
        asked |= dict.fromkeys(TYPES, RuleKind.TYPE)
        for word, kind in asked.items():
            params = {"format" if kind is RuleKind.FORMAT else "type": word}
            numbers[word] = condition(kind, word, name, params, dtype).sum()
    return numbers


# ---- PROPOSALS OF ONE COLUMN ---- #


def _of_columns(rows: pl.LazyFrame, profile: _Profile, contract: Contract) -> Iterator[Proposal]:
    hidden = contract.classified()
    for name, column in contract.columns.items():
        filled: int = profile.of(name, "filled")
        if filled == profile.rows:
            yield _proposal(
                name, "filled", "not_null", {"column": name}, f"no null in {filled:,} rows"
            )
        if filled < FEWEST_ROWS or column.type.stored.is_nested():
            continue
        distinct: int = profile.of(name, "distinct")
        if distinct == filled and contract.key != (name,) and _can_tell_apart(column.type.stored):
            evidence = f"{distinct:,} values in {filled:,} rows"
            yield _proposal(name, "unique", "unique", {"columns": [name]}, evidence)
        if column.type.stored.is_numeric():
            yield from _sign(profile, name, filled, shown=name not in hidden)
        elif column.type.stored == pl.String and column.type.kind not in ("uuid", "json", "enum"):
            yield from _text(rows, profile, name, filled, shown=name not in hidden)


def _can_tell_apart(dtype: pl.DataType) -> bool:
    return dtype == pl.String or dtype.is_integer()


def _sign(profile: _Profile, name: str, filled: int, *, shown: bool) -> Iterator[Proposal]:
    least = profile.of(name, "min")
    if least >= 0:
        bound = 1 if least >= 1 else 0
        evidence = f"at least {least if shown else bound} in {filled:,} rows"
        yield _proposal(name, "not_below", "range", {"column": name, "min": bound}, evidence)


def _text(
    rows: pl.LazyFrame, profile: _Profile, name: str, filled: int, *, shown: bool
) -> Iterator[Proposal]:
    words = [*_FORMATS, *(each for each in _NAMED_FORMATS if each.rstrip("3") in name)]
    for kind, known in (("format", words), ("type", TYPES)):
        word = next((each for each in known if profile.of(name, each) == filled), None)
        if word is not None:
            evidence = f"all {filled:,} texts are of the {kind} {word}"
            yield _proposal(name, kind, kind, {"column": name, kind: word}, evidence)
            return
    distinct: int = profile.of(name, "distinct")
    few = distinct <= _MOST_VALUES and filled >= distinct * _ROWS_A_VALUE
    if few and shown:
        values = rows.select(pl.col(name).drop_nulls().unique().sort()).collect().to_series()
        body = {"column": name, "values": values.to_list()}
        yield _proposal(name, "listed", "set", body, f"{distinct} values in {filled:,} rows")
    short, long = profile.of(name, "shortest"), profile.of(name, "longest")
    if short == long and not few:
        body = {"column": name, "min": short, "max": long}
        evidence = f"all {distinct:,} different texts have {long} characters"
        yield _proposal(name, "length", "length", body, evidence)


def _proposal(
    column: str, what: str, kind: str, body: Mapping[str, Any], evidence: str, **more: Any
) -> Proposal:
    rule = {"name": f"{column.lower()}_{what}", "severity": "warning", **more, kind: dict(body)}
    return Proposal(rule=rule, evidence=evidence)


# ---- PROPOSALS OF SEVERAL COLUMNS OR TABLES ---- #


def _references(
    lake: Lake, catalog: Catalog, contract: Contract, rows: pl.LazyFrame
) -> Iterator[Proposal]:
    """Columns named as another table's key, or as the table itself, whose values nearly all stand there."""
    for parent in catalog.layer("silver"):
        if parent.table == contract.table or len(parent.key) != 1:
            continue
        there = parent.key[0]
        for name, column in contract.columns.items():
            named = name == there != "id" or name in (
                f"{parent.name}_id",
                f"{parent.name.removesuffix('s')}_id",
            )
            if not named or column.type.stored != parent.columns[there].type.stored:
                continue
            if lake.version(parent.table) is not None:
                yield from _reference(lake, parent.table, there, name, rows)


def _reference(
    lake: Lake, parent: str, there: str, name: str, rows: pl.LazyFrame
) -> Iterator[Proposal]:
    filled = rows.filter(pl.col(name).is_not_null())
    keys = lake.scan(parent).select(there).unique()
    found = filled.join(keys, left_on=name, right_on=there, how="semi")
    asked, met = (
        int(frame.select(pl.len()).collect(engine="streaming").item()) for frame in (filled, found)
    )
    share = math.floor(1000 * met / asked) / 1000 if asked else 0.0
    if asked >= FEWEST_ROWS and share >= _MOSTLY_FOUND:
        body = {"column": name, "table": parent, "column_there": there}
        more = {} if met == asked else {"mostly": share}
        evidence = f"{met:,} of {asked:,} values stand in {parent}"
        yield _proposal(name, "known", "reference", body, evidence, **more)


def _of_times(rows: pl.LazyFrame, contract: Contract, profile: _Profile) -> Iterator[Proposal]:
    times = [n for n, c in contract.columns.items() if isinstance(c.type.stored, pl.Datetime)]
    full = [name for name in times if profile.of(name, "filled") == profile.rows]
    yield from _order(rows, times[:_MOST_TIMES])
    if full:
        newest = max(full, key=lambda name: ("updated" in name, "created" in name))
        yield from _pace(rows, newest)
        first = max(full, key=lambda name: ("created" in name, "updated" in name))
        yield from _days(rows, first)


def _order(rows: pl.LazyFrame, times: Sequence[str]) -> Iterator[Proposal]:
    """Pairs of times of which one is never before the other, and sometimes after it."""
    pairs = list(combinations(times, 2))
    if not pairs:
        return
    told = rows.select(
        number.cast(pl.Int64).alias(f"{a}\n{b}\n{what}")
        for a, b in pairs
        for what, number in (
            ("both", (pl.col(a).is_not_null() & pl.col(b).is_not_null()).sum()),
            ("less", (pl.col(a) < pl.col(b)).sum()),
            ("more", (pl.col(a) > pl.col(b)).sum()),
        )
    ).collect(engine="streaming")
    for a, b in pairs:
        both, less, more = (told[f"{a}\n{b}\n{what}"][0] for what in ("both", "less", "more"))
        if both < FEWEST_ROWS or bool(less) == bool(more):
            continue
        early, late = (a, b) if less else (b, a)
        rule = {
            "name": f"{late.lower()}_not_before_{early.lower()}",
            "severity": "warning",
            "expression": {"sql": f"{late} >= {early}"},
        }
        yield Proposal(rule=rule, evidence=f"holds in {both:,} rows, later in {less or more:,}")


def _pace(rows: pl.LazyFrame, name: str) -> Iterator[Proposal]:
    gaps = rows.select(
        pl.col(name).unique().sort().diff().dt.total_seconds().drop_nulls().alias("s")
    )
    told = gaps.select(pl.len().alias("n"), pl.col("s").quantile(0.99).alias("gap")).collect()
    number, gap = told.row(0)
    if number < FEWEST_ROWS:
        return
    hours = max(1, math.ceil(3 * gap / _HOUR))
    evidence = f"99 of 100 gaps between its times are below {gap:,.0f} s; three times that"
    yield _proposal(
        name, "fresh", "freshness", {"column": name, "within": f"{hours} hours"}, evidence
    )


def _days(rows: pl.LazyFrame, name: str) -> Iterator[Proposal]:
    """Whole days of the last two weeks that the table has: none without rows."""
    day = pl.col(name).dt.date()
    daily = rows.group_by(day.alias("day")).agg(pl.len().alias("rows")).sort("day").collect()
    whole = daily.slice(1, max(0, len(daily) - 2)).tail(_DAYS)
    if len(whole) < _DAYS or (whole["day"][-1] - whole["day"][0]).days != len(whole) - 1:
        return
    counts = [int(count) for count in whole["rows"]]
    mean = sum(counts) / len(counts)
    body = {
        "column": name,
        "at_least": math.floor(50 * min(counts) / mean) / 100,
        "at_most": math.ceil(200 * max(counts) / mean) / 100,
    }
    evidence = f"{min(counts):,} to {max(counts):,} rows a day in {len(counts)} days, {mean:,.0f} in the mean"
    yield _proposal(name, "volume", "volume", body, evidence)
