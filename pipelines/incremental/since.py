"""From the recipe of a table's last build to the part of it that is out of date."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
from deltalake import DeltaTable

from pipelines.contract import Contract
from pipelines.delta import Snapshot, read_snapshot
from pipelines.errors import LakeError
from pipelines.incremental.changes import Changes, changes_between
from pipelines.incremental.errors import NotProvable
from pipelines.incremental.inputs import Input
from pipelines.incremental.part import Part, Query, part_of, part_of_keys, read_query
from pipelines.incremental.summed import Summed, summed
from pipelines.storage import Lake, schema_of

#: What a recipe holds besides its inputs, in the reader's words.
_TERMS = {
    "sql": "its SQL",
    "contract": "its contract",
    "contract_version": "its contract",
    "code": "this program",
    "salt": "the salt of its masks",
}


def part_since(
    lake: Lake,
    contract: Contract,
    inputs: Mapping[str, DeltaTable],
    last: str | None,
    recipe: str,
    unique: Mapping[str, Sequence[str]],
) -> Part | Summed:
    """The part of a table that the changes of its inputs since its last build can reach.

    Args:
        lake: Where the tables lie.
        contract: The table's contract with its SQL.
        inputs: The versions to build from.
        last: The recipe of the last build; None where there was none.
        recipe: The recipe of this one.
        unique: The columns of an input that no two of its rows share, where there are such.

    Raises:
        NotProvable: when the table has to be computed whole.
    """
    if contract.forecast is not None:
        raise NotProvable("a forecast is made of whole series")
    before, now = _told(last), _told(recipe)
    for name in now.keys() - {"inputs"}:
        if before.get(name) != now[name]:
            raise NotProvable(f"{_TERMS.get(name, name)} changed since the last build")
    types = {name: dict(schema_of(handle)) for name, handle in inputs.items()}
    query = read_query(contract.sql or "", types)
    changed, tables = dict[str, Changes](), dict[str, Input]()
    for name, at in now["inputs"].items():
        snapshot = _snapshot(lake, name, inputs[name].version())
        if before["inputs"].get(name) != at:
            found = _changes(lake, name, str(before["inputs"].get(name)), at, snapshot, query)
            changed |= {name: found} if found.rows else {}
        rows = lake.scan_handle(inputs[name]).select(query.columns[name])
        tables[name] = Input(rows, snapshot, unique.get(name, ()))
    key, given = contract.key, _as_given(contract)

    def otherwise() -> Part:
        return part_of(query, tables, changed, key, given)

    def again(keys: pl.DataFrame) -> Part:
        return part_of_keys(query, tables, changed, key, keys)

    if contract.group_size is not None or contract.surrogate_key is not None:
        return otherwise()
    masked = any(column.mask for column in contract.columns.values())
    told = None if masked else summed(query, tables, changed, key, given, again, otherwise)
    return told or otherwise()


def _as_given(contract: Contract) -> list[str]:
    """The columns that are stored as the SQL gives them: neither made by the build, nor masked."""
    made = {contract.batch_id, contract.surrogate_key.column if contract.surrogate_key else None}
    return [name for name, it in contract.columns.items() if name not in made and it.mask is None]


def _told(recipe: str | None) -> dict[str, Any]:
    if recipe is None:
        raise NotProvable("no build of it is known")
    return json.loads(recipe)


def _changes(lake: Lake, name: str, before: str, at: str, now: Snapshot, query: Query) -> Changes:
    identity, _, old = before.rpartition("@")
    if identity != at.rpartition("@")[0]:
        raise NotProvable(f"{name} was made anew")
    was = _snapshot(lake, name, int(old))
    if was.version != int(old):
        raise NotProvable(f"{name}: its last version is gone from the log")
    return changes_between(was, now, query.columns[name])


def _snapshot(lake: Lake, name: str, version: int) -> Snapshot:
    try:
        return read_snapshot(lake.path(name), lake.options, version)
    except LakeError as error:
        raise NotProvable(f"{name}: its changes cannot be told: {error}") from error
