"""Rounds of the fuzzer: whole and broken messages into a fresh lake, then everything is checked.

A round takes one recorded capture. Its messages go in as they are; between them go mutants, made from
copies whose keys are moved out of the way (5 becomes 1000000005), so that no mutant has business with
a recorded row. After landing and applying, in pieces, with some pieces landed twice:

1. every offset stands once in bronze or in the dead letters, a dead letter byte for byte as it came
2. nothing was raised, and no apply has anything left to do
3. each row of the recorded keys is what it is in a lake without mutants
"""

from __future__ import annotations

import gzip
import json
import re
import resource
import shutil
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from random import Random
from typing import Any

import polars as pl

from pipelines.bronze import DEAD_LETTERS, Bronze
from pipelines.capture.blocks import BlockCutter
from pipelines.capture.line import parse_line
from pipelines.capture.records import (
    Columns,
    HeaderTexts,
    Origin,
    Partition,
    RecordBatch,
    to_frame,
)
from pipelines.change.position import ORDER
from pipelines.contract import Catalog, Contract
from pipelines.silver import apply
from pipelines.storage import Lake
from tests.fuzz import binary
from tests.fuzz.mutate import Message, mutate
from tests.spec.test_captures import CAPTURES, FORMS, catalog_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
#: Added to whole numbers, and put before texts, of the keys that mutants are made from.
MOVED, MOVED_TEXT = 1_000_000_000, b"moved-"
#: The share of rounds in which mutants may truncate tables; there little else of a table can be said.
TRUNCATES = 0.05


@dataclass(frozen=True, slots=True)
class Form:
    """One capture: its messages, their copies under other keys, and what becomes of it alone."""

    name: str
    catalog: Catalog
    messages: list[Message]
    moved: list[Message]


@dataclass(frozen=True, slots=True)
class Plan:
    """What one round does; the same plan gives the same round."""

    form: str
    seed: str
    mutants: int
    #: How often it lands and applies.
    pieces: int = 3

    def __str__(self) -> str:
        return f"{self.form} {self.seed} {self.mutants}"


@dataclass(slots=True)
class Outcome:
    """What came of a round."""

    plan: Plan
    mutants: int = 0
    letters: int = 0
    landed: int = 0
    seconds: float = 0.0
    #: Of one core; with others at work on the machine this says more than the clock.
    cpu_seconds: float = 0.0
    checked: int = 0
    #: Keys not judged: a mutant's false position changed the order of their events, or emptied the table.
    disordered: int = 0
    #: Keys that a mutant names after all.
    taken: int = 0
    peak_mb: float = 0.0
    slowest: float = 0.0
    fault: str | None = None
    reasons: Counter[str] = field(default_factory=Counter)


class FaultError(Exception):
    """A promise that a round found broken."""


# ---- CAPTURES ---- #


def forms() -> list[str]:
    return [form for form in FORMS if (CAPTURES / f"{form}.jsonl.gz").exists()]


@cache
def form_of(name: str) -> Form:
    catalog = _patient(catalog_of(name))
    with gzip.open(CAPTURES / f"{name}.jsonl.gz") as file:
        lines = [parse_line(line.rstrip(b"\r\n")) for line in file]
    messages = [
        Message(
            topic=line.topic,
            partition=line.partition,
            offset=0,
            timestamp=line.timestamp,
            key=line.key,
            value=line.value,
            headers=tuple(
                (n, v.encode() if isinstance(v, str) else v) for n, v in line.headers or ()
            ),
        )
        for line in lines
    ]
    by_topic = {
        source.topic: contract
        for contract in catalog.contracts.values()
        if (source := contract.source) is not None
    }
    moved = [
        _moved(message, by_topic.get(message.topic))
        for message in messages
        if not _is_truncate(message)
    ]
    return Form(name, catalog, messages, moved)


def _patient(catalog: Catalog) -> Catalog:
    """The catalog with tables that go on when the newest message has the key of another table.

    By default such a table stops until its contract is mended, and one broken message is enough.
    """
    contracts = {
        table: contract.model_copy(
            update={"drift": contract.drift.model_copy(update={"key": "try"})}
        )
        for table, contract in catalog.contracts.items()
    }
    return Catalog(catalog.root, contracts)


def _is_truncate(message: Message) -> bool:
    if binary.is_avro(message.value):
        return binary.read(message.value or b"").get("op") == "t"
    return b'"op":"t"' in (message.value or b"")


