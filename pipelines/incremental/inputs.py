"""A table that gold is made of, as it is now, and how a few of its rows are found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import polars as pl
from sqlglot.expressions import Column

from pipelines.delta import Snapshot, lookup, read_scattered
from pipelines.incremental.terms import Terms, among, same_types

#: Where more than this part of a table may be wanted, it is read from end to end.
_MOST = 0.2

#: Rows by the values of some terms.
Need = tuple[Terms, pl.DataFrame]


@dataclass(frozen=True, slots=True)
class Input:
    """`rows` are the table's; with a snapshot they are found by an index where it is worth one.

    `key` are columns that tell its rows apart, where there are such: asked for with others, they do.
    """

    rows: pl.LazyFrame
    snapshot: Snapshot | None = field(default=None, repr=False)
    key: Sequence[str] = ()

    @property
    def columns(self) -> list[str]:
        """The columns that the statement reads."""
        return self.rows.collect_schema().names()

    def among(self, need: Need, columns: Sequence[str]) -> pl.LazyFrame:
        """The rows that meet the need, over at least these columns."""
        near = self._near([need], columns)
        return among(self.rows if near is None else near, *need)

    def any_of(self, needs: Sequence[Need]) -> pl.LazyFrame:
        """The rows that meet any of the needs, each once, and perhaps others."""
        near = self._near(needs, self.columns)
        if near is not None:
            return near
        if len(needs) == 1:
            return among(self.rows, *needs[0])
        numbered = self.rows.with_row_index("_place")
        found = pl.concat([among(numbered, *each) for each in needs])
        return found.unique("_place").drop("_place")

    def _near(self, needs: Sequence[Need], columns: Sequence[str]) -> pl.LazyFrame | None:
        """The rows that the needs' plain columns leave; None where only reading all of them tells."""
        found = list[pl.DataFrame]()
        for terms, values in needs:
            places = self._places(terms, values)
            if places is None:
                return None
            found.append(places.select("_file", "_row"))
        if self.snapshot is None:
            return None
        places = found[0] if len(found) == 1 else pl.concat(found).unique()
        return read_scattered(self.snapshot, places, columns).select(columns).lazy()

    def _places(self, terms: Terms, values: pl.DataFrame) -> pl.DataFrame | None:
        plain = {
            term.name: place
            for term, place in zip(terms, values.columns, strict=True)
            if isinstance(term, Column)
        }
        if self.snapshot is None or not plain:
            return None
        on = list(self.key) if self.key and set(self.key) <= plain.keys() else sorted(plain)
        schema = self.snapshot.schema
        if any(schema[name].is_nested() for name in on):
            return None
        wanted = values.select(pl.col(plain[name]).alias(name) for name in on)
        typed = same_types(wanted, schema, tuple(Column(this=name) for name in on))
        most = int(self.snapshot.num_rows * _MOST)
        return lookup(self.snapshot, typed, on, nulls=True, most=most)
