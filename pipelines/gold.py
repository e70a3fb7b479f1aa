"""Gold: one SQL file a table, run over the lake's tables at fixed versions.

The whole table is computed, and written only when something is different: when no input, no SQL
and no contract has changed nothing is read, and when the rows come out the same nothing is written.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from graphlib import CycleError, TopologicalSorter
from typing import Any

import polars as pl
from deltalake import DeltaTable

from lineage.columns import tables_of
from lineage.errors import LineageError
from pipelines.contract import Catalog, Contract, did_you_mean
from pipelines.cut import refuse_half_transactions
from pipelines.errors import ContractError, LakeError, LossError, QualityError, QueryError
from pipelines.masks import release, salt_mark
from pipelines.storage import Lake, schema_of
from pipelines.version import CODE_VERSION

_UTC = pl.Datetime("us", "UTC")


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What a build did: `changed` tells whether a new version was written.

    `dropped` counts the groups left out since they are smaller than the contract allows.
    """

    table: str
    rows: int
    changed: bool
    version: int
    input_versions: Mapping[str, int]
    seconds: float = 0.0
    dropped: int = 0


def inputs_of(contract: Contract) -> tuple[str, ...]:
    """The tables that a gold table's SQL reads.

    Raises:
        ContractError: when the SQL does not parse.
    """
    try:
        return tuple(tables_of(contract.sql or ""))
    except LineageError as error:
        raise ContractError(f"{contract.path.with_suffix('.sql')}: {error}") from error


def order_of(catalog: Catalog) -> list[str]:
    """The gold tables, each after those it reads.

    Raises:
        ContractError: when tables read each other in a circle, or read one that nobody makes.
    """
    gold = {contract.table: contract for contract in catalog.layer("gold")}
    needs = {
        table: [name for name in inputs_of(contract) if name.startswith("gold.")]
        for table, contract in gold.items()
    }
    for table, names in needs.items():
        for name in names:
            if name not in gold:
                raise ContractError(
                    f"{gold[table].path}: reads '{name}', which no contract makes",
                    hint=did_you_mean(name, gold),
                )
    try:
        return list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        raise ContractError(f"gold tables read each other: {' <- '.join(error.args[1])}") from error


def build(lake: Lake, catalog: Catalog, table: str, *, batch_id: str, now: datetime) -> Built:
    """Brings a gold table to what its SQL says of its inputs as they are now.

    Raises:
        LakeError: when an input is not there yet.
        ContractError: when the SQL gives other columns than the contract.
        LossError: when a value does not fit the contract's type exactly.
        QualityError: when the key is not one: null, or the same twice; or a group is too small.
        SettingsError: when a mask needs a salt and there is none.
        QueryError: when the engine refuses the SQL.
        LagError: when its inputs would show a transaction of their source in part.
        ConflictError: when another builder came first; the table is as that one left it.
    """
    began = time.monotonic()
    contract = catalog[table]
    handles = _open_inputs(lake, contract)
    recipe = _recipe(contract, handles)
    versions = {name: handle.version() for name, handle in handles.items()}
    existing = lake.open(table)
    if existing is not None and _last_recipe(existing) == recipe:
        return Built(
            table=table,
            rows=_count(lake, existing),
            changed=False,
            version=existing.version(),
            input_versions=versions,
            seconds=time.monotonic() - began,
        )
    refuse_half_transactions(lake, catalog, table, inputs_of(contract))
    added = added_columns(contract)
    found = _run(lake, contract, handles)
    shown = release(contract, found)
    rows = _exactly(contract, shown, added)
    rows, numbers = _with_surrogate_key(lake, contract, rows)
    _refuse_bad_keys(contract, rows)
    if numbers is not None:
        _keep(lake, contract, numbers, now)
    version, changed = _write(lake, contract, rows, recipe, batch_id)
    return Built(
        table=table,
        rows=len(rows),
        changed=changed,
        version=version,
        input_versions=versions,
        seconds=time.monotonic() - began,
        dropped=len(found) - len(shown),
    )


def _open_inputs(lake: Lake, contract: Contract) -> dict[str, DeltaTable]:
    handles = dict[str, DeltaTable]()
    for name in inputs_of(contract):
        handle = lake.open(name)
        if handle is None:
            raise LakeError(
                f"{contract.table}: its input {name} is not in the lake yet",
                hint="run 'medallion run', or apply and build in this order",
            )
        handles[name] = handle
    return handles


