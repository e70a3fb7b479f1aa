"""The laws, over generated histories of a source table against a dict that is the source."""

from __future__ import annotations

import base64
import itertools
import json
import tempfile
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.bronze import Bronze
from pipelines.capture.blocks import BlockCutter
from pipelines.capture.records import Columns, Origin, Partition, RecordBatch, to_frame
from pipelines.contract import Catalog
from pipelines.contract.model import Contract
from pipelines.silver import apply
from pipelines.storage import Lake

TOPIC, TABLE = "p.public.items", "silver.shop.items"
PLACEHOLDER = "__debezium_unavailable_value"
NOW = datetime(2026, 1, 1, tzinfo=UTC)

CONTRACT = Contract.model_validate(
    {
        "table": TABLE,
        "description": "d",
        "owner": "o",
        "source": {"connector": "postgres", "topic": TOPIC},
        "key": ["id"],
        "history": True,
        "columns": {
            "id": {"type": "int32"},
            "price": {"type": "decimal(6,2)", "min": 0},
            "note": {"type": "string"},
        },
    }
)
CATALOG = Catalog(Path(), {TABLE: CONTRACT})


@dataclass
class Source:
    """A table with a log: what Debezium would send of it, and what it holds after each commit."""

    rows: dict[int, tuple[int, str | None]] = field(default_factory=dict)
    sent: list[tuple[str | None, str | None, list]] = field(default_factory=list)
    past: list[tuple[int, dict]] = field(default_factory=list)
    lsn: int = 1000
    commit: int = 1000

    def transact(self, changes: list) -> None:
        for change in changes:
            getattr(self, change[0])(*change[1:])
        self.lsn += 10
        self.commit = self.lsn
        self.past.append((len(self.sent), dict(self.rows)))

    def put(self, key: int, cents: int, note: int | None) -> None:
        """An upsert; `note` None leaves the note as it was, which is sent as a placeholder."""
        old = self.rows.get(key)
        text = old[1] if note is None and old else None if note is None else f"n{note}"
        self.rows[key] = (cents, text)
        told = PLACEHOLDER if note is None and old and text is not None else text
        self._send(key, "u" if old else "c", {"id": key, "price": cents, "note": told})

    def drop(self, key: int) -> None:
        if self.rows.pop(key, None) is not None:
            self._send(key, "d", None)
            self.sent.append((json.dumps({"id": key}), None, []))

    def move(self, key: int, to: int) -> None:
        if key in self.rows and to not in self.rows:
            cents, text = self.rows[key]
            self.drop(key)
            self.rows[to] = (cents, text)
            told = PLACEHOLDER if text is not None else None
            self._send(
                to,
                "c",
                {"id": to, "price": cents, "note": told},
                [["__debezium.oldkey", json.dumps({"id": key})]],
            )

    def empty(self) -> None:
        self.rows.clear()
        self.sent.append((None, self._value("t", None, None), []))

    def again(self, count: int) -> None:
        """The connector restarts and sends its last events once more."""
        self.sent += self.sent[-count:] if count else []

    def _send(self, key: int, op: str, row: dict | None, headers: list | tuple = ()) -> None:
        after = None if row is None else {**row, "price": _base64(row["price"])}
        before = {"id": key, "price": "AA==", "note": None} if op == "d" else None
        self.sent.append((json.dumps({"id": key}), self._value(op, before, after), list(headers)))

    def _value(self, op: str, before: dict | None, after: dict | None) -> str:
        self.lsn += 1
        source = {
            "name": "p",
            "schema": "public",
            "table": "items",
            "snapshot": "false",
            "lsn": self.lsn,
            "txId": 1,
        }
        source |= {
            "sequence": json.dumps([str(self.commit), str(self.lsn)]),
            "ts_us": self.lsn * 1000,
            "ts_ms": self.lsn,
        }
        return json.dumps(
            {
                "before": before,
                "after": after,
                "source": source,
                "op": op,
                "ts_ms": 1,
                "transaction": None,
            }
        )


def _base64(cents: int) -> str:
    return base64.b64encode(cents.to_bytes(8, "big", signed=True)).decode()


def batch(sent: list, start: int) -> RecordBatch:
    count = len(sent)
    columns = Columns(
        topics=[TOPIC] * count,
        partitions=[0] * count,
        offsets=list(range(start, start + count)),
        timestamps=[(1, 1_700_000_000_000 + start + n) for n in range(count)],
        keys=[key and key.encode() for key, _, _ in sent],
        values=[value and value.encode() for _, value, _ in sent],
        headers=[json.dumps(headers) for _, _, headers in sent],
    )
    frame, schemas = to_frame(columns, BlockCutter())
    place = Partition(TOPIC, 0)
    return RecordBatch(
        frame=frame,
        start_offsets={place: start},
        next_offsets={place: start + count},
        origin=Origin(cluster="c"),
        schemas=schemas,
    )


