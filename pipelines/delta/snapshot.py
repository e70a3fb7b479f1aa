"""What a table holds at a version: its files with their vectors, its columns, its app transactions."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Self, cast
from urllib.parse import unquote

import polars as pl
from deltalake.schema import Schema as DeltaSchema
from pyroaring import BitMap64

from pipelines.delta.kept import Kept
from pipelines.delta.store import Store, folder_of
from pipelines.delta.vectors import Descriptor, read_vector
from pipelines.errors import LakeError

_COMMIT = re.compile(r"_delta_log/(\d{20})\.json")
_CHECKPOINT = re.compile(r"_delta_log/(\d{20})\.checkpoint\.parquet")

Action = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveFile:
    """A data file of the snapshot; `action` is its `add`, as the log has it."""

    path: str
    action: Action
    #: The file's statistics, empty when it has none.
    stats: Mapping[str, Any]
    vector: Descriptor | None

    @classmethod
    def of(cls, action: Action) -> Self:
        """The file that an `add` tells of."""
        return cls(
            path=unquote(action["path"]),
            action=action,
            stats=json.loads(action.get("stats") or "{}"),
            vector=Descriptor.of(action.get("deletionVector")),
        )

    @property
    def num_records(self) -> int:
        """Rows in the file, those that a vector marks included."""
        return int(self.stats["numRecords"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A table at a version, as the log tells it."""

    uri: str
    options: Mapping[str, str] = field(repr=False)
    version: int
    files: tuple[ActiveFile, ...]
    app_versions: Mapping[str, int]
    schema: pl.Schema
    protocol: Action
    configuration: Mapping[str, str]
    #: The table's own id: one made anew under the same name has another.
    identity: str
    partition_columns: tuple[str, ...]

    @property
    def num_rows(self) -> int:
        """The table's rows."""
        return sum(
            file.num_records - (file.vector.cardinality if file.vector else 0)
            for file in self.files
        )

    def store(self) -> Store:
        """The store the table lies in."""
        return Store(self.uri, self.options)

    def marked(self, file: ActiveFile) -> BitMap64:
        """The rows of a file that are gone; not to be changed, since others see it too.

        Raises:
            LakeError: when the vector is damaged or gone.
        """
        if file.vector is None:
            return BitMap64()
        where = (self.uri, file.vector)
        rows = _vectors.get(where)
        if rows is None:
            rows = read_vector(file.vector, self.store().part)
            _vectors.put(where, rows)
        return rows


#: Vectors never change; one of a file with 200,000 dead rows takes 130 kB.
_vectors = Kept[tuple[str, Descriptor], BitMap64](512)


def read_snapshot(uri: str, options: Mapping[str, str], version: int | None = None) -> Snapshot:
    """The newest version of a table, or the one asked for.

    What this process has read before it reads on from: a table that stands still costs two questions.

    Raises:
        LakeError: when there is no table, or its log has a gap.
    """
    snapshot = find_snapshot(uri, options, version)
    if snapshot is None:
        raise LakeError(
            f"{uri}: there is no Delta table", hint="was it deleted, or is the path wrong?"
        )
    return snapshot


def find_snapshot(
    uri: str, options: Mapping[str, str], version: int | None = None
) -> Snapshot | None:
    """Like `read_snapshot`; None where there is no table."""
    folder = folder_of(uri)
    if folder is not None and not folder.is_dir():
        return None
    store = Store(uri, options)
    try:
        log = _newest(store) if version is None else _at(store, version)
    except ValueError as error:
        raise LakeError(
            f"{uri}: its log is damaged: {error}", hint=f"look at {uri}/_delta_log"
        ) from error
    if log.metadata is None or log.protocol is None:
        return None
    configuration = dict(log.metadata.get("configuration") or {})
    return Snapshot(
        uri=uri,
        options=options,
        version=log.version,
        files=tuple(log.files.values()),
        app_versions=log.app_versions,
        schema=_schema(log.metadata["schemaString"]),
        protocol=log.protocol,
        configuration={key: value for key, value in configuration.items() if value is not None},
        identity=str(log.metadata["id"]),
        partition_columns=tuple(log.metadata.get("partitionColumns") or ()),
    )


class _Log:
    """The log's state while it is read (protocol, "Action Reconciliation")."""

    def __init__(self, before: _Log | None = None) -> None:
        self.version = before.version if before else -1
        self.files: dict[tuple[str, Any], ActiveFile] = dict(before.files) if before else {}
        self.app_versions: dict[str, int] = dict(before.app_versions) if before else {}
        self.metadata: Action | None = before.metadata if before else None
        self.protocol: Action | None = before.protocol if before else None

    def apply(self, version: int, actions: Iterable[tuple[str, Action]]) -> None:
        self.version, added = version, list[ActiveFile]()
        for kind, action in actions:
            if kind == "add":
                added.append(ActiveFile.of(action))
            elif kind == "remove":
                vector = Descriptor.of(action.get("deletionVector"))
                self.files.pop((unquote(action["path"]), vector and vector.identity), None)
            elif kind == "txn":
                self.app_versions[action["appId"]] = action["version"]
            elif kind == "metaData":
                self.metadata = action
            elif kind == "protocol":
                self.protocol = action
        self.files |= {(file.path, file.vector and file.vector.identity): file for file in added}


