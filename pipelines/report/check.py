"""Whether reports can be drawn, and may be: their SQL, their columns, and the classes of what they show.

To lineage each part of a report is an export whose columns are of the default class: what no export may
carry under that class, no report shows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import polars as pl

from lineage.columns import tables_of
from lineage.errors import LineageError
from pipelines.checks import classes_in
from pipelines.contract import Catalog, Contract, did_you_mean
from pipelines.contract.export import Export
from pipelines.contract.load import line_in
from pipelines.contract.model import Column
from pipelines.contract.types import parse_type
from pipelines.errors import ContractError
from pipelines.privacy import leaking
from pipelines.provenance import columns_of, known_lineage, schemas_of
from pipelines.report.spec import Report


def refuse_faulty(catalog: Catalog, reports: Iterable[Report]) -> None:
    """Nothing, when every report can be drawn and shows no classified column.

    Raises:
        ContractError: one error that lists every fault, with file, line and hint.
    """
    if faults := list(faults_of(catalog, reports)):
        raise ContractError("\n".join(faults))


def tables_in(report: Report) -> tuple[str, ...]:
    """The tables that a report reads, sorted.

    Raises:
        ContractError: when its SQL does not parse.
    """
    try:
        return tuple(sorted({t for sql, _ in report.queries().values() for t in tables_of(sql)}))
    except LineageError as error:
        raise ContractError(f"{report.path}: {error}") from error


def faults_of(catalog: Catalog, reports: Iterable[Report]) -> Iterator[str]:
    """Each fault as a text: what cannot be read, drawn or shown."""
    made, places = dict[str, Contract](), dict[str, str]()
    known = schemas_of(catalog)
    for report in reports:
        for part, (sql, shown) in report.queries().items():
            place = f"{report.path}:{_line(report, part)}: {part}"
            try:
                schema = _columns(sql, known)
            except (LineageError, ContractError, pl.exceptions.PolarsError) as error:
                yield f"{place}: {str(error).splitlines()[0]}"
                continue
            for name in shown:
                if name not in schema:
                    hint = did_you_mean(name, schema)
                    yield f"{place}: shows '{name}', which its SQL does not give" + (
                        f"\n  Hint: {hint}" if hint else ""
                    )
            contract = _as_export(report, part, sql, schema)
            made[contract.table], places[contract.table] = contract, place
    yield from _leaks(Catalog(catalog.root, {**catalog.contracts, **made}), places)


def _columns(sql: str, known: Mapping[str, Mapping[str, pl.DataType]]) -> pl.Schema:
    """The columns that a query gives, as the engine infers them over empty tables of gold."""
    tables = tables_of(sql)
    for table in tables:
        if not table.startswith("gold."):
            raise ContractError(f"a report reads gold, not '{table}'")
        if table not in known:
            hint = did_you_mean(table, known)
            raise ContractError(f"there is no table '{table}'" + (f"; {hint}" if hint else ""))
    frames = {table: pl.LazyFrame(schema=dict(known[table])) for table in tables}
    return pl.SQLContext(frames).execute(sql, eager=False).collect_schema()


def _as_export(report: Report, part: str, sql: str, schema: pl.Schema) -> Contract:
    """The part as lineage sees it. Only names matter: types were the engine's to judge."""
    text = Column(type=parse_type("string"))
    return Contract(
        table=f"export.{report.domain}.report__{report.name}__{part}",
        description=report.title,
        owner=report.owner,
        key=(next(iter(schema)),),
        columns=dict.fromkeys(schema, text),
        export=Export(format="jsonl"),
        path=report.path,
        sql=sql,
    )


def _leaks(catalog: Catalog, places: Mapping[str, str]) -> Iterator[str]:
    tables, failed = known_lineage(catalog)
    for name, error in failed.items():
        if name in places:
            yield f"{places[name]}: {str(error).partition(': ')[2]}"
    for leak in leaking(catalog, tables, classes_in(catalog), columns_of(catalog)):
        if leak.target.table in places:
            way = "".join(f"\n    {hop.source}" for hop in leak.way)
            yield (
                f"{places[leak.target.table]}: '{leak.target.column}' shows {leak.source_class} {leak.source}{way}"
                "\n  Hint: a report shows a classified column only masked, or as a statistic over groups of a stated size: make it so in gold"
            )


def _line(report: Report, part: str) -> int:
    names = [chart.name for chart in report.charts]
    return line_in(report.path, ("charts", names.index(part)) if part in names else (part,))
