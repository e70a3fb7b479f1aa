"""What `medallion contract check` finds in the SQL of gold and exports before anything runs, with file, line and column.

The types are those that the engine itself infers over empty tables, so no second opinion can differ.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import polars as pl
from sqlglot.optimizer import Scope

from lineage.columns import Traced, table_places, traced
from lineage.errors import LineageError, place, position
from lineage.graph import ColumnRef
from lineage.ways import label_of, projection_of
from pipelines.contract import Catalog, Contract, DataType, did_you_mean
from pipelines.contract.types import FLOATS, INTEGERS
from pipelines.errors import ContractError
from pipelines.gold import added_columns
from pipelines.privacy import classes_of, influences_of, leaks_of
from pipelines.provenance import columns_of, known_lineage, lineage_of, schemas_of, source_of

Place = tuple[int | None, int | None]
Types = Mapping[str, Mapping[str, pl.DataType]]

_NOWHERE: Place = (None, None)

#: How the engine's messages tell a place, and the words of the SQL in them.
_ENGINE_PLACE = re.compile(r" at Line: (\d+), Column: (\d+)")
_QUOTED = re.compile(r"['\"`](\w+)['\"`]")


@dataclass(frozen=True, slots=True)
class Finding:
    """Something at fault, or worth a look, in a contract or the SQL beside it."""

    path: Path
    message: str
    place: Place = _NOWHERE
    hint: str | None = None

    def __str__(self) -> str:
        line, column = self.place
        where = "" if line is None else f" line {line}, column {column}:"
        return f"{self.path}:{where} {self.message}" + (
            f"\n  Hint: {self.hint}" if self.hint else ""
        )


@dataclass(frozen=True, slots=True)
class Findings:
    """All faults, as texts, and the notes: what is no fault but should be known."""

    faults: tuple[str, ...]
    notes: tuple[str, ...]


def check_sql(catalog: Catalog) -> Findings:
    """Everything that can be said of the SQL of gold and exports without running it."""
    columns, types = columns_of(catalog), schemas_of(catalog)
    faults = list(_cycles(catalog))
    notes = list[Finding]()
    for contract in catalog.from_sql():
        sql = contract.path.with_suffix(".sql")
        try:
            found = traced(contract.sql or "", columns)
            notes += list(_unused(contract, found))
            for scope in found.tracer.unread():
                found.tracer.relation(scope)  # nobody reads it, but the engine does
        except LineageError as error:
            faults.append(Finding(sql, error.message, (error.line, error.column), error.hint))
            continue
        own = [*_skipped_layers(contract), *_other_columns(contract, found)]
        faults += own or _wrong_types(contract, found, types)
    if faults:
        return Findings(tuple(map(str, faults)), tuple(map(str, notes)))
    leaks, influences = _privacy(catalog, columns)
    return Findings(tuple(leaks), (*map(str, notes), *influences))


def refuse(findings: Findings) -> None:
    """Raises what was found, if there is a fault.

    Raises:
        ContractError: one error with all faults.
    """
    if findings.faults:
        raise ContractError("\n".join(findings.faults))


# ---- TABLES ---- #


def _cycles(catalog: Catalog) -> Iterator[Finding]:
    gold = {contract.table: contract for contract in catalog.layer("gold")}
    places = {table: _places(contract) for table, contract in gold.items()}
    needs = {table: [n for n in sorted(names) if n in gold] for table, names in places.items()}
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        way: list[str] = error.args[1]
        read, reader = way[0], way[1]
        yield Finding(
            gold[reader].path.with_suffix(".sql"),
            f"gold tables read each other: {' <- '.join(way)}",
            places[reader][read],
        )


def _places(contract: Contract) -> Mapping[str, Place]:
    try:
        return table_places(contract.sql or "")
    except LineageError:  # said where the SQL is traced
        return {}


def _skipped_layers(contract: Contract) -> Iterator[Finding]:
    for table, where in _places(contract).items():
        if table.startswith("bronze."):
            yield Finding(
                contract.path.with_suffix(".sql"),
                f"{contract.layer} reads '{table}', past silver and its rules",
                where,
                f"read {table.replace('bronze.', 'silver.', 1)}",
            )


# ---- COLUMNS ---- #


def _other_columns(contract: Contract, found: Traced) -> Iterator[Finding]:
    """Columns that the SQL has and the contract has not, and the other way round."""
    sql, given = contract.path.with_suffix(".sql"), found.relation.names
    added = added_columns(contract)
    wanted = [name for name in contract.columns if name not in added]
    for name in given:
        if name not in wanted:
            what = "which the build gives" if name in added else "which the contract does not have"
            hint = "leave it out" if name in added else did_you_mean(name, wanted)
            yield Finding(
                sql,
                f"the SQL gives column '{name}', {what}",
                _place_of(contract, found, name),
                hint,
            )
    for name in wanted:
        if name not in given:
            text = f"column '{name}' is not in the SQL's result"
            where = place(contract.sql or "", found.root.expression)
            yield Finding(sql, text, where, did_you_mean(name, given))


def _unused(contract: Contract, found: Traced) -> Iterator[Finding]:
    for scope in found.tracer.unread():
        where = place(contract.sql or "", scope.expression)
        yield Finding(contract.path.with_suffix(".sql"), f"{_named(scope)} is never read", where)
    for scope, name in found.tracer.unused():
        node = projection_of(scope, name)
        where = _NOWHERE if node is None else place(contract.sql or "", node)
        text = f"column '{name}' of {_named(scope)} is never read"
        yield Finding(contract.path.with_suffix(".sql"), text, where)


def _named(scope: Scope) -> str:
    return f"'{label_of(scope)}'" if label_of(scope) else "a derived table"


def _place_of(contract: Contract, found: Traced, name: str) -> Place:
    """Where a column of the result is written; a star's are where its SELECT begins."""
    node = projection_of(found.root, name) or found.root.expression
    where = place(contract.sql or "", node)
    return where if where != _NOWHERE else place(contract.sql or "", found.root.expression)


