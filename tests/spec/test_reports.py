"""Reports show what gold holds, to anybody, without a network; and nothing that is classified."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl
import pytest
import yaml
from typer.testing import CliRunner

from assets import demo_interactions, demo_marketing, demo_research, demo_shop, demo_tasks
from assets.keys import key_of
from assets.reporting import report_asset, reports_of, with_links
from pipelines.cli import app
from pipelines.contract import load_catalog
from pipelines.errors import ContractError, LakeError, QueryError, SettingsError
from pipelines.files.upload import upload
from pipelines.query import query
from pipelines.report import Chart, faults_of, load_reports, write_page
from pipelines.report.draw import MOST_ROWS, draw
from pipelines.report.schema import PUBLISHED, report_schema
from pipelines.storage import Lake
from tests.spec.domains import ASSETS, CATALOG, Refinery, only

NOW = datetime(2026, 6, 6, 4, 5, tzinfo=UTC)
REPORTS = load_reports(ASSETS)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Refinery:
    made = Refinery(tmp_path_factory.mktemp("shop"), "commerce")
    made.take(demo_shop.generate(days=2, orders_a_day=25).records)
    return made


class Seen(HTMLParser):
    """What of a page matters here: ids, what names a picture, tables, and addresses."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids, self.named, self.addresses = set[str](), list[str](), list[str]()
        self.rows, self._cell = list[list[str]](), False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = {name: value or "" for name, value in attrs}
        self.ids |= {told["id"]} if "id" in told else set()
        self.addresses += [told[name] for name in ("href", "src", "xlink:href") if name in told]
        if tag == "svg":
            assert told["role"] == "img"
            self.named.append(told["aria-labelledby"])
        if tag == "tr":
            self.rows.append([])
        if tag == "td":
            self.rows[-1].append("")
            self._cell = True

    def handle_endtag(self, tag: str) -> None:
        self._cell = self._cell and tag != "td"

    def handle_data(self, data: str) -> None:
        if self._cell:
            self.rows[-1][-1] += data


# ---- WHAT IS DECLARED ---- #


def test_every_report_can_be_drawn_and_may_be():
    assert set(REPORTS) == {contract.domain for contract in CATALOG.contracts.values()}
    assert list(faults_of(CATALOG, [each for found in REPORTS.values() for each in found])) == []


def test_every_report_names_the_published_schema_and_that_is_the_models():
    assert json.loads(Path(PUBLISHED).read_text("utf-8")) == report_schema()
    for report in (each for found in REPORTS.values() for each in found):
        first = report.path.read_text("utf-8").splitlines()[0]
        assert first == "# yaml-language-server: $schema=../../report.schema.json", report.path


# ---- WHAT IS SHOWN ---- #


@pytest.mark.parametrize(
    ("domain", "stream"),
    [
        ("tasks", lambda: demo_tasks.generate(days=11, people=25, tasks_a_day=8)),
        ("interactions", lambda: demo_interactions.generate(days=6, old=40)),
        ("research", lambda: demo_research.generate(days=20, people=150)),
        ("marketing", lambda: demo_marketing.generate(days=40, live_hours=26)),
    ],
    ids=["tasks", "interactions", "research", "marketing"],
)
def test_each_domain_has_its_page(domain: str, stream: Any, tmp_path: Path):
    refinery, told = Refinery(tmp_path, domain), stream()
    for name, data in getattr(told, "files", {}).items():
        (tmp_path / name).write_bytes(data)
        upload(refinery.lake, refinery.catalog, tmp_path / name, now=NOW)
    refinery.take(told.records)
    page = write_page(refinery.lake, CATALOG, REPORTS[domain], tmp_path / "out", NOW)
    assert page.charts == sum(len(report.charts) for report in REPORTS[domain])
    assert "There are no rows." not in page.file.read_text("utf-8")


def test_a_page_needs_nothing_but_its_folder_and_names_every_picture(
    shop: Refinery, tmp_path: Path
):
    page = write_page(shop.lake, CATALOG, REPORTS["commerce"], tmp_path, NOW)
    text = page.file.read_text("utf-8")
    seen = Seen(text)
    assert len(seen.named) == page.charts
    assert set(seen.named) <= seen.ids
    for address in seen.addresses:
        assert address.startswith("#") or address == "data:," or (tmp_path / address).exists() or address == "index.html"  # fmt: skip
    assert set(re.findall(r"https?://[^\"' )]+", text)) == {"http://www.w3.org/2000/svg", "http://www.w3.org/1999/xlink"}  # fmt: skip
    assert "default-src 'none'" in text
    assert "<script" not in text.replace('<script src="static/theme.js">', "")
    assert " style=" not in text, "the page's own policy would drop it"
    drawn = set(re.findall(r"#[0-9a-f]{6}\b", "".join(re.findall(r"<svg.*?</svg>", text, re.S))))
    assert drawn <= {"#000000", "#ffffff"} or not drawn, (
        "colours are the page's, for light and dark"
    )


