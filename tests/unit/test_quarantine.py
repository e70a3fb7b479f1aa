"""Quarantined rows shown, released, dropped and judged again; each act audited, and known to a rebuild."""

from __future__ import annotations

import itertools
import json
import tempfile
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from pipelines.audit import Actor
from pipelines.bronze import Bronze
from pipelines.cli import app
from pipelines.contract import Catalog
from pipelines.contract.rule_spec import RuleSpec
from pipelines.decisions import DROP, RELEASE, row_id
from pipelines.delta.store import Store
from pipelines.errors import LakeError, SettingsError
from pipelines.quarantine import audited, decide, retry
from pipelines.replay import check
from pipelines.shape import payload_shape, shape_of
from pipelines.silver import apply
from pipelines.storage import Lake
from pipelines.upkeep import keep_up
from pipelines.verify.compare import compare
from pipelines.verify.held import open_held
from pipelines.verify.values import Field
from pipelines.waiting import Choice, counted, show_row, waiting_rows
from tests.properties.test_laws import (
    CATALOG,
    CONTRACT,
    HISTORY,
    NOW,
    TABLE,
    Source,
    batch,
    held,
    play,
)
from tests.spec import test_keyless as keyless
from tests.unit.test_cli import Bench, event

ANA = Actor("ana", "root")
WAITING = "quarantine.shop.items"
LATER = NOW + timedelta(days=3)
ALL = Choice(everything=True)


def landed(root: Path, sent: list, at: int = 0, catalog: Catalog = CATALOG) -> Lake:
    lake = Lake(str(root))
    Bronze(lake, catalog).land(batch(sent, at))
    apply(lake, catalog, TABLE, now=NOW)
    return lake


@pytest.fixture
def source() -> Source:
    """Of three rows two have a price below zero."""
    return play([("transact", [("put", 1, 100, 1), ("put", 2, -200, 2), ("put", 3, -5, 3)])])


@pytest.fixture
def lake(tmp_path: Path, source: Source) -> Lake:
    return landed(tmp_path / "lake", source.sent)


def more(lake: Lake, source: Source, *changes: tuple, catalog: Catalog = CATALOG) -> None:
    at = len(source.sent)
    source.transact(list(changes))
    Bronze(lake, catalog).land(batch(source.sent[at:], at))
    apply(lake, catalog, TABLE, now=LATER)


def ids(lake: Lake, layer: str) -> list[int]:
    return lake.scan(f"{layer}.shop.items").select("id").collect().to_series().sort().to_list()


def act(lake: Lake, what: str, *keys: int, catalog: Catalog = CATALOG, now: datetime = NOW):
    rows = lake.scan(WAITING).filter(pl.col("id").is_in(keys)).select("source_bronze_id")
    choice = Choice(ids=tuple(rows.collect().to_series())) if keys else ALL
    return decide(lake, catalog, TABLE, what, choice, why="ticket 1", actor=ANA, now=now)


def same_from_bronze(lake: Lake, catalog: Catalog = CATALOG) -> None:
    done = check(lake, catalog, TABLE, now=NOW)
    assert (done.differing, done.by_parents, done.differences) == (0, 0, ())


# ---- RELEASE ---- #


def test_a_released_row_stands_in_silver_with_its_issues_and_stays_there(lake: Lake):
    done = act(lake, RELEASE, 2)
    assert (done.decided, done.released, done.waiting) == (1, 1, 1)
    assert (ids(lake, "silver"), ids(lake, "quarantine")) == ([1, 2], [3])
    row = lake.scan(TABLE).filter(pl.col("id") == 2).collect()
    assert row["quality_issues"].to_list() == [["price_range"]]
    assert row["price"].to_list() == [Decimal("-2.00")]
    before = {table: lake.version(table) for table in lake.tables()}
    apply(lake, CATALOG, TABLE, now=LATER)
    assert {table: lake.version(table) for table in lake.tables()} == before
    same_from_bronze(lake)


