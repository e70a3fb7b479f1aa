"""Change streams of several shapes, each with its contract: what a table is, and how it changes.

Each is made of the same few parts, so that two of them differ in one thing: how many columns, how long
a text, how keys are drawn, and whether rows are added, changed or taken away.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from pipelines.contract import Catalog, Contract

_TIME = "2026-01-{:02}T10:{:02}:19.{:06}Z"

#: A column's type in the contract, and its value in the message of a number.
_Column = tuple[str, Callable[[int], object]]

_TEXT: _Column = ("string", lambda n: f"text {n * 7919 % 1_000_003}")
_WHOLE: _Column = ("int32", lambda n: n * 31 % 100_000)
_PRICE: _Column = ("decimal(12,2)", lambda n: f"{n % 90_000}.{n % 100:02}")
_AT: _Column = ("timestamp", lambda n: _TIME.format(n % 28 + 1, n % 60, n * 37 % 1_000_000))
_DAY: _Column = ("date", lambda n: 20_000 + n % 1_000)
_KINDS = (_TEXT, _WHOLE, _PRICE, _AT, _DAY)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """A table and the changes of it; each message as the Postgres connector writes it, without a schema block."""

    name: str
    columns: Mapping[str, _Column]
    #: Events measured: fewer where they are large.
    events: int = 100_000
    #: Rows that keys are drawn from; None: every event adds a row of its own.
    rows: int | None = 100_000
    #: How much more often low keys change than others; 1 is uniform.
    skew: float = 1.0
    #: The share of events that take a row away.
    deletes: float = 0.0

    @property
    def contract(self) -> Contract:
        """The table's contract."""
        types = {"id": {"type": "int64"}} | {
            name: {"type": kind} for name, (kind, _) in self.columns.items()
        }
        return Contract.model_validate(
            {
                "table": f"silver.bench.{self.name}",
                "description": "A workload of the benchmarks.",
                "owner": "bench",
                "source": {"connector": "postgres", "topic": self.topic, "decimal": "string"},
                "key": ["id"],
                "columns": types,
            }
        )

    @property
    def topic(self) -> str:
        """The topic of its changes."""
        return f"bench.public.{self.name}"

    @property
    def catalog(self) -> Catalog:
        """A catalog of this table alone."""
        return Catalog(Path(), {self.contract.table: self.contract})

    def messages(self, first: int = 0) -> Iterator[tuple[bytes, bytes]]:
        """Key and value of each event from a number on; the same each time.

        Where every event adds a row, a delete takes away one that was added as many events ago.
        """
        draw = random.Random(first)
        for number in range(first, first + self.events):
            gone = draw.random() < self.deletes
            added = number - self.events if gone else number
            key = added if self.rows is None else int(self.rows * draw.random() ** self.skew)
            yield b'{"id":%d}' % key, self._message(number, key, gone=gone).encode()

    def _message(self, number: int, key: int, *, gone: bool) -> str:
        row = {"id": key} | {
            name: value(number + at) for at, (name, (_, value)) in enumerate(self.columns.items())
        }
        lsn = 20_000_000_000 + number * 120
        source = {
            "version": "3.7.0.Final", "connector": "postgresql", "name": "bench", "ts_ms": 1795225400057, "snapshot": "false", "db": "bench",
            "sequence": f'["{lsn - 40}","{lsn}"]', "ts_us": 1795225400057434, "ts_ns": 1795225400057434000, "schema": "public", "table": self.name,
            "txId": number, "lsn": lsn, "xmin": None, "origin": None, "origin_lsn": None,
        }  # fmt: skip
        envelope = {
            "before": {"id": key} if gone else None,
            "after": None if gone else row,
            "source": source,
            "transaction": None,
            "op": "d" if gone else "c" if self.rows is None else "u",
            "ts_ms": 1795225400299,
            "ts_us": 1795225400299985,
            "ts_ns": 1795225400299985949,
        }
        return json.dumps(envelope, separators=(",", ":"))


def _mixed(count: int) -> dict[str, _Column]:
    return {f"c{number}": _KINDS[number % len(_KINDS)] for number in range(count)}


_PGBENCH: dict[str, _Column] = {
    "bid": _WHOLE,
    "abalance": _WHOLE,
    "filler": ("string", lambda _: " " * 84),
}
_LINEITEM = {
    **dict.fromkeys(("partkey", "suppkey", "linenumber"), _WHOLE),
    **dict.fromkeys(("quantity", "extendedprice", "discount", "tax"), _PRICE),
    **dict.fromkeys(("returnflag", "linestatus", "shipinstruct", "shipmode", "comment"), _TEXT),
    **dict.fromkeys(("shipdate", "commitdate", "receiptdate"), _DAY),
}

WORKLOADS = (
    Workload(name="pgbench_accounts", columns=_PGBENCH),
    Workload(name="tpch_lineitem_refresh", columns=_LINEITEM, rows=None, deletes=0.5),
    Workload(name="updates_uniform", columns=_mixed(9)),
    Workload(name="updates_skewed", columns=_mixed(9), skew=8.0),
    Workload(name="appends", columns=_mixed(9), rows=None),
    Workload(name="narrow", columns=_mixed(1)),
    Workload(name="wide", columns=_mixed(199), events=10_000, rows=10_000),
    Workload(
        name="long_text",
        columns=_mixed(3) | {"body": ("string", lambda n: f"{n} lorem ipsum " * 500)},
        events=10_000,
        rows=10_000,
    ),
)
