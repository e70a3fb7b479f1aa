"""Each gold table of the research system equals what DuckDB makes of the source, and nobody is in it without consent."""

from __future__ import annotations

import copy
import shutil
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import NamedTuple

import duckdb
import polars as pl
import pytest

from assets.demo_research import TABLES, generate
from assets.demo_source import Database, Row, recorded_lines
from lineage.graph import ColumnRef, LineageGraph
from pipelines.gold import Built, inputs_of, order_of, result_over
from pipelines.ingest import capture_file
from pipelines.masks import release
from pipelines.person import person_document
from pipelines.provenance import lineage_of
from pipelines.refine import build_all, chosen
from tests.spec.domains import (
    NOW,
    Refinery,
    assert_checklist,
    assert_equal,
    assert_examples_run,
    only,
    source_of,
)

#: The source without the rows that its own constraints should have refused, and without who consents no more.
KEPT = """
CREATE TABLE clock AS SELECT CAST(1 AS INTEGER) AS clock_id, date_trunc('day', make_timestamp(max(told_us))) AS as_of FROM (
  SELECT told_us FROM studies_log UNION ALL SELECT told_us FROM participants_log UNION ALL SELECT told_us FROM applications_log UNION ALL SELECT told_us FROM completions_log);
CREATE MACRO now_() AS (SELECT as_of FROM clock);
CREATE MACRO rounded(a, b) AS CAST(CAST(sign(a) * ((2 * CAST(abs(a) * 10000 AS HUGEINT) + CAST(b * 100 AS HUGEINT)) // nullif(2 * CAST(b * 100 AS HUGEINT), 0)) AS DECIMAL(18, 2)) * 0.01 AS DECIMAL(18, 2));
CREATE VIEW ap AS SELECT * FROM applications WHERE study_id IN (SELECT study_id FROM studies) AND participant_id IN (SELECT participant_id FROM participants);
CREATE VIEW co AS SELECT * FROM completions WHERE application_id IN (SELECT application_id FROM ap) AND participant_id IN (SELECT participant_id FROM participants);
CREATE VIEW l AS SELECT study_id, title, study_type, status, CASE WHEN closed_at <= now_() - INTERVAL 2 YEAR THEN 'archived' WHEN closed_at IS NULL THEN 'open' ELSE 'closed' END AS state,
  closed_at, closed_at + INTERVAL 2 YEAR AS archived_at, closed_at + INTERVAL 10 YEAR AS gone_at, target_participants, budget FROM studies WHERE coalesce(closed_at > now_() - INTERVAL 10 YEAR, true);
CREATE VIEW p AS SELECT participant_id, coalesce(age_group, 'not told') AS age_group, coalesce(gender, 'not told') AS gender, region, created_at AS registered_at, consented_at,
  consented_at + INTERVAL 5 YEAR AS consent_ends_at FROM participants WHERE consent_status = 'granted' AND consented_at > now_() - INTERVAL 5 YEAR;
CREATE VIEW a AS SELECT ap.*, study_type, age_group, gender, region FROM ap JOIN p USING (participant_id) JOIN (SELECT study_id, study_type FROM l) USING (study_id);
CREATE VIEW c AS SELECT co.*, study_type, age_group, gender, region FROM co JOIN p USING (participant_id) JOIN (SELECT study_id, study_type FROM l) USING (study_id);
CREATE VIEW events AS SELECT study_id, study_type, applied_at AS happened_at, participant_id, 'applied' AS what FROM a UNION ALL SELECT study_id, study_type, completed_at, participant_id, 'completed' FROM c;
CREATE VIEW reach AS SELECT study_id, study_type, metric_date AS day, impressions, visits FROM daily_metrics JOIN l USING (study_id);
CREATE VIEW days AS SELECT k.*, (SELECT coalesce(sum(impressions), 0) FROM reach AS r WHERE r.study_id = k.study_id AND r.day = k.day) AS impressions,
  (SELECT coalesce(sum(visits), 0) FROM reach AS r WHERE r.study_id = k.study_id AND r.day = k.day) AS visits,
  (SELECT count(*) FROM a WHERE a.study_id = k.study_id AND a.applied_at::DATE = k.day) AS applications, (SELECT count(*) FROM c WHERE c.study_id = k.study_id AND c.completed_at::DATE = k.day) AS completions,
  (SELECT count(DISTINCT participant_id) FROM events AS e WHERE e.study_id = k.study_id AND e.happened_at::DATE = k.day) AS participants
  FROM (SELECT study_id, study_type, happened_at::DATE AS day FROM events UNION SELECT study_id, study_type, day FROM reach) AS k WHERE k.day >= now_() - INTERVAL 5 YEAR;
CREATE VIEW outcomes AS SELECT study_id, study_type, count(DISTINCT participant_id) AS participants, count(*) AS completions, rounded(sum(quality_score), count(*)) AS mean_quality, sum(compensation) AS compensation
  FROM c WHERE quality_score IS NOT NULL GROUP BY ALL HAVING participants >= 10;
CREATE VIEW funnel AS SELECT study_id, study_type, (SELECT coalesce(sum(impressions), 0) FROM reach AS r WHERE r.study_id = l.study_id) AS impressions, (SELECT coalesce(sum(visits), 0) FROM reach AS r WHERE r.study_id = l.study_id) AS visits,
  (SELECT count(*) FROM a WHERE a.study_id = l.study_id) AS applications, (SELECT count(*) FROM a WHERE a.study_id = l.study_id AND status = 'approved') AS approved,
  (SELECT count(*) FROM c WHERE c.study_id = l.study_id) AS completions, target_participants FROM l;
"""  # fmt: skip

