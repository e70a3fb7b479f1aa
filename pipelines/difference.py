"""Writes a table's new rows as the difference to what it holds: equal rows stay where they lie.

Rows that differ are marked and written anew in one commit, guarded by the version that the new rows
were compared with. So a reader of the changes sees those alone, and a row bears the batch in which
it became what it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import polars as pl
from deltalake import DeltaTable, TableFeatures

from pipelines.contract import Contract
from pipelines.delta import (
    DIGEST,
    Snapshot,
    commit_changes,
    live_rows,
    locate,
    lookup,
    read_digests,
    read_scattered,
    read_snapshot,
    with_digests,
)
from pipelines.errors import QualityError
from pipelines.incremental import Part
from pipelines.storage import Lake, schema_of

_DV = {"delta.enableDeletionVectors": "true"}
_PLACE = ("_file", "_row")

#: Where more than one row of so many may be in the part, they are read from end to end.
_MOST = 5

#: A build that read more rows than this and found nothing to write leaves a commit without rows that
#: says so; else each later one would read them again.
_MUCH = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What became of the table: its version, its rows, and how many went and came."""

    version: int
    changed: bool
    rows: int
    removed: int = 0
    added: int = 0


def write_difference(
    lake: Lake,
    contract: Contract,
    rows: pl.DataFrame,
    *,
    existing: DeltaTable | None,
    part: Part | None,
    batch_id: str,
    metadata: Mapping[str, str],
) -> Written:
    """Makes the table, or a part of it, hold exactly these rows.

    Args:
        lake: Where the table lies.
        contract: Its contract.
        rows: All rows of the table or the part, without the batch.
        existing: The version that was found when the build began; None where there is no table.
        part: The part that the rows are; None: the whole table.
        batch_id: The mark of rows that are written.
        metadata: What the commit is to say.

    Raises:
        QualityError: when a row of the part shares its key with one outside of it.
        ConflictError: when another build came first; nothing was written.
    """
    schema = pl.Schema({name: column.type.stored for name, column in contract.columns.items()})
    mark = [pl.lit(batch_id).alias(contract.batch_id)] if contract.batch_id else []
    full = rows.with_columns(mark).select(schema.keys())
    guard = f"build/{contract.table}"
    metadata = {**metadata, "batch_id": batch_id}
    if existing is None or dict(schema_of(existing)) != dict(schema):
        return _replace(lake, contract, full, existing, guard, metadata)
    snapshot = read_snapshot(lake.path(contract.table), lake.options, existing.version())
    compared = [name for name in schema if name not in (*contract.key, contract.batch_id)]
    if part is None or not compared or any(schema[name].is_nested() for name in compared):
        stored = _stored(snapshot, contract, part, compared)
    else:
        stored = _stored_digests(snapshot, contract, part, compared)
        full, compared = with_digests(full, compared), [*DIGEST]
    if part is not None and not set(part.columns) <= set(contract.key):
        # Else all rows of a key are in the part, where a key that repeats was refused before.
        _refuse_shared_keys(snapshot, contract, full, stored)
    stale, new = _differences(full, stored, contract.key, compared)
    new = new.select(schema.keys())
    count = snapshot.num_rows - len(stale) + len(new)
    differs = bool(len(stale) or len(new))
    if not differs and part is not None and part.changed_rows < _MUCH:
        return Written(version=snapshot.version, changed=False, rows=count)
    version = commit_changes(
        _with_vectors(lake, contract, existing, snapshot),
        removed=stale,
        added=new.sort(contract.key),
        app_transactions={guard: snapshot.version + 1},
        metadata=metadata,
        stats_columns=_stats_columns(contract),
    )
    return Written(version=version, changed=differs, rows=count, removed=len(stale), added=len(new))


def _replace(
    lake: Lake,
    contract: Contract,
    rows: pl.DataFrame,
    existing: DeltaTable | None,
    guard: str,
    metadata: Mapping[str, str],
) -> Written:
    """The first build, and one whose contract has other columns."""
    stats = _stats_columns(contract)
    handle = existing or lake.create(
        contract.table, rows.schema, stats_columns=stats, configuration=_DV
    )
    version = lake.write(
        handle,
        rows.sort(contract.key),
        mode="overwrite",
        # Two overwrites of an empty table do not conflict in Delta; one app transaction makes them.
        app={guard: handle.version() + 1},
        metadata=metadata,
        reshape=dict(schema_of(handle)) != dict(rows.schema),
    )
    return Written(version=version, changed=True, rows=len(rows), added=len(rows))


