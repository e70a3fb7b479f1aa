"""Exports: what leaves the lake, one file each, made by SQL under a contract like a gold table.

A file is put in its place whole or not at all, and holds the same bytes whenever its rows are the
same: rows are sorted by the contract's key, and a file that would not change is left alone.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import polars as pl

from pipelines.contract import Catalog, Contract
from pipelines.cut import refuse_half_transactions
from pipelines.delta.store import Store
from pipelines.errors import LossError
from pipelines.gold import inputs_of, open_inputs, refuse_bad_keys, result_over
from pipelines.storage import Lake


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What an export did: `changed` tells whether the file is another than before."""

    table: str
    file: str
    rows: int
    changed: bool
    size_bytes: int
    sha256: str
    input_versions: Mapping[str, int]
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Exports:
    """The folder or object-store URL below which every export lies."""

    root: str
    options: Mapping[str, str]

    @property
    def store(self) -> Store:
        """The store behind it; a folder is made."""
        if "://" not in self.root:
            Path(self.root).mkdir(parents=True, exist_ok=True)
        return Store(self.root, self.options)


def export(lake: Lake, catalog: Catalog, table: str, to: Exports) -> Exported:
    """Writes one export from its inputs as they are now.

    Raises:
        LakeError: when an input is not there yet, or the file cannot be written.
        ContractError: when the SQL gives other columns than the contract.
        LossError: when a value does not fit the contract's type, or the file's format, exactly.
        QualityError: when the key is not one: null, or the same twice; or a group is too small.
        SettingsError: when a mask needs a salt and there is none.
        QueryError: when the engine refuses the SQL.
        LagError: when its inputs would show a transaction of their source in part.
    """
    began = time.monotonic()
    contract = catalog[table]
    handles = open_inputs(lake, contract)
    refuse_half_transactions(lake, catalog, table, inputs_of(contract))
    rows = result_over(contract, {n: lake.scan_handle(each) for n, each in handles.items()})
    refuse_bad_keys(contract, rows)
    data, name, store = written(contract, rows.sort(contract.key)), contract.export_file, to.store
    changed = store.get_if_there(name) != data
    if changed:
        store.replace(name, data)
    return Exported(
        table=table,
        file=name,
        rows=rows.height,
        changed=changed,
        size_bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        input_versions={name: handle.version() for name, handle in handles.items()},
        seconds=time.monotonic() - began,
    )


# ---- FORMATS ---- #


def written(contract: Contract, rows: pl.DataFrame) -> bytes:
    """The rows in the contract's format. In CSV null is empty and an empty text is `""`.

    Instants are text as ISO 8601 has it, in UTC; decimals are text in JSON, so that no reader
    rounds them.

    Raises:
        LossError: when a number is none that JSON knows.
    """
    target, form = BytesIO(), contract.export and contract.export.format
    if form == "parquet":
        rows.write_parquet(target)
    elif form == "jsonl":
        _refuse_no_numbers(contract, rows)
        _with_instants(rows).write_ndjson(target)
    else:
        _with_instants(rows).write_csv(target)
    return target.getvalue()


def _with_instants(rows: pl.DataFrame) -> pl.DataFrame:
    zone = {
        name: "Z" if getattr(dtype, "time_zone", None) else ""
        for name, dtype in rows.schema.items()
    }
    return rows.with_columns(
        pl.col(name).dt.strftime(f"%Y-%m-%dT%H:%M:%S%.6f{zone[name]}")
        for name, dtype in rows.schema.items()
        if isinstance(dtype, pl.Datetime)
    )


def _refuse_no_numbers(contract: Contract, rows: pl.DataFrame) -> None:
    floats = rows.select(pl.selectors.float())
    wrong = floats.select((~pl.all().is_finite()).any())
    for name in wrong.columns:
        if wrong[name].item():
            raise LossError(
                f"{contract.table}: column '{name}' holds NaN or infinity, which JSON has no number for",
                hint="make it null in the SQL, or export csv or parquet",
            )
