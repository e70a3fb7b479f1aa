"""Each gold table of the task system equals what DuckDB makes of the source itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest

from assets.demo_source import Database, Row
from assets.demo_tasks import TABLES, generate
from pipelines.person import person_document
from tests.spec.domains import (
    NOW,
    Refinery,
    assert_checklist,
    assert_equal,
    assert_examples_run,
    only,
    source_of,
)

#: The source without the rows that its own constraints should have refused.
KEPT = r"""
CREATE VIEW u AS SELECT * FROM users WHERE regexp_matches(email, '^[a-z0-9._%+-]+@[a-z0-9.-]+\.[a-z]{2,}$', 'i') AND status IN ('active', 'inactive', 'suspended', 'deleted');
CREATE VIEW pr AS SELECT * FROM projects WHERE status IN ('active', 'archived', 'deleted') AND owner_id IN (SELECT id FROM u);
CREATE VIEW t AS SELECT * FROM tasks WHERE status IN ('todo', 'in_progress', 'in_review', 'completed', 'cancelled') AND priority IN ('low', 'medium', 'high', 'critical')
  AND created_by IN (SELECT id FROM u) AND (assigned_to IS NULL OR assigned_to IN (SELECT id FROM u)) AND (project_id IS NULL OR project_id IN (SELECT id FROM pr));
CREATE VIEW o AS SELECT * FROM t WHERE status NOT IN ('completed', 'cancelled');
CREATE VIEW told AS SELECT *, row_number() OVER (PARTITION BY id ORDER BY commit, lsn) AS n FROM tasks_log WHERE op = 'd' OR (status <> 'blocked' AND priority <> 'urgent'
  AND (assigned_to IS NULL OR assigned_to IN (SELECT id FROM u)) AND (project_id IS NULL OR project_id IN (SELECT id FROM pr)));
CREATE TABLE clock AS SELECT CAST(1 AS INTEGER) AS clock_id, date_trunc('day', make_timestamp(max(told_us))) AS as_of FROM (
  SELECT told_us FROM users_log UNION ALL SELECT told_us FROM projects_log UNION ALL SELECT told_us FROM tasks_log UNION ALL SELECT told_us FROM activity_log_log);
