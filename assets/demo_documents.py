"""What people and devices do beside the shop: posts in MongoDB, chat and telemetry in Cassandra, order events in Avro.

Beside what every stream must survive there are documents with fields that nobody announced and with
known ones of another shape; messages that two replicas tell, or that are told in part; points that
come hours late, are corrected, or are from the future; and an event's schema that changes in
mid-stream while its producers are rolled out one by one.
"""

from __future__ import annotations

import base64
import json
import math
import random
import uuid
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from assets import demo_shop
from assets.demo_feeds import (
    Feeds,
    bson_uuid,
    milliseconds,
    object_id,
    tell_cells,
    tell_document,
    timeuuid,
)
from assets.demo_order_events import publish_orders
from assets.demo_source import Database, Row

POSTS, CHAT, TELEMETRY = (
    "social.bitvelocity.posts",
    "events.bitvelocity.chat_messages",
    "events.bitvelocity.device_telemetry",
)

_WORDS = ("new lamp", "garden day", "what a spade", "kettle trouble", "my atlas", "drums again", "café rosé", "kite weather")  # fmt: skip
_TAGS = ("Sale", "sale", "Garden", "garden", "music", "Music", "kitchen", "diy", "été")
_LINES = ("Is it in stock?", "It came today.", "Thanks!", "Which size?", "See you at six.", "Merci à tous", "No.")  # fmt: skip


def generate(
    *,
    seed: int = 7,
    days: int = 5,
    posts_a_day: int = 20,
    messages_a_day: int = 50,
    devices: int = 3,
    shop: Database | None = None,
) -> Feeds:
    """Streams of some days that end on 5 June 2026, about a shop's customers and orders; the same for the same arguments."""
    shop = shop or demo_shop.generate(seed=seed, days=days)
    chance = random.Random(seed)  # noqa: S311 - a story, no secret
    start = datetime(2026, 6, 6, tzinfo=UTC) - timedelta(days=days)
    feeds = Feeds(random=chance, clock=start)
    feeds.truth |= {"posts": {}, "chat_messages": {}, "device_telemetry": {}}
    people = sorted(shop.truth["customers"])
    _social(feeds, people, start, days, posts_a_day)
    _chat(feeds, people, start, days, messages_a_day)
    _telemetry(feeds, devices, start, days)
    publish_orders(feeds, shop, start, days)
    feeds.records.sort(key=lambda record: record.timestamp_ms)
    return feeds


# ---- POSTS ---- #


def _social(feeds: Feeds, people: list[str], start: datetime, days: int, posts: int) -> None:
    held = dict[str, tuple[Row, Row]]()
    feeds.clock = start - timedelta(days=1)
    for _ in range(6):  # there before the connector's first snapshot
        feeds.tick(3600)
        identity, document, rest = _post(feeds, people, day=0)
        held[identity] = document, rest
        _keep_post(feeds, identity, document, rest)
    feeds.clock = start
    for number, (identity, (document, _)) in enumerate(held.items()):
        mark = "first" if number == 0 else "last" if number == len(held) - 1 else "true"
        tell_document(feeds, POSTS, "r", identity, document, mark=mark)
    for day in range(days):
        feeds.clock = start + timedelta(days=day, hours=6)
        for _ in range(posts):
            feeds.tick(60_000 / posts * feeds.random.uniform(0.3, 1.0))
            identity, document, rest = _post(feeds, people, day)
            held[identity] = document, rest
            _keep_post(feeds, identity, document, rest)
            tell_document(feeds, POSTS, "c", identity, document)
            _liked(feeds, held)
        if day % 2:
            _strike_out(feeds, held)
        feeds.repeat(POSTS, 4)
        feeds.tick(60)
        if day == days - 1:
            _bad_posts(feeds, people)