def test_a_newer_event_of_a_released_row_is_judged_on_its_own(lake: Lake, source: Source):
    act(lake, RELEASE, 2)
    more(lake, source, ("put", 2, -300, None))
    assert (ids(lake, "silver"), ids(lake, "quarantine")) == ([1], [2, 3])
    assert held(lake) == source.rows
    same_from_bronze(lake)


def test_a_release_does_not_cover_a_rule_that_it_did_not_list(lake: Lake):
    known = {"name": "long_note", "expression": {"sql": "LENGTH(note) > 2"}}
    stricter = CONTRACT.model_copy(update={"rules": (RuleSpec.model_validate(known),)})
    catalog = Catalog(Path(), {TABLE: stricter})
    act(lake, RELEASE, 2)
    folder = Path(lake.root).parent / "again"
    again = Lake(str(folder))
    for table in ("bronze.shop.items", "system.main.quarantine_decisions"):
        copy(lake, again, table)
    apply(again, catalog, TABLE, now=NOW)
    waiting = again.scan(WAITING).filter(pl.col("id") == 2).collect()
    assert waiting["quality_issues"].to_list() == [["price_range", "long_note"]]
    act(again, RELEASE, 2, catalog=catalog, now=LATER)
    assert 2 in ids(again, "silver")


def copy(lake: Lake, to: Lake, table: str) -> None:
    source, target = Path(lake.path(table)), Path(to.path(table))
    for file in source.rglob("*"):
        if file.is_file():
            (target / file.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
            (target / file.relative_to(source)).write_bytes(file.read_bytes())


def test_a_value_that_could_not_be_read_is_not_released(tmp_path: Path):
    sent = [
        (key, value and value.replace('"price": "', '"price": "!'), headers)
        for key, value, headers in play([("transact", [("put", 1, 5, 1)])]).sent
    ]
    lake = landed(tmp_path, sent)
    with pytest.raises(LakeError, match="could not be read"):
        act(lake, RELEASE, 1)
    assert ids(lake, "quarantine") == [1]
    assert act(lake, DROP, 1).dropped == 1
    assert (ids(lake, "silver"), ids(lake, "quarantine")) == ([], [])


# ---- DROP ---- #


def test_a_dropped_row_stands_in_neither_and_nothing_older_comes_back(lake: Lake, source: Source):
    more(lake, source, ("put", 1, -1, None))  # silver's own row is replaced by a refused one
    act(lake, DROP, 1)
    assert (ids(lake, "silver"), ids(lake, "quarantine")) == ([], [2, 3])
    Bronze(lake, CATALOG).land(batch(source.sent[:1], 100))  # the older event once more
    apply(lake, CATALOG, TABLE, now=LATER)
    assert (ids(lake, "silver"), ids(lake, "quarantine")) == ([], [2, 3])
    same_from_bronze(lake)


def test_a_newer_event_brings_a_dropped_row_back_with_the_values_it_had(lake: Lake, source: Source):
    act(lake, DROP, 2)
    more(lake, source, ("put", 2, 700, None))  # its note is not sent again
    assert held(lake) == source.rows
    assert ids(lake, "silver") == [1, 2]
    same_from_bronze(lake)


def test_the_proof_knows_dropped_rows_by_their_keys(lake: Lake, source: Source):
    act(lake, DROP, 2)
    assert open_held(lake, CONTRACT).dropped["id"].to_list() == [2]
    more(lake, source, ("drop", 2))
    assert len(open_held(lake, CONTRACT).dropped) == 0


def test_history_says_what_was_decided(lake: Lake):
    act(lake, RELEASE, 2)
    act(lake, DROP, 3)
    rows = lake.scan("history.shop.items").select("id", "verdict").sort("id").collect().rows()
    assert rows == [(1, "kept"), (2, "kept"), (3, "dropped")]
    same_from_bronze(lake)


@settings(max_examples=12)
@given(HISTORY, st.lists(st.integers(1, 6), min_size=1, max_size=5), st.randoms())
def test_kept_quarantined_and_dropped_are_the_source_and_bronze_makes_them_again(
    history, cuts, chance
):
    """Decisions at any time, in any batches: law 2 less the dropped rows, and law 6."""
    sent = play(history).sent
    with tempfile.TemporaryDirectory() as folder:
        lake, at = Lake(folder), 0
        for size in itertools.cycle(cuts):
            if at >= len(sent):
                break
            Bronze(lake, CATALOG).land(batch(sent[at : at + size], at))
            at += size
            apply(lake, CATALOG, TABLE, now=NOW)
            waiting = lake.scan(WAITING).select("id").collect().to_series().sort().to_list()
            for key in waiting:
                if chance.random() < 0.6:
                    act(lake, chance.choice([RELEASE, DROP]), key)
        if not sent:
            return
        dropped = set(open_held(lake, CONTRACT).dropped["id"])
        rows = {key: row for key, row in play(history).rows.items() if key not in dropped}
        assert held(lake) == rows
        same_from_bronze(lake)


# ---- SEEN, SHOWN, CHOSEN ---- #


def test_a_row_remembers_when_it_was_first_refused_and_how_often(lake: Lake, source: Source):
    more(lake, source, ("put", 2, -300, None))
    seen = lake.scan(WAITING).select("id", "first_seen_at", "times_seen").sort("id").collect()
    assert seen.rows() == [(2, NOW, 2), (3, NOW, 1)]
    apply(lake, CATALOG, TABLE, now=LATER)
    assert (
        lake.scan(WAITING)
        .select("id", "first_seen_at", "times_seen")
        .sort("id")
        .collect()
        .equals(seen)
    )


def test_a_quarantine_of_an_older_version_gets_its_count(lake: Lake, source: Source):
    rows = lake.scan(WAITING).drop("times_seen").collect()
    lake.write(lake.handle(WAITING), rows, mode="overwrite", reshape=True)
    more(lake, source, ("put", 2, -300, None))
    assert sorted(lake.scan(WAITING).select("id", "times_seen").collect().rows()) == [
        (2, 2),
        (3, 1),
    ]


def test_rows_are_chosen_by_rule_age_and_id(lake: Lake):
    listed = waiting_rows(lake, CONTRACT, LATER)
    assert listed["issues"].to_list() == [["price_range"]] * 2
    assert len(waiting_rows(lake, CONTRACT, LATER, older_than=timedelta(days=2))) == 2
    assert len(waiting_rows(lake, CONTRACT, LATER, older_than=timedelta(days=4))) == 0
    assert len(waiting_rows(lake, CONTRACT, LATER, rule="price_range")) == 2
    with pytest.raises(SettingsError, match=r"(?s)no rule 'price_rang'.*price_range"):
        waiting_rows(lake, CONTRACT, LATER, rule="price_rang")
    (by_rule,) = counted(listed, ["table", "rule"]).to_dicts()
    assert (by_rule["rule"], by_rule["rows"], by_rule["first_seen_at"]) == ("price_range", 2, NOW)


def test_a_row_is_named_by_the_beginning_of_its_id(lake: Lake):
    first, second = waiting_rows(lake, CONTRACT, NOW)["row_id"]
    common = next(n for n in range(len(first)) if first[n] != second[n])
    assert show_row(lake, CONTRACT, first[: max(4, common + 1)]).row["row_id"] == first
    assert show_row(lake, CONTRACT, second[-4:]).row["row_id"] == second
    with pytest.raises(SettingsError, match="2 quarantined rows begin or end"):
        show_row(lake, CONTRACT, first[:4])
    with pytest.raises(SettingsError, match="no quarantined row"):
        show_row(lake, CONTRACT, "nowhere")
    with pytest.raises(SettingsError, match="too short"):
        Choice(ids=("abc",))
    with pytest.raises(SettingsError, match="either by their ids"):
        Choice()


def test_a_classified_value_is_shown_as_its_shape_only(lake: Lake):
    secret = CONTRACT.columns["price"].model_copy(update={"classification": "restricted"})
    hidden = CONTRACT.model_copy(update={"columns": {**CONTRACT.columns, "price": secret}})
    row = waiting_rows(lake, CONTRACT, NOW).filter(pl.col("key") == "2")["row_id"][0]
    found = show_row(lake, hidden, row)
    (failed,) = found.failed
    assert failed["value"] == "number, negative, 1 digits and 2 after the point"
    assert found.columns["note"] == "n2"
    assert (found.event["kafka_offset"], found.event["operation_type"]) == (1, "INSERT")
    assert found.payload["after.price"].startswith("text of 12 characters")
    assert "-2.00" not in repr(found)
    assert show_row(lake, CONTRACT, row).failed[0]["value"] == "-2.00"


@pytest.mark.parametrize(
    ("value", "shape"),
    [
        (None, "null"),
        ("", "empty text"),
        ("Ana Ruiz", "text of 8 characters: lower case, upper case, blanks"),
        ("a@b.de ", "text of 7 characters: lower case, blanks, marks . @, blanks at its ends"),
        ("ñ1\n", "text of 3 characters: lower case, digits, line breaks, beyond ASCII, blanks at its ends"),
        (Decimal("-12.50"), "number, negative, 2 digits and 2 after the point"),
        (7, "whole number, positive, 1 digits"),
        (float("nan"), "not a finite number"),
        ([1, 2], "list of 2"),
        (b"abc", "3 bytes"),
        (True, "true or false"),
        (datetime(2026, 1, 1, tzinfo=UTC), "a time with zone"),
    ],
)  # fmt: skip
def test_a_shape_tells_the_kind_and_not_the_value(value, shape):
    assert shape_of(value) == shape


def test_the_shape_of_a_message_names_its_fields_and_none_of_its_values():
    message = {"op": "c", "after": {"mail": "ana@x.org", "address": {"street": "Elm"}}}
    assert payload_shape(json.dumps(message)) == {
        "op": "text of 1 characters: lower case",
        "after.mail": "text of 9 characters: lower case, marks . @",
        "after.address": "object of 1 fields",
    }
    assert payload_shape("{oops") == {
        "(message)": "not JSON: text of 5 characters: lower case, marks {"
    }


# ---- AGAIN, AND AFTER A CRASH ---- #


def test_retry_judges_again_under_the_rules_as_they_are_now(lake: Lake):
    column = CONTRACT.columns["price"].model_copy(update={"min": -10})
    mended = Catalog(
        Path(),
        {TABLE: CONTRACT.model_copy(update={"columns": {**CONTRACT.columns, "price": column}})},
    )
    done = retry(lake, mended, TABLE, why="too strict", actor=ANA, now=NOW)
    assert (done.decided, done.released, done.waiting) == (2, 2, 0)
    assert ids(lake, "silver") == [1, 2, 3]
    log = audited(lake).select("act", "done_by", "why", "after").sort("act").rows()
    assert log == [
        ("quarantine.retried", "ana", "too strict", '{"quarantined": 0, "released": 2}'),
        ("quarantine.retry", "ana", "too strict", None),
    ]


def test_every_decision_is_audited_with_who_why_and_no_classified_value(lake: Lake):
    act(lake, RELEASE, 2)
    (entry,) = audited(lake).to_dicts()
    told = ("act", "done_by", "os_user", "table_name", "row_key", "why", "before", "after")
    assert {name: entry[name] for name in told} == {
        "act": "quarantine.release",
        "done_by": "ana",
        "os_user": "root",
        "table_name": TABLE,
        "row_key": "2",
        "why": "ticket 1",
        "before": '{"place":"quarantine","issues":["price_range"]}',
        "after": '{"place":"silver"}',
    }
    log, nothing = lake.handle("system.main.audit_log"), audited(lake).clear()
    with pytest.raises(LakeError):
        lake.write(log, nothing, mode="overwrite")


def test_a_decision_has_a_reason(lake: Lake):
    with pytest.raises(SettingsError, match="reason"):
        decide(lake, CATALOG, TABLE, DROP, ALL, why=" ", actor=ANA, now=NOW)


class Died(BaseException):
    """The process is gone: nothing may catch it."""


@pytest.mark.parametrize("what", [RELEASE, DROP])
def test_a_decision_survives_a_crash_between_any_two_writes(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch, what: str
):
    """Died before its n-th write, done once more: as if it had not died. Every n until there are no more."""
    for nth in itertools.count(1):
        lake = landed(tmp_path / str(nth), source.sent)
        row = waiting_rows(lake, CONTRACT, NOW).filter(pl.col("key") == "2")["row_id"][0]
        with monkeypatch.context() as patch:
            writes = itertools.count(1)
            for owner, name in ((Lake, "write"), (Lake, "create"), (Store, "put")):
                patch.setattr(owner, name, deadly(getattr(owner, name), writes, nth))
            try:
                decide(lake, CATALOG, TABLE, what, Choice(ids=(row,)), why="w", actor=ANA, now=NOW)
                died = False
            except Died:
                died = True
        if not died:
            break
        if nth % 2:  # a run may come first
            apply(lake, CATALOG, TABLE, now=LATER)
        try:
            decide(lake, CATALOG, TABLE, what, Choice(ids=(row,)), why="w", actor=ANA, now=NOW)
        except SettingsError as error:
            raise AssertionError(f"write {nth}: {error}") from error
        kept = [1, 2] if what == RELEASE else [1]
        assert (ids(lake, "silver"), ids(lake, "quarantine")) == (kept, [3]), f"write {nth}"
        assert audited(lake)["act"].to_list() == [f"quarantine.{what}"], f"write {nth}"
        same_from_bronze(lake)
    assert nth > 6


def deadly(write, writes, nth: int):
    def counted_write(*args, **kwargs):
        if next(writes) == nth:
            raise Died
        return write(*args, **kwargs)

    return counted_write


# ---- WITH ALL THE REST ---- #


def with_rule(sql: str) -> Catalog:
    rule = RuleSpec.model_validate({"name": "more", "expression": {"sql": sql}})
    return Catalog(Path(), {TABLE: CONTRACT.model_copy(update={"rules": (rule,)})})


def test_when_rules_change_a_released_row_stays_unless_it_breaks_the_new_one(lake: Lake):
    act(lake, RELEASE)
    kind = with_rule("id > 0")
    apply(lake, kind, TABLE, now=LATER)
    assert ids(lake, "silver") == [1, 2, 3]
    same_from_bronze(lake, kind)
    strict = with_rule("id < 3")
    apply(lake, strict, TABLE, now=LATER)
    assert (ids(lake, "silver"), ids(lake, "quarantine")) == ([1, 2], [3])
    same_from_bronze(lake, strict)


def test_a_table_that_is_made_again_keeps_what_was_decided(lake: Lake):
    act(lake, RELEASE, 2)
    act(lake, DROP, 3)
    column = CONTRACT.columns["note"]
    wider = CONTRACT.model_copy(update={"columns": {**CONTRACT.columns, "remark": column}})
    catalog = Catalog(Path(), {TABLE: wider})
    apply(lake, catalog, TABLE, now=LATER)
    assert "remark" in lake.scan(TABLE).collect_schema()
    assert (ids(lake, "silver"), ids(lake, "quarantine")) == ([1, 2], [])
    same_from_bronze(lake, catalog)


def test_the_proof_finds_a_dropped_row_equal_and_one_that_the_source_lost_extra(lake: Lake):
    fields = [
        Field(name=name, field=name, kind=CONTRACT.columns[name].type, origin=origin)
        for name, origin in (("id", "int4"), ("note", "text"))
    ]
    there = pl.DataFrame({"id": ["1", "2", "3"], "note": ["n1", "n2", "n3"]})
    act(lake, DROP, 2)
    ((here, _),) = open_held(lake, CONTRACT).between(fields, None, None, most=10)
    assert sorted(here["_place"]) == ["dropped", "quarantine", "silver"]
    found, aside = compare(there, here, fields, ["id"])
    assert (len(found), aside) == (0, 1)
    lost, _ = compare(there.filter(pl.col("id") != "2"), here, fields, ["id"])
    assert lost.select("id", "kind", "places").rows() == [("2", "extra", ["dropped"])]


@pytest.mark.parametrize("identity", ["event", "row"])
def test_rows_without_a_key_are_released_and_dropped(tmp_path: Path, identity: str):
    catalog = keyless.catalog_of(identity)
    rule = RuleSpec.model_validate({"name": "small", "expression": {"sql": "a < 10"}})
    contract = catalog[keyless.TABLE].model_copy(update={"rules": (rule,)})
    catalog, lake = catalog.having(contract), Lake(str(tmp_path))
    sent = [keyless.event("c", None, (a, "x"), 100 + a) for a in (1, 20, 30)]
    keyless.land(lake, catalog, sent, 0)
    apply(lake, catalog, keyless.TABLE, now=NOW)
    names = dict(lake.scan("quarantine.x.t").select("a", row_id(contract)).collect().rows())
    for what, a in ((RELEASE, 20), (DROP, 30)):
        choice = Choice(ids=(names[a],))
        done = decide(lake, catalog, keyless.TABLE, what, choice, why="w", actor=ANA, now=NOW)
        assert done.decided == 1
    assert done.waiting == 0
    keyless.land(lake, catalog, [keyless.event("c", None, (2, "x"), 200)], 3)
    apply(lake, catalog, keyless.TABLE, now=LATER)
    assert sorted(lake.scan(keyless.TABLE).select("a").collect().to_series()) == [1, 2, 20]
    done = check(lake, catalog, keyless.TABLE, now=NOW)
    assert (done.differing, done.differences) == (0, ())


def test_upkeep_leaves_the_audit_log_and_the_decisions_whole(lake: Lake):
    act(lake, RELEASE, 2)
    act(lake, DROP, 3)
    before = audited(lake)
    keep_up(lake, lake.tables(), retention_hours=168)
    assert audited(lake).equals(before)
    same_from_bronze(lake)


# ---- THE COMMANDS ---- #


def test_the_commands_say_what_waits_and_what_became_of_it(tmp_path: Path):
    bench, table = Bench(tmp_path), "silver.shop.notes"
    environment = {"MEDALLION_ASSETS": str(bench.assets), "MEDALLION_LAKE": str(bench.lake)}

    def run(*arguments: str):
        return CliRunner().invoke(app, arguments, env=environment)

    def told(*arguments: str) -> list[dict]:
        return told_rows(run(*arguments, "--json"))

    def told_rows(done) -> list[dict]:
        assert done.exit_code == 0, done.output
        return json.loads(done.stdout)

    bench.record(event(1, 10, None), event(2, 11, None), event(3, 12, "fine"))
    told("run", "--from-file", str(bench.stream))
    rows = told("quarantine", "list")
    assert [row["key"] for row in rows] == ["1", "2"]
    (counts,) = told("quarantine", "list", "--by", "rule")
    assert (counts["rule"], counts["rows"]) == ("text_required", 2)
    shown = run("quarantine", "show", table, rows[0]["row_id"])
    assert shown.exit_code == 0, shown.output
    assert "text_required" in shown.stdout
    refused = run("quarantine", "release", table, rows[0]["row_id"])
    assert (refused.exit_code, "--why" in refused.output) == (2, True)
    why = ("--why", "seen", "--by", "ana")
    (done,) = told("quarantine", "release", table, rows[0]["row_id"], *why)
    assert (done["released"], done["waiting"]) == (1, 1)
    (done,) = told("quarantine", "drop", table, "--rule", "text_required", *why)
    assert (done["dropped"], done["waiting"]) == (1, 0)
    sql = "SELECT failed_count, record_count FROM system.main.data_quality_results WHERE rule_name = 'text_required' ORDER BY checked_at DESC LIMIT 1"
    assert told_rows(run("query", sql, "-f", "json")) == [{"failed_count": 1, "record_count": 2}]
    (again,) = told("replay", table, "--check")
    assert (again["differing"], again["rows"]) == (0, 3)  # the dropped one as its tombstone
    for name in ("list", "show", "release", "retry", "drop"):
        assert f"medallion quarantine {name}" in run("quarantine", name, "--help").output
