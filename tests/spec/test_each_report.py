"""A page for each row of gold: of that row alone, with a summary whose every number is gold's."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from assets.demo_marketing import generate
from pipelines.errors import ContractError, LakeError, QueryError
from pipelines.files.upload import upload
from pipelines.report import EachReport, listing_of, load_each, write_each
from pipelines.report import each as each_module
from pipelines.report.writer import AsDrafted, written
from pipelines.storage import Lake
from tests.spec.domains import ASSETS, CATALOG, NOW, Refinery

REPORT = load_each(ASSETS)["marketing"][0]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Refinery:
    market = generate(days=14, campaigns=14, live_hours=1)
    refinery = Refinery(tmp_path_factory.mktemp("marketing"), "marketing")
    for name, data in market.files.items():
        (refinery.folder / name).write_bytes(data)
        upload(refinery.lake, refinery.catalog, refinery.folder / name, now=NOW)
    refinery.take(market.records)
    return refinery


@pytest.fixture(scope="module")
def out(made: Refinery, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pages")
    (folder / "marketing.campaigns.c-gone.html").write_text("of a campaign that is gone")
    (folder / "other.campaigns.c-000.html").write_text("of another domain")
    write_each(made.lake, CATALOG, REPORT, folder, NOW)
    return folder


def summary_in(page: str) -> str:
    found = re.search(r'<p class="lead" id="summary">(.*?)</p>', page, re.DOTALL)
    assert found
    return found[1]


def test_each_campaign_has_a_page_and_the_list_leads_there_and_back(made: Refinery, out: Path):
    rows = made.rows("gold.marketing.campaign_performance")
    listing = (out / listing_of(REPORT)).read_text("utf-8")
    assert len(rows.filter(pl.col("days") > 0)) > 3
    for key, name, days in rows.select("campaign_id", "campaign_name", "days").rows():
        page = (out / f"marketing.campaigns.{key}.html").read_text("utf-8")
        assert f"<h1>{name}</h1>" in page
        assert f'href="marketing.campaigns.{key}.html">{name}</a>' in listing
        assert summary_in(page) in listing
        assert f'href="{listing_of(REPORT)}"' in page
        assert page.count("<svg") in ({0} if days == 0 else {2, 3})  # no quote, no money
        assert not re.findall(r'(?:href|src)="(?:https?:)?//', page)
    assert sorted(path.name for path in out.glob("*.c-*.html")) == sorted(
        [*(f"marketing.campaigns.{key}.html" for key in rows["campaign_id"]), "other.campaigns.c-000.html"]
    )  # fmt: skip


def test_a_page_shows_its_row_alone(made: Refinery, out: Path):
    page = (out / "marketing.campaigns.c-001.html").read_text("utf-8")
    own = made.rows("gold.marketing.daily_performance").filter(pl.col("campaign_id") == "c-001")
    first = page.split("<figure")[1]
    cells = re.findall(r"<tr><td>([^<]*)</td><td>([^<]*)</td><td>([^<]*)</td></tr>", first)
    wanted = [(str(day), what, str(euros)) for what in ("spend", "revenue") for day, euros in own.select("day", f"{what}_eur").rows()]  # fmt: skip
    assert sorted(cells) == sorted(wanted)


def test_a_summary_says_what_gold_says(made: Refinery, out: Path):
    rows = {row["campaign_id"]: row for row in made.rows("gold.marketing.campaign_performance").to_dicts()}  # fmt: skip
    row = rows["c-001"]
    told = summary_in((out / "marketing.campaigns.c-001.html").read_text("utf-8"))
    word = "gain" if row["roi"] >= 0 else "loss"
    assert told == (
        f"{row['campaign_name']} (search, paused): from {row['first_day']} to {row['last_day']} it brought {row['new_customers']:,} new customers"
        f" and {row['revenue_eur']:,.2f} euros for {row['spend_eur']:,.2f} spent, a {word} of {abs(100 * row['roi']):,.0f} per cent;"
        f" a new customer cost {row['cost_per_new_customer_eur']:,.2f} euros. It has used {row['budget_used_percent']:,.0f} per cent of its budget."
    )
    unpriced = summary_in((out / "marketing.campaigns.c-013.html").read_text("utf-8"))
    assert "its money is not known in euros, since nobody quoted its currency." in unpriced
    assert "None" not in unpriced


class Says:
    """A writer that says the same whatever it is given."""

    def __init__(self, text: str) -> None:
        self.text, self.facts = text, list[Mapping[str, Any]]()

    def write(self, draft: str, facts: Mapping[str, Any]) -> str:
        self.facts.append(facts)
        return self.text


def test_another_writer_is_heard(made: Refinery, tmp_path: Path):
    writer = Says("It went well.")
    write_each(made.lake, CATALOG, REPORT, tmp_path, NOW, writer)
    told = summary_in((tmp_path / "marketing.campaigns.c-001.html").read_text("utf-8"))
    assert told == "It went well."
    names = made.rows("gold.marketing.campaigns")["campaign_name"]
    assert sorted(facts["campaign_name"] for facts in writer.facts) == sorted(names)


@pytest.mark.parametrize(
    ("text", "taken"),
    [
        ("For 12.50 euros came 3 customers.", True),
        ("Nobody came cheaper.", True),
        ("It cost 12.5 euros.", False),
        ("It cost 12.50 euros, 40 % less than before.", False),
        ("  ", False),
    ],
)
def test_a_writer_is_heard_as_far_as_it_invents_no_number(text: str, *, taken: bool):
    draft = "It brought 3 customers for 12.50 euros."
    assert written(Says(text), draft, {}) == (text if taken else draft)
    assert written(AsDrafted(), draft, {}) == draft


# ---- BAD INPUT ---- #


def changed(**parts: Any) -> EachReport:
    given = REPORT.model_dump(mode="json", exclude_none=True)
    for name, value in parts.items():
        given[name] = {**given[name], **value}
    return EachReport.model_validate({**given, "path": REPORT.path})


FAULTS: dict[str, tuple[dict[str, Any], str]] = {
    "a misspelt fact": ({"summary": {"text": "{{ campaign_nam }}"}}, "campaign_nam.*\n.*did you mean 'campaign_name'"),
    "no template": ({"summary": {"text": "{% if %}"}}, "summary: "),
    "silver": ({"summary": {"sql": "SELECT c.name FROM silver.marketing.campaigns AS c"}}, "a report reads gold"),
    "no such column": ({"of": {"key": "campaign"}}, "of: "),
}  # fmt: skip


@pytest.mark.parametrize("what", FAULTS)
def test_a_faulty_report_is_refused_with_a_hint(made: Refinery, tmp_path: Path, what: str):
    parts, text = FAULTS[what]
    with pytest.raises(ContractError, match=text):
        write_each(made.lake, CATALOG, changed(**parts), tmp_path, NOW)
    assert not list(tmp_path.iterdir())


def test_a_summary_of_several_rows_is_refused(made: Refinery, tmp_path: Path):
    several = changed(summary={"sql": "SELECT d.day FROM gold.marketing.daily_performance AS d"})
    with pytest.raises(QueryError, match="is of one row"):
        write_each(made.lake, CATALOG, several, tmp_path, NOW)


def test_more_rows_than_anybody_reads_are_refused(
    made: Refinery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(each_module, "MOST_PAGES", 3)
    with pytest.raises(QueryError, match="15 rows would have a page each"):
        write_each(made.lake, CATALOG, REPORT, tmp_path, NOW)


def test_a_template_cannot_reach_out_of_its_facts(made: Refinery, tmp_path: Path):
    escaping = changed(summary={"text": "{{ ''.__class__.__mro__ }}"})
    with pytest.raises(ContractError, match="summary: "):
        write_each(made.lake, CATALOG, escaping, tmp_path, NOW)


def test_gold_that_is_not_there_is_named(tmp_path: Path):
    with pytest.raises(LakeError, match=r"gold\.marketing\."):
        write_each(Lake(str(tmp_path / "none")), CATALOG, REPORT, tmp_path / "out", NOW)


@pytest.mark.parametrize("key", ["c 1", "../c", "c/1", "ç"])
def test_a_key_is_a_files_name_whatever_it_is(key: str):
    name = each_module._slug(key)
    assert re.fullmatch(r"[A-Za-z0-9_-]+", name)
    assert name != each_module._slug(key + " ")
