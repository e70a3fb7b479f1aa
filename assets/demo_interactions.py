"""An interaction system's change stream: sites that share people but no data, and years of old records.

Beside what every stream must survive there are interactions idle for more than two and more than
seven years, deletions of yesterday and of last month, one that moves from a site to another,
and rows that the source's foreign keys should have refused.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from assets.demo_source import Database, Row, Table

TABLES = {
    "users": Table(key="user_id", nullable=frozenset({"last_login"}), defaults={"is_active": True}),
    "sites": Table(
        key="site_id", nullable=frozenset({"description"}), defaults={"is_active": True}
    ),
    "user_site_mapping": Table(key="mapping_id"),
    "interactions": Table(
        key="interaction_id",
        nullable=frozenset({"location", "description", "notes", "updated_by", "updated_at"}),
        long_text="notes",
    ),
}

_NAMES = ("ada", "bruno", "carla", "deniz", "emre", "franka", "goran", "hedy", "iman", "jutta", "kenji", "lotte", "maïté", "nils")  # fmt: skip
_CITIES = (("Berlin", "Europe/Berlin"), ("Boston", "America/New_York"), ("Nairobi", "Africa/Nairobi"), ("Osaka", "Asia/Tokyo"), ("Lisbon", "Europe/Lisbon"))  # fmt: skip
_TYPES = ("Meeting", "Meeting", "Meeting", "Call", "Visit", "Workshop")
_TOPICS = ("budget", "safety walk", "new laboratory", "visitor programme", "école d'été", "roof repair")  # fmt: skip
_ROLES = ("viewer", "editor", "editor", "admin")


def generate(
    *, seed: int = 7, days: int = 60, people: int = 14, entries_a_day: int = 8, old: int = 90
) -> Database:
    """An interaction system's stream of some weeks that end on 5 June 2026; the same for the same arguments.

    `days` and `entries_a_day` scale it; `old` are the interactions of the ten years before.
    """
    start = datetime(2026, 6, 6, 7, tzinfo=UTC) - timedelta(days=days)
    chance = random.Random(seed)  # noqa: S311 - a story, no secret
    ims = Database(name="ims", tables=TABLES, random=chance, clock=start)
    _found(ims, people, old)
    ims.snapshot()
    for day in range(days):
        morning = start + timedelta(days=day)
        ims.clock = max(ims.clock, morning)
        _work(ims, entries_a_day if morning.weekday() < 5 else entries_a_day // 4)
        for happening in _HAPPENINGS.get(days - day, ()):
            ims.tick(60)
            happening(ims)
        ims.heartbeat()
    return ims


def _now(ims: Database) -> datetime:
    """The server's clock, as a column without a zone holds it."""
    return ims.clock.replace(tzinfo=None)


def _next(ims: Database, table: str) -> int:
    """The next number of a sequence: the largest that there is and one."""
    return max(map(int, ims.truth[table]), default=0) + 1


def _found(ims: Database, people: int, old: int) -> None:
    """What is there before the connector's first snapshot."""
    opening = ims.clock
    for number, (city, _) in enumerate(_CITIES, 1):
        row: Row = {"site_id": number, "name": f"{city} site", "description": None, "is_active": number < len(_CITIES)}  # fmt: skip
        ims.truth["sites"][str(number)] = row
    for number in range(1, people + 1):
        ims.truth["users"][str(number)] = _person(ims, number)
        sites = ims.random.sample(range(1, len(_CITIES) + 1), 1 + number % 3)
        for site in sites:
            row = _role(ims, number, site)
            ims.truth["user_site_mapping"][str(row["mapping_id"])] = row
    for number in range(old):
        ims.clock = opening - timedelta(days=3650 - 40 * number % 3600, minutes=number)
        row = _entry(ims)
        ims.truth["interactions"][str(row["interaction_id"])] = row
    ims.clock = opening


def _person(ims: Database, number: int) -> Row:
    name = f"{_NAMES[number % len(_NAMES)]}.{number}"
    return {
        "user_id": number, "username": name, "password_hash": f"$2b$12${ims.random.getrandbits(180):045x}", "email": f"{name}@example.org",
        "last_login": ims.random.choice([None, _now(ims)]), "is_active": ims.random.random() < 0.9,
    }  # fmt: skip


def _role(ims: Database, user: int, site: int) -> Row:
    return {
        "mapping_id": _next(ims, "user_site_mapping"), "user_id": user, "site_id": site, "role": ims.random.choice(_ROLES), "assigned_at": _now(ims),
    }  # fmt: skip


def _entry(ims: Database, **given: object) -> Row:
    """An interaction, entered now; the first site has most."""
    site = min(int(ims.random.paretovariate(1.1)), len(_CITIES))
    city, zone = _CITIES[site - 1]
    begins = (_now(ims) + timedelta(days=ims.random.randrange(14))).replace(minute=0, second=0)
    long = ims.random.random() < 0.05
    notes = "".join(ims.random.choices("abcdefghij klmnop", k=2600)) if long else "Bring the keys."
    return {
        "interaction_id": _next(ims, "interactions"), "site_id": site, "title": f"{ims.random.choice(_TYPES)}: {ims.random.choice(_TOPICS)}",
        "type": ims.random.choice(_TYPES), "lead": ims.random.choice(_NAMES).title(), "start_datetime": begins, "timezone": zone,
        "end_datetime": begins + timedelta(hours=ims.random.randrange(1, 5)), "location": ims.random.choice([None, f"{city}, room {ims.random.randrange(9)}"]),
        "description": ims.random.choice([None, "Agenda follows."]), "notes": ims.random.choice([None, notes, notes]), "created_by": _member(ims, site),
        "created_at": _now(ims), "updated_by": None, "updated_at": None, **given,
    }  # fmt: skip