def _post(feeds: Feeds, people: list[str], day: int) -> tuple[str, Row, Row]:
    """A document, and of it what no column is for; from the third day on the application writes more."""
    r = feeds.random
    author = people[min(int(r.paretovariate(0.8)), len(people)) - 1]
    media: list[Row] = [
        {"type": r.choice(["image", "image", "video", "link"]), "url": f"https://media.example.org/{r.randrange(40)}", "metadata": {"width": r.randrange(200, 4000), "by": {"$numberLong": "7"}}}
        for _ in range(r.choice([0, 0, 1, 1, 2, 3]))
    ]  # fmt: skip
    content: Row = {
        "text": r.choice([*_WORDS, None]) if media else r.choice(_WORDS), "media": media,
        "hashtags": r.sample(_TAGS, r.randrange(4)), "mentions": [bson_uuid(each) for each in r.sample(people, r.choice([0, 0, 1, 2]))],
    }  # fmt: skip
    now: Row = {"$date": feeds.now_ms()}
    identity = object_id(feeds)
    document: Row = {
        "_id": {"$oid": identity}, "user_id": bson_uuid(author), "content": content, "engagement": {"likes": 0, "shares": 0, "comments": 0},
        "created_at": now, "created_by": "feed-service", "updated_at": now, "updated_by": "feed-service", "version": 1, "trace_id": r.choice([None, f"{r.getrandbits(64):016x}"]),
    }  # fmt: skip
    rest: Row = {}
    if day >= 2 and r.random() < 0.4:
        seen: Row = {"media": [*({} for _ in media[1:]), {"alt": "a cat, asleep"}]} if media else {}
        poll: Row = {"question": "Which?", "options": ["a", "b"], "share": 0.5}
        rest = {"content": {**seen, "poll": poll}, "pinned": r.random() < 0.5}
    return identity, _joined(document, rest), rest


def _joined(document: Any, more: Any) -> Any:
    """A document with what another has beside it."""
    if isinstance(document, dict) and isinstance(more, dict):
        both = {n: _joined(document[n], more[n]) for n in document.keys() & more.keys()}
        return {**{n: both.get(n, v) for n, v in document.items()}, **{n: v for n, v in more.items() if n not in document}}  # fmt: skip
    if isinstance(document, list) and isinstance(more, list):
        return [_joined(*pair) for pair in zip(document, more, strict=True)]
    return document


def _keep_post(feeds: Feeds, identity: str, document: Row, rest: Row) -> None:
    """The row that the document is, in the contract's columns."""
    content, engagement = document["content"], document["engagement"]
    media = [{"type": m["type"], "url": m["url"], "metadata": json.dumps(m["metadata"])} for m in content["media"]]  # fmt: skip
    feeds.truth["posts"][identity] = {
        "post_id": identity, "user_id": _uuid(document["user_id"]), "text": content["text"], "media": media, "hashtags": content["hashtags"],
        "mentions": [_uuid(each) for each in content["mentions"]], **engagement,
        "created_at": _when(document["created_at"]), "created_by": document["created_by"], "updated_at": _when(document["updated_at"]),
        "updated_by": document["updated_by"], "version": document["version"], "trace_id": document["trace_id"],
        "rest": json.dumps(rest, ensure_ascii=False) if rest else None,
    }  # fmt: skip


def _uuid(written: Row) -> str:
    return str(uuid.UUID(bytes=base64.b64decode(written["$binary"]["base64"])))


def _when(written: Row) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=written["$date"])


def _liked(feeds: Feeds, held: dict[str, tuple[Row, Row]]) -> None:
    """Somebody likes, shares or comments on one of the newest posts."""
    identity = feeds.random.choice(list(held)[-12:])
    document, rest = held[identity]
    what = feeds.random.choice(["likes", "likes", "likes", "shares", "comments"])
    engagement = {**document["engagement"], what: document["engagement"][what] + feeds.random.randrange(1, 9)}  # fmt: skip
    new: Row = {"engagement": engagement, "updated_at": {"$date": feeds.now_ms()}, "version": document["version"] + 1}  # fmt: skip
    held[identity] = {**document, **new}, rest
    _keep_post(feeds, identity, *held[identity])
    tell_document(feeds, POSTS, "u", identity, held[identity][0])


def _strike_out(feeds: Feeds, held: dict[str, tuple[Row, Row]]) -> None:
    identity = list(held)[3]
    del held[identity], feeds.truth["posts"][identity]
    tell_document(feeds, POSTS, "d", identity, None)