def _recipe(contract: Contract, handles: Mapping[str, DeltaTable]) -> str:
    """Everything that the result depends on, as JSON."""
    sql = hashlib.sha256((contract.sql or "").encode()).hexdigest()
    terms = hashlib.sha256(contract.model_dump_json().encode()).hexdigest()
    inputs = {
        name: f"{handle.metadata().id}@{handle.version()}"
        for name, handle in sorted(handles.items())
    }
    return json.dumps(
        {
            "inputs": inputs,
            "sql": sql,
            "contract": terms,
            "contract_version": contract.version,
            "code": CODE_VERSION,
            "salt": salt_mark(contract),
        }
    )


def _last_recipe(handle: DeltaTable) -> str | None:
    newest: dict[str, Any] = handle.history(1)[0]
    return newest.get("recipe")


def _count(lake: Lake, handle: DeltaTable) -> int:
    return int(lake.scan_handle(handle).select(pl.len()).collect().item())


# ---- RUN ---- #


def _run(lake: Lake, contract: Contract, handles: Mapping[str, DeltaTable]) -> pl.DataFrame:
    return run_sql(contract, {name: lake.scan_handle(each) for name, each in handles.items()})


def result_over(contract: Contract, frames: Mapping[str, pl.LazyFrame]) -> pl.DataFrame:
    """What a gold table's SQL says of other rows than the lake's, without the build's own columns.

    Raises:
        ContractError: when the SQL gives other columns than the contract.
        LossError: when a value does not fit the contract's type exactly.
        QueryError: when the engine refuses the SQL.
    """
    return _exactly(contract, release(contract, run_sql(contract, frames)), added_columns(contract))


def run_sql(contract: Contract, frames: Mapping[str, pl.LazyFrame]) -> pl.DataFrame:
    """The rows that a gold table's SQL gives of these inputs.

    Raises:
        QueryError: when the engine refuses the SQL.
    """
    try:
        return (
            pl.SQLContext(frames)
            .execute(contract.sql or "", eager=False)
            .collect(engine="streaming")
        )
    except pl.exceptions.PolarsError as error:
        raise QueryError(
            f"{contract.path.with_suffix('.sql')}: {error}",
            hint="'medallion query' runs a part of it",
        ) from error


def added_columns(contract: Contract) -> list[str]:
    """The columns that the build gives, not the SQL.

    Raises:
        ContractError: when one of them, or a part of the natural key, is not a column to be had.
    """
    surrogate = contract.surrogate_key
    added = [name for name in (surrogate and surrogate.column, contract.batch_id) if name]
    from_sql = [name for name in contract.columns if name not in added]
    wanted = [(name, contract.columns, "batch_id and surrogate_key.column") for name in added]
    if surrogate is not None:
        wanted += [(name, from_sql, "surrogate_key.of") for name in surrogate.of]
    for name, known, place in wanted:
        if name not in known:
            raise ContractError(
                f"{contract.path}: column '{name}' is not one that {place} can name",
                hint=did_you_mean(name, known),
            )
    return added


def _exactly(contract: Contract, rows: pl.DataFrame, added: Sequence[str]) -> pl.DataFrame:
    """The SQL's columns in the contract's order and types; a cast that would change a value is refused."""
    wanted = [name for name in contract.columns if name not in added]
    for name in (*wanted, *rows.columns):
        if name not in rows.columns:
            raise ContractError(
                f"{contract.path}: column '{name}' is not in the SQL's result",
                hint=did_you_mean(name, rows.columns),
            )
        if name in added:
            raise ContractError(
                f"{contract.path}: the SQL gives column '{name}', which the build gives",
                hint="leave it out of the SQL",
            )
        if name not in wanted:
            raise ContractError(
                f"{contract.path}: the SQL gives column '{name}', which the contract does not have",
                hint=did_you_mean(name, wanted),
            )
    return rows.select(_cast(contract, rows[name]) for name in wanted)


def _cast(contract: Contract, column: pl.Series) -> pl.Series:
    wanted = contract.columns[column.name].type
    if column.dtype == wanted.stored:
        return column
    try:
        cast = column.cast(wanted.stored, strict=False)
        lost = (column.is_not_null() & cast.is_null()).any() or not _same(column, cast)
    except pl.exceptions.PolarsError:  # no cast leads from the one type to the other
        cast, lost = column, True
    if lost:
        raise LossError(
            f"{contract.table}: column '{column.name}' is {column.dtype} in the SQL's result and would lose something as {wanted}",
            hint="cast it in the SQL, where the rounding can be seen",
        )
    return cast


def _same(before: pl.Series, after: pl.Series) -> bool:
    if before.dtype.is_float() and not after.dtype.is_float():
        return False
    return before.equals(after.cast(before.dtype, strict=False), null_equal=True)


