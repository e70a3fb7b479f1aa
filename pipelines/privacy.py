"""Whether the contracts keep what is personal out of gold: the classes of all columns, and the leaks.

A gold column made of a classified one carries its class or a higher one, or is masked, or is a sum
over groups of a stated size. The masks and the groups are what `pipelines.masks` puts to work.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from lineage.errors import LineageError
from lineage.flow import Source
from lineage.graph import ColumnRef, LineageGraph, TableLineage
from lineage.grouping import not_a_statistic
from lineage.layers import PAYLOAD
from lineage.privacy import CLASSES, SECRET, Influenced, Leak, highest, influenced, leaks
from lineage.ways import way
from pipelines.contract import Catalog, Contract

#: Columns of bronze and of quarantine that hold a whole event; `key` holds the columns of the key.
_WHOLE = (PAYLOAD, "headers")

Schema = Mapping[str, Mapping[str, str]]


def classes_of(catalog: Catalog, sources: Mapping[str, str]) -> dict[ColumnRef, str]:
    """The class of every column of every table; what no contract names is of the default class.

    Args:
        catalog: The contracts.
        sources: The source table behind each silver table.
    """
    found = dict[ColumnRef, str]()
    for contract in catalog.contracts.values():
        own = {name: column.classification for name, column in contract.columns.items()}
        for table in _tables_like(contract):
            found |= {ColumnRef(table, name): held for name, held in own.items()}
        if contract.layer == "silver":
            found |= _in_events(contract, own, sources[contract.table])
    return found


def leaks_of(
    catalog: Catalog,
    tables: Mapping[str, TableLineage],
    classes: Mapping[ColumnRef, str],
    schema: Schema,
) -> dict[str, list[str]]:
    """The leaks of each table that has some, as texts: the file, the whole way, what would end it."""
    graph, told = LineageGraph(tables), dict[str, list[str]]()
    for leak in leaking(catalog, tables, classes, schema):
        told.setdefault(leak.target.table, []).append(_told(catalog, graph, leak, schema))
    return told


def leaking(
    catalog: Catalog,
    tables: Mapping[str, TableLineage],
    classes: Mapping[ColumnRef, str],
    schema: Schema,
) -> list[Leak]:
    """Every leak into a table under contract."""
    graph = LineageGraph(tables)

    def released(target: ColumnRef, source: Source) -> bool:
        return not _still_told(catalog, graph, target, source, schema)

    found = leaks(graph, classes, released)
    return [leak for leak in found if leak.target.table in catalog.contracts]


def influences_of(
    tables: Mapping[str, TableLineage], classes: Mapping[ColumnRef, str]
) -> list[Influenced]:
    """Where a secret column decides about columns of a lower class."""
    return influenced(LineageGraph(tables), classes)


def masks_of(contract: Contract) -> dict[str, str]:
    """The masked columns of a gold table, with their masks."""
    if contract.layer == "silver":
        return {}
    return {name: str(column.mask) for name, column in contract.columns.items() if column.mask}


def with_masks(contract: Contract, lineage: TableLineage) -> TableLineage:
    """The lineage of a gold table after the build has masked its columns."""
    masks = masks_of(contract)
    columns = {
        name: _through_a_mask(sources) if name in masks else sources
        for name, sources in lineage.columns.items()
    }
    return replace(lineage, columns=columns, masks=masks)


def _through_a_mask(sources: Iterable[Source]) -> tuple[Source, ...]:
    changed = (
        replace(s, transformation="expression") if s.transformation in ("identity", "cast") else s
        for s in sources
    )
    return tuple(dict.fromkeys(changed))


# ---- CLASSES ---- #


def _tables_like(contract: Contract) -> tuple[str, ...]:
    """The tables that hold a contract's columns under their names."""
    if contract.layer != "silver":
        return (contract.table,)
    return (contract.table, contract.sibling("history"), contract.sibling("quarantine"))