def _moved(message: Message, contract: Contract | None) -> Message:
    """The message under another key, in key, value and headers; one of no declared table as it is."""
    if contract is None:
        return message
    names = b"|".join(re.escape(contract.field_of(name).encode()) for name in contract.key)
    member = re.compile(rb'("(?:' + names + rb')"):(?:(\d+)|"((?:[^"\\]|\\.)*)")')

    def move(found: re.Match[bytes]) -> bytes:
        name, number, text = found.groups()
        if number is not None:
            return name + b":" + str(int(number) + MOVED).encode()
        return name + b':"' + MOVED_TEXT + text + b'"'

    fields = [contract.field_of(name) for name in contract.key]

    def moved(data: bytes | None) -> bytes | None:
        if data is not None and binary.is_avro(data):
            return binary.write(data, _move_fields(binary.read(data), fields))
        return data and member.sub(move, data)

    headers = tuple((n, moved(v) if n.startswith("__debezium.") else v) for n, v in message.headers)
    return replace(message, key=moved(message.key), value=moved(message.value), headers=headers)


def _move_fields(value: Any, fields: Sequence[str]) -> Any:
    """The value with its key fields moved, and those of the images within it."""
    if not isinstance(value, dict):
        return value
    changed = {name: _move_fields(inner, fields) for name, inner in value.items()}
    for name in fields:
        if isinstance(value.get(name), int):
            changed[name] += MOVED
        elif isinstance(value.get(name), str):
            changed[name] = MOVED_TEXT.decode() + value[name]
    return changed


# ---- MESSAGES OF A ROUND ---- #


@dataclass(frozen=True, slots=True)
class Sent:
    """A message with its place, and its number in the capture; None for a mutant."""

    message: Message
    number: int | None


def messages_of(plan: Plan) -> list[Sent]:
    form, rng = form_of(plan.form), Random(f"{plan.form}/{plan.seed}")
    weight_of = _weights(form)
    truncates = rng.random() < TRUNCATES
    drawn = [(n / len(form.messages), Sent(m, n)) for n, m in enumerate(form.messages)]
    drawn += [
        (rng.random(), Sent(mutate(rng, base, form.moved, truncates), None))
        for base in rng.choices(form.moved, weight_of, k=plan.mutants)
    ]
    drawn.sort(key=lambda pair: pair[0])
    return numbered([sent for _, sent in drawn])


def _weights(form: Form) -> list[float]:
    """Declared tables most, the odd types most of all; a connector's own topics a little."""
    declared = form.catalog.topics()
    count = Counter(message.topic for message in form.moved)
    return [(1.0 if m.topic in declared else 0.1) / count[m.topic] for m in form.moved]


def numbered(sent: Sequence[Sent]) -> list[Sent]:
    """The messages with offsets that rise in each partition, from where a message asks it to begin."""
    following = dict[tuple[str, int], int]()
    result = list[Sent]()
    for each in sent:
        place = (each.message.topic, each.message.partition)
        offset = max(following.get(place, 0), each.message.offset)
        following[place] = offset + 1
        result.append(Sent(replace(each.message, offset=offset), each.number))
    return result


def cutter_of() -> BlockCutter:
    return BlockCutter(binary.wire())


def batch_of(sent: Sequence[Sent], cutter: BlockCutter) -> RecordBatch:
    messages = [each.message for each in sent]
    columns = Columns(
        topics=[m.topic for m in messages],
        partitions=[m.partition for m in messages],
        offsets=[m.offset for m in messages],
        timestamps=[m.timestamp for m in messages],
        keys=[m.key for m in messages],
        values=[m.value for m in messages],
        headers=HeaderTexts().of(m.headers for m in messages),
    )
    frame, schemas = to_frame(columns, cutter)
    starts, nexts = dict[Partition, int](), dict[Partition, int]()
    for m in messages:
        starts.setdefault(Partition(m.topic, m.partition), m.offset)
        nexts[Partition(m.topic, m.partition)] = m.offset + 1
    return RecordBatch(
        frame=frame,
        start_offsets=starts,
        next_offsets=nexts,
        origin=Origin(cluster="fuzz"),
        schemas=schemas,
    )


# ---- A ROUND ---- #


def play(plan: Plan) -> Outcome:
    """Runs a round; its fault, if any, is told and not raised."""
    folder = tempfile.mkdtemp(prefix="fuzz-")
    outcome, began, worked = Outcome(plan), time.monotonic(), time.process_time()
    try:
        sent = messages_of(plan)
        outcome.mutants = sum(each.number is None for each in sent)
        rng = Random(f"{plan.seed}/course")
        lake = Lake(folder)
        land_and_apply(lake, plan.form, sent, rng, outcome)
        check(lake, plan.form, sent, outcome)
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # noqa: BLE001 - Polars' panics are no Exceptions
        outcome.fault = "".join(traceback.format_exception(error, limit=-12))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    outcome.seconds = time.monotonic() - began
    outcome.cpu_seconds = time.process_time() - worked
    outcome.peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return outcome


