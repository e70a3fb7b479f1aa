"""Any small history of consents, applications and completions: gold is what DuckDB makes of where it ends."""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from assets.demo_research import TABLES
from assets.demo_source import Database, Row
from tests.spec.domains import Refinery, differences, source_of
from tests.spec.test_research_gold import GOLD, KEPT

START = datetime(2026, 3, 1, 9, tzinfo=UTC)


def opened() -> Database:
    """Two studies, and ten people of one group who have all taken part in the first: a group just large enough."""
    chance = random.Random(1)
    lab = Database(name="research", tables=TABLES, random=chance, clock=START)
    for number in (1, 2):
        lab.truth["studies"][str(number)] = {
            "study_id": number, "title": f"Study {number}", "study_type": "survey", "status": "running", "target_participants": 7, "budget": Decimal("0.00") if number == 2 else Decimal("99.00"),
            "start_date": date(2026, 1, 1), "end_date": None, "metadata": None, "created_at": START, "closed_at": None,
        }  # fmt: skip
    for number in range(10):
        person = registered(lab, "granted")
        lab.truth["participants"][person["participant_id"]] = person
        applied = application(lab, person, 1, number)
        lab.truth["applications"][str(applied["application_id"])] = {**applied, "status": "approved"}  # fmt: skip
        done = completion(lab, applied, number)
        lab.truth["completions"][str(done["completion_id"])] = done
    lab.truth["daily_metrics"]["1"] = metric(lab, 1, 1, 3)
    lab.snapshot()
    return lab


def registered(lab: Database, consent: str) -> Row:
    return {
        "participant_id": lab.identity(), "email": "a@example.org", "birth_date": None, "age_group": "25-34", "gender": None, "region": "Asia",
        "consent_status": consent, "consented_at": lab.clock if consent == "granted" else None, "withdrawn_at": None, "created_at": lab.clock,
    }  # fmt: skip


def application(lab: Database, person: Row, study: int, number: int) -> Row:
    return {
        "application_id": 100 + number, "study_id": study, "participant_id": person["participant_id"], "status": "submitted", "eligibility_score": None,
        "application_data": None, "applied_at": lab.clock, "decided_at": None,
    }  # fmt: skip


def completion(lab: Database, applied: Row, number: int) -> Row:
    return {
        "completion_id": 500 + number, "application_id": applied["application_id"], "study_id": applied["study_id"], "participant_id": applied["participant_id"],
        "started_at": lab.clock, "completed_at": lab.clock, "quality_score": Decimal(number * 101 % 10_001).scaleb(-2), "compensation": Decimal(number * 77 % 5_000).scaleb(-2),
    }  # fmt: skip


def metric(lab: Database, number: int, study: int, shown: int) -> Row:
    return {
        "metric_id": number, "metric_date": lab.clock.date(), "study_id": study, "age_group": "25-34", "region": "Asia", "impressions": shown, "visits": shown // 2,
        "applications": shown % 3, "completions": shown % 2,
    }  # fmt: skip


# ---- WHAT CAN HAPPEN ---- #


def _one(lab: Database, table: str, pick: int) -> Row | None:
    rows = list(lab.truth[table].values())
    return rows[pick % len(rows)] if rows else None


def _consent(lab: Database, pick: int, number: int) -> None:
    """Somebody withdraws, consents (long ago, or now), or does what nobody understands."""
    row = _one(lab, "participants", pick)
    if row:
        given = [{"consent_status": "withdrawn"}, {"consent_status": "withdrawn"}, {"consent_status": "granted", "consented_at": lab.clock},
                 {"consent_status": "granted", "consented_at": lab.clock - timedelta(days=1826 - 7 + number % 14)}, {"consent_status": "?"}]  # fmt: skip
        lab.commit(("participants", "u", {**row, **given[pick // 16 % len(given)]}))


def _register(lab: Database, pick: int, number: int) -> None:
    person = registered(lab, "granted" if pick % 3 else "pending")
    apply = ("applications", "c", application(lab, person, 1 + pick % 2, number))
    join = ("participants", "c", person)
    for change in [apply, join] if pick % 2 else [join, apply]:
        lab.commit(change)


def _apply(lab: Database, pick: int, number: int) -> None:
    person = _one(lab, "participants", pick)
    if person:
        lab.commit(("applications", "c", application(lab, person, (1, 2, 9)[pick % 3], number)))


def _decide(lab: Database, pick: int, number: int) -> None:
    row = _one(lab, "applications", pick)
    if row:
        status = ("approved", "rejected")[number % 2]
        lab.commit(("applications", "u", {**row, "status": status, "decided_at": lab.clock}))


def _complete(lab: Database, pick: int, number: int) -> None:
    row = _one(lab, "applications", pick)
    if row:
        lab.commit(("completions", "c", completion(lab, row, number)))


def _judge(lab: Database, pick: int, number: int) -> None:
    row = _one(lab, "completions", pick)
    if row:
        score = None if number % 5 == 0 else Decimal(pick % 10_001).scaleb(-2)
        lab.commit(("completions", "u", {**row, "quality_score": score}))


def _erase(lab: Database, pick: int, number: int) -> None:
    """A row goes; what refers to it becomes an orphan."""
    table = ("participants", "applications", "completions", "daily_metrics")[number % 4]
    row = _one(lab, table, pick)
    if row and len(lab.truth[table]) > 1:
        lab.commit((table, "d", row))


def _close(lab: Database, pick: int, number: int) -> None:
    row = lab.truth["studies"][str(1 + pick % 2)]
    days = (0, 730, 731, 3652, 3653)[number % 5]
    closed = None if pick % 5 == 0 else lab.clock - timedelta(days=days)
    lab.commit(("studies", "u", {**row, "closed_at": closed}))


def _count(lab: Database, pick: int, number: int) -> None:
    lab.commit(("daily_metrics", "c", metric(lab, 2 + number, (1, 2, 9)[pick % 3], pick % 100)))


ACTS: list[Callable[[Database, int, int], None]] = [
    _consent, _consent, _register, _apply, _decide, _complete, _judge, _erase, _close, _count,
]  # fmt: skip
HISTORY = st.lists(
    st.tuples(st.sampled_from(ACTS), st.integers(0, 9_999), st.sampled_from([1, 3_000, 200_000])),
    min_size=8,
    max_size=40,
)


@settings(max_examples=6, phases=(Phase.explicit, Phase.reuse, Phase.generate))
@given(HISTORY, st.lists(st.floats(0, 1), max_size=2))
def test_gold_is_what_sql_says_of_any_history(history, cuts):
    lab = opened()
    for number, (act, pick, seconds) in enumerate(history, 10):
        lab.tick(seconds)
        act(lab, pick, number)
    with tempfile.TemporaryDirectory() as folder:
        refinery, ends = Refinery(Path(folder), "research"), [int(c * len(lab.records)) for c in sorted(cuts)]  # fmt: skip
        for begin, end in zip([0, *ends], [*ends, len(lab.records)], strict=True):
            refinery.take(lab.records[begin:end])
        source = source_of(lab, "research")
        source.execute(KEPT)
        for table, sql in GOLD.items():
            rows = refinery.rows(f"gold.research.{table}")
            assert differences(rows, source, sql) == [], table
