"""Which rows of its inputs a gold table's rows are made of, and the proof that they are enough.

The SQL's parts are computed one after the other with a number on each row; going back from the last
part, the rows of its sources are those that its own FROM and WHERE put together for the rows in
question. The proof: the SQL over these rows alone gives the same rows again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

from lineage.errors import LineageError
from lineage.pieces import Piece, Relation, relations_of
from pipelines.contract import Contract
from pipelines.errors import MedallionError, QueryError
from pipelines.gold import result_over

#: The number of a row in its table or part, as a column beside its own.
ROW = "__row"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origins:
    """The rows of each input, by their number (`ROW`), behind some rows of a gold table.

    `proven`: the SQL over these rows alone gives those rows again. `notes` say what is not told.
    """

    rows: Mapping[str, pl.Series]
    proven: bool
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Search:
    """What is known so far: the frames of all parts, and the rows of each that are asked for."""

    frames: dict[str, pl.LazyFrame]
    wanted: dict[str, pl.Series] = field(default_factory=dict[str, pl.Series])
    notes: list[str] = field(default_factory=list[str])

    def ask(self, name: str, rows: pl.Series) -> None:
        both = pl.concat([self.wanted[name], rows]) if name in self.wanted else rows
        self.wanted[name] = both.drop_nulls().unique().sort()


def origins_of(
    contract: Contract, rows: pl.DataFrame, inputs: Mapping[str, pl.LazyFrame]
) -> Origins:
    """The rows of the inputs behind `rows`, which are rows of the gold table as it is stored.

    Args:
        contract: The gold table's contract.
        rows: Some of its rows.
        inputs: Its inputs as they were when it was built, each row with its number (`ROW`).

    Raises:
        QueryError: when the SQL has a construct that cannot be taken apart, or does not run; or when
            a model made the rows.
    """
    if contract.forecast is not None:
        raise QueryError(
            f"{contract.table}: a model made its rows out of whole series",
            hint="their column 'features' says of what; explain rows of the tables that its SQL reads",
        )
    try:
        relations = relations_of(contract.sql or "")
    except LineageError as error:
        sql = contract.path.with_suffix(".sql")
        raise QueryError(f"{sql}: {error}", hint="this table's rows cannot be explained") from error
    search = _Search(dict(inputs))
    try:
        for relation in relations:
            search.frames[relation.name] = _computed(relation, search.frames)
        search.ask("", _matching(search.frames[""], rows, _told_by_sql(contract)))
        for relation in reversed(relations):
            if relation.name in search.wanted:
                _trace(relation, search)
        found = {name: search.wanted.get(name, _none()) for name in inputs}
        proven = _gives_again(contract, rows, inputs, found, search.notes)
    except pl.exceptions.PolarsError as error:
        raise QueryError(f"{contract.table}: its SQL cannot be run in parts") from error
    return Origins(rows=found, proven=proven, notes=tuple(dict.fromkeys(search.notes)))


def _told_by_sql(contract: Contract) -> list[str]:
    """The columns that are in the table as the SQL gives them: by which its rows are found again."""
    plain = _plain(contract)
    natural = contract.surrogate_key.of if contract.surrogate_key else ()
    keys = (key for key in (contract.key, natural) if key and {*key} <= {*plain})
    return list(next(keys, plain))


def _plain(contract: Contract) -> list[str]:
    """The columns whose values are the SQL's: neither masked nor given by the build."""
    made = {contract.batch_id, contract.surrogate_key and contract.surrogate_key.column}
    return [n for n, c in contract.columns.items() if n not in made and c.mask is None]


def _computed(relation: Relation, frames: Mapping[str, pl.LazyFrame]) -> pl.LazyFrame:
    """The rows of a part, numbered."""
    made = pl.SQLContext(frames).execute(relation.text, eager=False).collect(engine="streaming")
    return made.with_row_index(ROW).lazy()


def _matching(frame: pl.LazyFrame, rows: pl.DataFrame, by: Sequence[str]) -> pl.Series:
    """The numbers of the rows of `frame` that agree with one of `rows`."""
    types = frame.collect_schema()
    wanted = rows.lazy().select(pl.col(name).cast(types[name]) for name in by).unique()
    found = frame.join(wanted, on=list(by), how="semi", nulls_equal=True) if by else frame
    return found.select(ROW).collect().to_series()


# ---- BACK THROUGH ONE PART ---- #


