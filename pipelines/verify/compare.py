"""What differs between rows of the source and rows of the lake: pure, frames in, a frame out."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from pipelines.change.reduce import UNAVAILABLE, UNDECODABLE
from pipelines.verify.values import Field, json_form

#: In the source and not in the lake; the other way round; more than once in the lake, be it in one
#: table or in two; in both, with other values.
LOST, EXTRA, DOUBLED, DIFFERENT = "lost", "extra", "doubled", "different"
KINDS: tuple[str, ...] = (LOST, EXTRA, DOUBLED, DIFFERENT)

#: What a row of the lake carries beside its columns: the table it stands in, and its issues.
PLACE, ISSUES = "_place", "_issues"

_NONE = pl.lit([], dtype=pl.List(pl.String()))
_UNKNOWN = f"^({UNDECODABLE}|{UNAVAILABLE}):"


def found_schema(key: Sequence[str]) -> dict[str, pl.DataType]:
    """A row that differs: its key in canonical form, how, in which columns, where it stands."""
    texts = pl.List(pl.String())
    return {
        **dict.fromkeys(key, pl.String()),
        "kind": pl.String(),
        "columns": texts,
        "places": texts,
    }


def unknown_columns(issues: pl.Expr) -> pl.Expr:
    """The columns that a quarantined row does not know, by its issues; `*` where it knows none.

    A value that cannot be held, or never came, is null there and says nothing of the source's.
    """
    theirs = issues.list.filter(pl.element().str.contains(_UNKNOWN))
    names = theirs.list.eval(pl.element().str.replace(_UNKNOWN, "").str.replace(r"^\*.*$", "*"))
    return names.fill_null(_NONE)


def compare(
    source: pl.DataFrame, lake: pl.DataFrame, fields: Sequence[Field], key: Sequence[str]
) -> tuple[pl.DataFrame, int]:
    """The rows that differ, as `found_schema`, and how many values were set aside as unknown.

    Both frames hold canonical values; the lake's also `PLACE` and `ISSUES`. Keys of the source are
    unique. A key with a null equals nothing.
    """
    extra = lake.select(key).join(source, on=key, how="anti").unique()
    lost = source.select(key).join(lake, on=key, how="anti")
    both = source.join(lake, on=key, how="inner", suffix=":lake")
    doubled = both.select(key).filter(both.select(key).is_duplicated()).unique()
    changed, set_aside = _changed(both, [f for f in fields if f.name not in key], key)
    in_both = changed.join(
        doubled.with_columns(_twice=True), on=key, how="full", coalesce=True
    ).with_columns(
        pl.when("_twice").then(pl.lit(DOUBLED)).otherwise(pl.lit(DIFFERENT)).alias("kind")
    )
    found = pl.concat(
        [
            lost.with_columns(_NONE.alias("columns"), pl.lit(LOST).alias("kind")),
            extra.with_columns(_NONE.alias("columns"), pl.lit(EXTRA).alias("kind")),
            in_both.select(*key, pl.col("columns").fill_null(_NONE), "kind"),
        ]
    )
    return _with_places(found, lake, key).sort(key), set_aside


def _with_places(found: pl.DataFrame, lake: pl.DataFrame, key: Sequence[str]) -> pl.DataFrame:
    """`found_schema`: the rows with the table of each of their copies in the lake."""
    if not len(found):
        return pl.DataFrame(schema=found_schema(key))
    here = lake.select(*key, PLACE).join(found, on=key, how="semi", nulls_equal=True)
    places = here.group_by(key).agg(pl.col(PLACE).sort().alias("places"))
    joined = found.join(places, on=key, how="left", nulls_equal=True)
    return joined.with_columns(pl.col("places").fill_null(_NONE)).select(*found_schema(key))


def _changed(
    both: pl.DataFrame, values: Sequence[Field], key: Sequence[str]
) -> tuple[pl.DataFrame, int]:
    """The keys of rows with another value, and in which columns; a doubled row's together."""
    names = [field.name for field in values]
    unequal = both.select(
        pl.col(name).ne_missing(pl.col(f"{name}:lake")).alias(name) for name in names
    )
    aside = 0
    if both[ISSUES].null_count() < len(both):
        unknown = unknown_columns(pl.col(ISSUES)).alias("_")
        listed = both.select(unknown)
        is_unknown = listed.select(
            (pl.col("_").list.contains(name) | pl.col("_").list.contains("*")).alias(name)
            for name in names
        )
        aside = sum(is_unknown.sum().row(0))
        unequal = unequal.select(unequal[name] & ~is_unknown[name] for name in names)
    for name in (field.name for field in values if field.kind.kind == "json"):
        unequal = unequal.with_columns(_other_json(both, name, unequal[name]))
    some = unequal.select(pl.any_horizontal(pl.lit(value=False), *names)).to_series()
    differs = [pl.when(name).then(pl.lit(name)) for name in names]
    columns = pl.concat_list(differs).list.drop_nulls() if names else _NONE
    rows = both.filter(some).select(
        *key, unequal.filter(some).select(columns.alias("columns")).to_series()
    )
    together = rows.group_by(key).agg(pl.col("columns").list.explode().unique().sort())
    return together, aside


def _other_json(both: pl.DataFrame, name: str, unequal: pl.Series) -> pl.Series:
    """Of the texts that differ, those that also say something else; only these few are parsed."""
    at = unequal.arg_true()
    ours, theirs = both[name].gather(at), both[f"{name}:lake"].gather(at)
    other = [
        a is None or b is None or json_form(a) != json_form(b)
        for a, b in zip(ours, theirs, strict=True)
    ]
    return unequal.scatter(at, other) if len(at) else unequal


# ---- RANGES ---- #


def within(key: Sequence[str], after: pl.DataFrame | None, to: pl.DataFrame | None) -> pl.Expr:
    """Whether a row's key, in the order of its columns, lies after one row's and not after another's.

    None is no bound. A key with a null lies in no range; `without_key` finds it.
    """
    inside = pl.all_horizontal(pl.col(name).is_not_null() for name in key)
    if after is not None:
        inside &= _beyond(key, after)
    if to is not None:
        inside &= ~_beyond(key, to)
    return inside


def without_key(key: Sequence[str]) -> pl.Expr:
    """Whether a part of the key is null."""
    return pl.any_horizontal(pl.col(name).is_null() for name in key)


def _beyond(key: Sequence[str], bound: pl.DataFrame) -> pl.Expr:
    name, rest = key[0], key[1:]
    value = pl.lit(bound[name][0], dtype=bound.schema[name])
    if not rest:
        return pl.col(name) > value
    # The first condition alone is what lets a file be skipped by its statistics.
    return (pl.col(name) >= value) & ((pl.col(name) > value) | _beyond(rest, bound))