GOLD = {
    "clock": "FROM clock",
    "study_lifecycle": "FROM l",
    "consented_participants": "FROM p",
    "consented_applications": "FROM a",
    "consented_completions": "FROM c",
    "hourly_activity": """SELECT study_id, date_trunc('hour', happened_at) AS hour_start, hour_start + INTERVAL 1 HOUR AS hour_end, count(*) FILTER (what = 'applied') AS applications,
        count(*) FILTER (what = 'completed') AS completions, count(DISTINCT participant_id) AS participants FROM events WHERE happened_at >= now_() - INTERVAL 90 DAY GROUP BY ALL""",
    "daily_activity": "FROM days",
    "study_funnel": """SELECT *, rounded(100 * visits, impressions) AS visit_percent, rounded(100 * applications, visits) AS application_percent, rounded(100 * approved, applications) AS approval_percent,
        rounded(100 * completions, approved) AS completion_percent, rounded(100 * completions, target_participants) AS target_percent FROM funnel""",
    "weekly_trends": """
        WITH w AS (SELECT study_type, date_trunc('week', day)::DATE AS week_start, sum(visits) AS visits, sum(applications) AS applications, sum(completions) AS completions FROM days GROUP BY ALL)
        SELECT *, rounded(sum(applications) OVER month, 4) AS applications_4_weeks, rounded(sum(completions) OVER month, 4) AS completions_4_weeks,
          applications - coalesce(sum(applications) OVER before, 0) AS applications_change, completions - coalesce(sum(completions) OVER before, 0) AS completions_change FROM w
        WINDOW month AS (PARTITION BY study_type ORDER BY week_start RANGE BETWEEN INTERVAL 21 DAY PRECEDING AND CURRENT ROW),
          before AS (PARTITION BY study_type ORDER BY week_start RANGE BETWEEN INTERVAL 7 DAY PRECEDING AND INTERVAL 7 DAY PRECEDING)""",
    "period_comparison": """
        WITH d AS (UNPIVOT (SELECT study_type, day, visits, applications, completions FROM days) ON visits, applications, completions INTO NAME metric VALUE amount),
        b AS (SELECT study_type, metric, coalesce(sum(amount) FILTER (day >= now_() - INTERVAL 30 DAY), 0) AS current_30_days, coalesce(sum(amount) FILTER (day < now_() - INTERVAL 30 DAY), 0) AS previous_30_days
          FROM d WHERE day >= now_() - INTERVAL 60 DAY AND day < now_() GROUP BY ALL)
        SELECT *, current_30_days - previous_30_days AS difference, rounded(100 * difference, previous_30_days) AS change_percent FROM b""",
    "demographics": "SELECT age_group, gender, region, count(*) AS participants FROM p GROUP BY ALL HAVING participants >= 10",
    "demographic_outcomes": """SELECT study_type, age_group, region, count(DISTINCT participant_id) AS participants, count(*) AS completions, rounded(sum(quality_score), count(*)) AS mean_quality,
        sum(compensation) AS compensation FROM c WHERE quality_score IS NOT NULL GROUP BY ALL HAVING participants >= 10""",
    "study_outcomes": "FROM outcomes",
    "study_comparison": """
        SELECT o.*, rounded(100 * f.completions, f.approved) AS completion_percent, rank() OVER (PARTITION BY o.study_type ORDER BY mean_quality DESC) AS quality_rank, count(*) OVER kind AS studies_compared,
          rounded(mean_quality * studies_compared - sum(mean_quality) OVER kind, studies_compared) AS quality_difference, rounded(o.compensation, o.completions) AS compensation_each,
          rounded(100 * o.compensation, l.budget) AS budget_percent FROM outcomes AS o JOIN funnel AS f USING (study_id) JOIN l USING (study_id) WINDOW kind AS (PARTITION BY o.study_type)""",
    "summary_metrics": """SELECT *, rounded(100 * completions, applications_approved) AS completion_percent FROM (
        SELECT now_() AS as_of, (SELECT count(*) FROM l) AS studies_total, (SELECT count(*) FROM l WHERE status IN ('recruiting', 'running')) AS studies_active, (SELECT count(*) FROM p) AS participants,
          count(*) AS applications, count(*) FILTER (status = 'submitted') AS applications_undecided, count(*) FILTER (status = 'approved') AS applications_approved, (SELECT count(*) FROM c) AS completions FROM a)""",
}  # fmt: skip

