"""Each gold table of the interaction system equals what DuckDB makes of the source, and no site sees another's."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from typer.testing import CliRunner

from assets.demo_interactions import TABLES, generate
from assets.demo_source import Database, Row
from pipelines.cli import app
from pipelines.errors import QueryError, SettingsError
from pipelines.gold import inputs_of, order_of, result_over
from pipelines.person import person_document
from pipelines.silver import apply
from pipelines.tenant import query_as_tenant
from tests.spec.domains import (
    NOW,
    Refinery,
    assert_checklist,
    assert_equal,
    assert_examples_run,
    only,
    source_of,
)

#: The source without the rows that its own foreign keys should have refused.
KEPT = """
CREATE VIEW i AS SELECT * FROM interactions WHERE site_id IN (SELECT site_id FROM sites) AND created_by IN (SELECT user_id FROM users) AND title IS NOT NULL;
CREATE VIEW told AS SELECT * FROM interactions_log WHERE op = 'd' OR (site_id IN (SELECT site_id FROM sites) AND created_by IN (SELECT user_id FROM users) AND title IS NOT NULL);
CREATE TABLE clock AS SELECT CAST(1 AS INTEGER) AS clock_id, date_trunc('day', make_timestamp(max(told_us))) AS as_of FROM (
  SELECT told_us FROM users_log UNION ALL SELECT told_us FROM user_site_mapping_log UNION ALL SELECT told_us FROM interactions_log);
CREATE MACRO now_() AS (SELECT as_of FROM clock);
CREATE VIEW gone AS SELECT interaction_id, arg_max(op, (commit, lsn)) AS op, make_timestamp(arg_max(told_us, (commit, lsn))) AS deleted_at FROM told GROUP BY interaction_id;
CREATE VIEW restorable AS SELECT t.*, g.deleted_at FROM told AS t JOIN gone AS g USING (interaction_id) WHERE g.op = 'd' AND g.deleted_at > now_() - INTERVAL 30 DAY AND t.op <> 'd'
  QUALIFY row_number() OVER (PARTITION BY interaction_id ORDER BY commit DESC, lsn DESC) = 1;
CREATE VIEW lifecycle AS
  SELECT site_id, interaction_id, CASE WHEN active <= now_() - INTERVAL 2 YEAR THEN 'archived' ELSE 'active' END AS state, active AS last_active_at, active + INTERVAL 2 YEAR AS archived_at,
    CAST(NULL AS TIMESTAMP) AS deleted_at, active + INTERVAL 7 YEAR AS gone_at FROM (SELECT *, coalesce(updated_at, created_at) AS active FROM i) WHERE active > now_() - INTERVAL 7 YEAR
  UNION ALL SELECT site_id, interaction_id, 'deleted', coalesce(updated_at, created_at), NULL, deleted_at, deleted_at + INTERVAL 30 DAY FROM restorable;
CREATE VIEW fields AS SELECT * FROM (
  SELECT interaction_id, site_id, commit, lsn, op, told_us, coalesce(updated_by, created_by) AS who, lag(site_id) OVER w AS site_before, title, type, lead, strftime(start_datetime, '%Y-%m-%d %H:%M:%S.%f') AS start_datetime,
    timezone, strftime(end_datetime, '%Y-%m-%d %H:%M:%S.%f') AS end_datetime, location, description, notes FROM told WINDOW w AS (PARTITION BY interaction_id ORDER BY commit, lsn))
  UNPIVOT INCLUDE NULLS (new_value FOR column_name IN (title, type, lead, start_datetime, timezone, end_datetime, location, description, notes));
CREATE VIEW steps AS SELECT *, lag(new_value) OVER (PARTITION BY interaction_id, column_name ORDER BY commit, lsn) AS before FROM fields;
CREATE VIEW trail AS SELECT *, (SELECT min(told_us) // 1000 FROM interactions_log WHERE commit = 0) AS version_epoch, lsn AS version, make_timestamp(told_us) AS changed_at FROM (
  SELECT site_id, interaction_id, lsn, told_us, IF(site_before = site_id, 'update', 'insert') AS operation, who AS changed_by, column_name, IF(site_before = site_id, before, NULL) AS old_value, new_value
    FROM steps WHERE op <> 'd' AND commit > 0
  UNION ALL SELECT site_before, interaction_id, lsn, told_us, 'delete', IF(op = 'd', NULL, who), column_name, before, NULL FROM steps WHERE op = 'd' OR site_id <> site_before)
  WHERE old_value IS DISTINCT FROM new_value AND make_timestamp(told_us) >= now_() - INTERVAL 2 YEAR;
