"""What people did to the lake's rows: an append-only table, which Delta itself keeps from being changed.

An entry never holds a value of a classified column: rows are named by the id of their event and by
their key, of which classified parts are `***`.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import polars as pl

from pipelines.storage import Lake

AUDIT_LOG = "system.main.audit_log"

#: `before` and `after` are JSON objects of what the act is about, null where there is nothing to say.
AUDIT_TABLE: Mapping[str, pl.DataType] = {
    "entry_id": pl.String(),
    "at": pl.Datetime("us", "UTC"),
    "done_by": pl.String(),
    "os_user": pl.String(),
    "act": pl.String(),
    "table_name": pl.String(),
    "row_id": pl.String(),
    "row_key": pl.String(),
    "why": pl.String(),
    "before": pl.String(),
    "after": pl.String(),
}


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does it: the name they go by, and the user whose process it is."""

    name: str
    os_user: str

    @classmethod
    def here(cls, name: str | None = None) -> Self:
        """This process's user, by the system's own account and not by the environment."""
        try:
            user = pwd.getpwuid(os.getuid()).pw_name
        except KeyError:  # a container's user without an account
            user = f"uid {os.getuid()}"
        return cls(name or user, user)


def record(lake: Lake, entries: pl.DataFrame) -> int:
    """Adds those entries that are not there yet, by `entry_id`; how many.

    Raises:
        ConflictError: when another process recorded meanwhile; recording again is right.
        LakeError: when the log cannot be written.
    """
    if not len(entries):
        return 0
    handle = lake.create(AUDIT_LOG, AUDIT_TABLE, configuration={"delta.appendOnly": "true"})
    known = lake.scan_handle(handle).select("entry_id")
    new = entries.lazy().join(known, on="entry_id", how="anti").collect()
    if len(new):
        version = handle.version() + 1
        rows = new.select(pl.col(name).cast(dtype) for name, dtype in AUDIT_TABLE.items())
        lake.write(handle, rows, mode="append", app={AUDIT_LOG: version})
    return len(new)
