"""The ways between columns, looked up by either end; and where classified values go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from lineage.catalog.model import ColumnEntry, Site, TableEntry
from lineage.graph import ColumnRef, TableLineage
from lineage.privacy import SECRET


@dataclass(frozen=True, slots=True, order=True)
class End:
    """The other end of a way: a column, and how the value gets there."""

    table: str
    column: str
    how: str


@dataclass(frozen=True, slots=True)
class Decides:
    """A column that decides about another table's rows or values, and all the ways it does.

    `outputs` are the columns it reaches; None: all.
    """

    table: str
    column: str
    outputs: tuple[str, ...] | None
    kinds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reached:
    """A column that a classified value reaches directly, with what the contract says of it there.

    `step` counts tables from the origin, from 1. `verdict`: `kept`, the class is no lower; `masked`;
    `released`, by a mask or by groups on the way; `leaked`, the class is lower for no such reason.
    """

    table: str
    column: str
    layer: str
    classification: str
    mask: str | None
    step: int
    verdict: str


@dataclass(frozen=True, slots=True)
class ClassifiedColumn:
    """A classified column where it enters, and all that its values reach, nearest first."""

    table: str
    entry: ColumnEntry
    reached: tuple[Reached, ...]

    @property
    def leaked(self) -> tuple[Reached, ...]:
        """The columns of a lower class that nothing justifies."""
        return tuple(reached for reached in self.reached if reached.verdict == "leaked")


@dataclass(frozen=True)
class Flows:
    """The direct ways between the columns of `lineage`."""

    lineage: Mapping[str, TableLineage]

    @cached_property
    def into(self) -> Mapping[ColumnRef, tuple[End, ...]]:
        """What each column is made of."""
        return {
            ColumnRef(name, column): tuple(
                End(source.table, source.column, source.transformation) for source in sources
            )
            for name, lineage in self.lineage.items()
            for column, sources in lineage.columns.items()
        }

    @cached_property
    def out_of(self) -> Mapping[ColumnRef, tuple[End, ...]]:
        """What is made of each column."""
        found: dict[ColumnRef, list[End]] = {}
        for target, ends in self.into.items():
            for end in ends:
                found.setdefault(ColumnRef(end.table, end.column), []).append(
                    End(target.table, target.column, end.how)
                )
        return {ref: tuple(ends) for ref, ends in found.items()}

    @cached_property
    def readers(self) -> Mapping[str, tuple[str, ...]]:
        """The tables that are made from each table."""
        found: dict[str, list[str]] = {}
        for name, lineage in sorted(self.lineage.items()):
            for table in lineage.inputs:
                found.setdefault(table, []).append(name)
        return {table: tuple(names) for table, names in found.items()}

    def decided_by(self, table: str) -> tuple[Decides, ...]:
        """What decides about a table's rows and values: what reaches all columns first, then by name."""
        lineage = self.lineage.get(table)
        found: dict[tuple[str, str, tuple[str, ...] | None], list[str]] = {}
        for each in lineage.indirect if lineage else ():
            found.setdefault((each.table, each.column, each.outputs), []).append(each.kind)
        ordered = sorted(found, key=lambda key: (key[2] is not None, key[0], key[1], key[2] or ()))
        return tuple(Decides(*key, tuple(dict.fromkeys(found[key]))) for key in ordered)

    def made_from(self, table: str) -> tuple[str, ...]:
        """The tables that a table is made from; none for a source."""
        lineage = self.lineage.get(table)
        return tuple(sorted(lineage.inputs)) if lineage else ()


def classified_columns(site: Site, flows: Flows) -> tuple[ClassifiedColumn, ...]:
    """Every classified column that no classified column feeds, with all it reaches; by table, then name.

    Columns that the platform adds are classified for what they hold of others, and begin no way.
    """
    entries = {
        ColumnRef(table.name, column.name): column
        for table in site.tables.values()
        for column in table.columns
    }
    secret = {ref for ref, entry in entries.items() if entry.classification in SECRET}
    origins = sorted(
        ref
        for ref in secret
        if not entries[ref].added
        and not any(ColumnRef(end.table, end.column) in secret for end in flows.into.get(ref, ()))
    )
    return tuple(
        ClassifiedColumn(
            origin.table, entries[origin], tuple(_reached(origin, site, entries, flows))
        )
        for origin in origins
    )


def _reached(
    origin: ColumnRef, site: Site, entries: Mapping[ColumnRef, ColumnEntry], flows: Flows
) -> Iterator[Reached]:
    seen, frontier, step = {origin}, [origin], 0
    while frontier:
        step += 1
        nearer = frontier
        frontier = []
        for ref in nearer:
            for end in flows.out_of.get(ref, ()):
                there = ColumnRef(end.table, end.column)
                if there in seen:
                    continue
                seen.add(there)
                frontier.append(there)
                entry, table = entries.get(there), site.tables.get(end.table)
                if entry is not None and table is not None:
                    leaked = (ref, there) in site.leaks
                    yield _judged(entries[origin], entry, table, step, leaked=leaked)


def _judged(
    origin: ColumnEntry, entry: ColumnEntry, table: TableEntry, step: int, *, leaked: bool
) -> Reached:
    if leaked:
        verdict = "leaked"
    elif entry.rank >= origin.rank:
        verdict = "kept"
    else:
        verdict = "masked" if entry.mask else "released"
    return Reached(
        table=table.name,
        column=entry.name,
        layer=table.layer,
        classification=entry.classification,
        mask=entry.mask,
        step=step,
        verdict=verdict,
    )