def land_and_apply(
    lake: Lake, form: str, sent: Sequence[Sent], rng: Random, outcome: Outcome
) -> None:
    catalog = form_of(form).catalog
    bronze = Bronze(lake, catalog, ordered=rng.random() < 0.5)
    cutter = cutter_of()
    for piece in _pieces(sent, rng, outcome.plan.pieces):
        began = time.monotonic()
        landed = bronze.land(batch_of(piece, cutter))
        outcome.landed += landed.rows
        outcome.letters += landed.letters
        if rng.random() < 0.2:
            again = bronze.land(batch_of(piece, cutter_of()))
            if (again.rows, again.letters) != (0, 0):
                raise FaultError(f"landed again: {again}")
            bronze = Bronze(lake, catalog, ordered=bronze.ordered)
        for table in catalog.contracts:
            apply(lake, catalog, table, now=NOW)
        outcome.slowest = max(outcome.slowest, time.monotonic() - began)


def _pieces(sent: Sequence[Sent], rng: Random, count: int) -> Iterator[Sequence[Sent]]:
    cuts = sorted(rng.sample(range(1, len(sent)), min(count, len(sent)) - 1))
    for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
        yield sent[start:end]


# ---- WHAT MUST HOLD ---- #


def check(lake: Lake, form: str, sent: Sequence[Sent], outcome: Outcome) -> None:
    tables = lake.tables()
    bronze = pl.concat(
        lake.scan(table)
        .select("topic", "kafka_partition", "kafka_offset", "raw_payload", *ORDER[:3])
        .collect()
        for table in tables
        if table.startswith("bronze.")
    )
    letters = lake.scan(DEAD_LETTERS).collect()
    _check_places(bronze, letters, sent)
    outcome.reasons.update(letters["reason"])
    for contract in form_of(form).catalog.contracts.values():
        _check_table(lake, form, contract, bronze, sent, outcome)


def _check_places(bronze: pl.DataFrame, letters: pl.DataFrame, sent: Sequence[Sent]) -> None:
    place = ("topic", "kafka_partition", "kafka_offset")
    found = Counter([*bronze.select(place).rows(), *letters.select(place).rows()])
    messages = {(m.topic, m.partition, m.offset): m for m in (each.message for each in sent)}
    if doubled := [at for at, count in found.items() if count > 1]:
        raise FaultError(f"{len(doubled)} offsets stand twice: {doubled[:3]}")
    if found.keys() != messages.keys():
        lost, extra = messages.keys() - found.keys(), found.keys() - messages.keys()
        raise FaultError(f"{len(lost)} offsets lost, {len(extra)} made up: {[*lost, *extra][:3]}")
    for topic, partition, offset, key, value in letters.select(*place, "key", "value").iter_rows():
        message = messages[topic, partition, offset]
        if (key, value) != (message.key, message.value):
            raise FaultError(f"a dead letter is not as it came: {message} became {(key, value)}")
    for topic, partition, offset, payload in bronze.select(*place, "raw_payload").iter_rows():
        value = messages[topic, partition, offset].value
        whole = (value or b"").decode("utf-8", "replace")
        if not binary.is_avro(value) and (payload or "") not in whole:
            raise FaultError(f"a payload is not as it came: {whole[:500]} became {payload[:500]}")


@dataclass(frozen=True, slots=True)
class Held:
    """The rows of a table by key: layer, values and the number of the message they came from."""

    rows: dict[tuple[Any, ...], tuple[str, str, int | None]]
    #: The rows' messages, by offset, of rows that came from a mutant.
    order: dict[int, tuple[int, ...]]


@cache
def expected(form: str) -> dict[str, Held]:
    """What each table holds of the capture alone."""
    sent = numbered([Sent(m, n) for n, m in enumerate(form_of(form).messages)])
    with tempfile.TemporaryDirectory() as folder:
        lake, catalog = Lake(folder), form_of(form).catalog
        Bronze(lake, catalog).land(batch_of(sent, cutter_of()))
        for table in catalog.contracts:
            apply(lake, catalog, table, now=NOW)
        return {
            contract.table: Held(
                *(
                    _held(lake, contract, _numbers(contract, sent)),
                    _order(lake.scan(contract.bronze).collect(), _numbers(contract, sent)),
                )
            )
            for contract in catalog.contracts.values()
        }


def _numbers(contract: Contract, sent: Sequence[Sent]) -> dict[int, int]:
    """The number in the capture of each recorded message of a table, by its offset."""
    assert contract.source is not None
    return {
        each.message.offset: each.number
        for each in sent
        if each.number is not None
        and (each.message.topic, each.message.partition) == (contract.source.topic, 0)
    }


def _order(bronze: pl.DataFrame, numbers: dict[int, int]) -> dict[int, tuple[int, ...]]:
    """The position of each recorded message, by its number."""
    own = bronze.filter(
        pl.col("kafka_partition") == 0, pl.col("kafka_offset").is_in(list(numbers))
    ).select("kafka_offset", *ORDER[:3])
    return {numbers[offset]: (*position, offset) for offset, *position in own.iter_rows()}