def _in_events(
    contract: Contract, own: Mapping[str, str], source: str
) -> Iterator[tuple[ColumnRef, str]]:
    # What no column may take is what hardly anybody may see.
    fields = dict.fromkeys(contract.withheld, CLASSES[-1])
    for name, held in own.items():
        field = contract.field_of(name)
        fields[field] = highest((held, fields.get(field, held)))
    whole = highest(fields.values())
    for table in (contract.bronze, contract.sibling("quarantine")):
        yield from ((ColumnRef(table, name), whole) for name in _WHOLE)
    yield ColumnRef(contract.bronze, "key"), highest(own[name] for name in contract.key)
    for field, held in fields.items():
        yield ColumnRef(contract.bronze, f"{PAYLOAD}.{field}"), held
        yield ColumnRef(source, field), held


# ---- RELEASES ---- #


def _still_told(
    catalog: Catalog, graph: LineageGraph, target: ColumnRef, source: Source, schema: Schema
) -> str | None:
    """Why what a gold column shows of a source is still its secret; None: a mask or a group ends it."""
    contract = catalog.contracts.get(target.table)
    column = (
        contract.columns.get(target.column) if contract and contract.layer != "silver" else None
    )
    if contract is None or column is None:
        return "it is neither masked nor grouped"
    if contract.surrogate_key is not None and contract.surrogate_key.column == target.column:
        return None  # a number in the order of giving, kept where the build alone looks
    if column.mask is not None:
        wanted = _approved(catalog, graph, ColumnRef(source.table, source.column))
        if column.mask.method == "redact" or wanted <= {column.mask.method}:
            return None
        return (
            f"its mask is '{column.mask.method}', but the source's contract names {_listed(wanted)}"
        )
    if contract.group_size is None:
        return "it is neither masked nor over groups of a stated size"
    if source.transformation != "aggregation":
        return "it is not aggregated"
    return not_a_statistic(contract.sql or "", schema, target.column, contract.group_size.column)


def _approved(catalog: Catalog, graph: LineageGraph, ref: ColumnRef) -> set[str]:
    """The masks that the silver columns behind `ref` say gold must use; none: any will do."""
    behind = {ref, *(hop.source for hop in graph.upstream(ref))}
    by_table = {table: c for c in catalog.layer("silver") for table in _tables_like(c)}
    columns = [
        by_table[each.table].columns[each.column]
        for each in behind
        if each.table in by_table and each.column in by_table[each.table].columns
    ]
    return {c.mask.method for c in columns if c.mask and c.classification in SECRET}


def _listed(words: Iterable[str]) -> str:
    return " and ".join(f"'{word}'" for word in sorted(words))


# ---- TEXTS ---- #


def _told(catalog: Catalog, graph: LineageGraph, leak: Leak, schema: Schema) -> str:
    contract = catalog[leak.target.table]
    source = Source(leak.source.table, leak.source.column, leak.how)
    reason = _still_told(catalog, graph, leak.target, source, schema)
    steps = [str(hop.source) for hop in leak.way[:-1]]
    place, path = "", contract.path.with_suffix(".sql") if contract.sql else contract.path
    try:
        inside = way(
            contract.sql or "", schema, leak.target.column, (leak.source.table, leak.source.column)
        )
    except LineageError:
        steps.append(str(leak.source))
    else:
        steps += [str(step) for step in inside]
        place = next((f" line {s.line}, column {s.at}:" for s in inside if s.line is not None), "")
    shown = "".join(
        f"\n    {'-> ' if number else ''}{step}"
        for number, step in enumerate([*steps, str(leak.target)])
    )
    return (
        f"{path}:{place} '{leak.target.column}' is {leak.target_class}, but shows "
        f"{leak.source_class} {leak.source}: {reason}{shown}"
        f"\n  Hint: write 'classification: {leak.source_class}' or a mask at the column in {contract.path.name}"
    )
