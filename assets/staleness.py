"""What Dagster compares to know what is stale: the version of a table's code, and that of its data."""

from __future__ import annotations

import hashlib

import dagster as dg

from pipelines.contract import Contract
from pipelines.storage import Lake
from pipelines.version import CODE_VERSION


def code_version(contract: Contract) -> str:
    """Another when the contract, its SQL or the code that carries them out is another.

    The contract's own version comes first, for people; a change that forgot to raise it still counts.
    """
    told = f"{contract.model_dump_json()}\n{contract.sql or ''}\n{CODE_VERSION}"
    return f"{contract.version}+{hashlib.sha256(told.encode()).hexdigest()[:12]}"


def data_version(lake: Lake, table: str) -> dg.DataVersion | None:
    """The Delta table's id and version: a run that wrote nothing leaves what reads it up to date."""
    handle = lake.open(table)
    return None if handle is None else dg.DataVersion(f"{handle.metadata().id}@{handle.version()}")