CREATE MACRO now_() AS (SELECT as_of FROM clock);
CREATE MACRO whole(s) AS date_diff('second', TIMESTAMP 'epoch', date_trunc('second', s));
"""

GOLD = {
    "clock": "FROM clock",
    "dashboard_statistics": """
        SELECT now_() AS as_of,
          (SELECT count(*) FROM u WHERE status <> 'deleted') AS users_total, (SELECT count(*) FROM u WHERE status = 'active') AS users_active,
          (SELECT count(DISTINCT user_id) FROM sessions WHERE last_accessed_at >= now_() - INTERVAL 30 DAY) AS users_seen_30_days,
          (SELECT count(*) FROM sessions WHERE expires_at > now_()) AS sessions_open, (SELECT count(*) FROM password_resets WHERE used) AS resets_used,
          (SELECT count(*) FROM pr WHERE status = 'active') AS projects_active, count(*) AS tasks_total,
          count(*) FILTER (status = 'todo') AS tasks_todo, count(*) FILTER (status = 'in_progress') AS tasks_in_progress, count(*) FILTER (status = 'in_review') AS tasks_in_review,
          count(*) FILTER (status = 'completed') AS tasks_completed, count(*) FILTER (status = 'cancelled') AS tasks_cancelled,
          (SELECT count(*) FROM o WHERE assigned_to IS NULL) AS tasks_unassigned, (SELECT count(*) FROM o WHERE due_date < now_()) AS tasks_overdue,
          count(*) FILTER (created_at >= now_() - INTERVAL 7 DAY) AS tasks_created_7_days,
          count(*) FILTER (status = 'completed' AND completed_at >= now_() - INTERVAL 7 DAY) AS tasks_completed_7_days FROM t""",
    "user_task_counts": """
        SELECT id AS user_id, (SELECT count(*) FROM t WHERE created_by = u.id) AS tasks_created, (SELECT count(*) FROM t WHERE assigned_to = u.id) AS tasks_assigned,
          (SELECT count(*) FROM o WHERE assigned_to = u.id) AS tasks_open, (SELECT count(*) FROM t WHERE assigned_to = u.id AND status = 'completed') AS tasks_completed,
          (SELECT count(*) FROM o WHERE assigned_to = u.id AND due_date < now_()) AS tasks_overdue,
          (SELECT count(*) FROM o WHERE assigned_to = u.id AND priority = 'critical') AS tasks_critical,
          (SELECT max(completed_at) FROM t WHERE assigned_to = u.id AND status = 'completed') AS last_completed_at FROM u WHERE status <> 'deleted'""",
    "project_progress": """
        SELECT p.id AS project_id, p.name AS project_name, p.status, p.owner_id, count(t.id) AS tasks_total, count(t.id) FILTER (t.status = 'completed') AS tasks_completed,
          count(t.id) FILTER (t.status = 'cancelled') AS tasks_cancelled, count(t.id) FILTER (t.status NOT IN ('completed', 'cancelled')) AS tasks_open,
          count(t.id) FILTER (t.status NOT IN ('completed', 'cancelled') AND t.due_date < now_()) AS tasks_overdue, count(DISTINCT t.assigned_to) AS members,
          CAST(round(CAST(tasks_completed * 100.0 AS DECIMAL(18, 6)) / nullif(tasks_total - tasks_cancelled, 0), 2) AS DECIMAL(5, 2)) AS progress_percent,
          max(t.updated_at) AS last_change_at FROM pr AS p LEFT JOIN t ON t.project_id = p.id WHERE p.status <> 'deleted' GROUP BY ALL""",
    "cycle_times": """
        WITH v AS (SELECT *, lag(status) OVER (PARTITION BY id ORDER BY commit, lsn) AS before FROM told WHERE op <> 'd'),
        s AS (SELECT id, min(updated_at) FILTER (status = 'in_progress') AS started_at, min(updated_at) FILTER (status = 'in_review') AS review_at,
          count(*) FILTER (status = 'in_progress' AND before IS DISTINCT FROM 'in_progress') AS times_started FROM v GROUP BY id)
        SELECT id AS task_id, project_id, priority, created_at, started_at, review_at, completed_at, whole(completed_at) - whole(created_at) AS lead_seconds,
          whole(completed_at) - whole(started_at) AS cycle_seconds, whole(completed_at) - whole(review_at) AS review_seconds, times_started, completed_at > due_date AS was_late
        FROM t JOIN s USING (id) WHERE status = 'completed'""",
    "daily_activity": """
        SELECT user_id, day, count(*) FILTER (what = 'created') AS tasks_created, count(*) FILTER (what = 'completed') AS tasks_completed, count(*) FILTER (what = 'did') AS actions
        FROM (SELECT created_by AS user_id, created_at::DATE AS day, 'created' AS what FROM t
          UNION ALL SELECT assigned_to, completed_at::DATE, 'completed' FROM t WHERE status = 'completed'
          UNION ALL SELECT actor_id, created_at::DATE, 'did' FROM activity_log WHERE created_at >= now_() - INTERVAL 2 YEAR) GROUP BY ALL HAVING user_id IS NOT NULL""",
    "activity": "SELECT id AS entry_id, entity_type, entity_id, action, actor_id, created_at FROM activity_log WHERE created_at >= now_() - INTERVAL 2 YEAR",
    "search_documents": """
        WITH newest AS (SELECT id, arg_max(op, (commit, lsn)) AS op, max((commit, lsn)) AS place, count(*) FILTER (op <> 'd') AS versions FROM told GROUP BY id HAVING versions > 0)
        SELECT n.id, CASE WHEN n.op = 'd' THEN 'delete' WHEN versions = 1 THEN 'insert' ELSE 'update' END AS operation, title, description, status, priority, tags,
          created_by, assigned_to, project_id, due_date, created_at, updated_at, (SELECT min(told_us) // 1000 FROM tasks_log WHERE commit = 0) AS version_epoch, place[2] AS version FROM newest AS n LEFT JOIN t USING (id)""",
    "user_directory": """
        WITH d AS (SELECT id, min(updated_at) FILTER (status = 'deleted') AS deleted_at FROM users_log WHERE op <> 'd' GROUP BY id),
        a AS (SELECT u.*, d.deleted_at, coalesce(u.status = 'deleted' AND d.deleted_at < now_() - INTERVAL 30 DAY, false) AS gone FROM u LEFT JOIN d USING (id))
        SELECT a.id AS user_id, CASE WHEN gone THEN 'deleted-' || a.id || '@deleted.local' ELSE email END AS email,
          CASE WHEN NOT gone THEN first_name || ' ' || last_name END AS display_name, status, a.created_at, deleted_at, gone AS is_anonymised
        FROM a LEFT JOIN user_profiles AS p ON p.user_id = a.id""",
}  # fmt: skip
GOLD["cycle_time_summary"] = f"""
        SELECT date_trunc('month', completed_at) AS completed_month, priority, count(*) AS tasks, count(*) FILTER (was_late) AS tasks_late,
          round(quantile_cont(lead_seconds / 3600, 0.5), 2) AS median_lead_hours, round(quantile_cont(cycle_seconds / 3600, 0.5), 2) AS median_cycle_hours,
          round(quantile_cont(cycle_seconds / 3600, 0.9), 2) AS p90_cycle_hours FROM ({GOLD["cycle_times"]}) GROUP BY ALL"""