# ---- TYPES ---- #


def _wrong_types(contract: Contract, found: Traced, types: Types) -> list[Finding]:
    sql = contract.path.with_suffix(".sql")
    frames = {table: pl.LazyFrame(schema=dict(types[table])) for table in found.tables}
    try:
        query = pl.SQLContext(frames).execute(contract.sql or "", eager=False)
        given = query.collect_schema()
        query.collect(engine="streaming")  # of no rows: some types meet only here
    except pl.exceptions.PolarsError as error:
        text = str(error).splitlines()[0]
        return [Finding(sql, f"the engine refuses it: {text}", _place_in(contract.sql or "", text))]
    faults = list[Finding]()
    for name, dtype in given.items():
        column = contract.columns[name]
        if column.mask is None and not can_hold(column.type, dtype):
            text = f"column '{name}' is {dtype} here, and {column.type} in the contract"
            where = _place_of(contract, found, name)
            faults.append(
                Finding(sql, text, where, f"cast it, or change its type in {contract.path.name}")
            )
    return faults


def _place_in(sql: str, text: str) -> Place:
    """Where the engine's message points: to a line and column, or to a word that stands once in the SQL."""
    if told := _ENGINE_PLACE.search(text):
        return int(told[1]), int(told[2])
    for word in _QUOTED.findall(text):
        found = [match.start() for match in re.finditer(rf"\b{word}\b", sql, re.IGNORECASE)]
        if len(found) == 1:
            return position(sql, found[0])
    return _NOWHERE


def can_hold(wanted: DataType, given: pl.DataType) -> bool:
    """Whether some values of the given type are exact in the wanted one; the build looks at each value."""
    stored = wanted.stored
    if given in (stored, pl.Null()):
        return True
    if wanted.kind in (*INTEGERS, "decimal"):
        return given.is_integer() or given.is_decimal()
    if wanted.kind in FLOATS:
        return given.is_numeric()
    return (
        isinstance(stored, pl.Datetime)
        and isinstance(given, pl.Datetime)
        and stored.time_zone == given.time_zone
    )


# ---- PRIVACY ---- #


@lru_cache(maxsize=8)
def unproven(catalog: Catalog) -> Mapping[str, ContractError]:
    """The gold tables that must not be built: they leak, or their lineage cannot be known.

    Raises:
        ContractError: when gold tables read each other in a circle.
    """
    tables, failed = known_lineage(catalog)
    leaks = leaks_of(catalog, tables, classes_in(catalog), columns_of(catalog))
    return failed | {table: ContractError("\n".join(told)) for table, told in leaks.items()}


def classes_in(catalog: Catalog) -> Mapping[ColumnRef, str]:
    """The class of every column of every table of these contracts."""
    return classes_of(catalog, {c.table: source_of(c) for c in catalog.layer("silver")})


def _privacy(
    catalog: Catalog, columns: Mapping[str, Mapping[str, str]]
) -> tuple[list[str], list[str]]:
    """The leaks, and notes on what secret columns decide about."""
    tables, classes = lineage_of(catalog), classes_in(catalog)
    leaks = leaks_of(catalog, tables, classes, columns)
    told: dict[tuple[str, str, str], list[str]] = {}
    for each in influences_of(tables, classes):
        why = (each.target.table, f"{each.source_class} {each.source}", each.kind)
        told.setdefault(why, []).append(each.target.column)
    notes = [
        f"{catalog[table].path.with_suffix('.sql')}: {source} decides ({kind}) about {', '.join(names)}"
        for (table, source, kind), names in told.items()
        if table in catalog.contracts
    ]
    return [text for texts in leaks.values() for text in texts], notes
