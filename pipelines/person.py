"""Everything that silver and quarantine hold of a person, found by the references in the contracts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import polars as pl

from pipelines.contract import Catalog, Contract
from pipelines.errors import ContractError, QueryError
from pipelines.storage import Lake

Document = dict[str, Any]


def person_document(
    lake: Lake, catalog: Catalog, table: str, key: str, *, now: datetime
) -> Document:
    """A person's data: their own rows, and every row that refers to them.

    `table` has a row a person. `personal_data` holds it and what belongs to it one to one,
    `activity_data` the rest, each table under its name. Fields that are withheld from silver are
    not in it, nor is the past of a row.

    Raises:
        ContractError: when the table is no silver table, or has a key of several columns.
        QueryError: when there is nobody with this key.
    """
    contract = catalog[table]
    if contract.layer != "silver" or len(contract.key) != 1:
        raise ContractError(
            f"{table} has no row a person", hint="name a silver table with a key of one column"
        )
    own = _rows(lake, contract, [contract.key[0]], key)
    if not own:
        raise QueryError(f"{table}: nobody has the key '{key}'")
    personal, activity = {table: own}, dict[str, list[Document]]()
    for other, columns in _referring(catalog, contract):
        rows = _rows(lake, other, columns, key)
        if rows:
            one_to_one = columns == list(other.key)
            (personal if one_to_one else activity)[other.table] = rows
    return {
        "subject": {"table": table, "key": key},
        "personal_data": personal,
        "activity_data": activity,
        "generated_at": now,
        "format": "JSON",
    }


def _referring(catalog: Catalog, contract: Contract) -> Iterator[tuple[Contract, list[str]]]:
    """The silver tables whose rules refer to this one's key, with the columns that do."""
    for other in catalog.layer("silver"):
        references = (rule.reference for rule in other.rules if rule.reference is not None)
        target = (contract.table, contract.key[0])
        columns = [r.column for r in references if (r.table, r.column_there) == target]
        if columns:
            yield other, columns


def _rows(lake: Lake, contract: Contract, columns: list[str], key: str) -> list[Document]:
    """The rows with the key in one of the columns; those in quarantine are a person's data too."""
    found = list[Document]()
    for layer in ("silver", "quarantine"):
        if lake.version(contract.sibling(layer)) is None:
            continue
        same = [pl.col(name).cast(pl.String) == key for name in columns]
        rows = lake.scan(contract.sibling(layer)).filter(pl.any_horizontal(same))
        held = rows.select(contract.columns.keys()).sort(contract.key).collect()
        found += held.to_dicts()
    return found