CATALOG = only("research")


@pytest.fixture(scope="module")
def lab() -> Database:
    return generate()


@pytest.fixture(scope="module")
def refinery(lab: Database, tmp_path_factory: pytest.TempPathFactory) -> Refinery:
    made = Refinery(tmp_path_factory.mktemp("research"), "research")
    half = len(lab.records) // 2
    for piece in (lab.records[:half], lab.records[half:-300], lab.records[-300:]):
        made.take(piece)
    return made


@pytest.fixture(scope="module")
def source(lab: Database) -> duckdb.DuckDBPyConnection:
    here = source_of(lab, "research")
    here.execute(KEPT)
    return here


def test_every_gold_table_is_held_to_the_source():
    assert {contract.name for contract in CATALOG.layer("gold")} == set(GOLD)


@pytest.mark.parametrize("table", GOLD)
def test_gold_is_what_sql_says_of_the_source(
    table: str, refinery: Refinery, source: duckdb.DuckDBPyConnection
):
    assert_equal(refinery.rows(f"gold.research.{table}"), source, GOLD[table])


# ---- CONSENT ---- #

PEOPLE = {f"silver.research.{name}" for name in ("participants", "applications", "completions")}
DEMOGRAPHICS = {"age_group", "gender", "region"}


def test_gold_reads_people_through_their_consent_alone():
    """No table of people but through `consented_participants`; history only for the clock."""
    for contract in CATALOG.layer("gold"):
        read = set(inputs_of(contract))
        if contract.name in ("consented_applications", "consented_completions"):
            assert "gold.research.consented_participants" in read
        elif contract.name != "consented_participants":
            assert not read & PEOPLE, contract.table
        if contract.name != "clock":
            assert not [name for name in read if name.startswith("history.")], contract.table


def test_gold_does_not_take_what_the_source_counted_of_people():
    graph = LineageGraph.of(list(lineage_of(CATALOG).values()))
    for name in ("applications", "completions"):
        assert not [hop for hop in graph.downstream(ColumnRef("silver.research.daily_metrics", name)) if hop.target.table.startswith("gold.")]  # fmt: skip


