"""Orders and the accounts they belong to: events of two tables, and what the lake makes of them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from unittest import mock

import obstore

from pipelines.applying import Applied
from pipelines.bronze import Bronze
from pipelines.capture.blocks import BlockCutter
from pipelines.capture.records import Columns, Origin, Partition, RecordBatch, to_frame
from pipelines.contract import Catalog
from pipelines.contract.model import Contract
from pipelines.plan import silver_order
from pipelines.silver import apply
from pipelines.storage import Lake

NOW = datetime(2026, 1, 1, tzinfo=UTC)

Rules = Sequence[Mapping[str, Any]]
#: Table, operation, key, and the row's other values.
Change = tuple[str, str, Any, Mapping[str, Any]]

KNOWN = {
    "name": "known_account",
    "reference": {"column": "account", "table": "accounts", "column_there": "id"},
}
ACCOUNTS, ORDERS = "silver.x.accounts", "silver.x.orders"


def catalog_of(orders: Rules = (KNOWN,), accounts: Rules = ()) -> Catalog:
    """Both tables with these rules of their rows."""
    columns = {
        "accounts": {"level": {"type": "int32"}},
        "orders": {"account": {"type": "int32"}, "amount": {"type": "int32"}, "note": {"type": "string"}},
    }  # fmt: skip
    rules = {"accounts": accounts, "orders": orders}
    contracts = [
        Contract.model_validate(
            {
                "table": f"silver.x.{name}", "description": "d", "owner": "o", "key": ["id"],
                "source": {"connector": "postgres", "topic": f"p.public.{name}"},
                "columns": {"id": {"type": "int32"}, **others}, "rules": rules[name],
            }
        )
        for name, others in columns.items()
    ]  # fmt: skip
    return Catalog(Path(), {contract.table: contract for contract in contracts})


@dataclass(slots=True)
class Desk:
    """A lake, and a source whose log grows with each change."""

    lake: Lake
    offsets: dict[str, int] = field(default_factory=dict[str, int])
    log: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def run(self, catalog: Catalog, *changes: Change) -> dict[str, Applied]:
        """Lands the changes, then applies each table, parents first."""
        for table in dict.fromkeys(change[0] for change in changes):
            mine = [change for change in changes if change[0] == table]
            Bronze(self.lake, catalog).land(self._batch(table, mine))
        return {
            name.split(".")[2]: apply(self.lake, catalog, name, now=NOW)
            for name in silver_order(catalog)
        }

    def kept(self, table: str = "orders") -> dict[int, list[str]]:
        """The rows of silver with their issues."""
        return self._rows(f"silver.x.{table}")

    def waiting(self, table: str = "orders") -> dict[int, list[str]]:
        """The rows of quarantine with their issues."""
        return self._rows(f"quarantine.x.{table}")

    def versions(self) -> dict[str, int | None]:
        """How often each table was written."""
        layers, tables = ("silver", "quarantine", "tombstones"), ("accounts", "orders")
        return {f"{a}.x.{b}": self.lake.version(f"{a}.x.{b}") for a in layers for b in tables}

    def _rows(self, table: str) -> dict[int, list[str]]:
        if self.lake.version(table) is None:
            return {}
        rows = self.lake.scan(table).select("id", "quality_issues").collect().rows()
        assert len(dict(rows)) == len(rows), f"{table} has a key twice"
        return dict(rows)

    def _batch(self, table: str, changes: Iterable[Change]) -> RecordBatch:
        sent = [self._message(*change) for change in changes]
        first = self.offsets.get(table, 0)
        self.offsets[table] = first + len(sent)
        topic = f"p.public.{table}"
        columns = Columns(
            topics=[topic] * len(sent),
            partitions=[0] * len(sent),
            offsets=[*range(first, first + len(sent))],
            timestamps=[(1, 1)] * len(sent),
            keys=[json.dumps(key).encode() for key, _ in sent],
            values=[json.dumps(value).encode() for _, value in sent],
        )
        frame, schemas = to_frame(columns, BlockCutter())
        return RecordBatch(
            frame=frame,
            start_offsets={},
            next_offsets={Partition(topic, 0): self.offsets[table]},
            origin=Origin(cluster="c"),
            schemas=schemas,
        )

    def _message(self, table: str, op: str, key: Any, values: Mapping[str, Any]) -> tuple[Any, Any]:
        lsn, row = next(self.log), {"id": key, **values}
        source = {
            "name": "p", "schema": "public", "table": table, "snapshot": "false", "lsn": lsn,
            "sequence": f'["{lsn}","{lsn}"]', "ts_ms": lsn,
        }  # fmt: skip
        gone = op == "d"
        return {"id": key}, {
            "before": row if gone else None,
            "after": None if gone else row,
            "source": source,
            "op": op,
            "ts_ms": 1,
        }


def account(op: str, key: int, level: int | None = 1) -> Change:
    """A change of an account."""
    return "accounts", op, key, {"level": level}


def order(
    op: str, key: int, account: int | None, amount: int | None = 1, note: str | None = None
) -> Change:
    """A change of an order."""
    return "orders", op, key, {"account": account, "amount": amount, "note": note}


@contextmanager
def disk_that_fails(at: int | None) -> Generator[None]:
    """The store takes that many objects less one, data files and commits alike; None: all."""
    left, put = itertools.count(1), obstore.put

    def failing(*args: Any, **kwargs: Any) -> Any:
        if next(left) == at:
            raise OSError("the disk is gone")
        return put(*args, **kwargs)

    with mock.patch.object(obstore, "put", failing):
        yield