def held(lake: Lake) -> dict[int, tuple[int, str | None]]:
    """Silver and quarantine together; a key in both would be a fault."""
    rows = [
        row
        for layer in ("silver", "quarantine")
        for row in lake.scan(f"{layer}.shop.items").select("id", "price", "note").collect().rows()
    ]
    assert len({key for key, _, _ in rows}) == len(rows)
    return {key: (int(price.scaleb(2)), note) for key, price, note in rows}


KEYS = st.integers(0, 4)
CHANGE = st.one_of(
    st.tuples(st.just("put"), KEYS, st.integers(-300, 9999), st.none() | st.integers(0, 3)),
    st.tuples(st.just("drop"), KEYS),
    st.tuples(st.just("move"), KEYS, KEYS),
    st.tuples(st.just("empty")),
)
STEP = st.one_of(
    st.tuples(st.just("transact"), st.lists(CHANGE, min_size=1, max_size=4)),
    st.tuples(st.just("again"), st.integers(0, 5)),
)
HISTORY = st.lists(STEP, min_size=1, max_size=12)
CUTS = st.lists(st.integers(1, 6), min_size=1, max_size=8)


def play(history: list) -> Source:
    source = Source()
    for name, argument in history:
        getattr(source, name)(argument)
    return source


@settings(max_examples=60)
@given(HISTORY, CUTS, st.integers(1, 5), st.booleans())
def test_silver_and_quarantine_are_the_source(history, cuts, apply_every, crash):
    """In any batches, applied now and then, with batches landed twice: laws 1, 2 and 6."""
    source = play(history)
    with tempfile.TemporaryDirectory() as folder:
        lake, at = Lake(folder), 0
        for number, size in enumerate(itertools.cycle(cuts)):
            if at >= len(source.sent):
                break
            piece = batch(source.sent[at : at + size], at)
            Bronze(lake, CATALOG).land(piece)
            if crash:  # the process died before it could say so, and reads the batch again
                again = Bronze(lake, CATALOG).land(piece)
                assert (again.rows, again.letters) == (0, 0)
            at += size
            if number % apply_every == 0:
                apply(lake, CATALOG, TABLE, now=NOW, chunk_events=3)
        if not source.sent:
            return
        apply(lake, CATALOG, TABLE, now=NOW)
        assert held(lake) == source.rows
        silver = lake.scan(TABLE).collect()
        assert (silver["price"] >= 0).all(), "a row that breaks a rule was kept"
        before = {table: lake.version(table) for table in lake.tables()}
        apply(lake, CATALOG, TABLE, now=NOW)
        assert {table: lake.version(table) for table in lake.tables()} == before


@settings(max_examples=30)
@given(HISTORY, CUTS)
def test_history_holds_the_source_of_every_moment(history, cuts):
    """Law 3: the rows valid at a commit are the rows that the source had then."""
    source = play([step for step in history if step[0] == "transact"])
    with tempfile.TemporaryDirectory() as folder:
        lake, at = Lake(folder), 0
        for size in itertools.cycle(cuts):
            if at >= len(source.sent):
                break
            Bronze(lake, CATALOG).land(batch(source.sent[at : at + size], at))
            apply(lake, CATALOG, TABLE, now=NOW)
            at += size
        if not source.sent:
            return
        versions = lake.scan("history.shop.items").collect()
        for sent, rows in source.past:
            begun = pl.col("source_offset") < sent
            open_then = pl.col("ended_offset").is_null() | (pl.col("ended_offset") >= sent)
            then = versions.filter(begun & open_then & ~pl.col("is_deleted"))
            assert {
                row["id"]: (int(row["price"].scaleb(2)), row["note"]) for row in then.to_dicts()
            } == rows


@settings(max_examples=30)
@given(HISTORY, st.randoms())
def test_a_crash_between_any_two_writes_is_repaired(history, chance):
    """Each table of a state may be a step behind the others: the next apply brings all to the source."""
    source = play(history)
    if not source.sent:
        return
    with tempfile.TemporaryDirectory() as folder:
        lake = Lake(folder)
        Bronze(lake, CATALOG).land(batch(source.sent, 0))
        apply(lake, CATALOG, TABLE, now=NOW, chunk_events=2)
        for layer in ("silver", "quarantine", "tombstones", "history"):
            log = Path(lake.path(f"{layer}.shop.items")) / "_delta_log"
            commits = sorted(log.glob("*.json"))
            # Silver's commit comes last but one: what it does not know of yet is known to the others.
            if layer == "silver" and len(commits) > 1 and chance.random() < 0.8:
                for commit in commits[chance.randrange(1, len(commits)) :]:
                    commit.unlink()
        apply(lake, CATALOG, TABLE, now=NOW)
        assert held(lake) == source.rows
