"""The streams beside the shop's: the same each time, every awkward event in them, any size."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from assets.demo_documents import CHAT, POSTS, TELEMETRY, generate
from assets.demo_feeds import Feeds
from assets.demo_order_events import ORDERS, SCHEMAS


@pytest.fixture(scope="module")
def feeds() -> Feeds:
    return generate()


def bodies(feeds: Feeds, topic: str) -> list[dict[str, Any]]:
    return [json.loads(r.value) for r in feeds.records if r.topic == topic and r.value]


def test_a_seed_tells_the_same_story_and_another_seed_another():
    first, again, other = (generate(seed=seed, days=2) for seed in (3, 3, 4))
    assert (first.records, first.truth) == (again.records, again.truth)
    assert first.records != other.records


def test_the_streams_grow_with_their_sizes():
    small, large = generate(days=2), generate(days=2, posts_a_day=80, messages_a_day=200, devices=9)
    for topic in (POSTS, CHAT, TELEMETRY):
        assert len(bodies(large, topic)) > 2 * len(bodies(small, topic))


def test_every_kind_of_change_is_in_them(feeds: Feeds):
    kinds = {topic: {body["op"] for body in bodies(feeds, topic)} for topic in (POSTS, CHAT, TELEMETRY)}  # fmt: skip
    assert kinds == {POSTS: set("rcud"), CHAT: set("iud"), TELEMETRY: set("id")}
    assert any(r.topic == POSTS and r.value is None for r in feeds.records)
    for topic in (POSTS, CHAT, TELEMETRY, ORDERS):
        again = Counter(r.value for r in feeds.records if r.topic == topic and r.value)
        assert sum(count > 1 for count in again.values()) >= 3
    versions = [r.value[4] for r in feeds.records if r.topic == ORDERS and r.value]
    assert set(SCHEMAS) <= {*versions}
    assert [101, 102, 101] in [versions[n : n + 3] for n in range(len(versions))]


def test_records_come_in_the_order_of_time(feeds: Feeds):
    times = [record.timestamp_ms for record in feeds.records]
    assert times == sorted(times)
