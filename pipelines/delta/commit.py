"""One commit that takes rows away, adds others, and says how far an input has been read.

Steps, each harmless until the last: (1) write the new rows' files, (2) write the vectors, (3) put
the commit's JSON under the next version's name, which the store lets one writer do only. A crash
before (3) leaves files that no version names; vacuum removes them.
"""

from __future__ import annotations

import io
import json
import math
import time
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from urllib.parse import quote

import polars as pl
from deltalake import DeltaTable
from pyroaring import BitMap64

from pipelines.delta.snapshot import ActiveFile, Snapshot, commit_name, read_actions
from pipelines.delta.store import AlreadyThere, Store
from pipelines.delta.vectors import Descriptor, write_vectors
from pipelines.errors import ConflictError, LakeError, LossError

#: Rows a file: some 100 MB of a ten-column table, which one thread reads in about half a second.
_ROWS_PER_FILE = 1_000_000
#: Rows a group: what a reader holds at once for each column.
_ROWS_PER_GROUP = 122_880
#: A reader replays at most this many commits behind a checkpoint.
_CHECKPOINT_EVERY = 25
#: Longer texts enter the statistics cut, as every writer does it; the largest gets a last character.
_STATS_TEXT = 64

Action = dict[str, Any]


def commit_changes(
    snapshot: Snapshot,
    *,
    removed: pl.DataFrame,
    added: pl.DataFrame,
    app_transactions: Mapping[str, int],
    metadata: Mapping[str, str],
    stats_columns: Sequence[str],
) -> int:
    """The new version, in which `removed` rows (`_file`, `_row`) are gone and `added` are there.

    Guarded by the snapshot: when somebody has changed rows since it was read, nothing is written.
    A compaction that touched none of our files is let pass.

    Raises:
        LossError: when a column of `added` has not exactly the table's type.
        ConflictError: when another writer came first.
        LakeError: when the table cannot hold deletion vectors, or the store refuses.
    """
    _refuse_other_types(snapshot, added)
    _refuse_without_vectors(snapshot, removed)
    store = snapshot.store()
    adds = [
        _write_rows(store, part, stats_columns)
        for part in added.iter_slices(_ROWS_PER_FILE)
        if len(part)
    ]
    marks = _mark_rows(snapshot, store, removed)
    actions = [
        *(
            {"txn": {"appId": name, "version": version, "lastUpdated": _now()}}
            for name, version in app_transactions.items()
        ),
        *marks,
        *({"add": action} for action in adds),
    ]
    info = _commit_info(
        metadata, added=len(added), removed=len(removed), read_version=snapshot.version
    )
    version = _put(store, snapshot, [info, *actions], set(app_transactions))
    if version % _CHECKPOINT_EVERY == 0:
        DeltaTable(snapshot.uri, storage_options=dict(snapshot.options)).create_checkpoint()
    return version


def commit_rewrite(
    snapshot: Snapshot,
    files: Sequence[ActiveFile],
    rows: pl.DataFrame,
    stats_columns: Sequence[str],
) -> int:
    """Replaces some files by others that hold the same rows; how many there are now.

    Raises:
        ConflictError: when somebody has touched one of the files since the snapshot was read.
        LossError: when a column has not exactly the table's type.
    """
    _refuse_other_types(snapshot, rows)
    store = snapshot.store()
    adds = [
        _write_rows(store, part, stats_columns)
        for part in rows.iter_slices(_ROWS_PER_FILE)
        if len(part)
    ]
    info = _commit_info({}, added=0, removed=0, read_version=snapshot.version)
    info["commitInfo"] |= {"operation": "OPTIMIZE", "operationParameters": {}}
    actions = [
        info,
        *({"remove": {**_remove(file), "dataChange": False}} for file in files),
        *({"add": {**action, "dataChange": False}} for action in adds),
    ]
    _put(store, snapshot, actions, set(), rewrite=True)
    return len(adds)


def _now() -> int:
    return time.time_ns() // 1_000_000


def _refuse_other_types(snapshot: Snapshot, added: pl.DataFrame) -> None:
    for name in {**snapshot.schema, **added.schema}:
        wanted, got = snapshot.schema.get(name), added.schema.get(name)
        if wanted != got:
            raise LossError(
                f"{snapshot.uri}: column '{name}' is {wanted} in the table and {got} in the rows to write"
            )


def _refuse_without_vectors(snapshot: Snapshot, removed: pl.DataFrame) -> None:
    if snapshot.partition_columns:
        raise LakeError(f"{snapshot.uri}: a partitioned table is not changed row by row")
    if len(removed) and snapshot.configuration.get("delta.enableDeletionVectors") != "true":
        raise LakeError(
            f"{snapshot.uri}: the table holds no deletion vectors",
            hint="set delta.enableDeletionVectors=true",
        )


# ---- ROWS ---- #


def _write_rows(store: Store, rows: pl.DataFrame, stats_columns: Sequence[str]) -> Action:
    buffer = io.BytesIO()
    rows.write_parquet(
        buffer, compression="zstd", compression_level=1, row_group_size=_ROWS_PER_GROUP
    )
    name = f"part-00000-{uuid.uuid4()}-c000.zstd.parquet"
    data = buffer.getvalue()
    store.put(name, data)
    return {
        "path": quote(name),
        "partitionValues": {},
        "size": len(data),
        "modificationTime": _now(),
        "dataChange": True,
        "stats": json.dumps(_stats(rows, stats_columns)),
    }