def _trace(relation: Relation, search: _Search) -> None:
    """Asks the sources of a part for the rows behind those that are asked of it."""
    names = [projection.name for projection in relation.pieces[0].projections]
    numbers = search.wanted[relation.name]
    targets = search.frames[relation.name].filter(pl.col(ROW).is_in(numbers.implode()))
    for piece in relation.pieces:
        asked = targets.rename(
            dict(zip(names, (p.name for p in piece.projections), strict=True)), strict=True
        )
        _trace_piece(piece, asked.collect(), search)


def _trace_piece(piece: Piece, targets: pl.DataFrame, search: _Search) -> None:
    for name in piece.inner:
        if name in search.frames and len(targets):
            search.ask(name, search.frames[name].select(ROW).collect().to_series())
            search.notes.append(f"a condition compares with '{name}': all its rows count")
    told = [p for p in piece.projections if not p.aggregate and not p.window]
    columns = [f"{p.text} AS {_quoted(f'm{n}')}" for n, p in enumerate(told)]
    windows = [text for window in piece.partitions for text in window]
    columns += [f"{text} AS {_quoted(f'w{n}')}" for n, text in enumerate(windows)]
    alone = len(piece.sources) == 1
    columns += [
        f"{'' if alone else _quoted(alias) + '.'}{ROW} AS {_quoted(f'r{n}')}"
        for n, alias in enumerate(piece.sources)
    ]
    where = f" WHERE {piece.where}" if piece.where else ""
    sql = f"SELECT {', '.join(columns)} FROM {piece.from_}{where}"  # noqa: S608 - from the contract
    joined = pl.SQLContext(search.frames).execute(sql, eager=False).collect(engine="streaming")
    found = _found(joined, targets, [p.name for p in told])
    if piece.partitions:
        found = _with_partitions(joined, found, piece.partitions)
    for number, name in enumerate(piece.sources.values()):
        search.ask(name, found[f"r{number}"])


def _found(joined: pl.DataFrame, targets: pl.DataFrame, told: Sequence[str]) -> pl.DataFrame:
    if not told:
        return joined if len(targets) else joined.clear()
    mine = [f"m{number}" for number in range(len(told))]
    types = joined.schema
    wanted = targets.select(
        pl.col(name).cast(types[each]).alias(each) for each, name in zip(mine, told, strict=True)
    )
    return joined.join(wanted.unique(), on=mine, how="semi", nulls_equal=True)


def _with_partitions(
    joined: pl.DataFrame, found: pl.DataFrame, partitions: Sequence[Sequence[str]]
) -> pl.DataFrame:
    """The rows that share a window with one that was found: they decide its value."""
    parts, first = [found], 0
    for window in partitions:
        by = [f"w{number}" for number in range(first, first + len(window))]
        first += len(window)
        shared = found.select(by).unique()
        parts.append(joined.join(shared, on=by, how="semi", nulls_equal=True) if by else joined)
    return pl.concat(parts).unique()


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _none() -> pl.Series:
    return pl.Series(ROW, [], pl.UInt32)


# ---- THE PROOF ---- #


def _gives_again(
    contract: Contract,
    rows: pl.DataFrame,
    inputs: Mapping[str, pl.LazyFrame],
    found: Mapping[str, pl.Series],
    notes: list[str],
) -> bool:
    """Whether the SQL over the rows that were found gives the rows in question again."""
    alone = {
        name: frame.filter(pl.col(ROW).is_in(found[name].implode())).drop(ROW)
        for name, frame in inputs.items()
    }
    compared = _plain(contract)
    try:
        again = result_over(contract, alone).select(compared)
    except MedallionError:
        notes.append(f"{contract.table}: its SQL does not run over these rows alone")
        return False
    missing = rows.select(compared).join(again, on=compared, how="anti", nulls_equal=True)
    if not missing.is_empty():
        notes.append("the SQL over these rows alone gives other values: something else decides too")
    return missing.is_empty()


def numbered(frames: Mapping[str, pl.LazyFrame]) -> dict[str, pl.LazyFrame]:
    """The frames with the number of each row."""
    return {name: frame.with_row_index(ROW) for name, frame in frames.items()}


def picked(frame: pl.LazyFrame, numbers: pl.Series, columns: Iterable[str]) -> pl.DataFrame:
    """Some columns of the rows with these numbers."""
    chosen = frame.filter(pl.col(ROW).is_in(numbers.implode()))
    return chosen.select(*columns).collect(engine="streaming")
