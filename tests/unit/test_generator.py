"""The copies that a source database is filled with, and the script that a real database is told by."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from assets.demo import STORIES
from assets.demo_source import Database
from assets.generator.copies import Template, copied, copies_for, templates
from assets.generator.databases import Postgres, _bracketed, open_target
from assets.generator.telling import generate
from pipelines.contract import load_catalog
from pipelines.errors import SettingsError

CATALOG = load_catalog(Path(__file__).parents[2] / "assets")
END = datetime(2026, 11, 21, tzinfo=UTC)
COPIES = 24


@cache
def template_of(domain: str, nth: int = 0) -> dict[str, Template]:
    story = STORIES[domain].tell(5 + nth)
    huge = lambda row: any(str(value) == "123456789012.34" for value in row.values())  # noqa: E731
    accepted = {t: [r for r in rows.values() if not huge(r)] for t, rows in story.truth.items()}
    return templates(story, CATALOG, domain, accepted, nth)


@cache
def mass(domain: str, nth: int = 0, seed: int = 1) -> dict[str, pl.DataFrame]:
    pieces = dict[str, list[pl.DataFrame]]()
    made = template_of(domain, nth)
    for table, rows in copied(
        made, COPIES, nth=nth, story_shift=timedelta(days=7), end=END, seed=seed
    ):
        pieces.setdefault(table, []).append(rows)
    return {table: pl.concat(each) for table, each in pieces.items()}


#: The domains whose source is a database.
DOMAINS = [domain for domain, story in STORIES.items() if isinstance(story.tell(3), Database)]


@pytest.fixture(scope="module", params=DOMAINS)
def domain(request: pytest.FixtureRequest) -> str:
    return request.param


def test_no_two_rows_of_copies_share_a_key_or_what_is_said_to_be_unique(domain: str):
    first, second = mass(domain, 0), mass(domain, 1)
    for table, template in template_of(domain).items():
        for name in {
            template.key,
            *template.distinct & set(template.rows.columns) - template.refers.keys(),
        }:
            taken, others = first[table][name].drop_nulls(), second[table][name].drop_nulls()
            once = template.rows[name].drop_nulls()
            # Where a rule only warns, the story may repeat a text itself.
            assert taken.n_unique() == once.n_unique() * _copies(template), (table, name)
            assert not taken.is_in(others.implode()).any(), (table, name)


def _copies(template: Template) -> int:
    return int(COPIES**0.75) if template.is_slow else COPIES


def test_what_refers_to_a_row_does_in_each_copy_and_an_orphan_stays_one(domain: str):
    made, there = template_of(domain), mass(domain)
    compared = 0
    for table, template in made.items():
        for column, other in template.refers.items():
            known, copies = made[other].rows[made[other].key], there[other][made[other].key]
            before = template.rows[column].drop_nulls().is_in(known.implode())
            after = there[table][column].drop_nulls().is_in(copies.implode())
            assert after.sum() == before.sum() * _copies(template), (table, column)
            compared += len(before) - before.sum()
    assert compared > 0, "the stories hold orphans"


def test_the_same_seed_gives_the_same_rows_and_another_gives_others(domain: str):
    first, again, other = mass(domain), mass.__wrapped__(domain), mass(domain, seed=2)
    assert all(first[table].equals(again[table]) for table in first)
    assert not all(first[table].equals(other[table]) for table in first)


def test_years_grow_december_is_high_and_few_sites_have_most():
    made = template_of("interactions")
    rows = pl.concat(
        each
        for table, each in copied(
            made, 800, nth=0, story_shift=timedelta(weeks=24), end=END, seed=1
        )
        if table == "interactions"
    )
    # A sixth of the story's rows are ten years old; the others are of its two months.
    newest = rows.filter(pl.col("interaction_id").is_not_null(), pl.col("created_at") > datetime(2023, 7, 1))  # fmt: skip
    years = Counter(newest["created_at"].dt.year().to_list())
    assert years[2025] > 1.3 * years[2024] > 1.3 * 1.1 * years[2023]
    months = newest.filter(pl.col("created_at").dt.year() == 2025)["created_at"].dt.month()
    by_month = Counter(months.to_list())
    assert by_month[11] > 1.5 * by_month[5]
    sites = rows["site_id"].value_counts(sort=True)["count"]
    assert sites.head(len(sites) // 10).sum() > 0.3 * sites.sum()


def test_a_birthday_is_no_event_that_copies_move():
    people, born = mass("research")["participants"], template_of("research")["participants"].rows
    assert set(people["birth_date"]) == set(born["birth_date"])
    assert people["created_at"].max() < born["created_at"].max() + timedelta(days=7)
    assert set(mass("research")["studies"]["start_date"]).isdisjoint(
        template_of("research")["studies"].rows["start_date"][-1:]
    )


def test_about_so_many_rows_as_asked_for(domain: str):
    made = template_of(domain)
    count = copies_for(50_000, made)
    rows = sum(len(t.rows) * count for t in made.values() if not t.is_slow)
    assert 50_000 <= rows < 60_000


# ---- THE SCRIPT ---- #


def replayed(story: Database) -> dict[str, dict[str, Any]]:
    """The rows that the script leaves, in a database of dictionaries."""
    held: dict[str, dict[str, Any]] = {table: {} for table in story.tables}
    begun = dict[int, Any]()
    for step in story.script:
        match step.act:
            case "load" | "commit":
                for table, op, row in step.changes or begun.pop(step.transaction):
                    key = str(row[story.tables[table].key])
                    held[table].pop(key, None)
                    held[table] |= {} if op == "d" else {key: row}
            case "begin":
                begun[step.transaction] = step.changes
            case "rekey":
                table, _, row = step.changes[0]
                del held[table][str(step.old_key)]
                held[table][str(row[story.tables[table].key])] = row
            case "truncate":
                held[step.text].clear()
            case "message":
                pass
    assert not begun
    return held


@pytest.mark.parametrize("domain", DOMAINS)
def test_a_storys_script_leaves_what_its_stream_leaves(domain: str):
    story = STORIES[domain].tell(3)
    assert replayed(story) == story.truth
    acts = {step.act for step in story.script}
    assert {"load", "begin", "commit"} <= acts
    overlapping = [
        first.transaction != second.transaction
        for first, second in zip(story.script, story.script[1:], strict=False)
        if first.act == "begin" and second.act in ("begin", "commit")
    ]
    assert any(overlapping)


# ---- THE DOOR ---- #


def test_what_is_not_known_is_refused_with_a_hint():
    with pytest.raises(SettingsError, match="no story of 'task'") as refused:
        generate("task", "postgresql://localhost/x")
    assert "tasks" in str(refused.value)
    with pytest.raises(SettingsError, match="by files and streams"):
        generate("marketing", "postgresql://localhost/x")
    with pytest.raises(SettingsError, match="no writer for 'oracle' databases"):
        open_target("oracle://localhost/x", {})


def test_lists_are_written_as_an_array_whatever_is_in_them():
    rows = pl.DataFrame({"tags": [["a,b", 'say "x"', "back\\slash"], [], None]})
    said = rows.select(_bracketed("tags", "{", "}"))["tags"].to_list()
    assert said == ['{"a,b","say \\"x\\"","back\\\\slash"}', "{}", None]
    assert Postgres.schemes == ("postgresql", "postgres")
