"""What a tenant may see: of the tables whose contracts say whose each row is, its own rows and no others."""

from __future__ import annotations

import re

import polars as pl

from lineage.columns import tables_of
from lineage.errors import LineageError
from pipelines.contract import Catalog, Contract, did_you_mean
from pipelines.errors import QueryError
from pipelines.query import select
from pipelines.storage import Lake

#: Polars' functions that read files beside the lake.
_READS_FILES = re.compile(r"\b(?:read|scan)_\w+\s*\(", re.IGNORECASE)


def query_as_tenant(lake: Lake, catalog: Catalog, sql: str, tenant: str) -> pl.DataFrame:
    """The result of one SELECT over the tenant's rows, as if there were no others.

    Raises:
        QueryError: when it names a table that is not divided among tenants or is not in the lake,
            reads a file, or the engine refuses it.
    """
    divided = {c.table: c for c in catalog.contracts.values() if c.tenant is not None}
    if _READS_FILES.search(sql):
        raise QueryError("a tenant reads tables, not files")
    try:
        named = tables_of(sql)
    except LineageError as error:
        raise QueryError(f"the query does not run: {error}") from error
    for name in named:
        if name not in divided:
            raise QueryError(
                f"a tenant has no part in '{name}'",
                hint=did_you_mean(name, divided)
                or f"the tables divided among tenants are {', '.join(divided) or 'none'}",
            )
        if lake.version(name) is None:
            raise QueryError(f"there is no table '{name}' in {lake.root}")
    return select(lake, sql, {name: _own(lake, divided[name], tenant) for name in named}, named)


def _own(lake: Lake, contract: Contract, tenant: str) -> pl.LazyFrame:
    column = contract.tenant or ""
    kind = contract.columns[column].type
    value = pl.Series([tenant]).cast(kind.stored, strict=False)[0]
    if value is None:
        raise QueryError(f"'{tenant}' is no {kind}, as '{column}' of {contract.table} is")
    return lake.scan(contract.table).filter(pl.col(column) == pl.lit(value, kind.stored))