def _stats_columns(contract: Contract) -> list[str]:
    return [name for name in contract.key if name not in contract.classified()]


def _with_vectors(
    lake: Lake, contract: Contract, existing: DeltaTable, snapshot: Snapshot
) -> Snapshot:
    """The same version of a table that can hold deletion vectors; older releases made gold without."""
    if snapshot.configuration.get("delta.enableDeletionVectors") == "true":
        return snapshot
    existing.alter.add_feature(TableFeatures.DeletionVectors, allow_protocol_versions_increase=True)
    existing.alter.set_table_properties(_DV)
    return read_snapshot(lake.path(contract.table), lake.options, existing.version())


# ---- COMPARE ---- #


def stored_rows(snapshot: Snapshot, contract: Contract, keys: pl.DataFrame) -> pl.DataFrame:
    """The rows that a table holds of some keys, none of them null; without the batch."""
    columns = [name for name in contract.columns if name != contract.batch_id]
    places = _places(snapshot, keys, list(contract.key), contract)
    return read_scattered(snapshot, places, columns).select(columns)


def _stored(
    snapshot: Snapshot, contract: Contract, part: Part | None, compared: Sequence[str]
) -> pl.DataFrame:
    """The rows that the table holds, or holds in the part: keys, the columns to compare, places."""
    columns = [*contract.key, *compared]
    if part is None:
        return live_rows(snapshot, columns).collect(engine="streaming")
    return read_scattered(snapshot, _places_in(snapshot, contract, part), columns)


def _stored_digests(
    snapshot: Snapshot, contract: Contract, part: Part, compared: Sequence[str]
) -> pl.DataFrame:
    """As `_stored`, with digests of the columns to compare in their stead."""
    places = _places_in(snapshot, contract, part)
    if set(part.columns) != set(contract.key):
        places = read_scattered(snapshot, places, contract.key)
    return places.join(read_digests(snapshot, places, compared), on=_PLACE)


def _places_in(snapshot: Snapshot, contract: Contract, part: Part) -> pl.DataFrame:
    """Where the rows of the part lie: its columns and places."""
    values = part.values_as({name: snapshot.schema[name] for name in part.columns})
    return _places(snapshot, values, part.columns, contract)


def _places(
    snapshot: Snapshot, values: pl.DataFrame, on: Sequence[str], contract: Contract
) -> pl.DataFrame:
    """Where the rows with these values lie; by an index where the table is worth one."""
    by = list(contract.key) if set(on) == set(contract.key) else list(on)
    found = lookup(snapshot, values, by, nulls=True, most=snapshot.num_rows // _MOST)
    if found is not None:
        return found
    if not any(values.null_count().row(0)):
        return locate(snapshot, values, on, [])
    rows = live_rows(snapshot, on)
    sought = rows.join(values.lazy(), on=list(on), how="semi", nulls_equal=True)
    return sought.collect(engine="streaming")


def _differences(
    rows: pl.DataFrame, stored: pl.DataFrame, key: Sequence[str], compared: Sequence[str]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The places of stored rows that are no longer so, and the rows that are not stored."""
    old = stored.select(*key, *(pl.col(name).alias(f"_old:{name}") for name in compared), *_PLACE)
    both = rows.join(old, on=list(key), how="left")
    same = [pl.col(name).eq_missing(pl.col(f"_old:{name}")) for name in compared]
    is_held = pl.all_horizontal(pl.col("_row").is_not_null(), *same)
    new = both.filter(~is_held).select(rows.columns)
    held = both.filter(is_held).select(_PLACE)
    return stored.select(_PLACE).join(held, on=_PLACE, how="anti"), new


def _refuse_shared_keys(
    snapshot: Snapshot, contract: Contract, rows: pl.DataFrame, stored: pl.DataFrame
) -> None:
    """Nothing, when no row of the part has the key of a row outside of it."""
    key: Sequence[str] = list(contract.key)
    new = rows.select(key).join(stored.select(key), on=key, how="anti")
    twins = _places(snapshot, new, key, contract).join(stored.select(_PLACE), on=_PLACE, how="anti")
    if len(twins):
        raise QualityError(
            f"{contract.table}: {len(twins)} rows share their key ({', '.join(key)}) with another; the table was left as it is",
            hint="the SQL's grain is finer than the contract's key",
        )