def _refuse_bad_keys(contract: Contract, rows: pl.DataFrame) -> None:
    key = list(contract.key)
    nulls = rows.filter(pl.any_horizontal(pl.col(name).is_null() for name in key)).height
    twins = rows.select(pl.struct(key).is_duplicated().sum()).item()
    if nulls or twins:
        raise QualityError(
            f"{contract.table}: {nulls} rows without a key and {twins} rows that share one ({', '.join(key)}); the table was left as it is",
            hint="the SQL's grain is finer than the contract's key",
        )


# ---- SURROGATE KEYS ---- #


@dataclass(frozen=True, slots=True)
class _Numbers:
    """Keys that a build gives for the first time, and the table they were found missing from."""

    handle: DeltaTable
    rows: pl.DataFrame


def _with_surrogate_key(
    lake: Lake, contract: Contract, rows: pl.DataFrame
) -> tuple[pl.DataFrame, _Numbers | None]:
    """The rows with their integer key: the one they were first given, even if gold is made anew.

    New keys follow the largest, in the order of the natural key. They are only kept once the rows
    are known to be right: a build that is refused gives none.
    """
    surrogate = contract.surrogate_key
    if surrogate is None:
        return rows, None
    of = list(surrogate.of)
    nulls = rows.filter(pl.any_horizontal(pl.col(name).is_null() for name in of)).height
    if nulls:
        raise QualityError(
            f"{contract.table}: {nulls} rows whose natural key is null ({', '.join(of)}); the table was left as it is",
            hint="leave them out in the SQL, or give them a value of their own",
        )
    handle = _open_keys(lake, contract)
    known = lake.scan_handle(handle).drop("given_at").collect()
    new = rows.select(of).unique().join(known, on=of, how="anti").sort(of)
    first = int(known[surrogate.column].max() or 0) + 1  # pyright: ignore[reportArgumentType] - an integer column
    numbered = new.with_columns(
        pl.int_range(first, first + len(new), dtype=pl.Int64).alias(surrogate.column)
    )
    keys = pl.concat([known, numbered])
    full = rows.join(keys, on=of, how="left")
    exact = full.with_columns(_cast(contract, full[surrogate.column]))
    return exact, _Numbers(handle, numbered) if len(numbered) else None


def _open_keys(lake: Lake, contract: Contract) -> DeltaTable:
    surrogate = contract.surrogate_key
    assert surrogate is not None  # noqa: S101 - asked by those that have one
    schema = {
        **{name: contract.columns[name].type.stored for name in surrogate.of},
        surrogate.column: pl.Int64(),
        "given_at": _UTC,
    }
    table = contract.sibling("keys")
    handle = lake.create(table, schema)
    if schema_of(handle) != pl.Schema(schema):
        raise ContractError(
            f"{contract.path}: {table} holds keys of other columns or types than surrogate_key names",
            hint="keys are kept for ever: make a dimension of another name",
        )
    return handle


def _keep(lake: Lake, contract: Contract, numbers: _Numbers, now: datetime) -> None:
    rows = numbers.rows.with_columns(pl.lit(now).cast(_UTC).alias("given_at"))
    guard = {f"keys/{contract.sibling('keys')}": numbers.handle.version() + 1}
    lake.write(numbers.handle, rows, mode="append", app=guard)


# ---- WRITE ---- #


def _write(
    lake: Lake, contract: Contract, rows: pl.DataFrame, recipe: str, batch_id: str
) -> tuple[int, bool]:
    """The version, and whether it is new. The rows are compared without the build's own mark."""
    schema = pl.Schema({name: column.type.stored for name, column in contract.columns.items()})
    handle = lake.open(contract.table)
    if handle is not None and _holds(lake, handle, rows, schema, contract.key):
        return handle.version(), False
    mark = [pl.lit(batch_id).alias(contract.batch_id)] if contract.batch_id else []
    full = rows.with_columns(mark).select(schema.keys()).sort(contract.key)
    handle = lake.create(contract.table, schema)
    # Two overwrites of an empty table do not conflict in Delta; one app transaction makes them.
    guard = {f"build/{contract.table}": handle.version() + 1}
    return lake.write(
        handle,
        full,
        mode="overwrite",
        app=guard,
        metadata={"recipe": recipe, "batch_id": batch_id},
        reshape=_shape(schema_of(handle)) != _shape(schema),
    ), True


def _shape(schema: pl.Schema) -> dict[str, pl.DataType]:
    """Names and types; Delta keeps the order a table was made in."""
    return dict(schema)


def _holds(
    lake: Lake, handle: DeltaTable, rows: pl.DataFrame, schema: pl.Schema, key: Sequence[str]
) -> bool:
    if _shape(schema_of(handle)) != _shape(schema):
        return False
    old = lake.scan_handle(handle).select(rows.columns).collect()
    return old.sort(key).equals(rows.sort(key))