def _held(
    lake: Lake, contract: Contract, numbers: dict[int, int]
) -> dict[tuple[Any, ...], tuple[str, str, int | None]]:
    found = dict[tuple[Any, ...], tuple[str, str, int | None]]()
    for layer in ("silver", "quarantine"):
        columns = [*contract.columns, "quality_issues", "source_offset", "source_bronze_id"]
        frame = lake.scan(contract.sibling(layer)).select(columns).collect()
        for row in frame.iter_rows(named=True):
            key = tuple(row[name] for name in contract.key)
            if key in found:
                raise FaultError(f"{contract.table}: {key} is in silver and in quarantine")
            offset = row.pop("source_offset")
            row.pop("source_bronze_id")
            found[key] = (layer, repr(row), numbers.get(offset))
    return found


def _check_table(
    lake: Lake,
    form: str,
    contract: Contract,
    bronze: pl.DataFrame,
    sent: Sequence[Sent],
    outcome: Outcome,
) -> None:
    assert contract.source is not None
    topic, wanted = contract.source.topic, expected(form)[contract.table]
    numbers = _numbers(contract, sent)
    held = _held(lake, contract, numbers)
    order = _order(bronze.filter(pl.col("topic") == topic), numbers)
    if order.keys() != wanted.order.keys():
        raise FaultError(f"{contract.table}: recorded messages are not in bronze")
    buried = (
        lake.scan(contract.sibling("tombstones"))
        .select(*contract.key, "operation", "source_offset")
        .collect()
    )
    false_truncate = not set(
        buried.filter(pl.col("operation") == "TRUNCATE")["source_offset"]
    ) <= set(numbers)
    messages = form_of(form).messages
    mutants = {each.message for each in sent if each.number is None and each.message.topic == topic}
    for key in wanted.rows.keys() | {k for k, (_, _, number) in held.items() if number is not None}:
        row, found = wanted.rows.get(key), held.get(key)
        if row == found:
            outcome.checked += 1
        elif false_truncate or _disordered(row or found, messages, topic, wanted.order, order):
            outcome.disordered += 1
        elif (found is None or found[2] is None) and any(_names(m, key) for m in mutants):
            outcome.taken += 1
        else:
            raise FaultError(f"{contract.table}: {key} should be {row} and is {found}")


def _disordered(
    row: tuple[str, str, int | None] | None,
    messages: Sequence[Message],
    topic: str,
    wanted: dict[int, tuple[int, ...]],
    found: dict[int, tuple[int, ...]],
) -> bool:
    """Whether the events of a row's key stand in another order than without mutants."""
    number = row and row[2]
    key = None if number is None else messages[number].key
    own = [n for n in wanted if messages[n].topic == topic and messages[n].key in (None, key)]
    return sorted(own, key=wanted.__getitem__) != sorted(own, key=found.__getitem__)


def _names(mutant: Message, key: tuple[Any, ...]) -> bool:
    """Whether a mutant's key or value holds the key's values, as whole values."""
    leaves = set[str]()
    for data in (mutant.key, mutant.value):
        try:
            rest = [
                binary.read(data or b"")
                if binary.is_avro(data)
                else json.loads(data or b"null", parse_int=str, parse_float=str)
            ]
        except Exception:  # noqa: BLE001 - what no reader makes sense of names nothing
            continue
        while rest:
            node = rest.pop()
            if isinstance(node, dict):
                rest += node.values()
            elif isinstance(node, list):
                rest += node
            else:
                leaves |= {str(node), str(node).removesuffix(".0")}
    return {str(part) for part in key} <= leaves


# ---- REDUCING ---- #


def reduce(plan: Plan, *, seconds: float = 120) -> list[Sent]:
    """Few messages of a round that still end in the same exception."""
    sent, until = messages_of(plan), time.monotonic() + seconds
    first = signature(plan, sent)
    if first is None:
        return []
    size = len(sent) // 2
    while size and time.monotonic() < until:
        at = 0
        while at < len(sent) and time.monotonic() < until:
            fewer = sent[:at] + sent[at + size :]
            if fewer and signature(plan, numbered(fewer)) == first:
                sent = fewer
            else:
                at += size
        size //= 2
    return numbered(sent)


def signature(plan: Plan, sent: Sequence[Sent]) -> str | None:
    folder = tempfile.mkdtemp(prefix="fuzz-")
    try:
        lake = Lake(folder)
        land_and_apply(lake, plan.form, sent, Random(f"{plan.seed}/course"), Outcome(plan))
    except BaseException as error:  # noqa: BLE001 - as above
        frame = traceback.extract_tb(error.__traceback__)[-1]
        return f"{type(error).__name__} {frame.filename}:{frame.lineno}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return None
