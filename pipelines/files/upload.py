"""Uploads: a file of rows into bronze whole, or set aside whole as a dead letter; each once.

A file is known by its bytes, whatever its name: their SHA-256 stands where Kafka has a topic's id, a
row's line where it has an offset. An upload has three steps, each repeatable, so that a crash between
any two loses and doubles nothing: (1) the rows, or the whole file as a dead letter, with an app
transaction that names the bytes, in one commit; (2) a row of `system.main.uploads`; (3) whoever brought
the file takes it away.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from fnmatch import fnmatch
from pathlib import Path

import polars as pl

from pipelines.bronze import DEAD_LETTERS, Bronze
from pipelines.capture.flat import UPLOADED, flat_batch, raw_batch
from pipelines.capture.recorded import FILE_TOPIC
from pipelines.capture.records import Headers, Origin, Partition
from pipelines.contract import Catalog, Contract
from pipelines.contract.arrivals import Files
from pipelines.files.check import read_file
from pipelines.files.fault import FAULTS, Fault, Unreadable, as_rows
from pipelines.files.parse import Parsed
from pipelines.storage import Lake

UPLOADS = "system.main.uploads"

#: One row an upload and what became of it. `table_name` is null where no contract takes such files.
UPLOAD: Mapping[str, pl.DataType] = {
    "upload_id": pl.String(),
    "file_name": pl.String(),
    "table_name": pl.String(),
    "verdict": pl.String(),
    "size_bytes": pl.Int64(),
    "row_count": pl.Int64(),
    "equal_rows": pl.Int64(),
    "received_at": pl.Datetime("us", "UTC"),
    "faults": FAULTS,
}

#: Stands for the cluster of everything uploaded.
_CLUSTER = "uploads"


class Verdict(StrEnum):
    """What became of a file. Repeated: its very bytes are in bronze already."""

    LANDED = "landed"
    REPEATED = "repeated"
    SET_ASIDE = "set aside"


@dataclass(frozen=True, slots=True, kw_only=True)
class Uploaded:
    """One upload: `rows` of the file are in bronze; `equal_rows` stood in it again, word for word."""

    name: str
    upload_id: str
    table: str | None
    verdict: Verdict
    rows: int = 0
    equal_rows: int = 0
    faults: tuple[Fault, ...] = ()


def upload(lake: Lake, catalog: Catalog, path: Path, *, now: datetime) -> Uploaded:
    """Takes a file in, or sets it aside; the same bytes again change nothing.

    A file that was set aside is judged anew, since its contract may have been mended.

    Raises:
        OSError: when the file cannot be read.
        ConflictError: when another process uploads the same bytes; running again is right.
    """
    data = path.read_bytes()
    each = _Upload(lake, path.name, hashlib.sha256(data).hexdigest(), data, _received_ms(lake, now))
    takers = takers_of(catalog, path.name)
    if len(takers) != 1:
        return each.set_aside(Bronze(lake, catalog), None, [_nobody(catalog, takers)])
    contract, files = takers[0]
    bronze = Bronze(lake, catalog)
    place, origin = _place(contract, each.upload_id)
    if bronze.next_offset(origin, *place) is not None:
        return each.again(contract)
    try:
        parsed = read_file(data, contract, files)
    except Unreadable as found:
        return each.set_aside(bronze, contract.table, found.faults)
    return each.land(bronze, contract, parsed)


@dataclass(frozen=True, slots=True)
class _Upload:
    """The bytes that came, under a name, at a time (milliseconds since 1970)."""

    lake: Lake
    name: str
    upload_id: str
    data: bytes
    at_ms: int

    @property
    def headers(self) -> Headers:
        return (("file", self.name), ("upload", self.upload_id))

    def land(self, bronze: Bronze, contract: Contract, parsed: Parsed) -> Uploaded:
        """The rows into bronze; those that are equal, once."""
        marked = parsed.rows.with_columns(parsed.lines)
        once = marked.unique(parsed.rows.columns, keep="first", maintain_order=True)
        place, origin = _place(contract, self.upload_id)
        batch = flat_batch(
            once.drop("_line"),
            once["_line"],
            key=[contract.field_of(name) for name in contract.key],
            place=place,
            origin=origin,
            next_offset=int(once["_line"][-1]) + 1,
            at_ms=self.at_ms,
            headers=self.headers,
        )
        bronze.land(batch)
        self._take_back()
        equal = len(marked) - len(once)
        return self._registered(contract.table, Verdict.LANDED, len(once), equal)

    def set_aside(self, bronze: Bronze, table: str | None, faults: Sequence[Fault]) -> Uploaded:
        """The whole file among the dead letters, unless it lies there."""
        if not self._is_aside():
            topic = f"{FILE_TOPIC}{self.name}"
            origin = Origin(cluster=_CLUSTER, topic_ids={topic: self.upload_id})
            reason = faults[0].told if len(faults) == 1 else f"{len(faults)} faults"
            place = Partition(topic, UPLOADED)
            bronze.land(
                raw_batch(self.data, reason, place=place, origin=origin, at_ms=self.at_ms, headers=self.headers)
            )  # fmt: skip
        return self._registered(table, Verdict.SET_ASIDE, 0, 0, faults)

    def again(self, contract: Contract) -> Uploaded:
        """Bytes that are in bronze: nothing, but what a crash left undone."""
        self._take_back()
        rows = (
            self.lake.scan(contract.bronze)
            .filter(pl.col("kafka_partition") == UPLOADED, self._is_this())
            .select(pl.len())
            .collect()
            .item()
        )
        done = self._registered(contract.table, Verdict.LANDED, rows, None)
        return replace(done, verdict=Verdict.REPEATED)

    def _is_this(self) -> pl.Expr:
        return pl.col("headers").str.contains(self.upload_id, literal=True)

    def _is_aside(self) -> bool:
        if self.lake.open(DEAD_LETTERS) is None:
            return False
        letters = self.lake.scan(DEAD_LETTERS).filter(self._is_this())
        return bool(letters.select(pl.len()).collect().item())

    def _take_back(self) -> None:
        """What is in bronze is no dead letter any more."""
        if self._is_aside():
            handle = self.lake.handle(DEAD_LETTERS)
            left = self.lake.scan_handle(handle).filter(~self._is_this()).collect()
            self.lake.write(handle, left, mode="overwrite")

    def _registered(
        self,
        table: str | None,
        verdict: Verdict,
        rows: int,
        equal: int | None,
        faults: Sequence[Fault] = (),
    ) -> Uploaded:
        """What became of it, told once in `UPLOADS`."""
        handle, mark = self.lake.create(UPLOADS, UPLOAD), f"{verdict}/{self.upload_id}"
        if handle.transaction_version(mark) is None:
            told = {
                "upload_id": self.upload_id, "file_name": self.name, "table_name": table, "verdict": verdict.value,
                "size_bytes": len(self.data), "row_count": rows, "equal_rows": equal,
                "received_at": datetime.fromtimestamp(self.at_ms / 1000, UTC), "faults": as_rows(faults),
            }  # fmt: skip
            row = pl.DataFrame([told], schema=UPLOAD)
            self.lake.write(handle, row, mode="append", app={mark: 1})
        return Uploaded(
            name=self.name, upload_id=self.upload_id, table=table, verdict=verdict,
            rows=rows, equal_rows=equal or 0, faults=tuple(faults),
        )  # fmt: skip


def takers_of(catalog: Catalog, name: str) -> list[tuple[Contract, Files]]:
    """The silver tables whose contracts take files of this name."""
    declared = [
        (each, each.source.files) for each in catalog.layer("silver") if each.source is not None and each.source.files is not None
    ]  # fmt: skip
    return [(each, files) for each, files in declared if fnmatch(name.lower(), files.names.lower())]


def _nobody(catalog: Catalog, takers: Sequence[tuple[Contract, Files]]) -> Fault:
    if takers:
        several = ", ".join(contract.table for contract, _ in takers)
        step = "Let the contracts' 'files: names' tell them apart."
        return Fault(reason=f"{several} all take files of this name", next_step=step)
    known = [
        each.source.files.names for each in catalog.layer("silver") if each.source is not None and each.source.files is not None
    ]  # fmt: skip
    step = f"Give it the name of what it holds: {', '.join(known)}." if known else "Write 'files' into a contract."  # fmt: skip
    return Fault(reason="no table takes files of this name", next_step=step)


def _place(contract: Contract, upload_id: str) -> tuple[Partition, Origin]:
    topic = contract.source.topic if contract.source else ""
    return Partition(topic, UPLOADED), Origin(cluster=_CLUSTER, topic_ids={topic: upload_id})


def _received_ms(lake: Lake, now: datetime) -> int:
    """When an upload came: later than all before it, since its rows are newer than theirs."""
    newest = lake.scan_handle(lake.create(UPLOADS, UPLOAD)).select(pl.col("received_at").max()).collect().item()  # fmt: skip
    last = 0 if newest is None else int(newest.timestamp() * 1000)
    return max(int(now.timestamp() * 1000), last + 1)