"""  # fmt: skip

GOLD = {
    "clock": "FROM clock",
    "kept_days": "SELECT DISTINCT make_timestamp(told_us)::DATE AS day FROM told WHERE make_timestamp(told_us) >= now_() - INTERVAL 2 YEAR",
    "lifecycle": "FROM lifecycle",
    "restorable": "SELECT * EXCLUDE (op, commit, lsn, told_us) FROM restorable",
    "finder": """SELECT i.*, l.state, l.state = 'archived' AS is_read_only, l.last_active_at, lower(concat_ws(' ', title, description, notes)) AS search_text
        FROM i JOIN lifecycle AS l USING (interaction_id)""",
    "audit_trail": "FROM trail",
    "site_activity": """SELECT site_id, changed_at::DATE AS day, count(DISTINCT (interaction_id, lsn)) FILTER (operation = 'insert') AS inserted,
        count(DISTINCT (interaction_id, lsn)) FILTER (operation = 'update') AS updates, count(DISTINCT (interaction_id, lsn)) FILTER (operation = 'delete') AS deleted,
        count(DISTINCT interaction_id) AS interactions_touched, count(DISTINCT changed_by) AS people FROM trail GROUP BY ALL""",
    "site_members": "SELECT m.*, u.username, u.is_active FROM user_site_mapping AS m JOIN users AS u USING (user_id)",
    "site_overview": """SELECT site_id, name AS site_name, is_active,
        (SELECT count(DISTINCT user_id) FROM user_site_mapping AS m JOIN users AS u USING (user_id) WHERE m.site_id = s.site_id AND u.is_active) AS members,
        (SELECT count(*) FROM lifecycle AS l WHERE l.site_id = s.site_id AND state = 'active') AS interactions_active,
        (SELECT count(*) FROM lifecycle AS l WHERE l.site_id = s.site_id AND state = 'archived') AS interactions_archived,
        (SELECT count(*) FROM lifecycle AS l WHERE l.site_id = s.site_id AND state = 'deleted') AS interactions_deleted,
        (SELECT max(last_active_at) FROM lifecycle AS l WHERE l.site_id = s.site_id AND state <> 'deleted') AS last_active_at FROM sites AS s""",
}  # fmt: skip

CATALOG = only("interactions")


@pytest.fixture(scope="module")
def ims() -> Database:
    return generate()


@pytest.fixture(scope="module")
def refinery(ims: Database, tmp_path_factory: pytest.TempPathFactory) -> Refinery:
    made = Refinery(tmp_path_factory.mktemp("ims"), "interactions")
    half = len(ims.records) // 2
    made.take(ims.records[:half])
    made.take(ims.records[half:])
    return made


@pytest.fixture(scope="module")
def source(ims: Database) -> duckdb.DuckDBPyConnection:
    here = source_of(ims, "interactions")
    here.execute(KEPT)
    return here


def test_every_gold_table_is_held_to_the_source():
    assert {contract.name for contract in CATALOG.layer("gold")} == set(GOLD)


@pytest.mark.parametrize("table", GOLD)
def test_gold_is_what_sql_says_of_the_source(
    table: str, refinery: Refinery, source: duckdb.DuckDBPyConnection
):
    assert_equal(refinery.rows(f"gold.interactions.{table}"), source, GOLD[table])


# ---- LIFE CYCLE ---- #


def test_what_is_idle_is_archived_and_what_is_old_is_gone(ims: Database, refinery: Refinery):
    states = refinery.rows("gold.interactions.lifecycle")
    assert set(states["state"]) == {"active", "archived", "deleted"}
    kept = set(states.filter(pl.col("state") != "deleted")["interaction_id"])
    good = {int(key) for key in ims.truth["interactions"] if key not in ims.notes}
    assert 0 < len(good - kept) < 40
    assert kept < good
    finder = refinery.rows("gold.interactions.finder")
    assert set(finder["interaction_id"]) == kept
    assert set(finder.filter("is_read_only")["state"]) == {"archived"}


def test_the_clock_turns_states_over_and_nothing_else_does(refinery: Refinery):
    """A day later and a day earlier, by the clock's row alone."""
    contract, lake = CATALOG["gold.interactions.lifecycle"], refinery.lake
    frames = {name: lake.scan(name) for name in inputs_of(contract)}
    row = refinery.rows("gold.interactions.lifecycle").filter(pl.col("state") == "active").row(0, named=True)  # fmt: skip
    mine = (pl.col("interaction_id") == row["interaction_id"]) & (pl.col("site_id") == row["site_id"])  # fmt: skip

    def state_at(moment: Any) -> list[str]:
        clock = frames["gold.interactions.clock"].with_columns(pl.lit(moment).alias("as_of"))
        return result_over(contract, {**frames, "gold.interactions.clock": clock}).filter(mine)["state"].to_list()  # fmt: skip

    second = timedelta(seconds=1)
    assert state_at(row["archived_at"] - second) == ["active"]
    assert state_at(row["archived_at"]) == ["archived"]
    assert state_at(row["gone_at"] - second) == ["archived"]
    assert state_at(row["gone_at"]) == []