class Trial(NamedTuple):
    """A small lab, and people in it who did everything."""

    lab: Database
    refinery: Refinery
    people: list[Row]

    @property
    def person(self) -> Row:
        return self.people[0]

    def say(self, *changes: tuple[str, str, Row]) -> list[Built]:
        """One transaction, brought into every layer; what was built of it."""
        before = len(self.lab.records)
        self.lab.commit(*changes)
        return self.refinery.take(self.lab.records[before:])

    def gold(self) -> dict[str, pl.DataFrame]:
        return {name: self.refinery.rows(f"gold.research.{name}") for name in GOLD}

    def without(self, count: int = 1) -> dict[str, pl.DataFrame]:
        """Every gold table in a world in which the first people never were: whole, from silver without them."""
        frames, made = dict[str, pl.LazyFrame](), dict[str, pl.DataFrame]()
        gone = [row["participant_id"] for row in self.people[:count]]
        for table in order_of(CATALOG):
            contract = CATALOG[table]
            for name in inputs_of(contract):
                rows = self.refinery.lake.scan(name)
                others = ~pl.col("participant_id").is_in(gone)
                frames.setdefault(name, rows.filter(others) if name in PEOPLE else rows)
            rows = release(contract, result_over(contract, frames))
            frames[table] = rows.lazy()
            made[contract.name] = rows.select(contract.columns.keys()).sort(contract.key)
        return made


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> tuple[Database, Refinery]:
    lab = generate(days=4, people=160)
    refinery = Refinery(tmp_path_factory.mktemp("begun"), "research")
    refinery.take(lab.records)
    return lab, refinery


@pytest.fixture
def trial(begun: tuple[Database, Refinery], tmp_path: Path) -> Trial:
    lab, refinery = copy.deepcopy(begun[0]), Refinery(tmp_path, "research")
    shutil.copytree(begun[1].lake.root, refinery.lake.root)
    refinery.taken = list(lab.records)
    judged = {row["participant_id"] for row in lab.truth["completions"].values() if row["study_id"] < 5 and row["quality_score"] is not None}  # fmt: skip
    consented = set(refinery.rows("gold.research.consented_participants")["participant_id"])
    return Trial(lab, refinery, [lab.truth["participants"][who] for who in sorted(judged & consented)])  # fmt: skip


def withdrawn(trial: Trial, **given: object) -> Row:
    return {**trial.person, "consent_status": "withdrawn", "withdrawn_at": trial.lab.clock, **given}


def names(frames: dict[str, pl.DataFrame], who: str) -> set[str]:
    """The tables that name somebody."""
    return {name for name, rows in frames.items() if who in str(rows.to_dicts())}


def assert_same(made: dict[str, pl.DataFrame], wanted: dict[str, pl.DataFrame]) -> None:
    for name, rows in made.items():
        assert rows.equals(wanted[name].select(rows.columns)), name


def test_who_withdraws_is_gone_from_every_gold_table_at_the_next_run(trial: Trial):
    who = trial.person["participant_id"]
    before, wanted = trial.gold(), trial.without()
    changed = {name for name, rows in before.items() if not rows.equals(wanted[name].select(rows.columns))}  # fmt: skip
    assert changed >= set(GOLD) - {"clock", "study_lifecycle", "demographics", "demographic_outcomes", "study_outcomes", "study_comparison"}  # fmt: skip
    trial.say(("participants", "u", withdrawn(trial)))
    after = trial.gold()
    assert names(before, who) == {"consented_participants", "consented_applications", "consented_completions"}  # fmt: skip
    assert names(after, who) == set()
    assert_same(after, wanted)
    again = {**trial.person, "consented_at": trial.lab.clock}
    trial.say(("participants", "u", again))
    assert names(trial.gold(), who) == names(before, who)


