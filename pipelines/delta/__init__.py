"""Our own Delta writer: rows are changed by deletion vectors and new files, in one commit.

Delta's MERGE rewrites every file that holds a changed row, which for changes scattered over a table
is all of them. A deletion vector marks the old rows instead, so that the cost follows the change.
The tables stay plain Delta (protocol: reader 3, writer 7, feature `deletionVectors`): Polars,
delta-rs' query engine, DuckDB and Spark read them.
"""

from pipelines.delta.columns import DIGEST, read_digests, read_scattered, with_digests
from pipelines.delta.commit import commit_changes
from pipelines.delta.fold import Folded, fold
from pipelines.delta.index import lookup, purge
from pipelines.delta.rows import live_rows, locate, read_few, read_places
from pipelines.delta.snapshot import (
    ActiveFile,
    Snapshot,
    commit_info,
    files_added,
    find_snapshot,
    read_snapshot,
)

__all__ = [
    "DIGEST",
    "ActiveFile",
    "Folded",
    "Snapshot",
    "commit_changes",
    "commit_info",
    "files_added",
    "find_snapshot",
    "fold",
    "live_rows",
    "locate",
    "lookup",
    "purge",
    "read_digests",
    "read_few",
    "read_places",
    "read_scattered",
    "read_snapshot",
    "with_digests",
]
