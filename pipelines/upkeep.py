"""Upkeep: tables kept small and quick to read, beside those who write and read them.

Bronze and the system's tables are compacted by delta-rs; tables with deletion vectors are folded by
ours (`delta.fold`), since only we know which dead rows are worth a rewrite. Neither changes a row.
Files that no version younger than the retention names are deleted at last.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from deltalake import DeltaTable
from deltalake.exceptions import CommitFailedError, DeltaError

from pipelines.delta import fold, purge, read_snapshot
from pipelines.errors import ConflictError, LakeError
from pipelines.storage import Lake

#: Delta's own default: a reader may hold a version this long.
RETENTION_HOURS = 168
#: Files of delta-rs' compaction; Parquet reads whole columns of it in about half a second.
_FILE_BYTES = 128 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What upkeep did to a table: data files before and after, dead rows taken out, files deleted."""

    table: str
    files: int
    into: int
    dead: int = 0
    deleted: int = 0

    @property
    def changed(self) -> bool:
        """Whether anything was done."""
        return self.files != self.into or bool(self.dead or self.deleted)


def keep_up(
    lake: Lake,
    tables: Sequence[str],
    *,
    retention_hours: int | None = None,
    skipped: Callable[[str, ConflictError], None] = lambda _table, _error: None,
) -> list[Kept]:
    """Compacts or folds the tables where it is worth it; with a retention, deletes what is older.

    A table that somebody wrote meanwhile is left for the next time, and `skipped` hears of it.

    Raises:
        LakeError: when a table cannot be read or written.
    """
    done = list[Kept]()
    for table in tables:
        try:
            done.append(_keep(lake, table, retention_hours))
        except ConflictError as error:
            skipped(table, error)
        except (DeltaError, OSError) as error:
            raise LakeError(f"{table}: upkeep failed: {error}") from error
    return done


def _keep(lake: Lake, table: str, retention_hours: int | None) -> Kept:
    handle = lake.handle(table)
    kept = _fold(lake, table) if _has_vectors(handle) else _compact(handle, table)
    if retention_hours is None:
        return kept
    if _has_vectors(handle):
        purge(read_snapshot(lake.path(table), lake.options))
    deleted = lake.handle(table).vacuum(
        retention_hours=retention_hours,
        enforce_retention_duration=False,
        dry_run=False,
    )
    return Kept(table=table, files=kept.files, into=kept.into, dead=kept.dead, deleted=len(deleted))


def _has_vectors(handle: DeltaTable) -> bool:
    return handle.metadata().configuration.get("delta.enableDeletionVectors") == "true"


def _fold(lake: Lake, table: str) -> Kept:
    snapshot = read_snapshot(lake.path(table), lake.options)
    told = snapshot.configuration.get("delta.dataSkippingStatsColumns", "")
    done = fold(snapshot, stats_columns=[name for name in told.split(",") if name])
    count = len(snapshot.files)
    return Kept(table=table, files=count, into=count - done.files + done.into, dead=done.dead)


def _compact(handle: DeltaTable, table: str) -> Kept:
    try:
        done = handle.optimize.compact(target_size=_FILE_BYTES)
    except CommitFailedError as error:
        raise ConflictError(f"{table}: written meanwhile", hint="run it again") from error
    now = len(handle.file_uris())
    return Kept(table=table, files=now - done["numFilesAdded"] + done["numFilesRemoved"], into=now)