def _bad_posts(feeds: Feeds, people: list[str]) -> None:
    """Documents whose known fields are of another shape or without sense; one is mended."""
    for number, (why, spoil) in enumerate(_SPOILT.items()):
        feeds.tick(60)
        identity, document, rest = _post(feeds, people, day=0)
        bad = spoil(document)
        tell_document(feeds, POSTS, "c", identity, bad)
        if number == 0:
            feeds.tick(600)
            _keep_post(feeds, identity, document, rest)
            tell_document(feeds, POSTS, "u", identity, document)
        else:
            feeds.notes[identity] = why
            feeds.truth["posts"][identity] = {"post_id": identity}


_SPOILT: Mapping[str, Callable[[Row], Row]] = {
    "fewer than no likes, mended": lambda d: {**d, "engagement": {"likes": -1, "shares": 0, "comments": 0}},
    "tags in one text": lambda d: {**d, "content": {**d["content"], "hashtags": "sale, garden"}},
    "nobody posted it": lambda d: {n: v for n, v in d.items() if n != "user_id"},
}  # fmt: skip


# ---- CHAT ---- #


def _chat(feeds: Feeds, people: list[str], start: datetime, days: int, messages: int) -> None:
    rooms = [feeds.identity() for _ in range(5)]
    for day in range(days):
        feeds.clock = start + timedelta(days=day, hours=7)
        for number in range(messages):
            feeds.tick(50_000 / messages * feeds.random.uniform(0.2, 1.0))
            room = rooms[min(int(feeds.random.paretovariate(1.0)), len(rooms)) - 1]
            _say(feeds, room, _author(feeds, people))
            if number % 9 == 4:
                _edit(feeds)
        if day % 2:
            _unsay(feeds)
        feeds.repeat(CHAT, 3)
        feeds.tick(60)
    _bad_messages(feeds, rooms[0], people[0])


def _author(feeds: Feeds, people: list[str]) -> str:
    return people[min(int(feeds.random.paretovariate(0.9)), len(people)) - 1]


def _say(feeds: Feeds, room: str, author: str | None, *, when: datetime | None = None) -> Row:
    """A message, told by two replicas; `when` is the client's clock where it is wrong."""
    sent = when or feeds.clock - timedelta(microseconds=feeds.random.randrange(1, 400_000))
    key: Row = {"room_id": room, "message_time": timeuuid(feeds, sent)}
    noted = feeds.random.choice([None, {"client": "ios"}, {"client": "web", "lang": "fr"}])
    cells: Row = {"user_id": author, "message_text": feeds.random.choice(_LINES), "metadata": noted, "created_by": "chat", "trace_id": None}  # fmt: skip
    tell_cells(feeds, CHAT, "i", key, cells)
    if feeds.random.random() < 0.3:
        tell_cells(feeds, CHAT, "i", key, cells, node=2)
    return _keep_message(feeds, {**key, "sent_at": sent, **cells, "metadata": noted and json.dumps(noted)})  # fmt: skip


def _keep_message(feeds: Feeds, row: Row) -> Row:
    told = {**row, "written_at": feeds.clock}
    feeds.truth["chat_messages"][f"{row['room_id']}/{row['message_time']}"] = told
    return told


_CELLS = ("user_id", "message_text", "metadata", "created_by", "trace_id")


def _standing(feeds: Feeds) -> Row:
    held = feeds.truth["chat_messages"]
    return held[feeds.random.choice([key for key in held if key not in feeds.notes][-20:])]


def _key(row: Row) -> Row:
    return {"room_id": row["room_id"], "message_time": row["message_time"]}


def _edit(feeds: Feeds) -> None:
    """One cell is written; the others are as they were."""
    row, new = _standing(feeds), {"message_text": "(edited)"}
    unset = [name for name in _CELLS if name not in new]
    tell_cells(feeds, CHAT, "u", _key(row), new, unset)
    _keep_message(feeds, {**row, **new})


def _unsay(feeds: Feeds) -> None:
    row = _standing(feeds)
    tell_cells(feeds, CHAT, "d", _key(row), {}, _CELLS)
    del feeds.truth["chat_messages"]["/".join(_key(row).values())]


def _bad_messages(feeds: Feeds, room: str, author: str) -> None:
    """A client whose clock is a day ahead, and a message that nobody sent; it is told who, in the end."""
    ahead = _say(feeds, room, author, when=feeds.clock + timedelta(days=1))
    feeds.notes["/".join(_key(ahead).values())] = "from tomorrow"
    feeds.tick(5)
    nobody = _say(feeds, room, None)
    feeds.notes["/".join(_key(nobody).values())] = "nobody sent it"
    feeds.tick(5)
    late = _say(feeds, room, None)
    feeds.tick(5)
    tell_cells(feeds, CHAT, "u", _key(late), {"user_id": author}, [n for n in _CELLS if n != "user_id"])  # fmt: skip
    _keep_message(feeds, {**late, "user_id": author})


