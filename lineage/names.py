"""Names as a dialect reads them: which letters' case counts, and the caller's own spelling again."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from sqlglot import exp
from sqlglot.dialects.dialect import Dialect, NormalizationStrategy
from sqlglot.optimizer.normalize_identifiers import normalize_identifiers
from sqlglot.schema import normalize_name

from lineage.flow import Flow, Influence, Relation, Source

E = TypeVar("E", bound=exp.Expr)

#: What sqlglot is told where no dialect is: a name is what is written, as Polars has it.
CASE_SENSITIVE = ", normalization_strategy=case_sensitive"


@dataclass(frozen=True, slots=True)
class Names:
    """A schema under the names that a dialect makes of unquoted ones, and the way back to the caller's."""

    schema: Mapping[str, tuple[str, ...]]
    spelled: Mapping[tuple[str, str], tuple[str, str]]

    def of_caller(self, relation: Relation) -> Relation:
        """The relation with tables and columns as the caller spells them."""
        if not self.spelled:
            return relation
        return Relation(
            tuple((name, self._flow(flow)) for name, flow in relation.columns),
            frozenset(map(self._influence, relation.rows)),
        )

    def table(self, name: str) -> str:
        """A table as the caller spells it."""
        return next((spelled[0] for key, spelled in self.spelled.items() if key[0] == name), name)

    def _flow(self, flow: Flow) -> Flow:
        return Flow(
            frozenset(map(self._source, flow.direct)),
            frozenset(map(self._influence, flow.indirect)),
        )

    def _source(self, source: Source) -> Source:
        table, column = self.column(source.table, source.column)
        return replace(source, table=table, column=column)

    def _influence(self, influence: Influence) -> Influence:
        table, column = self.column(influence.table, influence.column)
        return replace(influence, table=table, column=column)

    def column(self, table: str, column: str) -> tuple[str, str]:
        """A table and a column of it as the caller spells them."""
        return self.spelled.get((table, column), (table, column))


def as_dialect_reads(
    schema: Mapping[str, Collection[str]], read: Collection[str], dialect: str
) -> Names:
    """The schema under normalised names, with the columns of the tables that are read alone.

    The names given are taken for unquoted ones.
    """
    if dialect == CASE_SENSITIVE:
        return Names({name: tuple(schema[name]) for name in read if name in schema}, {})
    spelled: dict[tuple[str, str], tuple[str, str]] = {}
    known: dict[str, tuple[str, ...]] = {}
    for table, columns in schema.items():
        name = ".".join(_name(part, dialect, is_table=True) for part in table.split("."))
        if name in read:
            own = {_name(column, dialect, is_table=False): column for column in columns}
            known[name] = tuple(own)
            spelled |= {(name, column): (table, given) for column, given in own.items()}
    return Names(known, spelled)


def normalised(tree: E, dialect: str) -> E:
    """The statement under the names that the dialect makes of those in it."""
    return normalize_identifiers(tree, dialect=dialect)


def as_written(relation: Relation, written: Sequence[str], dialect: str) -> Relation:
    """The relation with its outputs in the case of the text, where the dialect compares without case but keeps it.

    Not where a star stands among them: its columns are not in the text.
    """
    strategy = Dialect.get_or_raise(dialect).normalization_strategy
    same = [name.lower() for name in relation.names] == [name.lower() for name in written]
    if strategy is not NormalizationStrategy.CASE_INSENSITIVE or not same:
        return relation
    flows = (flow for _, flow in relation.columns)
    return replace(relation, columns=tuple(zip(written, flows, strict=True)))


def _name(name: str, dialect: str, *, is_table: bool) -> str:
    return normalize_name(exp.to_identifier(name), dialect=dialect, is_table=is_table).name