@pytest.fixture(scope="module")
def app():
    return generate()


@pytest.fixture(scope="module")
def refinery(app, tmp_path_factory: pytest.TempPathFactory) -> Refinery:
    made, half = Refinery(tmp_path_factory.mktemp("tasks"), "tasks"), len(app.records) // 2
    for piece in (app.records[:half], app.records[half:-300], app.records[-300:]):
        made.take(piece)
    return made


@pytest.fixture(scope="module")
def source(app) -> duckdb.DuckDBPyConnection:
    here = source_of(app, "tasks")
    here.execute(KEPT)
    return here


def test_every_gold_table_is_held_to_the_source():
    assert {contract.name for contract in only("tasks").layer("gold")} == set(GOLD)


@pytest.mark.parametrize("table", GOLD)
def test_gold_is_what_sql_says_of_the_source(table: str, refinery: Refinery, source):
    assert_equal(refinery.rows(f"gold.tasks.{table}"), source, GOLD[table])


# ---- WHAT A READER IS PROMISED ---- #


def test_no_hash_and_no_token_is_beyond_bronze(app, refinery: Refinery):
    secrets = {
        str(row[name])
        for table in ("users", "sessions", "password_resets")
        for row in app.truth[table].values()
        for name in ("password_hash", "token_hash", "refresh_token_hash")
        if len(row.get(name, "")) > 20
    }
    assert len(secrets) > 100
    for table in refinery.lake.tables():
        if table.split(".")[0] not in ("bronze", "system"):
            rows = refinery.lake.scan(table).collect()
            assert not [name for name in rows.columns if "hash" in name or "token" in name], table
            assert not secrets & set(str(rows.to_dicts()).replace("'", '"').split('"')), table


def test_every_column_of_silver_says_its_class():
    for contract in only("tasks").layer("silver"):
        for name, column in contract.columns.items():
            assert "classification" in column.model_fields_set, (contract.table, name)


def test_a_deleted_account_is_nobody_after_thirty_days(app, refinery: Refinery):
    rows = refinery.rows("gold.tasks.user_directory")
    gone = rows.filter("is_anonymised")
    assert {row["status"] for row in app.truth["users"].values()} == {"active", "deleted"}
    assert len(gone) == 2
    assert gone["display_name"].to_list() == [None, None]
    assert gone.select(pl.col("email").str.ends_with("@deleted.local").all()).item()
    waiting = rows.filter((pl.col("status") == "deleted") & ~pl.col("is_anonymised"))
    assert len(waiting) == 1
    assert not waiting["email"][0].endswith("@deleted.local")


def test_an_index_that_follows_the_documents_holds_the_tasks(app, tmp_path: Path):
    """Read in three sittings, by the version reached: what a search index holds is what silver holds."""
    follower, index, reached = Refinery(tmp_path, "tasks"), dict[str, Any](), (0, 0)
    said = set[str]()
    third = len(app.records) // 3
    for piece in (app.records[:third], app.records[third : 2 * third], app.records[2 * third :]):
        follower.take(piece)
        documents = follower.rows("gold.tasks.search_documents").sort("version_epoch", "version")
        for row in documents.iter_rows(named=True):
            place = (row["version_epoch"], row["version"])
            if place > reached:
                said.add(row["operation"])
                index.pop(row["id"], None)
                index |= {} if row["operation"] == "delete" else {row["id"]: row["title"]}
        reached = documents.select("version_epoch", "version").rows()[-1]
    silver = follower.rows("silver.tasks.tasks")
    assert index == dict(silver.select("id", "title").iter_rows())
    assert said == {"insert", "update", "delete"}


def test_a_person_gets_what_is_theirs(app: Database, refinery: Refinery):
    who = next(row["owner_id"] for row in app.truth["projects"].values())
    told = person_document(refinery.lake, refinery.catalog, "silver.tasks.users", who, now=NOW)
    assert (
        told["personal_data"]["silver.tasks.users"][0]["email"] == app.truth["users"][who]["email"]
    )
    tasks = [r for r in app.truth["tasks"].values() if who in (r["created_by"], r["assigned_to"])]
    held = told["activity_data"]["silver.tasks.tasks"]
    assert sorted(row["id"] for row in held) == sorted(row["id"] for row in tasks)
    assert {name.split(".")[2] for name in told["activity_data"]} == {
        "projects", "tasks", "sessions", "activity_log", "password_resets",
    } & {name for name in TABLES if _has(app, name, who)}  # fmt: skip
    assert "hash" not in str(told)


def _has(app: Database, table: str, who: str) -> bool:
    return any(who in row.values() for row in app.truth[table].values())


# ---- BAD INPUT ---- #

NOBODY = "00000000-0000-4000-8000-000000000000"