def test_a_withdrawal_in_mid_run_counts_from_the_next_one(trial: Trial):
    """Told after silver was applied and before gold is built; then an application that came on its heels."""
    lab, refinery, who = trial.lab, trial.refinery, trial.person["participant_id"]
    lake, wanted = refinery.lake, chosen(CATALOG, "gold", None)
    before, start = trial.gold(), len(lab.records)
    late = {**next(reversed(lab.truth["applications"].values())), "application_id": 70_000, "participant_id": who}  # fmt: skip
    waiting = lab.begin(("applications", "c", late))
    lab.commit(("participants", "u", withdrawn(trial)))
    lab.write(waiting)
    file = refinery.folder / "midrun.jsonl"
    file.write_text("\n".join(recorded_lines([*refinery.taken, *lab.records[start:]])))
    capture_file(lake, CATALOG, file)
    build_all(lake, CATALOG, wanted, now=NOW, after=lambda _: None)
    assert_same(trial.gold(), before)
    refinery.take(lab.records[start:])
    assert names(trial.gold(), who) == set()
    assert 70_000 in refinery.rows("silver.research.applications")["application_id"]
    assert_same(trial.gold(), trial.without())


#: What may stand in a row, so that nobody can say that the person consents.
DOUBTS = [
    {"consent_status": "granted", "region": "Atlantis", "consented_at": None},
    {"region": "Atlantis"},
    {"consent_status": "granted", "consented_at": None},
    {"consent_status": "yes"},
    {"consent_status": None},
    {"withdrawn_at": None},
    {"consent_status": "pending"},
]


def test_what_is_in_doubt_is_no_consent(trial: Trial):
    """Also a withdrawal in a row that waits in quarantine for something else."""
    assert len(trial.people) > len(DOUBTS)
    doubted = zip(trial.people, DOUBTS, strict=False)
    told = [{**withdrawn(trial), **person, "consent_status": "withdrawn", **doubt} for person, doubt in doubted]  # fmt: skip
    trial.say(*[("participants", "u", row) for row in told])
    gold = trial.gold()
    assert_same(gold, trial.without(len(DOUBTS)))
    for row in told:
        assert names(gold, row["participant_id"]) == set()


def test_who_is_erased_from_the_source_is_gone_from_silver_too(trial: Trial):
    who = trial.person["participant_id"]
    theirs = [
        (table, "d", row)
        for table in ("completions", "applications")
        for row in list(trial.lab.truth[table].values())
        if row["participant_id"] == who
    ]
    wanted = trial.without()
    trial.say(*theirs, ("participants", "d", trial.person))
    assert_same(trial.gold(), wanted)
    for table in PEOPLE:
        assert who not in set(trial.refinery.rows(table)["participant_id"])


def test_a_withdrawal_costs_the_rows_that_it_reaches(trial: Trial):
    """Nothing but the one-row summary is computed whole."""
    done = trial.say(("participants", "u", withdrawn(trial)))
    found = {built.table.removeprefix("gold.research."): built.computed for built in done}
    assert {name for name, how in found.items() if how == "whole"} <= {"clock", "summary_metrics"}
    assert found["consented_completions"] == found["daily_activity"] == found["weekly_trends"] == "part"  # fmt: skip


# ---- SMALL GROUPS ---- #


def test_what_shows_groups_of_people_states_their_size():
    for contract in CATALOG.layer("gold"):
        if DEMOGRAPHICS & contract.columns.keys() and "participant_id" not in contract.columns:
            assert contract.group_size
            assert contract.group_size.minimum >= 10


def test_a_group_that_falls_below_ten_is_shown_no_more(trial: Trial):
    shown = trial.gold()["demographics"].sort("participants").row(0, named=True)
    mine = [pl.col(name) == shown[name] for name in sorted(DEMOGRAPHICS)]
    people = trial.gold()["consented_participants"].filter(mine)["participant_id"].to_list()
    assert len(people) == shown["participants"] >= 10
    gone = [
        {**trial.lab.truth["participants"][who], "consent_status": "withdrawn"}
        for who in people[: len(people) - 9]
    ]
    trial.say(*[("participants", "u", row) for row in gone[:-1]])
    assert trial.gold()["demographics"].filter(mine)["participants"].to_list() == [10]
    trial.say(("participants", "u", gone[-1]))
    assert len(trial.gold()["demographics"].filter(mine)) == 0