#: The newest version of each table that this process has read, and the mark of the commit that made it:
#: a table made anew under the same name has other commits.
_known = Kept[str, tuple[str, _Log]](1_024)


def _newest(store: Store) -> _Log:
    """The log at its newest version, from the newest one known on."""
    known = _known.get(store.uri)
    if known is not None and store.mark(commit_name(known[1].version)) == known[0]:
        log = known[1]
        while (content := store.get_if_there(commit_name(log.version + 1))) is not None:
            log = _Log(log)
            log.apply(log.version + 1, read_actions(content))
        if log is known[1]:
            return log
    else:
        log = _read(store, None)
    mark = store.mark(commit_name(log.version)) if log.version >= 0 else None
    if mark is not None:
        _known.put(store.uri, (mark, log))
    return log


#: Versions that were asked for by their number, as the newest ones are held.
_older = Kept[tuple[str, int], tuple[str, _Log]](256)


def _at(store: Store, version: int) -> _Log:
    """The log at a version: as it was read before, or all of it read."""
    newest, older = _known.get(store.uri), _older.get((store.uri, version))
    for known in (newest, older):
        is_it = known is not None and known[1].version == version
        if known is not None and is_it and store.mark(commit_name(version)) == known[0]:
            _older.put((store.uri, version), known)
            return known[1]
    log = _read(store, version)
    mark = store.mark(commit_name(version)) if log.version == version else None
    if mark is not None:
        _older.put((store.uri, version), (mark, log))
    return log


def commit_info(snapshot: Snapshot, version: int) -> Action | None:
    """What a commit says of itself; None where the log has it no more."""
    content = snapshot.store().get_if_there(commit_name(version))
    found = [action for kind, action in read_actions(content or b"") if kind == "commitInfo"]
    return found[0] if found else None


def commit_name(version: int) -> str:
    """The object that holds a commit."""
    return f"_delta_log/{version:020}.json"


def _read(store: Store, version: int | None) -> _Log:
    log = _Log()
    for version_of, actions in _replay(store, version):
        log.apply(version_of, actions)
    return log


def _replay(store: Store, until: int | None) -> Iterator[tuple[int, list[tuple[str, Action]]]]:
    names = store.names("_delta_log/")
    commits = _numbered(_COMMIT, names)
    newest = max(commits, default=-1)
    until = newest if until is None else min(until, newest)
    checkpoints = _numbered(_CHECKPOINT, names)
    start = max((version for version in checkpoints if version <= until), default=-1)
    if start >= 0:
        yield start, list(_checkpoint_actions(store.get(checkpoints[start])))
    for version in range(start + 1, until + 1):
        if version not in commits:
            raise LakeError(
                f"{store.uri}: version {version} is missing from the log",
                hint="restore the file from a backup",
            )
        yield version, list(read_actions(store.get(commits[version])))


def _numbered(pattern: re.Pattern[str], names: Iterable[str]) -> dict[int, str]:
    return {int(match[1]): name for name in names if (match := pattern.search(name))}


def files_added(store: Store, version: int) -> list[ActiveFile]:
    """The files that a commit brought rows with; a compaction brings none.

    Raises:
        LakeError: when the log has the commit no more, or it took rows out.
    """
    actions = list(read_actions(store.get(commit_name(version))))
    if any(kind == "remove" and action.get("dataChange", True) for kind, action in actions):
        raise LakeError(f"{store.uri}: version {version} does more than add rows")
    return [
        ActiveFile.of(action)
        for kind, action in actions
        if kind == "add" and action.get("dataChange", True)
    ]


def read_actions(content: bytes) -> Iterator[tuple[str, Action]]:
    """The actions of one commit: their kind, and what they say."""
    for line in content.splitlines():
        if line.strip():
            yield from json.loads(line).items()


def _checkpoint_actions(content: bytes) -> Iterator[tuple[str, Action]]:
    frame = pl.read_parquet(io.BytesIO(content))
    for kind in ("add", "txn", "metaData", "protocol"):
        if kind not in frame.columns:
            continue
        for action in frame[kind].drop_nulls().to_list():
            if next(iter(action.values())) is not None:
                yield kind, _plain(action)


def _plain(action: Mapping[str, Any]) -> Action:
    """A checkpoint's row as the JSON log would have it: maps are lists of pairs in Parquet."""
    return {name: _pairs(value) if _is_map(value) else value for name, value in action.items()}


def _is_map(value: object) -> bool:
    return (
        isinstance(value, list)
        and all(
            isinstance(item, dict) and set(cast("dict[str, Any]", item)) == {"key", "value"}
            for item in cast("list[Any]", value)
        )
        and bool(value)
    )


def _pairs(value: Any) -> dict[str, Any]:
    return {item["key"]: item["value"] for item in value}


@lru_cache(1_024)
def _schema(text: str) -> pl.Schema:
    return pl.Schema(DeltaSchema.from_json(text).to_arrow())
