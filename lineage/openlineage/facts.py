"""What a step knows of itself and of its datasets, before it is written as OpenLineage."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from lineage.graph import TableLineage

State = Literal["START", "RUNNING", "COMPLETE", "FAIL"]

#: Names of one store under several schemes; OpenLineage knows the first word (spec/Naming.md).
_SCHEMES = {"s3a": "s3", "s3n": "s3", "gcs": "gs"}


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A dataset's name in OpenLineage: the store, and where in it."""

    namespace: str
    name: str


def place_in_lake(root: str, table: str) -> Place:
    """The place of a table's folder below the lake's folder or URL."""
    return place_below(root, table.replace(".", "/"))


def place_below(root: str, below: str) -> Place:
    """The place of what lies below a folder or URL, without its credentials.

    A local one is `file` and the path, one in a bucket `s3://bucket` and the key.
    """
    if "://" not in root:
        return Place("file", f"{Path(root).absolute()}/{below}")
    url = urlsplit(root)
    host = url.netloc.rpartition("@")[2] if url.scheme not in ("abfs", "abfss") else url.netloc
    folder = url.path.strip("/")
    scheme = _SCHEMES.get(url.scheme, url.scheme)
    if scheme == "file":
        return Place("file", f"/{folder}/{below}")
    return Place(f"{scheme}://{host}", f"{folder}/{below}" if folder else below)


def place_in_kafka(bootstrap: str, topic: str) -> Place:
    """The place of a topic: the first of the bootstrap servers stands for its cluster."""
    return Place(f"kafka://{bootstrap.split(',')[0].strip().rpartition('://')[2]}", topic)


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnFact:
    """A column as a reader sees it; `masked` where what is written hides the value it came from."""

    name: str
    type: str
    description: str = ""
    classification: str | None = None
    masked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A rule's verdict over a whole table; it holds counts, never values.

    `on_table`: the rule speaks of the table, so its count is of tables and not of rows.
    """

    name: str
    kind: str
    columns: tuple[str, ...]
    severity: str
    record_count: int
    failed_count: int
    passed: bool
    on_table: bool = False
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetFact:
    """A dataset that a step reads or writes.

    `lineage` says how its columns are made (of an output), `places` where the tables lie that it
    names. `rows_written` counts what this step wrote; `checks` are judgements of an input.
    """

    place: Place
    table: str | None = None
    format: str | None = None
    description: str = ""
    owner: str | None = None
    columns: tuple[ColumnFact, ...] = ()
    version: str | None = None
    lineage: TableLineage | None = None
    places: dict[str, Place] = field(default_factory=dict[str, Place])
    rows_written: int | None = None
    checks: tuple[Check, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """Where a job's source lies in a git repository; `url` names no user and no password."""

    url: str
    path: str | None = None
    commit: str | None = None
    branch: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFact:
    """A job: the same thing done each time, by a name that stays; `streaming` has no end of its own."""

    name: str
    type: str
    description: str = ""
    owner: str | None = None
    sql: str | None = None
    source: tuple[str, str] | None = None
    code: Code | None = None
    streaming: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentFact:
    """The run that a step is a part of."""

    run_id: str
    job: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a step failed, in words that hold no row's values."""

    message: str
    trace: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFact:
    """One state of one run of a job; `engine` is what computes, with its version."""

    state: State
    at: datetime
    run_id: str
    job: JobFact
    namespace: str
    engine: tuple[str, str]
    adapter: str
    parent: ParentFact | None = None
    inputs: tuple[DatasetFact, ...] = ()
    outputs: tuple[DatasetFact, ...] = ()
    failure: Failure | None = None


_SCP = re.compile(r"(?:[\w.-]+@)?([\w.-]+):(?!/)(.+)")


def public_url(remote: str) -> str | None:
    """A git remote as a URL without user or password; None where it is a folder of this machine."""
    if "://" in remote:
        url = urlsplit(remote)
        if url.scheme == "file" or not url.hostname:
            return None
        port = f":{url.port}" if url.port else ""
        return url._replace(netloc=f"{url.hostname}{port}", query="", fragment="").geturl()
    match = _SCP.fullmatch(remote)
    return f"ssh://{match[1]}/{match[2]}" if match else None