def test_the_numbers_below_a_picture_are_golds(shop: Refinery, tmp_path: Path):
    page = write_page(shop.lake, CATALOG, REPORTS["commerce"], tmp_path, NOW)
    text, rows = page.file.read_text("utf-8"), shop.rows("gold.commerce.daily_sales")
    days = rows["order_date_key"].cast(pl.String).str.to_date("%Y%m%d").cast(pl.String)
    expected = [[d, str(n)] for d, n in zip(days, rows["total_revenue"], strict=True)]
    shown = [row for row in Seen(text).rows if row in expected]
    assert shown == expected
    total = rows["total_revenue"].sum()
    assert f"<dd>{total:,}</dd>" in text
    assert page.input_versions["gold.commerce.daily_sales"] == shop.lake.version("gold.commerce.daily_sales")  # fmt: skip


def test_times_are_drawn_in_utc_wherever_the_machine_stands(monkeypatch: pytest.MonkeyPatch):
    chart = _chart(x={"field": "t", "type": "temporal", "axis": {"format": "%d %b %H:%M"}}, y={"field": "n", "type": "quantitative"})  # fmt: skip
    rows = pl.DataFrame({"t": [datetime(2026, 6, 1, 0, tzinfo=UTC), datetime(2026, 6, 1, 6, tzinfo=UTC)], "n": [1, 2]})  # fmt: skip
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")
    assert "01 Jun 06:00" in draw(chart, rows)
    naive = rows.with_columns(pl.col("t").dt.replace_time_zone(None))
    assert draw(chart, naive) == draw(chart, rows)


def test_what_a_row_says_stays_a_text():
    chart = _chart(x={"field": "n", "type": "quantitative"}, y={"field": "who", "type": "nominal"})
    svg = draw(chart, pl.DataFrame({"who": ["<script>alert(1)</script>"], "n": [1]}))
    assert "<script" not in svg
    assert "&lt;script" in svg


def _chart(**encoding: Mapping[str, Any]) -> Chart:
    return Chart.model_validate({"name": "a", "title": "A", "sql": "SELECT 1", "mark": "line", "encoding": encoding})  # fmt: skip


# ---- WHAT IS REFUSED ---- #

GOOD: dict[str, Any] = {
    "title": "Sales",
    "description": "What is sold.",
    "owner": "shop",
    "charts": [
        {
            "name": "sales",
            "title": "Revenue",
            "sql": "SELECT d.order_date_key AS day, d.total_revenue AS revenue FROM gold.commerce.daily_sales AS d",
            "mark": "bar",
            "encoding": {
                "x": {"field": "day", "type": "ordinal"},
                "y": {"field": "revenue", "type": "quantitative"},
            },
        }
    ],
}  # fmt: skip


def written(folder: Path, **chart: Any) -> Path:
    """A folder of domains with one report, like the good one but for this of its chart."""
    path = folder / "commerce" / "reports" / "sales.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({**GOOD, "charts": [{**GOOD["charts"][0], **chart}]}))
    return folder


SECRET = {"x": {"field": "day", "type": "ordinal"}, "y": {"field": "told", "type": "nominal"}}


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT a.version AS day, a.new_values AS told FROM gold.commerce.orders_audit AS a", "'told' shows confidential gold.commerce.orders_audit.new_values"),
        ("SELECT a.version AS day, LENGTH(CONCAT('x', a.old_values)) AS told FROM gold.commerce.orders_audit AS a", "'told' shows confidential"),
        ("SELECT a.version AS day, COUNT(a.new_values) AS told FROM gold.commerce.orders_audit AS a GROUP BY a.version", "'told' shows confidential"),
        ("SELECT 1 AS day, 'x' AS told, u.email AS unseen FROM gold.tasks.user_directory AS u", "'unseen' shows confidential"),
        ("SELECT c.email AS told, 1 AS day FROM silver.commerce.customers AS c", "a report reads gold, not 'silver.commerce.customers'"),
        ("SELECT d.order_date_key AS day FROM gold.commerce.daily_sales AS d", "shows 'told', which its SQL does not give"),
        ("SELECT d.total_revenues AS told, 1 AS day FROM gold.commerce.daily_sales AS d", "total_revenues"),
        ("SELECT 1 AS told, 1 AS day FROM gold.commerce.daily_sale AS d", "did you mean 'gold.commerce.daily_sales'"),
        ("SELECT FROM WHERE", ""),
    ],
)  # fmt: skip
def test_what_a_report_may_not_show_or_cannot_is_said_before_anything_is_drawn(
    sql: str, said: str, tmp_path: Path, shop: Refinery
):
    reports = load_reports(written(tmp_path, sql=sql, encoding=SECRET))["commerce"]
    (fault, *_) = faults_of(CATALOG, reports)
    assert said in fault
    assert fault.startswith(f"{tmp_path}/commerce/reports/sales.yaml:2: sales:")
    with pytest.raises(ContractError):
        write_page(shop.lake, CATALOG, reports, tmp_path / "out", NOW)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("chart", "said"),
    [
        ({"encoding": {"colour": {"field": "day"}}}, "'colour' is no channel of a report\n  Hint: did you mean 'color'?"),
        ({"mark": "image"}, "'image' is no mark|Input should be 'arc'"),
        ({"mark": {"type": "lines"}}, "'lines' is no mark of a report\n  Hint: did you mean 'line'?"),
        ({"titel": "x"}, "'charts.0.titel' is not a key of a report\n  Hint: did you mean 'title'?"),
        ({"height": 5}, "height"),
    ],
)  # fmt: skip
def test_an_unknown_word_is_said_with_the_line_and_the_word_that_was_meant(
    chart: dict[str, Any], said: str, tmp_path: Path
):
    with pytest.raises(ContractError, match=said) as raised:
        load_reports(written(tmp_path, **chart))
    assert re.match(rf"{tmp_path}/commerce/reports/sales.yaml:\d+:", str(raised.value))


