"""A research system's change stream: a few studies that many apply for, and people who take their consent back.

Beside what every stream must survive there are applications that are told after their person's
withdrawal, people who consent again, consents that ran out, studies closed so long ago that nothing of
them may be shown, people who are erased with all that is theirs, and rows that no constraint refused.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from assets.demo_source import Database, Row, Table

TABLES = {
    "studies": Table(key="study_id", nullable=frozenset({"end_date", "metadata", "closed_at"})),
    "participants": Table(
        key="participant_id",
        nullable=frozenset({"birth_date", "age_group", "gender", "consented_at", "withdrawn_at"}),
        defaults={"consent_status": "pending"},
    ),
    "applications": Table(
        key="application_id",
        nullable=frozenset({"eligibility_score", "application_data", "decided_at"}),
        defaults={"status": "submitted"},
        long_text="application_data",
    ),
    "completions": Table(key="completion_id", nullable=frozenset({"quality_score"})),
    "daily_metrics": Table(key="metric_id"),
}

#: Title, kind, status, target, budget, opened and closed so many days before the beginning.
_STUDIES = (
    ("Sleep and screens", "survey", "recruiting", 400, 9_000, 30, None),
    ("How people pay", "survey", "running", 250, 12_000, 90, None),
    ("Checkout of a shop", "usability", "recruiting", 90, 8_000, 20, None),
    ("A diary of meals", "diary", "running", 60, 6_500, 60, None),
    ("Back at work", "interview", "running", 40, 0, 45, None),
    ("Blood pressure at home", "clinical", "recruiting", 120, 60_000, 10, None),
    ("Allergies in spring", "clinical", "cancelled", 80, 30_000, 400, 200),
    ("On the way to work", "survey", "completed", 200, 5_000, 1_300, 1_000),
    ("Letters", "interview", "completed", 30, 2_000, 4_200, 3_900),
)
_AGES = {"25-34": 40, "35-44": 25, "18-24": 14, "45-54": 10, None: 5, "55-64": 4, "65+": 2}
_GENDERS = {"woman": 50, "man": 42, "non-binary": 4, None: 4}
_REGIONS = {"Europe": 62, "Americas": 24, "Asia": 8, "Africa": 4, "Oceania": 2}
_YEARS = {"18-24": 2004, "25-34": 1996, "35-44": 1986, "45-54": 1977, "55-64": 1966, "65+": 1955}
_PAID = {"survey": 8, "usability": 30, "diary": 55, "interview": 45, "clinical": 120}


def generate(
    *, seed: int = 7, days: int = 60, people: int = 400, applications_a_day: int = 14
) -> Database:
    """A research system's stream of some weeks that end on 5 June 2026; the same for the same arguments.

    `days`, `people` and `applications_a_day` scale it.
    """
    start = datetime(2026, 6, 6, 6, tzinfo=UTC) - timedelta(days=days)
    chance = random.Random(seed)  # noqa: S311 - a story, no secret
    lab = Database(name="research", tables=TABLES, random=chance, clock=start)
    _found(lab, people)
    lab.snapshot()
    for day in range(days):
        morning = start + timedelta(days=day)
        lab.clock = max(lab.clock, morning)
        _count(lab)
        _work(lab, applications_a_day if morning.weekday() < 5 else applications_a_day // 2)
        for happening in _HAPPENINGS.get(days - day, ()):
            lab.tick(60)
            happening(lab)
        lab.heartbeat()
    return lab


# ---- STUDIES AND PEOPLE ---- #


def _found(lab: Database, people: int) -> None:
    """What is there before the connector's first snapshot."""
    opening = lab.clock
    for number, (title, kind, status, target, budget, opened, closed) in enumerate(_STUDIES, 1):
        lab.clock = opening - timedelta(days=opened)
        row = _study(lab, number, title, kind, target_participants=target, status=status)
        row |= {"closed_at": None if closed is None else opening - timedelta(days=closed)}
        lab.truth["studies"][str(number)] = {**row, "budget": _cents(budget)}
    for number in range(people):
        # The first ones consented more than five years ago.
        lab.clock = opening - timedelta(days=1_980 - 60 * number % 1_970, minutes=number)
        row = _person(lab, number)
        lab.truth["participants"][row["participant_id"]] = row
    for number in range(people // 6):
        lab.clock = opening - timedelta(days=1_100 if number % 2 else 4_000, minutes=number)
        applied = _application(lab, study_id=8 if number % 2 else 9, **_decided(lab, "approved"))
        lab.truth["applications"][str(applied["application_id"])] = applied
        done = _completion(lab, applied)
        lab.truth["completions"][str(done["completion_id"])] = done
    lab.clock = opening


def _study(lab: Database, number: int, title: str, kind: str, **given: object) -> Row:
    return {
        "study_id": number, "title": title, "study_type": kind, "status": "draft", "target_participants": 50, "budget": _cents(1_000),
        "start_date": lab.clock.date(), "end_date": lab.random.choice([None, lab.clock.date() + timedelta(days=120)]),
        "metadata": json.dumps({"language": lab.random.choice(["en", "de", "sw"])}), "created_at": lab.clock, "closed_at": None, **given,
    }  # fmt: skip


def _person(lab: Database, number: int) -> Row:
    age, gender, region = (_one_of(lab, shares) for shares in (_AGES, _GENDERS, _REGIONS))
    born = None if age is None else datetime(_YEARS[age], 1 + number % 12, 1 + number % 28).date()  # noqa: DTZ001 - a birthday
    pending = number % 17 == 16
    return {
        "participant_id": lab.identity(), "email": f"person.{number}@example.org", "birth_date": born, "age_group": age, "gender": gender, "region": region,
        "consent_status": "pending" if pending else "granted", "consented_at": None if pending else lab.clock, "withdrawn_at": None, "created_at": lab.clock,
    }  # fmt: skip


def _one_of(lab: Database, shares: dict[str | None, int] | dict[str, int]) -> str | None:
    return lab.random.choices(list(shares), weights=list(shares.values()))[0]


def _cents(amount: float) -> Decimal:
    """With two digits, as the columns have them."""
    return Decimal(amount).quantize(Decimal("0.01"))


def _next(lab: Database, table: str) -> int:
    """The next number of a sequence: the largest that there is and one."""
    return max(map(int, lab.truth[table]), default=0) + 1


def _application(lab: Database, **given: object) -> Row:
    """Somebody applies for an open study; the first studies have most."""
    opened = [row["study_id"] for row in lab.truth["studies"].values() if row["closed_at"] is None and row["status"] != "draft"]  # fmt: skip
    study = opened[min(int(lab.random.paretovariate(0.7)) - 1, len(opened) - 1)]
    study = given.get("study_id", study)
    there = {row["participant_id"] for row in lab.truth["applications"].values() if row["study_id"] == study}  # fmt: skip
    willing = [key for key, row in lab.truth["participants"].items() if row["consent_status"] != "withdrawn"]  # fmt: skip
    person = lab.random.choice([key for key in willing if key not in there] or willing)
    long = lab.random.random() < 0.04
    answers = "".join(lab.random.choices("abcdefghij klmnop", k=2_600)) if long else "Mostly."
    return {
        "application_id": _next(lab, "applications"), "study_id": study, "participant_id": person, "status": "submitted", "eligibility_score": None,
        "application_data": json.dumps({"answers": [answers]}), "applied_at": lab.clock, "decided_at": None, **given,
    }  # fmt: skip


def _decided(lab: Database, status: str) -> Row:
    score = _cents(lab.random.uniform(20, 100))
    return {"status": status, "eligibility_score": score, "decided_at": lab.clock}


def _completion(lab: Database, applied: Row) -> Row:
    kind = lab.truth["studies"][str(applied["study_id"])]["study_type"]
    return {
        "completion_id": _next(lab, "completions"), "application_id": applied["application_id"], "study_id": applied["study_id"],
        "participant_id": applied["participant_id"], "started_at": lab.clock - timedelta(minutes=lab.random.randrange(5, 90)), "completed_at": lab.clock,
        "quality_score": None, "compensation": _cents(_PAID[kind]),
    }  # fmt: skip


# ---- DAYS OF WORK ---- #


def _count(lab: Database) -> None:
    """The source's own job counts yesterday, for the audiences that each open study was shown to."""
    day = lab.clock.date() - timedelta(days=1)
    for study in [row for row in lab.truth["studies"].values() if row["closed_at"] is None]:
        shown = int(400 / study["study_id"] * lab.random.uniform(0.5, 1.5))
        row: Row = {
            "metric_id": _next(lab, "daily_metrics"), "metric_date": day, "study_id": study["study_id"], "age_group": "25-34", "region": "Europe",
            "impressions": shown, "visits": int(shown * lab.random.uniform(0.05, 0.3)), "applications": lab.random.randrange(5), "completions": lab.random.randrange(3),
        }  # fmt: skip
        lab.commit(("daily_metrics", "c", row))


def _work(lab: Database, applications: int) -> None:
    """People apply, are taken or not, and come to an end of it; some transactions overlap."""
    for number in range(applications):
        lab.tick(36_000 / applications * lab.random.uniform(0.3, 1.2))
        decision = _decision(lab)
        if decision and number % 4 == 1:
            waiting = lab.begin(decision)
            lab.commit(("applications", "c", _application(lab)))
            lab.write(waiting)
        else:
            lab.commit(("applications", "c", _application(lab)), *[decision] if decision else [])
        lab.tick(300)
        for change in (_ending(lab), _judgement(lab)):
            if change:
                lab.commit(change)


def _good(lab: Database, table: str) -> list[Row]:
    """The rows that break no constraint, the newest last."""
    return [row for key, row in lab.truth[table].items() if f"{table} {key}" not in lab.notes]


def _decision(lab: Database) -> tuple[str, str, Row] | None:
    """The application that waits longest is decided."""
    waiting = [row for row in _good(lab, "applications") if row["status"] == "submitted"]
    if len(waiting) < 6:
        return None
    status = lab.random.choice(["approved"] * 7 + ["rejected"] * 2 + ["cancelled"])
    return "applications", "u", {**waiting[0], **_decided(lab, status)}


def _ending(lab: Database) -> tuple[str, str, Row] | None:
    """Somebody who was taken comes to the end."""
    done = {row["application_id"] for row in lab.truth["completions"].values()}
    taken = [row for row in _good(lab, "applications") if row["status"] == "approved" and row["application_id"] not in done]  # fmt: skip
    if not taken or lab.random.random() < 0.3:
        return None
    return "completions", "c", _completion(lab, lab.random.choice(taken))


def _judgement(lab: Database) -> tuple[str, str, Row] | None:
    """A completion is judged, most of them some time later."""
    fresh = [row for row in _good(lab, "completions") if row["quality_score"] is None]
    if len(fresh) < 3:
        return None
    score = _cents(min(max(lab.random.gauss(74, 14), 0), 100))
    return "completions", "u", {**lab.random.choice(fresh), "quality_score": score}


# ---- WHO WITHDRAWS ---- #


def _withdraw(lab: Database) -> None:
    """Two people withdraw; the second while an application of theirs is on its way, so that it is told after."""
    done = {row["participant_id"] for row in lab.truth["completions"].values()}
    willing = [row for key, row in lab.truth["participants"].items() if key in done and row["consent_status"] == "granted"]  # fmt: skip
    for number, row in enumerate(willing[-2:]):
        late = _application(lab, participant_id=row["participant_id"])
        waiting = lab.begin(("applications", "c", late)) if number else []
        withdrawn = {**row, "consent_status": "withdrawn", "withdrawn_at": lab.clock}
        lab.commit(("participants", "u", withdrawn))
        if waiting:
            lab.write(waiting)


def _consent_again(lab: Database) -> None:
    """The first who withdrew comes back, and somebody whose consent ran out renews it."""
    people = list(lab.truth["participants"].values())
    gone = [row for row in people if row["consent_status"] == "withdrawn"]
    old = [row for row in people if row["consented_at"] and row["consented_at"] < lab.clock - timedelta(days=1_900)]  # fmt: skip
    again = {"consent_status": "granted", "consented_at": lab.clock, "withdrawn_at": None}
    for row in [*gone[:1], *old[:1]]:
        lab.commit(("participants", "u", {**row, **again}))


def _erase(lab: Database) -> None:
    """One who withdrew is taken out of the source with all that is theirs (CASCADE)."""
    gone = [row for row in lab.truth["participants"].values() if row["consent_status"] == "withdrawn"]  # fmt: skip
    if gone:
        person = gone[-1]
        theirs = [
            (table, "d", row)
            for table in ("completions", "applications")
            for row in list(lab.truth[table].values())
            if row["participant_id"] == person["participant_id"]
        ]
        lab.commit(*theirs, ("participants", "d", person))


# ---- WHAT GOES WRONG ---- #


def _register(lab: Database) -> None:
    """Somebody new, whose application is told before they are."""
    person = _person(lab, len(lab.truth["participants"]) * 17 + 1)
    lab.commit(("applications", "c", _application(lab, participant_id=person["participant_id"])))
    lab.commit(("participants", "c", person))


def _bad_rows(lab: Database) -> None:
    """Orphans that stay, and two rows that are mended."""
    _bad_for_good(lab, "applications", "an unknown study", _application(lab, study_id=99))
    nobody = _application(lab, participant_id=lab.identity())
    _bad_for_good(lab, "applications", "an unknown person", nobody)
    orphan = _completion(lab, {**_application(lab), "application_id": 4_711_000})
    _bad_for_good(lab, "completions", "an unknown application", orphan)
    unproven = {**_person(lab, 1), "consented_at": None}
    lab.commit(("participants", "c", unproven))
    praised = _application(lab, eligibility_score=_cents(120))
    lab.commit(("applications", "c", praised))
    lab.tick(600)
    lab.commit(("participants", "u", {**unproven, "consented_at": lab.clock}))
    lab.commit(("applications", "u", {**praised, "eligibility_score": _cents(20)}))


def _bad_for_good(lab: Database, table: str, why: str, row: Row) -> None:
    lab.notes[f"{table} {row[TABLES[table].key]}"] = why
    lab.commit((table, "c", row))


def _close(lab: Database) -> None:
    """A study has come to its end, and another begins."""
    row = lab.truth["studies"]["5"]
    lab.commit(("studies", "u", {**row, "status": "completed", "closed_at": lab.clock}))
    number = _next(lab, "studies")
    lab.commit(("studies", "c", _study(lab, number, f"Study {number}", "diary")))
    lab.tick(60)
    drafted = lab.truth["studies"][str(number)]
    lab.commit(("studies", "u", {**drafted, "status": "recruiting"}))
    lab.incremental_snapshot("studies")


def _recount(lab: Database) -> None:
    """The source's job counts a day anew, and strikes out another."""
    first, second, *_ = lab.truth["daily_metrics"].values()
    corrected = {**first, "visits": first["visits"] + 7}
    lab.commit(("daily_metrics", "u", corrected), ("daily_metrics", "d", second))


def _renumber(lab: Database) -> None:
    """A merge of two systems gives an application that led to nothing a new number."""
    idle = [row for row in _good(lab, "applications") if row["status"] in ("rejected", "cancelled")]
    lab.change_key("applications", idle[0], 900_001)


def _restart(lab: Database) -> None:
    lab.repeat(lab.topic("applications"), 12)
    lab.repeat(lab.topic("participants"), 2)
    lab.repeat(lab.topic("applications"), 3, newer=30)


def _break_messages(lab: Database) -> None:
    lab.broken("applications", b'{"before":null,"after":{"application_id":1')
    lab.broken("participants", b'{"before":null,"after":{"email":"\xff"},"op":"c"}')


#: What happens so many days before the end.
_HAPPENINGS: dict[int, tuple[Callable[[Database], None], ...]] = {
    50: (_bad_rows, _withdraw),
    38: (_withdraw, _restart),
    30: (_renumber, _recount),
    20: (_close, _break_messages),
    12: (_erase, _withdraw),
    6: (_consent_again, _restart),
    2: (_withdraw, _register),
}
