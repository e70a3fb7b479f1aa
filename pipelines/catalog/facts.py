"""What the lake says of its tables: size, versions, how columns changed, and what rules found."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import polars as pl

from lineage.catalog.model import Judged, SchemaChange, Storage
from pipelines.delta import read_snapshot
from pipelines.delta.snapshot import read_actions
from pipelines.delta.store import Store
from pipelines.errors import LakeError
from pipelines.quality import RESULTS
from pipelines.storage import Lake

#: How many results of a rule the pages show: a quarter of a year of nightly runs.
RESULTS_SHOWN = 90

_COMMIT = re.compile(r"_delta_log/(\d{20})\.json$")

Columns = Mapping[str, str]


def facts_of(lake: Lake, table: str) -> tuple[Storage, tuple[SchemaChange, ...]]:
    """The newest version of a table, and the versions at which its columns became others.

    Raises:
        LakeError: when the table's log cannot be read.
    """
    store = Store(lake.path(table), lake.options)
    commits = [
        (int(match[1]), name)
        for name in store.names("_delta_log/")
        if (match := _COMMIT.search(name))
    ]
    if not commits:
        raise LakeError(f"{table}: its log has no commit", hint="restore it from a backup")
    newest = dict(read_actions(store.get(commits[-1][1])))
    rows, files, size = _size(lake, table)
    storage = Storage(
        version=commits[-1][0],
        rows=rows,
        files=files,
        size_bytes=size,
        changed_at=_instant(newest),
    )
    return storage, tuple(_changes(_schemas(store, commits)))


def _size(lake: Lake, table: str) -> tuple[int, int, int]:
    """Rows, files and bytes."""
    handle = lake.handle(table)
    if handle.metadata().partition_columns:
        # Only bronze and its like are partitioned; they are appended to, and bear no deletion vectors.
        files = pl.Series(pl.from_arrow(handle.get_add_actions(flatten=True))).struct.unnest()
        return int(files["num_records"].sum()), len(files), int(files["size_bytes"].sum())
    snapshot = read_snapshot(lake.path(table), lake.options)
    size = sum(int(file.action["size"]) for file in snapshot.files)
    return snapshot.num_rows, len(snapshot.files), size


# ---- COLUMNS IN TIME ---- #


def _schemas(
    store: Store, commits: Sequence[tuple[int, str]]
) -> Iterator[tuple[int, datetime | None, Columns]]:
    """Each version that states the table's columns, oldest first; the log's clean-up takes the oldest."""
    for version, name in commits:
        content = store.get(name)
        # Most commits state no columns: their JSON is not worth parsing.
        if b'"metaData"' not in content:
            continue
        actions = dict(read_actions(content))
        if "metaData" in actions:
            yield version, _instant(actions), _columns(actions["metaData"]["schemaString"])


def _changes(
    schemas: Iterator[tuple[int, datetime | None, Columns]],
) -> Iterator[SchemaChange]:
    before: Columns = {}
    for version, at, now in schemas:
        change = SchemaChange(
            version=version,
            at=at,
            added=tuple((name, kind) for name, kind in now.items() if name not in before),
            removed=tuple((name, kind) for name, kind in before.items() if name not in now),
            retyped=tuple(
                (name, before[name], kind)
                for name, kind in now.items()
                if name in before and before[name] != kind
            ),
        )
        if change.added or change.removed or change.retyped:
            yield change
        before = now


def _columns(schema: str) -> Columns:
    return {field["name"]: _type(field["type"]) for field in json.loads(schema)["fields"]}


def _type(given: Any) -> str:
    """A type of the Delta log, `{"type": "array", "elementType": "string"}` as `array<string>`."""
    if isinstance(given, str):
        return given
    match given["type"]:
        case "array":
            return f"array<{_type(given['elementType'])}>"
        case "map":
            return f"map<{_type(given['keyType'])}, {_type(given['valueType'])}>"
        case _:
            members = (f"{field['name']}: {_type(field['type'])}" for field in given["fields"])
            return f"struct<{', '.join(members)}>"


def _instant(actions: Mapping[str, Mapping[str, Any]]) -> datetime | None:
    """When a commit was made, if it says so."""
    millis = actions.get("commitInfo", {}).get("timestamp")
    return None if millis is None else datetime.fromtimestamp(int(millis) / 1000, UTC)


# ---- RULES IN TIME ---- #


def results_of(lake: Lake) -> dict[tuple[str, str], tuple[Judged, ...]]:
    """The newest results of each table's rules, oldest first. Sample keys are not read."""
    rows = lake.scan(RESULTS)
    # Results of before rules had verdicts of their own: there, no row may break one.
    passed = pl.col("passed") if "passed" in rows.collect_schema() else pl.col("failed_count") == 0
    judged = ("checked_at", "record_count", "failed_count", "success_rate", "passed")
    grouped = (
        rows.select(
            "table_name",
            "rule_name",
            "checked_at",
            pl.col("record_count", "failed_count").fill_null(0),
            pl.col("success_rate").cast(pl.Float64).fill_null(0.0),
            passed.fill_null(value=False).alias("passed"),
        )
        .sort("checked_at")
        .group_by("table_name", "rule_name")
        .agg(pl.col(name).tail(RESULTS_SHOWN) for name in judged)
        .collect()
    )
    return {
        (table, rule): tuple(
            Judged(at=at, records=records, failed=failed, rate=rate, passed=kept)
            for at, records, failed, rate, kept in zip(*series, strict=True)
        )
        for table, rule, *series in grouped.rows()
    }