# ---- TENANTS ---- #


def test_every_table_but_the_days_is_divided_and_its_site_is_in_the_key():
    for contract in CATALOG.layer("gold"):
        assert (
            contract.name in ("clock", "kept_days")
            or contract.key[0] == contract.tenant == "site_id"
        )


@pytest.mark.parametrize("site", [1, 2, 5])
def test_a_site_sees_its_own_rows_and_nothing_else(site: int, refinery: Refinery):
    for contract in CATALOG.layer("gold"):
        if contract.tenant is None:
            continue
        everything = refinery.rows(contract.table)
        own = query_as_tenant(refinery.lake, CATALOG, f"SELECT * FROM {contract.table}", str(site))
        assert own.sort(contract.key).equals(everything.filter(pl.col("site_id") == site))
        escape = f"SELECT * FROM {contract.table} WHERE site_id <> {site} OR TRUE"
        assert set(query_as_tenant(refinery.lake, CATALOG, escape, str(site))["site_id"]) <= {site}


def test_what_other_sites_write_reaches_no_row_of_a_site(refinery: Refinery):
    """Every text of all other sites is replaced: the rows of site 2 stay as they were, in every table."""
    replaced = dict[str, pl.LazyFrame]()
    for table in order_of(CATALOG):
        contract = CATALOG[table]
        for name in inputs_of(contract):
            if name not in replaced:
                replaced[name] = _elsewhere(refinery.lake.scan(name), CATALOG["silver" + name[name.index(".") :]])  # fmt: skip
        rows = result_over(contract, replaced)
        replaced[table] = rows.lazy()
        if contract.tenant is not None:
            own = pl.col("site_id") == 2
            before = refinery.rows(table).filter(own)
            assert rows.filter(own).select(before.columns).sort(contract.key).equals(before), table
            if table.endswith(("finder", "audit_trail", "restorable")):
                assert not rows.sort(contract.key).equals(refinery.rows(table)), table


def _elsewhere(rows: pl.LazyFrame, contract: Any) -> pl.LazyFrame:
    texts = [
        n for n in ("title", "lead", "notes", "description", "location") if n in contract.columns
    ]
    if contract.name != "interactions":
        return rows
    return rows.with_columns(
        pl.when(pl.col("site_id") != 2).then(pl.lit("REPLACED")).otherwise(pl.col(n)).alias(n)
        for n in texts
    )  # fmt: skip


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT * FROM silver.interactions.users", "has no part in 'silver.interactions.users'"),
        ("SELECT * FROM history.interactions.interactions", "has no part in"),
        ("SELECT * FROM bronze.interactions.interactions", "has no part in"),
        ("SELECT * FROM gold.interactions.finder AS f JOIN silver.interactions.users AS u ON f.site_id = u.user_id", "has no part in"),
        ("SELECT * FROM read_csv('/etc/hosts')", "reads tables, not files"),
        ("SELECT * FROM gold.interactions.finder WHERE title IN (SELECT * FROM Read_Parquet ('x'))", "not files"),
        ("SHOW TABLES", "does not run"),
    ],
)  # fmt: skip
def test_a_tenant_gets_at_nothing_that_is_not_divided(sql: str, said: str, refinery: Refinery):
    with pytest.raises(QueryError, match=said):
        query_as_tenant(refinery.lake, CATALOG, sql, "1")