def test_gold_shows_nothing_that_names_a_person(lab: Database, refinery: Refinery):
    secrets = {row["email"] for row in lab.truth["participants"].values()}
    secrets |= {str(row["application_data"]) for row in lab.truth["applications"].values()}
    for contract in CATALOG.layer("gold"):
        columns = set(contract.columns)
        assert not columns & {"email", "birth_date", "application_data"}
        assert columns & {"eligibility_score", "quality_score"} <= contract.classified()
        told = {value for row in refinery.rows(contract.table).iter_rows() for value in row}
        assert not secrets & {str(value) for value in told}
    for contract in CATALOG.layer("silver"):
        assert all("classification" in column.model_fields_set for column in contract.columns.values())  # fmt: skip


def test_a_person_gets_what_is_theirs(lab: Database, refinery: Refinery):
    who = next(iter(lab.truth["completions"].values()))["participant_id"]
    told = person_document(refinery.lake, CATALOG, "silver.research.participants", who, now=NOW)
    address = lab.truth["participants"][who]["email"]
    assert told["personal_data"]["silver.research.participants"][0]["email"] == address
    for table, key in (("applications", "application_id"), ("completions", "completion_id")):
        held = told["activity_data"][f"silver.research.{table}"]
        mine = {r[key] for r in lab.truth[table].values() if r["participant_id"] == who}
        assert {row[key] for row in held} == mine


# ---- RETENTION ---- #


def test_the_clock_alone_ends_consents_studies_and_aggregates(refinery: Refinery):
    """A moment before and at the end of each term, by the clock's row alone."""
    frames = {
        name: refinery.lake.scan(name)
        for contract in CATALOG.layer("gold")
        for name in inputs_of(contract)
    }

    def at(moment: datetime, table: str) -> pl.DataFrame:
        clock = frames["gold.research.clock"].with_columns(pl.lit(moment).alias("as_of"))
        given = {**frames, "gold.research.clock": clock}
        return result_over(CATALOG[f"gold.research.{table}"], given)

    second = timedelta(seconds=1)
    person = refinery.rows("gold.research.consented_participants").row(0, named=True)
    mine = pl.col("participant_id") == person["participant_id"]
    ends = person["consent_ends_at"]
    assert len(at(ends - second, "consented_participants").filter(mine)) == 1
    assert len(at(ends, "consented_participants").filter(mine)) == 0
    study = refinery.rows("gold.research.study_lifecycle").filter(state="closed").row(0, named=True)
    own = pl.col("study_id") == study["study_id"]
    for moment, state in (
        (study["archived_at"] - second, ["closed"]),
        (study["archived_at"], ["archived"]),
        (study["gone_at"] - second, ["archived"]),
        (study["gone_at"], []),
    ):
        assert at(moment, "study_lifecycle").filter(own)["state"].to_list() == state
    hour = refinery.rows("gold.research.hourly_activity")["hour_start"].max()
    day = refinery.rows("gold.research.daily_activity")["day"].max()
    assert isinstance(hour, datetime)
    assert isinstance(day, date)
    midnight = datetime(day.year + 5, day.month, day.day, tzinfo=UTC)
    assert len(at(hour + timedelta(days=90), "hourly_activity").filter(hour_start=hour)) > 0
    assert len(at(hour + timedelta(days=90) + second, "hourly_activity")) == 0
    assert len(at(midnight, "daily_activity")) > 0
    assert len(at(midnight + timedelta(days=1), "daily_activity")) == 0


def test_nothing_of_a_study_that_is_gone_is_in_any_gold_table(lab: Database, refinery: Refinery):
    old = {9}
    assert {row["study_id"] for row in lab.truth["completions"].values()} >= old
    for contract in CATALOG.layer("gold"):
        if "study_id" in contract.columns:
            assert not old & set(refinery.rows(contract.table)["study_id"])


# ---- BAD INPUT ---- #

NOBODY = "00000000-0000-4000-8000-000000000000"

