"""A task system's change stream: teams that work on weekdays, a few people who do most, and what goes wrong.

Beside what every stream must survive (repeated and late events, an incremental snapshot, a changed
key, a truncate, unchanged long texts, broken messages) there are accounts that are deleted and
forgotten, rows that break the source's own constraints as a restored dump does, and orphans.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from assets.demo_source import Database, Row, Table

_STAMPS = frozenset({"created_at", "updated_at"})
TABLES = {
    "users": Table(
        schema="users",
        key="id",
        nullable=_STAMPS | {"email_verified", "status"},
        defaults={"email_verified": False, "status": "active"},
    ),
    "user_profiles": Table(
        schema="users",
        key="user_id",
        nullable=_STAMPS
        | {"first_name", "last_name", "avatar_url", "bio", "location", "timezone", "language"},
        defaults={"timezone": "UTC", "language": "en"},
    ),
    "projects": Table(
        schema="tasks",
        key="id",
        nullable=_STAMPS | {"description", "status"},
        defaults={"status": "active"},
        whole_before=True,
    ),
    "tasks": Table(
        schema="tasks",
        key="id",
        nullable=_STAMPS
        | {"description", "status", "priority", "due_date", "assigned_to", "project_id", "tags", "completed_at"},
        defaults={"status": "todo", "priority": "medium", "tags": []},
        long_text="description",
    ),
    "sessions": Table(
        schema="auth",
        key="id",
        nullable=frozenset({"ip_address", "user_agent", "created_at", "last_accessed_at"}),
    ),
    "password_resets": Table(schema="auth", key="id"),
    "activity_log": Table(
        schema="audit", key="id", nullable=frozenset({"actor_id", "metadata"})
    ),
}  # fmt: skip

_FIRST = ("Ada", "Bjørn", "Chiara", "Đặng", "Elif", "Farid", "Grace", "Hélène", "Ines", "Jürgen", "Kwame", "Lučka", "Mei", "Nadia", "Óscar", "Priya")  # fmt: skip
_LAST = ("Adler", "Brontë", "Çelik", "Diaz", "Eriksen", "Fischer", "García", "Huang", "Ito", "Jones", "Kovač", "Lindqvist")  # fmt: skip
_VERBS = ("Fix", "Write", "Review", "Plan", "Test", "Ship", "Measure", "Rename")
_THINGS = ("invoice export", "login page", "quarterly report", "search index", "onboarding mail", "price list", "data import", "status page")  # fmt: skip
_TAGS = ("bug", "ops", "customer", "docs", "urgent", "später")
_PRIORITIES = ("low", "medium", "medium", "medium", "high", "critical")
_NEXT = {"todo": "in_progress", "in_progress": "in_review", "in_review": "completed"}

Change = tuple[str, str, Row]


def generate(
    *, seed: int = 7, days: int = 45, people: int = 40, projects: int = 6, tasks_a_day: int = 6
) -> Database:
    """A task system's stream of some weeks that end on 5 June 2026; the same for the same arguments.

    `days` and `tasks_a_day` scale it; 4,000 tasks are about 25,000 messages.
    """
    start = datetime(2026, 6, 6, 6, tzinfo=UTC) - timedelta(days=days)
    chance = random.Random(seed)  # noqa: S311 - a story, no secret
    app = Database(name="taskapp", tables=TABLES, random=chance, clock=start)
    _found(app, people, projects, tasks_a_day)
    app.snapshot()
    for day in range(days):
        morning = start + timedelta(days=day)
        app.clock = max(app.clock, morning)
        _work(app, tasks_a_day if morning.weekday() < 5 else tasks_a_day // 4)
        for happening in _HAPPENINGS.get(days - day, ()):
            app.tick(60)
            happening(app)
        app.heartbeat()
    return app


# ---- PEOPLE AND PROJECTS ---- #


def _found(app: Database, people: int, projects: int, tasks: int) -> None:
    """What is there before the connector's first snapshot."""
    opening = app.clock
    for number in range(people):
        app.clock = opening - timedelta(days=900 - 20 * number % 890, hours=number)
        for table, _, row in _person(app, number):
            app.truth[table][str(row[TABLES[table].key])] = row
    for number in range(projects):
        app.clock = opening - timedelta(days=400 - 30 * number)
        row = _project(app, number)
        app.truth["projects"][row["id"]] = row
    for number in range(tasks * 2):
        app.clock = opening - timedelta(days=20, hours=-7 * number)
        row = _task(app)
        app.truth["tasks"][row["id"]] = row
    for days in (1000, 800, 731, 729, 30):
        app.clock = opening - timedelta(days=days)
        entry = _entry(app, "project", "created", _somebody(app), next(iter(app.truth["projects"])))
        app.truth["activity_log"][entry["id"]] = entry
    app.clock = opening


