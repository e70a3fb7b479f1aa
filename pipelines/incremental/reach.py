"""Which rows of a query changed tables can reach, and which rows those need.

Rows belong together by the values of some terms: all that a group, a window, a join or a set
operation makes of rows with a value depends on rows with that value alone. Three questions are
answered by the same walk through a query:

* `touched`: the values outside of which the relation's rows are as they were;
* `related`: the values of some terms in all rows, old or new, that have given values of others;
* `needed`: the rows of each table without which rows with given values would come out otherwise.

Each answer may hold more than asked, never less. Where two sources of a SELECT do not share a term,
the answer goes from one to the other over the equalities of their joins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import polars as pl
from sqlglot.expressions import Column, Expr

from pipelines.incremental.changes import Changes
from pipelines.incremental.errors import NotProvable
from pipelines.incremental.inputs import Input, Need
from pipelines.incremental.joins import (
    Hop,
    carried_to,
    has_column,
    is_of_one_row,
    is_optional,
    over_sources,
    refuse_optional,
    ways_from,
)
from pipelines.incremental.query import Relation, Select, SetOperation, Table, tables_below
from pipelines.incremental.terms import (
    Terms,
    among,
    column,
    covered,
    substituted,
    values_of,
)

T = TypeVar("T")
A = TypeVar("A")

#: For each table the rows that are needed, by the values of some terms; None: all rows.
Needs = dict[str, list[Need] | None]


@dataclass(frozen=True, slots=True)
class Reach:
    """The answers for one state of the inputs: their rows now, and what changed in which of them."""

    tables: Mapping[str, Input]
    changes: Mapping[str, Changes]
    _known: dict[object, tuple[object, pl.DataFrame]] = field(
        default_factory=dict[object, tuple[object, pl.DataFrame]]
    )

    # ---- TOUCHED ---- #

    def touched(self, relation: Relation, terms: Terms) -> pl.DataFrame:
        """The values of the terms (columns 0, 1, ...) in all rows that went or came.

        Raises:
            NotProvable: when the rows cannot be told apart by these terms.
        """
        return self._once(
            ("touched", id(relation), _text(terms)), (), lambda: self._touched(relation, terms)
        )

    def _touched(self, relation: Relation, terms: Terms) -> pl.DataFrame:
        if isinstance(relation, Table):
            return self._changed_values(relation, self.changes[relation.name], terms)
        if isinstance(relation, SetOperation):
            return _all_of(
                self.touched(part, renamed)
                for part, renamed in _parts(relation, terms)
                if self._changed(part)
            )
        rows = over_sources(relation, terms)
        found = [self._joined(relation, rows)]
        for window in relation.windows:
            found += self._beside(relation, window, rows)
        return _all_of(found)

    def _joined(self, select: Select, rows: Terms) -> pl.DataFrame:
        """The values in the joined rows, before any window, that went or came."""
        refuse_optional(select, rows)
        found = list[pl.DataFrame]()
        for name, source in select.sources.items():
            if not self._changed(source.relation):
                continue
            carried = carried_to(select, rows, name)
            if carried is None:
                found.append(self._linked(select, name, rows))
            else:
                found.append(self.touched(source.relation, carried))
        return _all_of(found)

    def _linked(self, select: Select, name: str, rows: Terms) -> pl.DataFrame:
        """The values in the rows that a changed source is joined to."""
        every = ways_from(select, name)
        ways = [way for way in every if carried_to(select, rows, way[-1].to) is not None]
        if not every:
            raise NotProvable(f"'{name}' is joined by no equality, so a change reaches every row")
        if not ways:
            told = ", ".join(term.sql() for term in rows)
            raise NotProvable(f"no equality of a join leads from '{name}' to {told}")

        def along(way: tuple[Hop, ...]) -> pl.DataFrame:
            changed = self._net(select.sources[name].relation, way[0].leaving)
            return self._related_along(select, way, changed, rows)

        return _first_provable(ways, along)

    def _net(self, relation: Relation, terms: Terms) -> pl.DataFrame:
        """As `touched`; of a table only what changed in a column that is read.

        Each of these values is looked for in another source, which is dearer than a closer look.
        """
        if not isinstance(relation, Table):
            return self.touched(relation, terms)
        return self._changed_values(relation, self.changes[relation.name].net(), terms)

    def _changed_values(self, table: Table, changes: Changes, terms: Terms) -> pl.DataFrame:
        columns = self._columns(table, terms)
        both = pl.concat([changes.removed(columns), changes.added(columns)])
        return values_of(both.lazy(), terms).unique().collect()

    def _beside(self, select: Select, window: Terms, rows: Terms) -> list[pl.DataFrame]:
        """The values in rows of a window's partition in which a row went or came."""
        if all(covered(term, window) for term in rows):
            return []  # they are the same in all of a partition
        return [
            self._first_partition(
                select,
                window,
                lambda part: self._related(select, part, self._joined(select, part), rows),
            )
        ]

    def _first_partition(self, select: Select, window: Terms, ask: Callable[[Terms], T]) -> T:
        """The answer by all of the partition's terms, or by one: a coarser partition holds the finer."""
        if not window:
            raise NotProvable("a window without PARTITION BY is over all rows")
        told = [term for term in window if is_of_one_row(select, term)]
        options = [tuple(told), *((term,) for term in told)] if len(told) > 1 else [tuple(told)]
        if not told:
            raise NotProvable(f"PARTITION BY {window[0].sql()} is a value of many rows")
        return _first_provable(options, ask)

    # ---- RELATED ---- #

    def related(
        self, relation: Relation, probes: Terms, values: pl.DataFrame, asked: Terms
    ) -> pl.DataFrame:
        """The values of `asked` (columns 0, 1, ...) in rows, old or new, whose `probes` are `values`.

        Raises:
            NotProvable: when the two are not of one row of one source.
        """
        return self._once(
            ("related", id(relation), _text(probes), id(values), _text(asked)),
            values,
            lambda: self._related_in(relation, probes, values, asked),
        )

    def _related_in(
        self, relation: Relation, probes: Terms, values: pl.DataFrame, asked: Terms
    ) -> pl.DataFrame:
        if isinstance(relation, Table):
            columns = self._columns(relation, (*probes, *asked))
            frames = [self.tables[relation.name].among((probes, values), columns)]
            if relation.name in self.changes:
                removed = self.changes[relation.name].removed(columns)
                frames.append(among(removed.lazy(), probes, values))
            rows = [values_of(each, asked) for each in frames]
            return pl.concat(rows).unique().collect(engine="streaming")
        if isinstance(relation, SetOperation):
            both = zip(_parts(relation, probes), _parts(relation, asked), strict=True)
            return _all_of(
                self.related(part, mine, values, theirs) for (part, mine), (_, theirs) in both
            )
        rows = over_sources(relation, (*probes, *asked))
        return self._related(relation, rows[: len(probes)], values, rows[len(probes) :])

    def _related(
        self, select: Select, probes: Terms, values: pl.DataFrame, asked: Terms
    ) -> pl.DataFrame:
        """As `related`, of the joined rows of a SELECT, over its sources."""
        refuse_optional(select, (*probes, *asked))
        known = [name for name, source in select.sources.items() if not source.optional]
        for name in known:
            carried = carried_to(select, (*probes, *asked), name)
            if carried is not None:
                count = len(probes)
                relation = select.sources[name].relation
                return self.related(relation, carried[:count], values, carried[count:])
        for name in known:
            carried = carried_to(select, probes, name)
            ways = [] if carried is None else ways_from(select, name)
            for way in ways:
                if carried is not None and carried_to(select, asked, way[-1].to) is not None:
                    start = self.related(
                        select.sources[name].relation, carried, values, way[0].leaving
                    )
                    return self._related_along(select, way, start, asked)
        told = ", ".join(dict.fromkeys(term.sql() for term in (*probes, *asked)))
        raise NotProvable(f"{told} are of sources that no equality joins")

    def _related_along(
        self, select: Select, way: tuple[Hop, ...], values: pl.DataFrame, asked: Terms
    ) -> pl.DataFrame:
        """The values of `asked` in the rows reached by the joins of the way, from its first values."""
        for hop, following in zip(way, [*way[1:], None], strict=True):
            relation = select.sources[hop.to].relation
            wanted = following.leaving if following else carried_to(select, asked, hop.to)
            if wanted is None:
                raise NotProvable(f"{asked[0].sql()} is not reached from '{way[0].start}'")
            values = self.related(relation, hop.arriving, values, wanted)
        return values

    # ---- NEEDED ---- #

    def needed(self, relation: Relation, terms: Terms, values: pl.DataFrame, needs: Needs) -> None:
        """Adds to `needs` the rows without which rows with these values would come out otherwise."""
        if isinstance(relation, Table):
            found = needs.setdefault(relation.name, [])
            if found is not None:
                found.append((terms, values))
        elif isinstance(relation, SetOperation):
            for part, renamed in _parts(relation, terms):
                self.needed(part, renamed, values, needs)
        else:
            self._needed_by(relation, terms, values, needs)

    def _needed_by(self, select: Select, terms: Terms, values: pl.DataFrame, needs: Needs) -> None:
        try:
            rows = over_sources(select, terms)
            wanted = [(rows, values)]
            wanted += [
                self._partitions_of(select, rows, values, window)
                for window in select.windows
                if not all(covered(term, window) for term in rows)
            ]
        except NotProvable:
            for name in tables_below(select):
                needs[name] = None
            return
        for each, of in wanted:
            for name, source in select.sources.items():
                self._needed_from(select, name, source.relation, each, of, needs)

    def _partitions_of(
        self, select: Select, rows: Terms, values: pl.DataFrame, window: Terms
    ) -> tuple[Terms, pl.DataFrame]:
        return self._first_partition(
            select, window, lambda part: (part, self._related(select, rows, values, part))
        )

    def _needed_from(
        self,
        select: Select,
        name: str,
        relation: Relation,
        rows: Terms,
        values: pl.DataFrame,
        needs: Needs,
    ) -> None:
        """The needs of one source: by those of the terms that it shares, else all of it."""
        kept, places = list[Expr](), list[str]()
        for place, term in enumerate(rows):
            carried = carried_to(select, (term,), name)
            if carried is not None and has_column(carried) and not is_optional(select, term):
                kept.append(carried[0])
                places.append(str(place))
        if not kept:
            for each in tables_below(relation):
                needs[each] = None
            return
        part = values if len(places) == len(rows) else values.select(places).unique()
        renamed = part.rename({old: str(new) for new, old in enumerate(part.columns)})
        self.needed(relation, tuple(kept), renamed, needs)

    def _columns(self, table: Table, terms: Terms) -> list[str]:
        """The columns of a table that terms read; one at least, that there are rows."""
        known = self.tables[table.name].columns
        read = {each.name for term in terms for each in term.find_all(Column)}
        return [name for name in known if name in read] or known[:1]

    # ---- MEMORY ---- #

    def _changed(self, relation: Relation) -> bool:
        return not tables_below(relation).isdisjoint(self.changes)

    def _once(
        self, question: object, kept: object, answer: Callable[[], pl.DataFrame]
    ) -> pl.DataFrame:
        """The answer, found once; `kept` lives as long as the question that names its id."""
        if question not in self._known:
            self._known[question] = (kept, answer())
        return self._known[question][1]