def test_a_tenant_that_is_no_number_is_refused(refinery: Refinery):
    with pytest.raises(QueryError, match="'1 OR TRUE' is no int32"):
        query_as_tenant(
            refinery.lake, CATALOG, "SELECT * FROM gold.interactions.finder", "1 OR TRUE"
        )


# ---- AUDIT ---- #


def test_the_trail_tells_the_story_of_an_interaction(ims: Database, refinery: Refinery):
    trail = refinery.rows("gold.interactions.audit_trail")
    moved = trail.filter(pl.col("operation") == "delete", pl.col("changed_by").is_not_null())
    assert set(moved["site_id"]) == {1}
    arrived = trail.filter(pl.col("version").is_in(moved["version"].implode()), pl.col("operation") == "insert")  # fmt: skip
    assert set(arrived["site_id"]) == {2}
    assert arrived["old_value"].null_count() == len(arrived)
    assert trail.filter(pl.col("operation") == "update", pl.col("column_name") == "lead")["new_value"].unique().to_list() == ["Nobody"]  # fmt: skip


def test_a_person_gets_what_is_theirs(ims: Database, refinery: Refinery):
    who = str(next(iter(ims.truth["interactions"].values()))["created_by"])
    told = person_document(
        refinery.lake, refinery.catalog, "silver.interactions.users", who, now=NOW
    )
    assert list(told["personal_data"]) == ["silver.interactions.users"]
    entered = told["activity_data"]["silver.interactions.interactions"]
    mine = [r for r in ims.truth["interactions"].values() if int(who) in (r["created_by"], r["updated_by"])]  # fmt: skip
    assert {r["interaction_id"] for r in entered} == {r["interaction_id"] for r in mine}
    assert "password_hash" not in str(told)
    with pytest.raises(QueryError, match="nobody has the key"):
        person_document(refinery.lake, refinery.catalog, "silver.interactions.users", "0", now=NOW)


def test_the_command_line_speaks_as_a_tenant_and_to_a_person(refinery: Refinery):
    place = ["--lake", refinery.lake.root, "--assets", str(CATALOG.root)]
    run = CliRunner().invoke
    sql = "SELECT DISTINCT site_id FROM gold.interactions.finder"
    seen = run(app, ["query", sql, "--tenant", "2", "-f", "json", *place])
    assert json.loads(seen.stdout) == [{"site_id": 2}]
    assert isinstance(
        run(app, ["query", sql, "--tenant", "2", "--as-of", "2026-05-01", *place]).exception,
        SettingsError,
    )
    told = json.loads(run(app, ["person", "silver.interactions.users", "3", *place]).stdout)
    assert (told["format"], told["subject"]["key"]) == ("JSON", "3")
    dated = told["personal_data"]["silver.interactions.users"][0]["last_login"]
    assert dated is None or datetime.fromisoformat(dated)


# ---- MIGRATIONS ---- #


def test_a_new_version_of_a_schema_keeps_count_and_checksum(
    refinery: Refinery, tmp_path: Path, ims: Database
):
    """A minor version takes a column more: the table is made again from bronze, and no row or value is lost."""
    moved = Refinery(tmp_path, "interactions")
    moved.take(ims.records)
    before = moved.rows("silver.interactions.sites")
    contract = CATALOG["silver.interactions.sites"]
    region = contract.columns["description"].model_copy(update={"description": "Region"})
    newer = contract.model_copy(
        update={"version": "1.1.0", "columns": {**contract.columns, "region": region}}
    )
    apply(moved.lake, CATALOG.having(newer), newer.table, now=NOW)
    after = moved.lake.scan(newer.table).collect()
    assert set(after["processing_version"].str.split("+").list.first()) == {"1.1.0"}
    assert after.select(before.columns).hash_rows().sum() == before.hash_rows().sum()
    assert (len(after), after["region"].null_count()) == (len(before), len(before))