def _person(app: Database, number: int) -> list[Change]:
    """An account, and for most a profile."""
    first, last = app.random.choice(_FIRST), app.random.choice(_LAST)
    user: Row = {
        "id": app.identity(), "email": f"person.{number}@{app.random.choice(['example.org', 'Example.COM'])}", "email_verified": app.random.random() < 0.9,
        "password_hash": f"$argon2id$v=19${app.random.getrandbits(160):040x}", "status": "active", "created_at": app.clock, "updated_at": app.clock,
    }  # fmt: skip
    profile: Row = {
        "user_id": user["id"], "first_name": first, "last_name": last, "avatar_url": None, "bio": app.random.choice([None, "Likes lists."]),
        "location": app.random.choice(["Berlin", "Lagos", "Kraków", None]), "timezone": app.random.choice(["UTC", "Europe/Berlin", "Asia/Tokyo"]),
        "language": app.random.choice(["en", "de", "pl"]), "created_at": app.clock, "updated_at": app.clock,
    }  # fmt: skip
    told: list[Change] = [("users", "c", user)]
    return told if number % 9 == 8 else [*told, ("user_profiles", "c", profile)]


def _project(app: Database, number: int) -> Row:
    return {
        "id": app.identity(), "name": f"Project {number}: {_THINGS[number % len(_THINGS)]}", "description": app.random.choice([None, "For the board only."]),
        "status": "active", "owner_id": _somebody(app)["id"], "created_at": app.clock, "updated_at": app.clock,
    }  # fmt: skip


def _somebody(app: Database) -> Row:
    """One of the active accounts; the first ones do most."""
    active = [row for row in app.truth["users"].values() if row["status"] == "active"]
    return active[min(int(app.random.paretovariate(0.6)) - 1, len(active) - 1)]


def _entry(app: Database, kind: str, action: str, actor: Row | None, entity: str) -> Row:
    return {
        "id": app.identity(), "entity_type": kind, "entity_id": entity, "action": action, "actor_id": actor and actor["id"],
        "metadata": json.dumps({"via": app.random.choice(["web", "api"])}), "created_at": app.clock,
    }  # fmt: skip


# ---- DAYS OF WORK ---- #


def _work(app: Database, tasks: int) -> None:
    """People come, write tasks down, and take older ones a step on; some transactions overlap."""
    waiting = list[tuple[int, str, str, Row]]()
    for number in range(tasks):
        app.tick(36_000 / tasks * app.random.uniform(0.3, 1.2))
        app.commit(*_session(app))
        row = _task(app)
        changes = _logged(app, "c", row, "created", row["created_by"])
        if waiting:
            app.commit(*changes)
            app.write(waiting)
            waiting = []
        elif number % 4 == 1:
            waiting = app.begin(*changes)
        else:
            app.commit(*changes)
        for _ in range(3):
            app.tick(300)
            _step(app)
    if waiting:
        app.write(waiting)
    if tasks > 2 and app.random.random() < 0.3:
        app.commit(("password_resets", "c", _reset(app)))


