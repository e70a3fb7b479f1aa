"""Surrogate keys: an integer for each natural key, the one it was first given, even if gold is made anew.

They are kept in a table of their own, which is written before the rows that bear them: a crash
between the two leaves numbers that the next build finds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

import polars as pl
from deltalake import DeltaTable

from pipelines.contract import Contract
from pipelines.errors import ContractError, QualityError
from pipelines.storage import Lake, schema_of

_UTC = pl.Datetime("us", "UTC")


@dataclass(frozen=True, slots=True)
class Numbers:
    """Keys that a build gives for the first time, and the table they were found missing from."""

    handle: DeltaTable
    rows: pl.DataFrame


def with_surrogate_key(
    lake: Lake,
    contract: Contract,
    rows: pl.DataFrame,
    exactly: Callable[[Contract, pl.Series], pl.Series],
) -> tuple[pl.DataFrame, Numbers | None]:
    """The rows with their integer key, and what is to be kept of it.

    New keys follow the largest, in the order of the natural key. They are only kept once the rows
    are known to be right: a build that is refused gives none.

    Raises:
        QualityError: when a row has no natural key.
        ContractError: when the kept keys were given to other columns.
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
    kept, wanted = lake.scan_handle(handle).drop("given_at"), rows.select(of).unique()
    known = kept.join(wanted.lazy(), on=of, how="semi").collect(engine="streaming")
    new = wanted.join(known, on=of, how="anti").sort(of)
    largest = kept.select(pl.col(surrogate.column).max()).collect().item() if len(new) else 0
    first = int(largest or 0) + 1
    numbered = new.with_columns(
        pl.int_range(first, first + len(new), dtype=pl.Int64).alias(surrogate.column)
    )
    full = rows.join(pl.concat([known, numbered]), on=of, how="left")
    exact = full.with_columns(exactly(contract, full[surrogate.column]))
    return exact, Numbers(handle, numbered) if len(numbered) else None


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


def keep_numbers(lake: Lake, contract: Contract, numbers: Numbers, now: datetime) -> None:
    """Keeps new keys.

    Raises:
        ConflictError: when another build gave keys since these were found missing.
    """
    rows = numbers.rows.with_columns(pl.lit(now).cast(_UTC).alias("given_at"))
    guard = {f"keys/{contract.sibling('keys')}": numbers.handle.version() + 1}
    lake.write(numbers.handle, rows, mode="append", app=guard)