def _member(ims: Database, site: int) -> int:
    """Somebody who is at the site."""
    held = ims.truth["user_site_mapping"].values()
    return ims.random.choice([row["user_id"] for row in held if row["site_id"] == site] or [1])


def _changed(ims: Database, row: Row, **new: object) -> Row:
    site = int(str(new.get("site_id", row["site_id"])))
    return {**row, "updated_by": _member(ims, site), "updated_at": _now(ims), **new}


def _standing(ims: Database) -> list[Row]:
    """The interactions that are good, the newest last."""
    return [row for key, row in ims.truth["interactions"].items() if key not in ims.notes]


# ---- DAYS OF WORK ---- #


def _work(ims: Database, entries: int) -> None:
    """Interactions are entered and changed; some transactions overlap."""
    waiting = list[tuple[int, str, str, Row]]()
    for number in range(entries):
        ims.tick(30_000 / entries * ims.random.uniform(0.3, 1.2))
        change = ("interactions", "c", _entry(ims))
        if waiting:
            ims.write(waiting)
            waiting = []
        ims.commit(change)
        row = ims.random.choice(_standing(ims)[-40:])
        new = ims.random.choice([{"notes": "Moved by an hour."}, {"lead": "Nobody"}, {"location": None}, {"description": row["title"] + "!"}])  # fmt: skip
        edit = ("interactions", "u", _changed(ims, row, **new))
        if number % 4 == 1:
            waiting = ims.begin(edit)
            ims.commit(_login(ims))
        else:
            ims.commit(edit)
    if waiting:
        ims.write(waiting)


def _login(ims: Database) -> tuple[str, str, Row]:
    row = ims.random.choice(list(ims.truth["users"].values()))
    return "users", "u", {**row, "last_login": _now(ims)}


# ---- WHAT GOES WRONG, AND WHAT GOES ---- #


def _delete(ims: Database) -> None:
    first, second = ims.random.sample(_standing(ims)[-30:], 2)
    ims.commit(("interactions", "d", first))
    ims.commit(("interactions", "d", second))
    ims.tick(300)
    again = _changed(ims, second, title="Entered again", created_at=_now(ims))
    ims.commit(("interactions", "c", again))


def _move(ims: Database) -> None:
    """An interaction was entered at the wrong site."""
    row = next(row for row in reversed(_standing(ims)) if row["site_id"] == 1)
    ims.commit(("interactions", "u", _changed(ims, row, site_id=2)))


def _bad_rows(ims: Database) -> None:
    _bad_for_good(ims, "an unknown site", _entry(ims, site_id=99))
    _bad_for_good(ims, "an unknown creator", _entry(ims, created_by=4711))
    backwards = _entry(ims)
    ends = backwards["start_datetime"] - timedelta(hours=1)
    ims.commit(("interactions", "c", {**backwards, "end_datetime": ends}))
    untitled = _entry(ims, title=None)
    ims.commit(("interactions", "c", untitled))
    ims.tick(600)
    ims.commit(("interactions", "u", _changed(ims, untitled, title="At last a title")))


def _bad_for_good(ims: Database, why: str, row: Row) -> None:
    ims.notes[str(row["interaction_id"])] = why
    ims.commit(("interactions", "c", row))


def _renumber(ims: Database) -> None:
    """A merge of two systems gives a row a new number."""
    ims.change_key("interactions", _standing(ims)[0], 900_001)


def _leave(ims: Database) -> None:
    """Somebody is no longer at a site, and may not log in any more."""
    row = list(ims.truth["user_site_mapping"].values())[-1]
    person = ims.truth["users"][str(row["user_id"])]
    ims.commit(("user_site_mapping", "d", row), ("users", "u", {**person, "is_active": False}))


def _join(ims: Database) -> None:
    """Somebody new, at a new site; the first thing entered there is told before either."""
    site, user = _next(ims, "sites"), _next(ims, "users")
    ims.commit(("interactions", "c", _entry(ims, site_id=site, created_by=user)))
    ims.commit(
        ("sites", "c", {"site_id": site, "name": f"Site {site}", "description": "New", "is_active": True}),
        ("users", "c", _person(ims, user)),
        ("user_site_mapping", "c", _role(ims, user, site)),
    )  # fmt: skip


def _restart(ims: Database) -> None:
    ims.repeat(ims.topic("interactions"), 12)
    ims.repeat(ims.topic("interactions"), 3, newer=30)
    ims.repeat(ims.topic("users"), 2)
    ims.incremental_snapshot("sites")


def _break_messages(ims: Database) -> None:
    ims.broken("interactions", b'{"before":null,"after":{"interaction_id":1')
    ims.broken("interactions", b'{"before":null,"after":{"title":"\xff"},"op":"c"}')


#: What happens so many days before the end.
_HAPPENINGS: dict[int, tuple[Callable[[Database], None], ...]] = {
    55: (_bad_rows, _delete),
    40: (_delete, _restart),
    31: (_delete,),
    30: (_renumber, _move),
    12: (_leave, _break_messages),
    6: (_delete, _restart),
    2: (_join, _move),
}