#: A row as it should be but for one column, and what is said of it.
DIRT = [
    ("users", "email", "no-at-sign.example.org", "valid_email"),
    ("users", "email", None, "email_required"),
    ("users", "status", "banned", "valid_status"),
    ("users", "created_at", "yesterday", "undecodable:created_at"),
    ("user_profiles", "user_id", NOBODY, "known_user"),
    ("projects", "status", "paused", "valid_project_status"),
    ("projects", "name", None, "name_required"),
    ("projects", "owner_id", NOBODY, "known_owner"),
    ("tasks", "status", "done", "valid_task_status"),
    ("tasks", "priority", "urgent", "valid_priority"),
    ("tasks", "title", None, "title_required"),
    ("tasks", "created_by", NOBODY, "known_creator"),
    ("tasks", "assigned_to", NOBODY, "known_assignee"),
    ("tasks", "project_id", "number 7", "undecodable:project_id"),
    ("tasks", "due_date", "294276-12-31T23:59:59Z", "undecodable:due_date"),
    ("tasks", "tags", "bug, ops", "undecodable:*wrong_shape"),
    ("sessions", "user_id", NOBODY, "known_user"),
    ("sessions", "expires_at", None, "expires_at_required"),
    ("password_resets", "used", None, "used_required"),
    ("activity_log", "entity_id", "the first", "undecodable:entity_id"),
]


@pytest.fixture(scope="module")
def dirty(tmp_path_factory: pytest.TempPathFactory) -> tuple[Database, Refinery, list[Row]]:
    """A small system into which each bad row has come."""
    small = generate(days=11, people=25, tasks_a_day=8)
    good = {table: next(reversed(held.values())) for table, held in small.truth.items()}
    rows = list[Row]()
    for number, (table, column, value, _) in enumerate(DIRT):
        own: Row = {"email": f"dirt.{number}@example.org"} if table == "users" else {}
        rows.append({**good[table], TABLES[table].key: small.identity(), **own, column: value})
        small.commit((table, "c", rows[-1]))
    refinery = Refinery(tmp_path_factory.mktemp("dirt"), "tasks")
    refinery.take(small.records)
    return small, refinery, rows


@pytest.mark.parametrize("number", range(len(DIRT)), ids=[f"{t}.{c}-{w}" for t, c, _, w in DIRT])
def test_a_bad_row_waits_in_quarantine_and_says_why(dirty: Any, number: int):
    _, refinery, rows = dirty
    table, _, _, issue = DIRT[number]
    key = TABLES[table].key
    waiting = refinery.lake.scan(f"quarantine.tasks.{table}").filter(
        pl.col(key) == rows[number][key]
    )
    assert waiting.collect()["quality_issues"].list.first().to_list() == [issue]
    assert rows[number][key] not in refinery.rows(f"silver.tasks.{table}")[key]


def test_bad_rows_that_are_mended_or_deleted_leave_quarantine(dirty: Any):
    small, refinery, rows = dirty
    before = len(small.records)
    for (table, column, _, _), row in zip(DIRT, rows, strict=True):
        good = next(r for r in small.truth[table].values() if r[column] not in (NOBODY, None))
        if table == "user_profiles":
            small.commit((table, "d", row))
        else:
            small.commit((table, "u", {**row, column: good[column]}))
    refinery.take(small.records[before:])
    for table, held in small.truth.items():
        assert len(refinery.lake.scan(f"quarantine.tasks.{table}").collect()) == 0
        assert set(refinery.rows(f"silver.tasks.{table}")[TABLES[table].key]) == set(held)


def test_a_task_that_comes_before_its_creator_waits_for_them(tmp_path: Path):
    small = generate(days=3, people=12)
    early = max(
        n
        for n, record in enumerate(small.records)
        if record.topic == small.topic("users") and record.value and b'"op":"c"' in record.value
    )
    refinery = Refinery(tmp_path, "tasks")
    refinery.take(small.records[: early - 1])
    waiting = refinery.lake.scan("quarantine.tasks.tasks").collect()
    assert waiting["quality_issues"].to_list() == [["known_creator"]]
    refinery.take(small.records[early - 1 :])
    assert len(refinery.lake.scan("quarantine.tasks.tasks").collect()) == 0
    assert waiting["id"][0] in refinery.rows("silver.tasks.tasks")["id"]


def test_a_message_that_is_no_change_event_is_a_dead_letter(app, refinery: Refinery):
    letters = refinery.lake.scan("system.main.dead_letters").collect()
    assert set(letters["topic"]) == {app.topic("tasks"), app.topic("users")}
    assert len(letters) == 2


# ---- README ---- #


def test_the_readmes_examples_run(refinery: Refinery):
    assert_examples_run("tasks", refinery.lake, refinery.catalog)


def test_the_readmes_checklist_names_what_there_is():
    assert_checklist("tasks")