#: A row as it should be but for one column, and what is said of it.
DIRT = [
    ("studies", "study_type", "poll", "valid_study_type"),
    ("studies", "status", "paused", "valid_study_status"),
    ("studies", "target_participants", 0, "target_participants_range"),
    ("studies", "budget", Decimal("-1.00"), "budget_range"),
    ("studies", "start_date", "next week", "undecodable:start_date"),
    ("participants", "consent_status", "maybe", "valid_consent_status"),
    ("participants", "consent_status", None, "consent_status_required"),
    ("participants", "consented_at", None, "consent_can_be_shown"),
    ("participants", "age_group", "young", "valid_age_group"),
    ("participants", "region", None, "region_required"),
    ("applications", "study_id", 99, "known_study"),
    ("applications", "participant_id", NOBODY, "known_participant"),
    ("applications", "participant_id", "person 7", "undecodable:participant_id"),
    ("applications", "status", "accepted", "valid_application_status"),
    ("applications", "eligibility_score", Decimal("100.01"), "eligibility_score_range"),
    ("completions", "application_id", 4_711_000, "known_application"),
    ("completions", "participant_id", NOBODY, "known_participant"),
    ("completions", "quality_score", Decimal("-0.01"), "quality_score_range"),
    ("completions", "compensation", Decimal("-8.00"), "compensation_range"),
    ("completions", "completed_at", None, "completed_at_required"),
    ("daily_metrics", "study_id", 99, "known_study"),
    ("daily_metrics", "visits", -1, "visits_range"),
    ("daily_metrics", "metric_date", None, "metric_date_required"),
]


@pytest.fixture(scope="module")
def dirty(tmp_path_factory: pytest.TempPathFactory) -> tuple[Refinery, list[Row]]:
    small = generate(days=4, people=60)
    good = {table: next(reversed(held.values())) for table, held in small.truth.items()}
    good["participants"] = next(r for r in small.truth["participants"].values() if r["consent_status"] == "granted")  # fmt: skip
    rows = list[Row]()
    for number, (table, column, value, _) in enumerate(DIRT):
        key = small.identity() if table == "participants" else 80_000 + number
        rows.append({**good[table], TABLES[table].key: key, column: value})
        small.commit((table, "c", rows[-1]))
    refinery = Refinery(tmp_path_factory.mktemp("dirt"), "research")
    refinery.take(small.records)
    return refinery, rows


@pytest.mark.parametrize("number", range(len(DIRT)), ids=[f"{t}.{c}-{w}" for t, c, _, w in DIRT])
def test_a_bad_row_waits_in_quarantine_and_is_in_no_gold(
    dirty: tuple[Refinery, list[Row]], number: int
):
    refinery, rows = dirty
    table, _, _, issue = DIRT[number]
    key = TABLES[table].key
    row = refinery.lake.scan(f"quarantine.research.{table}").filter(pl.col(key) == rows[number][key]).collect()  # fmt: skip
    assert row["quality_issues"].list.first().to_list() == [issue]
    for contract in refinery.catalog.layer("gold"):
        if key in contract.columns:
            assert rows[number][key] not in refinery.rows(contract.table)[key]


def test_an_application_that_comes_before_its_person_waits_for_them(tmp_path: Path):
    small = generate(days=3, people=40)
    late = max(n for n, r in enumerate(small.records) if r.topic == small.topic("participants") and b'"op":"c"' in (r.value or b""))  # fmt: skip
    refinery = Refinery(tmp_path, "research")
    refinery.take(small.records[: late - 1])
    waiting = refinery.lake.scan("quarantine.research.applications").collect()
    assert waiting["quality_issues"].to_list() == [["known_participant"]]
    refinery.take(small.records[late - 1 :])
    assert len(refinery.lake.scan("quarantine.research.applications").collect()) == 0
    held = refinery.rows("gold.research.consented_applications")["application_id"]
    assert set(waiting["application_id"]) <= set(held)


def test_a_message_that_is_no_change_event_is_a_dead_letter(lab: Database, refinery: Refinery):
    letters = refinery.lake.scan("system.main.dead_letters").collect()
    assert set(letters["topic"]) == {lab.topic("applications"), lab.topic("participants")}
    assert len(letters) == 2


# ---- README ---- #


def test_the_readmes_examples_run(refinery: Refinery):
    assert_examples_run("research", refinery.lake, refinery.catalog)


def test_the_readmes_checklist_names_what_there_is():
    assert_checklist("research")