# ---- TELEMETRY ---- #

_SENSORS = {"temperature": (18.0, 6.0), "battery": (3.6, 0.2)}


def _telemetry(feeds: Feeds, devices: int, start: datetime, days: int) -> None:
    """A point every half hour of each sensor; of the third day's morning the first device tells in the evening."""
    names = [feeds.identity() for _ in range(devices)]
    waiting = list[tuple[str, str, datetime]]()
    for half_hour in range(days * 48):
        feeds.clock = measured = start + timedelta(minutes=30 * half_hour)
        offline = half_hour // 48 == days // 2 and 12 <= half_hour % 48 < 30
        for device in names:
            for sensor in _SENSORS:
                if offline and device == names[0]:
                    waiting.append((device, sensor, measured))
                    continue
                feeds.tick(feeds.random.uniform(0.1, 2.0))
                _measure(feeds, device, sensor, measured)
        if waiting and not offline:
            for point in waiting:
                feeds.tick(0.05)
                _measure(feeds, *point)
            waiting = []
        if half_hour % 48 == 40:
            feeds.repeat(TELEMETRY, 5)
            _calibrate(feeds)
    _bad_points(feeds, names)


def _measure(
    feeds: Feeds, device: str, sensor: str, measured: datetime, value: float | str | None = math.inf
) -> Row:
    """A point; its value follows the hour of the day, unless it is given."""
    if value == math.inf:
        middle, swing = _SENSORS.get(sensor, (50.0, 10.0))
        wave = math.sin((measured.hour + measured.minute / 60 - 9) * math.pi / 12)
        value = round(middle + swing * wave + feeds.random.uniform(-0.2, 0.2), 3)
    key: Row = {"device_id": device, "sensor_type": sensor, "timestamp": milliseconds(measured)}
    tell_cells(feeds, TELEMETRY, "i", key, {"sensor_value": value})
    number = math.nan if value == "NaN" else value
    row: Row = {"device_id": device, "sensor_type": sensor, "measured_at": measured, "sensor_value": number, "written_at": feeds.clock}  # fmt: skip
    feeds.truth["device_telemetry"][f"{device}/{sensor}/{measured}"] = row
    return row


def _calibrate(feeds: Feeds) -> None:
    """Two points of the morning are written again with other values, and one is taken out."""
    held = [row for key, row in feeds.truth["device_telemetry"].items() if key not in feeds.notes]
    first, second, third = feeds.random.sample(held[-80:-20], 3)
    for row in (first, second):
        feeds.tick(1)
        _measure(feeds, row["device_id"], row["sensor_type"], row["measured_at"], round(row["sensor_value"] + 0.25, 3))  # fmt: skip
    feeds.tick(1)
    key = {"device_id": third["device_id"], "sensor_type": third["sensor_type"], "timestamp": milliseconds(third["measured_at"])}  # fmt: skip
    tell_cells(feeds, TELEMETRY, "d", key, {}, ["sensor_value"])
    del feeds.truth["device_telemetry"]["/".join(str(third[n]) for n in ("device_id", "sensor_type", "measured_at"))]  # fmt: skip


def _bad_points(feeds: Feeds, names: list[str]) -> None:
    """Points from tomorrow, of no number, of no value; and one of a sensor that nobody announced, which counts."""
    now = feeds.clock
    for why, sensor, ahead, value in (
        ("from the future", "temperature", timedelta(days=1), 21.5),
        ("from the future", "battery", timedelta(minutes=6), 3.5),
        ("no number", "temperature", -timedelta(minutes=7), "NaN"),
        ("no value", "battery", -timedelta(minutes=8), None),
        ("", "temperature", timedelta(minutes=4), 17.25),
        ("", "noise", -timedelta(minutes=9), 41.0),
    ):
        feeds.tick(1)
        row = _measure(feeds, names[-1], sensor, now + ahead, value)
        if why:
            feeds.notes[f"{row['device_id']}/{sensor}/{row['measured_at']}"] = why