def _task(app: Database, **given: object) -> Row:
    long = app.random.random() < 0.05
    text = "".join(app.random.choices("abcdefghij klmnop", k=2600)) if long else "As agreed."
    due = app.clock + timedelta(days=app.random.randrange(1, 30))
    return {
        "id": app.identity(), "title": f"{app.random.choice(_VERBS)} the {app.random.choice(_THINGS)}", "description": app.random.choice([None, text, text]),
        "status": "todo", "priority": app.random.choice(_PRIORITIES), "due_date": app.random.choice([None, due]), "created_by": _somebody(app)["id"],
        "assigned_to": app.random.choice([None, _somebody(app)["id"], _somebody(app)["id"]]), "project_id": _some_project(app),
        "tags": app.random.sample(_TAGS, app.random.randrange(0, 3)), "created_at": app.clock, "updated_at": app.clock, "completed_at": None, **given,
    }  # fmt: skip


def _some_project(app: Database) -> str | None:
    held = [row["id"] for row in app.truth["projects"].values() if row["status"] == "active"]
    return app.random.choice([None, *held, *held[:1] * 3])


def _step(app: Database) -> None:
    """An open task goes on: mostly a status further, seldom back or away."""
    open_tasks = [row for row in app.truth["tasks"].values() if row["status"] in _NEXT]
    if not open_tasks:
        return
    row, luck = app.random.choice(open_tasks), app.random.random()
    status = "cancelled" if luck < 0.05 else "todo" if luck < 0.1 else _NEXT[row["status"]]
    done = app.clock if status == "completed" else None
    who = row["assigned_to"] or _somebody(app)["id"]
    new = {**row, "status": status, "completed_at": done, "assigned_to": who}
    app.commit(*_logged(app, "u", {**new, "updated_at": app.clock}, status, who))


def _logged(app: Database, op: str, row: Row, action: str, who: str) -> list[Change]:
    entry = _entry(app, "task", action, {"id": who}, row["id"])
    return [("tasks", op, row), ("activity_log", "c", entry)]


def _session(app: Database) -> list[Change]:
    """A session begins, and that person's oldest one of three ends."""
    who, r = _somebody(app), app.random
    held = [row for row in app.truth["sessions"].values() if row["user_id"] == who["id"]]
    address = r.choice([f"192.0.2.{r.randrange(256)}", f"2001:db8::{r.randrange(65536):x}", None])
    row: Row = {
        "id": app.identity(), "user_id": who["id"], "token_hash": f"{r.getrandbits(256):064x}", "refresh_token_hash": f"{r.getrandbits(256):064x}",
        "expires_at": app.clock + timedelta(days=14), "ip_address": address, "user_agent": r.choice(["Mozilla/5.0", None]), "created_at": app.clock, "last_accessed_at": app.clock,
    }  # fmt: skip
    return [("sessions", "c", row), *(("sessions", "d", old) for old in held[:-2])]


def _reset(app: Database) -> Row:
    return {
        "id": app.identity(), "user_id": _somebody(app)["id"], "token_hash": f"{app.random.getrandbits(256):064x}", "expires_at": app.clock + timedelta(hours=1),
        "used": app.random.random() < 0.5, "created_at": app.clock,
    }  # fmt: skip


# ---- WHAT GOES WRONG, AND WHO LEAVES ---- #


def _leave(app: Database) -> None:
    """Somebody deletes their account: the row stays, with the address, until it is forgotten."""
    active = [row for row in app.truth["users"].values() if row["status"] == "active"]
    row = active[-1 - app.random.randrange(3)]
    gone = {**row, "status": "deleted", "updated_at": app.clock}
    app.commit(
        ("users", "u", gone),
        ("activity_log", "c", _entry(app, "user", "deleted", row, row["id"])),
    )