def merged(needs: Sequence[Need]) -> list[Need]:
    """The same needs, those by the same terms as one."""
    found = dict[tuple[str, ...], tuple[Terms, list[pl.DataFrame]]]()
    for terms, values in needs:
        found.setdefault(_text(terms), (terms, []))[1].append(values)
    return [(terms, pl.concat(parts).unique()) for terms, parts in found.values()]


def rows_changed(
    changes: Changes,
    key: Sequence[str],
    columns: Sequence[str],
    needs: Sequence[Need],
) -> pl.LazyFrame | None:
    """The rows that meet the need, where all of them are among those that changed; else None.

    So it is where the need names keys of changed rows alone and no two rows share a key: a row that
    has one of these keys and did not change would have shared it with the one that did.
    """
    (terms, values), *others = needs
    places = {term.name: str(at) for at, term in enumerate(terms) if isinstance(term, Column)}
    if others or not key or not set(key) <= places.keys():
        return None
    wanted = values.select(pl.col(places[name]).alias(name) for name in key)
    changed = pl.concat([changes.removed(key), changes.added(key)])
    if wanted.schema != changed.schema or len(
        wanted.join(changed, on=list(key), how="anti", nulls_equal=True)
    ):
        return None
    return among(changes.added(columns).lazy(), terms, values)


# ---- VALUES ---- #


def _parts(operation: SetOperation, terms: Terms) -> Iterator[tuple[Relation, Terms]]:
    """Each part with the terms over its own names; columns correspond by their place."""
    for part, names in operation.parts:
        to = dict(zip(operation.names, names, strict=True))
        renamed = [substituted(term, lambda node, to=to: column(to[node.name])) for term in terms]
        yield part, tuple(term for term in renamed if term is not None)


def _all_of(frames: Iterable[pl.DataFrame]) -> pl.DataFrame:
    return pl.concat(frames, how="vertical_relaxed").unique()


def _first_provable(options: Sequence[A], ask: Callable[[A], T]) -> T:
    """The first answer that can be proved, or the first reason why none can."""
    reason: NotProvable | None = None
    for option in options:
        try:
            return ask(option)
        except NotProvable as error:
            reason = reason or error
    raise reason or NotProvable("there is no way from the change to the key")


def _text(terms: Terms) -> tuple[str, ...]:
    return tuple(term.sql(identify=True) for term in terms)