def _stats(rows: pl.DataFrame, columns: Sequence[str]) -> Mapping[str, Any]:
    """The file's statistics (protocol, "Per-file Statistics"), of the columns that may be shown."""
    low, high, nulls = dict[str, Any](), dict[str, Any](), dict[str, int]()
    for name in columns:
        nulls[name] = rows[name].null_count()
        smallest, largest = _stat(rows[name].min()), _stat(rows[name].max())
        if smallest is not None and largest is not None:
            low[name], high[name] = _cut(smallest, last=""), _cut(largest, last="\U0010ffff")
    return {"numRecords": len(rows), "minValues": low, "maxValues": high, "nullCount": nulls}


def _stat(value: object) -> str | int | float | None:
    """A value as statistics hold it; None for a type whose order is not worth keeping."""
    if isinstance(value, bool | bytes):
        return None
    if isinstance(value, datetime):
        return (
            value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
            if value.tzinfo
            else value.strftime("%Y-%m-%dT%H:%M:%S.%f")
        )
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if isinstance(value, str | int) and not isinstance(value, Decimal) else None


def _cut(value: str | float, *, last: str) -> str | float:
    """A long text's prefix, followed by `last` so that it still bounds the whole."""
    return (
        value[:_STATS_TEXT] + last if isinstance(value, str) and len(value) > _STATS_TEXT else value
    )


# ---- MARKS ---- #


def _mark_rows(snapshot: Snapshot, store: Store, removed: pl.DataFrame) -> list[Action]:
    """Each touched file taken out, and put back with a larger vector unless nothing is left of it."""
    files = {file.path: file for file in snapshot.files}
    touched = list[tuple[ActiveFile, BitMap64]]()
    for (path,), rows in removed.group_by("_file"):
        file = files[str(path)]
        touched.append((file, snapshot.marked(file) | BitMap64(rows["_row"].to_numpy())))
    actions: list[Action] = [{"remove": _remove(file)} for file, _ in touched]
    partly = [(file, vector) for file, vector in touched if len(vector) < file.num_records]
    if partly:
        name, content, descriptors = write_vectors([vector for _, vector in partly])
        store.put(name, content)
        actions += [
            {"add": _with_vector(file, mark)}
            for (file, _), mark in zip(partly, descriptors, strict=True)
        ]
    return actions


def _remove(file: ActiveFile) -> Action:
    action = {
        "path": file.action["path"],
        "deletionTimestamp": _now(),
        "dataChange": True,
        "extendedFileMetadata": True,
        "partitionValues": {},
        "size": file.action["size"],
    }
    return action if file.vector is None else {**action, "deletionVector": file.vector.action()}


def _with_vector(file: ActiveFile, vector: Descriptor) -> Action:
    """The file again; with rows gone, its smallest and largest values are bounds, no longer members."""
    kept = {name: file.action[name] for name in ("path", "size", "modificationTime")}
    stats = json.dumps({**file.stats, "tightBounds": False})
    return {
        **kept,
        "partitionValues": {},
        "dataChange": True,
        "stats": stats,
        "deletionVector": vector.action(),
    }


# ---- COMMIT ---- #


def _commit_info(
    metadata: Mapping[str, str], *, added: int, removed: int, read_version: int
) -> Action:
    return {
        "commitInfo": {
            "timestamp": _now(),
            "operation": "WRITE",
            "operationParameters": {"mode": "Append"} if not removed else {"mode": "Update"},
            "operationMetrics": {"num_added_rows": added, "num_removed_rows": removed},
            "readVersion": read_version,
            "engineInfo": "medallion",
            **metadata,
        }
    }


def _put(
    store: Store,
    snapshot: Snapshot,
    actions: Sequence[Action],
    apps: set[str],
    *,
    rewrite: bool = False,
) -> int:
    content = "".join(json.dumps(action) + "\n" for action in actions).encode()
    touched = {action["remove"]["path"] for action in actions if "remove" in action}
    version = snapshot.version
    while True:
        version += 1
        try:
            store.put(commit_name(version), content)
        except AlreadyThere as error:
            theirs = list(read_actions(store.get(commit_name(version))))
            if any(
                _conflicts(kind, action, touched, apps, rewrite=rewrite) for kind, action in theirs
            ):
                raise ConflictError(
                    f"{snapshot.uri}: another writer committed version {version}",
                    hint="run it again",
                ) from error
        else:
            return version


def _conflicts(
    kind: str, action: Mapping[str, Any], touched: set[str], apps: set[str], *, rewrite: bool
) -> bool:
    """Whether another's action stands against ours: anything but a compaction of files we left alone.

    A rewrite of ours changes no row, so that others may change those in files that it left alone.
    """
    if kind in ("add", "remove"):
        changes = bool(action.get("dataChange", True)) and not rewrite
        return changes or action["path"] in touched
    if rewrite and kind == "txn":
        return False
    return kind != "commitInfo" and not (kind == "txn" and action["appId"] not in apps)