def test_rows_that_nobody_can_see_are_refused():
    chart = _chart(x={"field": "n", "type": "quantitative"})
    with pytest.raises(QueryError, match="group them in the SQL"):
        draw(chart, pl.DataFrame({"n": range(MOST_ROWS + 1)}))


def test_a_page_of_tables_that_are_not_there_says_which(tmp_path: Path):
    with pytest.raises(LakeError, match=r"gold\.commerce"):
        write_page(Lake(str(tmp_path)), CATALOG, REPORTS["commerce"], tmp_path / "out", NOW)


# ---- WHO MAKES IT ---- #


def test_the_command_line_writes_pages_and_what_leads_to_them(shop: Refinery, tmp_path: Path):
    place = ["--lake", shop.lake.root, "--assets", str(ASSETS), "--out", str(tmp_path)]
    done = CliRunner().invoke(app, ["report", "commerce", *place])
    assert done.exit_code == 0, done.output
    assert 'href="commerce.html"' in (tmp_path / "index.html").read_text("utf-8")
    assert 'href="tasks.html"' not in (tmp_path / "index.html").read_text("utf-8")
    refused = CliRunner().invoke(app, ["report", "comerce", *place]).exception
    assert isinstance(refused, SettingsError)
    assert "did you mean 'commerce'" in str(refused)


def test_dagster_makes_the_page_after_its_gold_and_leads_to_it(
    shop: Refinery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("MEDALLION_LAKE", shop.lake.root)
    monkeypatch.setenv("MEDALLION_REPORTS", str(tmp_path))
    catalog = only("commerce")
    reports, folder = reports_of(catalog)
    assert (set(reports), folder) == ({"commerce"}, tmp_path)
    asset = report_asset(catalog, reports, "commerce", tmp_path)
    with dg.DagsterInstance.ephemeral() as instance:
        made = dg.materialize([asset], instance=instance).asset_materializations_for_node(asset.op.name)[0]  # fmt: skip
    assert made.metadata["page"].value == str(tmp_path / "commerce.html")
    assert (tmp_path / "commerce.html").is_file()
    assert key_of("gold.commerce.daily_sales") in asset.dependency_keys
    sales = dg.AssetsDefinition(specs=[dg.AssetSpec(key_of("gold.commerce.daily_sales"))])
    (linked,) = with_links([sales], reports, tmp_path)
    (spec,) = linked.specs
    assert spec.metadata["report_commerce"].value == made.metadata["page"].value


def test_a_domain_gets_a_report_by_a_file_alone(shop: Refinery, tmp_path: Path):
    """A folder of another name, with contracts and a report: nothing else is touched."""
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "commerce").symlink_to(ASSETS / "commerce", target_is_directory=True)
    (tmp_path / "assets" / "board" / "reports").mkdir(parents=True)
    (tmp_path / "assets" / "board" / "reports" / "a.yaml").write_text(yaml.safe_dump(GOOD))
    catalog = load_catalog(tmp_path / "assets")
    page = write_page(
        shop.lake, catalog, load_reports(catalog.root)["board"], tmp_path / "out", NOW
    )
    rows = query(shop.lake, "SELECT COUNT(*) AS n FROM gold.commerce.daily_sales")["n"][0]
    assert f"({rows})</summary>" in page.file.read_text("utf-8")