def _forget(app: Database) -> None:
    """The application's own job: the first who left loses the address."""
    gone = [row for row in app.truth["users"].values() if row["status"] == "deleted"]
    if not gone:
        return
    row = gone[0]
    address = f"deleted-{row['id']}@deleted.local"
    app.commit(
        ("users", "u", {**row, "email": address, "password_hash": "deleted", "updated_at": app.clock})
    )  # fmt: skip


def _erase(app: Database) -> None:
    """An account that nothing refers to is taken out, and what hangs on it with it (CASCADE)."""
    used = {row[name] for row in app.truth["tasks"].values() for name in ("created_by", "assigned_to")}  # fmt: skip
    used |= {row["owner_id"] for row in app.truth["projects"].values()}
    idle = [row for key, row in app.truth["users"].items() if key not in used]
    if not idle:
        return
    row = idle[-1]
    hanging: list[Change] = [
        (table, "d", each)
        for table in ("user_profiles", "sessions", "password_resets")
        for each in list(app.truth[table].values())
        if each["user_id"] == row["id"]
    ]
    app.commit(*hanging, ("users", "d", row))


def _join(app: Database) -> None:
    """Somebody new, whose task is told before the account is: it waits in quarantine for it."""
    person = _person(app, len(app.truth["users"]) + 500)
    task = _task(app, created_by=person[0][2]["id"])
    app.commit(("tasks", "c", task))
    app.commit(*person)


def _bad_rows(app: Database) -> None:
    """Rows that the source's constraints should have refused, two of which are mended."""
    malformed = {**_person(app, 900)[0][2], "email": "nobody@nowhere"}
    app.commit(("users", "c", malformed))
    blocked = _task(app, status="blocked")
    app.commit(("tasks", "c", blocked))
    _bad_for_good(app, "an unknown priority", _task(app, priority="urgent"))
    _bad_for_good(app, "an unknown assignee", _task(app, assigned_to=app.identity()))
    _bad_for_good(app, "an unknown project", _task(app, project_id=app.identity()))
    app.tick(900)
    app.commit(("users", "u", {**malformed, "email": "mended@example.org"}))
    app.commit(("tasks", "u", {**blocked, "status": "in_review", "updated_at": app.clock}))


def _bad_for_good(app: Database, why: str, row: Row) -> None:
    app.notes[row["id"]] = why
    app.commit(("tasks", "c", row))


def _strike_out(app: Database) -> None:
    """A task is deleted, another one comes back after it was, and one gets a new number."""
    first, second, third, *_ = [
        row for key, row in app.truth["tasks"].items() if key not in app.notes
    ]
    app.commit(("tasks", "d", first))
    app.commit(("tasks", "d", second))
    app.commit(("tasks", "c", {**second, "title": "Once more", "updated_at": app.clock}))
    app.change_key("tasks", third, app.identity())


def _archive(app: Database) -> None:
    rows = list(app.truth["projects"].values())
    for row, status in zip(rows[-2:], ("archived", "deleted"), strict=True):
        app.commit(("projects", "u", {**row, "status": status, "updated_at": app.clock}))
    app.incremental_snapshot("projects")


def _restart(app: Database) -> None:
    app.repeat(app.topic("tasks"), 12)
    app.repeat(app.topic("users"), 2)
    app.repeat(app.topic("tasks"), 3, newer=40)


def _break_messages(app: Database) -> None:
    app.broken("tasks", b'{"before":null,"after":{"id":"cut o')
    app.broken("users", b'{"before":null,"after":null,"source":{"name":"taskapp"},"op":"x"}')


def _empty_resets(app: Database) -> None:
    app.truncate("password_resets")


#: What happens so many days before the end.
_HAPPENINGS: dict[int, tuple[Callable[[Database], None], ...]] = {
    44: (_leave, _bad_rows),
    40: (_leave, _restart),
    20: (_empty_resets, _break_messages),
    12: (_forget, _erase),
    9: (_leave, _strike_out, _join),
    5: (_archive, _restart),
    2: (_restart, _join),
}
