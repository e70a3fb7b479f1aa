"""Mass for a source database: a story's rows copied into the years before it, as far as one cares to go.

A copy is the story with other identities, some weeks earlier. More copies lie in recent years than
in old ones, and more in December than in June. What the story itself hardly adds to (articles,
sites, accounts) grows slower than the rest, and few of them get most of what refers to them. Errors
are copied too: a row that breaks a rule, or that refers to nothing, is as frequent as in the story.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import polars.selectors as cs

from assets.demo_source import Database, Row
from pipelines.contract import Catalog, Contract

#: Copies lie in so many weeks before the story.
_WEEKS = 156
#: Each year has so many times the rows of the one before.
_YEARLY_GROWTH = 1.6
#: By how much December is above the mean, and June below.
_SEASON = 0.35
#: Tables that were mostly there before the story have this power of the copies.
_SLOW = 0.75
#: What lies so far back is no event of a story, and stands where it is: a birthday.
LONG_AGO = timedelta(days=15 * 365)
#: Rows made at once.
_CHUNK = 200_000
#: Numbers of copies begin above what a story gives, and those that refer to nothing above all.
_FIRST_NUMBER, _NO_NUMBER = 1_000_000, 2_000_000_000

Array = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """A table's rows as they are copied, and what becomes of its columns."""

    rows: pl.DataFrame
    key: str
    is_slow: bool
    refers: Mapping[str, str]
    """Columns that name a row of another table, or of this one."""
    distinct: frozenset[str]
    """Texts that no two rows may share."""
    first: int
    """The first number of a copy's key, where keys are numbers."""
    long_ago: date
    """Dates before this one stay as they are."""


def templates(
    story: Database, catalog: Catalog, domain: str, accepted: Mapping[str, Sequence[Row]], nth: int
) -> dict[str, Template]:
    """What there is to copy of the `nth` story told: the rows that the database accepts."""
    founded = Counter(table for table, _, _ in story.script[0].changes)
    made = dict[str, Template]()
    for table, rows in accepted.items():
        if rows:
            contract = catalog[f"silver.{domain}.{table}"]
            made[table] = Template(
                rows=pl.DataFrame(rows, infer_schema_length=None),
                key=story.tables[table].key,
                is_slow=founded[table] * 2 > len(rows),
                refers=_references(contract),
                distinct=_distinct(contract),
                long_ago=(story.clock - LONG_AGO).date(),
                first=_FIRST_NUMBER + nth * (_NO_NUMBER - _FIRST_NUMBER) // 8,
            )
    return made


def _references(contract: Contract) -> dict[str, str]:
    rules = [rule.reference for rule in contract.rules if rule.reference]
    return {rule.column: rule.table.rpartition(".")[2] for rule in rules}


def _distinct(contract: Contract) -> frozenset[str]:
    """Columns that are said to be unique; and hashes and tokens, which always are."""
    alone = {name for name, column in contract.columns.items() if column.unique}
    ruled = [
        rule.unique.columns
        for rule in contract.rules
        if rule.unique and len(rule.unique.columns) == 1
    ]
    return frozenset(alone | {name for (name,) in ruled} | set(contract.withheld))


