"""What the SQL of a gold table gives, in the types of its contract: equal, or refused."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from pipelines.contract import Contract, did_you_mean
from pipelines.errors import ContractError, LossError


def exactly(contract: Contract, rows: pl.DataFrame, added: Sequence[str]) -> pl.DataFrame:
    """The SQL's columns in the contract's order and types.

    Raises:
        ContractError: when they are others than the contract's.
        LossError: when a cast would change a value.
    """
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
    return rows.select(exact_cast(contract, rows[name]) for name in wanted)


def exact_cast(contract: Contract, column: pl.Series) -> pl.Series:
    """A column in the contract's type.

    Raises:
        LossError: when the type would change a value.
    """
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
