"""The lake: table names become paths, and every read and write of a Delta table goes through here."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import polars as pl
from deltalake import CommitProperties, DeltaTable, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.schema import Schema as DeltaSchema

from pipelines.delta.snapshot import Snapshot, find_snapshot
from pipelines.delta.store import Store
from pipelines.errors import ConflictError, LakeError, LossError

_NAME = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*){2}")

#: A third of the bytes of Snappy, delta-rs' own choice, in no more time (an event in bronze: 42 against 115).
_WRITING = WriterProperties(compression="ZSTD", compression_level=1)

#: Kept for ten years: silver finds the changes since its last run in the log.
_LOG_RETENTION = {"delta.logRetentionDuration": "interval 3650 days"}


@dataclass(frozen=True, slots=True)
class Lake:
    """A folder or object-store prefix that holds one Delta table at `<layer>/<domain>/<name>`.

    `options` are the object store's, as deltalake names them; they are kept out of `repr`.
    """

    root: str
    options: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)

    def path(self, table: str) -> str:
        """Where a table lies.

        Raises:
            LakeError: when the name is not three plain words, so that no name leaves the lake.
        """
        if _NAME.fullmatch(table) is None:
            raise LakeError(
                f"'{table}' is not a table name",
                hint="write layer.domain.name, as in silver.commerce.orders",
            )
        return "/".join([self.root.rstrip("/"), *table.split(".")])

    def open(self, table: str) -> DeltaTable | None:
        """A handle on the table's newest version, or None where there is no table.

        Raises:
            LakeError: when there is something that cannot be read as a Delta table.
        """
        try:
            return DeltaTable(self.path(table), storage_options=dict(self.options))
        except TableNotFoundError:
            return None
        except (DeltaError, OSError, ValueError) as error:
            raise LakeError(
                f"{table}: cannot be read: {error}", hint=f"look at {self.path(table)}/_delta_log"
            ) from error

    def handle(self, table: str) -> DeltaTable:
        """Like `open`, for a table that must be there.

        Raises:
            LakeError: when it is not.
        """
        handle = self.open(table)
        if handle is None:
            raise LakeError(
                f"{table}: no such table in the lake {self.root}",
                hint="run 'medallion run' first, or check --lake",
            )
        return handle

    def snapshot(self, table: str, version: int | None = None) -> Snapshot | None:
        """What a table holds as its log tells it, at its newest version unless told; None: no table.

        Raises:
            LakeError: when the log cannot be read.
        """
        return find_snapshot(self.path(table), self.options, version)

    def version(self, table: str) -> int | None:
        """The newest version, or None where there is no table."""
        snapshot = self.snapshot(table)
        return None if snapshot is None else snapshot.version

    def scan(self, table: str, version: int | None = None) -> pl.LazyFrame:
        """The rows of a table, newest version unless told.

        Raises:
            LakeError: when there is no such table.
        """
        return self.scan_handle(self.handle(table), version)

    def scan_handle(self, handle: DeltaTable, version: int | None = None) -> pl.LazyFrame:
        """The rows that a handle shows."""
        if version is not None and version != handle.version():
            handle.load_as_version(version)
        return pl.scan_delta(handle, storage_options=dict(self.options))

    def tables(self) -> list[str]:
        """The tables that exist, sorted by name."""
        root = Path(self.root)
        if "://" in self.root:
            return sorted(self._remote_tables())
        logs = root.glob("*/*/*/_delta_log") if root.is_dir() else ()
        return sorted(".".join(log.parent.relative_to(root).parts) for log in logs)

    def _remote_tables(self) -> Iterator[str]:
        store = Store(self.root, self.options)
        for layer in store.folders(""):
            for domain in store.folders(layer):
                for name in store.folders(domain):
                    yield name.strip("/").replace("/", ".")

    def create(
        self,
        table: str,
        schema: Mapping[str, pl.DataType],
        *,
        partition_by: Sequence[str] = (),
        stats_columns: Sequence[str] = (),
        configuration: Mapping[str, str] = {},
    ) -> DeltaTable:
        """The table, made empty when it is not there yet.

        `stats_columns` are the only columns whose smallest and largest values enter the log: a
        personal value there would outlive its row (law 8).
        """
        existing = self.open(table)
        if existing is not None:
            return existing
        settings = {
            **_LOG_RETENTION,
            **configuration,
            "delta.dataSkippingStatsColumns": ",".join(stats_columns),
        }
        if not stats_columns:
            settings |= {"delta.dataSkippingNumIndexedCols": "0"}
            del settings["delta.dataSkippingStatsColumns"]
        arrow = pl.DataFrame(schema=schema).to_arrow(compat_level=pl.CompatLevel.oldest()).schema
        try:
            return DeltaTable.create(
                self.path(table),
                schema=DeltaSchema.from_arrow(arrow),
                mode="ignore",
                partition_by=list(partition_by),
                configuration=settings,
                storage_options=dict(self.options),
            )
        except (DeltaError, OSError) as error:
            raise LakeError(
                f"{table}: cannot be created: {error}", hint=f"is {self.root} writable?"
            ) from error

    def write(
        self,
        handle: DeltaTable,
        frame: pl.DataFrame,
        *,
        mode: Literal["append", "overwrite"],
        app: Mapping[str, int] = {},
        metadata: Mapping[str, str] = {},
        reshape: bool = False,
    ) -> int:
        """Appends or replaces rows in one commit together with the app transactions; the new version.

        `reshape` gives an overwritten table the columns and types of the rows: for what can be
        computed again, never for what was captured.

        The commit is guarded by the version the handle shows: delta-rs refuses a second writer of
        the same app transaction, and we refuse a frame whose types are not exactly the table's.

        Raises:
            LossError: when a column would have to be cast.
            ConflictError: when another writer came first; nothing was written.
            LakeError: when the store refuses the write.
        """
        if not reshape:
            refuse_other_types(handle, frame)
        try:
            write_deltalake(
                handle,
                frame.to_arrow(compat_level=pl.CompatLevel.oldest()),
                mode=mode,
                schema_mode="overwrite" if reshape else None,
                storage_options=dict(self.options),
                writer_properties=_WRITING,
                commit_properties=CommitProperties(
                    custom_metadata=dict(metadata),
                    app_transactions=[Transaction(name, version) for name, version in app.items()],
                ),
            )
        except CommitFailedError as error:
            raise ConflictError(
                f"{handle.table_uri}: another writer came first", hint="run it again"
            ) from error
        except (DeltaError, OSError) as error:
            raise LakeError(
                f"{handle.table_uri}: cannot be written: {error}",
                hint="is the disk full, or the store read-only?",
            ) from error
        return handle.version()


def schema_of(handle: DeltaTable) -> pl.Schema:
    """The table's columns as Polars types."""
    return pl.Schema(handle.schema().to_arrow())


def refuse_other_types(handle: DeltaTable, frame: pl.DataFrame) -> None:
    """Nothing, when each column of the frame has exactly the type of the table's column.

    Delta writers cast in silence (decimals are rounded, nanoseconds cut, zones shifted), so the
    types are compared before every write.

    Raises:
        LossError: naming the first column that differs, with both types.
    """
    expected = schema_of(handle)
    for name in {**expected, **frame.schema}:
        wanted, got = expected.get(name), frame.schema.get(name)
        if wanted != got:
            raise LossError(
                f"{handle.table_uri}: column '{name}' is {wanted} in the table and {got} in the rows to write"
            )
