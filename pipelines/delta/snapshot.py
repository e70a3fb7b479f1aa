"""What a table holds at a version: its files with their vectors, its columns, its app transactions."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import unquote

import polars as pl
from deltalake.schema import Schema as DeltaSchema

from pipelines.delta.store import Store
from pipelines.delta.vectors import Descriptor
from pipelines.errors import LakeError

_COMMIT = re.compile(r"_delta_log/(\d{20})\.json")
_CHECKPOINT = re.compile(r"_delta_log/(\d{20})\.checkpoint\.parquet")

Action = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveFile:
    """A data file of the snapshot; `action` is its `add`, as the log has it."""

    path: str
    action: Action
    vector: Descriptor | None

    @property
    def stats(self) -> Mapping[str, Any]:
        """The file's statistics, empty when it has none."""
        text = self.action.get("stats")
        return json.loads(text) if text else {}

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


def read_snapshot(uri: str, options: Mapping[str, str], version: int | None = None) -> Snapshot:
    """The newest version of a table, or the one asked for.

    Raises:
        LakeError: when there is no table, or its log has a gap.
    """
    store = Store(uri, options)
    log = _Log()
    for version_of, actions in _replay(store, version):
        log.apply(actions)
        log.version = version_of
    if log.metadata is None or log.protocol is None:
        raise LakeError(
            f"{uri}: there is no Delta table", hint="was it deleted, or is the path wrong?"
        )
    if log.metadata.get("partitionColumns"):
        raise LakeError(f"{uri}: a partitioned table is not changed row by row")
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
    )


class _Log:
    """The log's state while it is read (protocol, "Action Reconciliation")."""

    def __init__(self) -> None:
        self.version = -1
        self.files: dict[tuple[str, Any], ActiveFile] = {}
        self.app_versions: dict[str, int] = {}
        self.metadata: Action | None = None
        self.protocol: Action | None = None

    def apply(self, actions: Iterable[tuple[str, Action]]) -> None:
        added = list[ActiveFile]()
        for kind, action in actions:
            if kind == "add":
                added.append(
                    ActiveFile(
                        path=unquote(action["path"]),
                        action=action,
                        vector=Descriptor.of(action.get("deletionVector")),
                    )
                )
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


def _schema(text: str) -> pl.Schema:
    return pl.Schema(DeltaSchema.from_json(text).to_arrow())