# ---- BAD INPUT ---- #

#: A row as it should be but for one column, and what is said of it; `None`: only warned of.
DIRT = [
    ("users", "email", None, "email_required"),
    ("users", "is_active", "maybe", "undecodable:is_active"),
    ("sites", "name", None, "name_required"),
    ("user_site_mapping", "site_id", 99, "known_site"),
    ("user_site_mapping", "user_id", 4711, "known_user"),
    ("user_site_mapping", "role", None, "role_required"),
    ("interactions", "site_id", 99, "known_site"),
    ("interactions", "site_id", None, "site_id_required"),
    ("interactions", "created_by", 4711, "known_creator"),
    ("interactions", "updated_by", 4711, "known_updater"),
    ("interactions", "title", None, "title_required"),
    ("interactions", "site_id", 3_000_000_000, "undecodable:site_id"),
    ("interactions", "start_datetime", "9 o'clock", "undecodable:start_datetime"),
]  # fmt: skip


@pytest.fixture(scope="module")
def dirty(tmp_path_factory: pytest.TempPathFactory) -> tuple[Refinery, list[Row]]:
    small = generate(days=3, old=10)
    good = {table: next(iter(held.values())) for table, held in small.truth.items()}
    rows = list[Row]()
    for number, (table, column, value, _) in enumerate(DIRT, 1):
        own: Row = {TABLES[table].key: 80_000 + number}
        rows.append({**good[table], **own, column: value})
        small.commit((table, "c", rows[-1]))
    refinery = Refinery(tmp_path_factory.mktemp("dirt"), "interactions")
    refinery.take(small.records)
    return refinery, rows


@pytest.mark.parametrize("number", range(len(DIRT)), ids=[f"{t}.{c}-{w}" for t, c, _, w in DIRT])
def test_a_bad_row_waits_in_quarantine_and_is_in_no_gold(
    dirty: tuple[Refinery, list[Row]], number: int
):
    refinery, rows = dirty
    table, _, _, issue = DIRT[number]
    key = TABLES[table].key
    row = refinery.lake.scan(f"quarantine.interactions.{table}").filter(pl.col(key) == rows[number][key])  # fmt: skip
    assert row.collect()["quality_issues"].list.first().to_list() == [issue]
    for gold in refinery.catalog.layer("gold"):
        if key in gold.columns:
            assert rows[number][key] not in refinery.rows(gold.table)[key]


def test_an_interaction_of_a_site_that_is_told_later_waits_for_it(ims: Database, tmp_path: Path):
    small = generate(days=3, old=10)
    late = max(n for n, r in enumerate(small.records) if r.topic == small.topic("sites") and b'"op":"c"' in (r.value or b""))  # fmt: skip
    refinery = Refinery(tmp_path, "interactions")
    refinery.take(small.records[:late])
    waiting = refinery.lake.scan("quarantine.interactions.interactions").collect()
    assert waiting["quality_issues"].to_list() == [["known_site", "known_creator"]]
    assert not set(waiting["site_id"]) & set(refinery.rows("gold.interactions.finder")["site_id"])
    refinery.take(small.records[late:])
    assert len(refinery.lake.scan("quarantine.interactions.interactions").collect()) == 0
    assert set(waiting["site_id"]) <= set(refinery.rows("gold.interactions.finder")["site_id"])


def test_what_is_odd_but_possible_is_kept_and_said(refinery: Refinery):
    rows = refinery.lake.scan("silver.interactions.interactions").collect()
    odd = rows.filter(pl.col("quality_issues").list.contains("ends_after_it_begins"))
    assert len(odd) == 1
    assert set(odd["interaction_id"]) <= set(
        refinery.rows("gold.interactions.finder")["interaction_id"]
    )


# ---- README ---- #


def test_the_readmes_examples_run(refinery: Refinery):
    assert_examples_run("interactions", refinery.lake, refinery.catalog)


def test_the_readmes_checklist_names_what_there_is():
    assert_checklist("interactions")
