"""The streams of the task, the interaction and the research system: the same each time, every awkward event in them, and true."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import pytest

from assets import demo_interactions, demo_research, demo_tasks
from assets.demo_source import PLACEHOLDER, Database, Record, Row, wire

STORIES: dict[str, Callable[..., Database]] = {
    "tasks": demo_tasks.generate,
    "interactions": demo_interactions.generate,
    "research": demo_research.generate,
}


class Event(NamedTuple):
    """A change event: where it stands in the source's order, and the record it came in."""

    commit: int
    lsn: int
    arrival: int
    table: str
    body: dict[str, Any]
    record: Record


def read(database: Database) -> list[Event]:
    """Every record of a table's topic that is a change event, in the order of arrival."""
    topics = {database.topic(table): table for table in database.tables}
    found = list[Event]()
    for arrival, record in enumerate(database.records):
        try:
            body = json.loads(record.value or b"null") if record.topic in topics else None
        except ValueError:
            continue
        if body and body["op"] in "crudt":
            commit, lsn = (int(part or 0) for part in json.loads(body["source"]["sequence"]))
            found.append(Event(commit, lsn, arrival, topics[record.topic], body, record))
    return found


def fold(database: Database) -> dict[str, dict[str, Row]]:
    """What the events leave when they are taken in the source's order."""
    held: dict[str, dict[str, Row]] = {table: {} for table in database.tables}
    for _, _, _, table, body, record in sorted(read(database), key=lambda event: event[:3]):
        if body["op"] == "t":
            held[table].clear()
            continue
        key = str(json.loads(record.key or b"")[database.tables[table].key])
        old = held[table].pop(key, {})
        if body["op"] != "d":
            new = body["after"]
            held[table][key] = {n: old[n] if v == PLACEHOLDER else v for n, v in new.items()}
    return held


@pytest.fixture(scope="module", params=STORIES)
def told(request: pytest.FixtureRequest) -> Database:
    return STORIES[request.param]()


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("size", [{"seed": 7}, {"seed": 8}, {"seed": 11, "days": 5}, {"seed": 3, "people": 60}])  # fmt: skip
def test_the_stream_in_the_sources_order_ends_in_the_truth(story: str, size: dict[str, int]):
    database = STORIES[story](**size)
    truth = {t: {k: wire(row) for k, row in rows.items()} for t, rows in database.truth.items()}
    assert fold(database) == truth


@pytest.mark.parametrize("story", STORIES)
def test_a_seed_tells_the_same_story_and_another_seed_another(story: str):
    first, again, other = (STORIES[story](seed=seed, days=3) for seed in (3, 3, 4))
    assert (first.records, first.truth) == (again.records, again.truth)
    assert first.records != other.records


@pytest.mark.parametrize("story", STORIES)
def test_a_story_grows_with_its_days(story: str):
    short, long = (len(STORIES[story](days=days).records) for days in (10, 40))
    assert long > 2 * short


def test_every_kind_of_change_is_in_it(told: Database):
    events = read(told)
    kinds = Counter(event.body["op"] for event in events)
    assert set(kinds) == ({"r", "c", "u", "d", "t"} if told.name == "taskapp" else set("rcud"))
    assert {event.body["source"]["snapshot"] for event in events} >= {"first", "last", "incremental", "false"}  # fmt: skip
    headers = {name for event in events for name, _ in event.record.headers}
    assert headers == {"__debezium.newkey", "__debezium.oldkey"}
    assert any(PLACEHOLDER in (event.body["after"] or {}).values() for event in events)


def test_events_come_late_again_and_in_transactions_that_overlap(told: Database):
    events = read(told)
    values = Counter(event.record.value for event in events)
    assert sum(count > 1 for count in values.values()) >= 15
    fresh = [e for e in events if e.commit > 0 and e.body["source"]["lsn"] is not None]
    once = list({e.record.value: e for e in reversed(fresh)}.values())[::-1]
    assert any(late.lsn < early.lsn for early, late in pairwise(once))
    assert any(late[:2] < early[:2] for early, late in pairwise(fresh))


def test_some_messages_are_broken_and_some_rows_are_bad_for_good(told: Database):
    changes = {event.record.value for event in read(told)}
    topics = {told.topic(table) for table in told.tables}
    broken = [r.value for r in told.records if r.topic in topics and r.value and r.value not in changes]  # fmt: skip
    assert len(broken) == 2
    assert len(told.notes) >= 2