def copies_for(rows: int, made: Mapping[str, Template]) -> int:
    """How many copies hold about so many rows."""
    fast = sum(len(each.rows) for each in made.values() if not each.is_slow)
    return max(-(-rows // max(fast, 1)), 1)


def copied(
    made: Mapping[str, Template], count: int, *, nth: int, story_shift: timedelta, end: datetime, seed: int
) -> Iterator[tuple[str, pl.DataFrame]]:  # fmt: skip
    """The rows of `count` copies, table by table and piece by piece."""
    random = np.random.default_rng([seed, nth])
    slow = max(int(count**_SLOW), 1)
    numbers = np.arange(1, count + 1)
    copies = pl.DataFrame(
        {
            "copy": numbers,
            "slow": np.where(numbers <= slow, numbers, 1 + (slow * random.random(count) ** 2).astype(np.int64)),
            "shift": _shifts(count, end, random) + round(story_shift / timedelta(microseconds=1)),
        }
    ).with_columns(pl.col("shift").cast(pl.Duration("us")))  # fmt: skip
    for table, template in made.items():
        own = copies.head(slow) if template.is_slow else copies
        for piece in own.iter_slices(max(_CHUNK // len(template.rows), 1)):
            yield table, _piece(template, made, piece, nth)


def _shifts(count: int, end: datetime, random: np.random.Generator) -> Array:
    """How far back each copy lies in microseconds, the oldest first: by growth and season, to the hour."""
    weeks = np.arange(_WEEKS, 0, -1)
    day_of_year = (end.timetuple().tm_yday - 7 * weeks) % 365
    weight = _YEARLY_GROWTH ** (-weeks / 52)
    weight = weight * (1 + _SEASON * np.cos(2 * np.pi * (day_of_year - 350) / 365))
    reached = np.cumsum(weight) / weight.sum()
    at = weeks[np.minimum(np.searchsorted(reached, (np.arange(count) + 0.5) / count), _WEEKS - 1)]
    return -(at.astype(np.int64) * 7 * 86_400 - random.integers(0, 3600, count)) * 1_000_000


def _piece(
    template: Template, made: Mapping[str, Template], copies: pl.DataFrame, nth: int
) -> pl.DataFrame:
    rows = copies.join(template.rows, how="cross")
    identities = {
        template.key: template,
        **{column: made[table] for column, table in template.refers.items() if table in made},
    }
    if isinstance(template.rows.schema[template.key], pl.String):
        loose = [n for n in template.rows.columns if _is_uuid(template.rows[n])]
        identities = {**dict.fromkeys(loose, template), **identities}
    columns = [_identified(name, of, nth) for name, of in identities.items()]
    suffix = pl.concat_str(pl.col("copy"), pl.lit(f".{nth}"))
    columns += [
        _distinguished(name, suffix)
        for name in template.distinct & set(template.rows.columns)
        if template.rows.schema[name] == pl.String and name not in identities
    ]
    moved = rows.with_columns(columns).with_columns(
        cs.datetime() + pl.col("shift"), *_days(template)
    )
    return moved.select(template.rows.columns)


def _days(template: Template) -> list[pl.Expr]:
    """Dates as many whole days earlier as the row's times, but for those of long ago."""
    days = [name for name, kind in template.rows.schema.items() if kind == pl.Date]
    return [
        pl.when(pl.col(name) < template.long_ago)
        .then(pl.col(name))
        .otherwise(pl.col(name) + pl.duration(days=pl.col("shift").dt.total_days()))
        .alias(name)
        for name in days
    ]


def _is_uuid(column: pl.Series) -> bool:
    return column.dtype == pl.String and bool(column.drop_nulls().str.contains(r"^[0-9a-f]{8}-[0-9a-f-]{27}$").all()) and column.null_count() < len(column)  # fmt: skip


def _identified(name: str, of: Template, nth: int) -> pl.Expr:
    """The identity of the copy's row: UUIDs by their first digits, numbers in a row of their own."""
    copy = pl.col("slow" if of.is_slow else "copy")
    if isinstance(of.rows.schema[of.key], pl.String):
        # An odd factor sends each number below 2^32 to another one, and neighbours far apart.
        mixed = ((copy.cast(pl.UInt64) + nth * 100_000_000) * 2_654_435_761) % 2**32
        return pl.concat_str(_hex(mixed), pl.col(name).str.slice(8)).alias(name)
    held = of.rows[of.key].sort()
    rank = pl.col(name).replace_strict(held, pl.Series(range(len(held))), default=None, return_dtype=pl.Int64)  # fmt: skip
    number = of.first + (copy - 1) * len(held) + rank
    return pl.coalesce(number, _NO_NUMBER + pl.col(name).cast(pl.Int64)).alias(name)


def _hex(number: pl.Expr) -> pl.Expr:
    """Eight hexadecimal digits."""
    digits = pl.lit(pl.Series([list("0123456789abcdef")]))
    return pl.concat_str(
        digits.list.get((number // 16**place % 16).cast(pl.UInt32)) for place in range(7, -1, -1)
    )


def _distinguished(name: str, suffix: pl.Expr) -> pl.Expr:
    """Another text: an address's name, or the whole, is told the copy's number."""
    text = pl.col(name)
    address = pl.concat_str(text.str.extract(r"^(.*)@"), pl.lit("."), suffix, text.str.extract(r"(@[^@]*)$"))  # fmt: skip
    plain = pl.concat_str(text, pl.lit(" "), suffix)
    return pl.when(text.str.contains("@", literal=True)).then(address).otherwise(plain).alias(name)
