"""Data Docs open from the disk: nothing is fetched, and no value is shown."""

from __future__ import annotations

import re
import shutil
import subprocess
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from quality_rules.rule import Rule, RuleKind

pytestmark = pytest.mark.slow

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TABLES = ("silver.shop.orders", "silver.shop.customers")


@pytest.fixture(scope="module")
def validations() -> list[Any]:
    from quality_rules.expectations import validate
    from quality_rules.gx.docs import Validation

    rows = pl.LazyFrame({"order_id": [7, 8], "email": ["Ada <ada@example.org>", None]})
    made = list[Any]()
    for table in TABLES:
        rules = [
            Rule(table=table, name="has_mail", kind=RuleKind.NOT_NULL, columns=("email",)),
            Rule(
                table=table,
                name="plain",
                kind=RuleKind.PATTERN,
                columns=("email",),
                params={"regex": "^[^<>$]+$"},
            ),
            Rule(
                table=table, name="odd", kind=RuleKind.RANGE, columns=("gone",), params={"min": 1}
            ),
        ]
        report = validate(rows, rules, {}, table=table, key=["order_id"])
        made.append(
            Validation(
                table=table,
                run_id="nightly/1",
                checked_at=NOW,
                suite=report.suite.to_json_dict(),
                result=report.raw.to_json_dict(),
            )
        )
    return made


class Fetched(HTMLParser):
    """What a browser fetches for a page; the texts that it shows."""

    def __init__(self) -> None:
        super().__init__()
        self.urls, self.text = list[str](), ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        if tag in ("script", "img", "iframe") and told.get("src"):
            self.urls.append(str(told["src"]))
        if tag in ("link", "a") and told.get("href"):
            self.urls.append(str(told["href"]))

    def handle_data(self, data: str) -> None:
        self.text += f"{data} "


def read(page: Path) -> Fetched:
    parser = Fetched()
    parser.feed(page.read_text(encoding="utf-8"))
    return parser


def test_every_page_finds_all_that_it_fetches_on_the_disk(
    validations: list[Any], tmp_path: Path
) -> None:
    from quality_rules.gx.docs import page_of, write_site

    index = write_site(tmp_path, validations)
    pages = sorted(tmp_path.rglob("*.html"))
    assert index in pages
    assert {page_of(tmp_path, each) for each in validations} < set(pages)
    assert len(pages) == 1 + 2 * len(TABLES)
    for page in pages:
        for url in read(page).urls:
            assert "//" not in url, url
            if not url.startswith("#"):
                assert (page.parent / url).resolve().is_file(), (page, url)
        assert not re.search(r"url\(['\"]?(https?:)?//", page.read_text(encoding="utf-8"))
    for style in tmp_path.rglob("*.css"):
        for url in re.findall(r"url\(['\"]?([^'\")]+)", style.read_text(encoding="utf-8")):
            assert url.startswith("data:") or (style.parent / url).is_file(), (style, url)


def test_a_page_shows_keys_reasons_and_rules_and_no_value(
    validations: list[Any], tmp_path: Path
) -> None:
    from quality_rules.gx.docs import page_of, write_site

    write_site(tmp_path, validations)
    text = " ".join(read(page_of(tmp_path, validations[0])).text.split())
    assert "has_mail: email is never missing" in text
    assert "plain: email matches ^[^<>$]+$" in text
    assert "order_id 8" in text
    assert "there is no column 'gone'; there are order_id, email" in text
    for page in tmp_path.rglob("*.html"):
        assert "example.org" not in page.read_text(encoding="utf-8")


def test_one_table_is_written_anew_beside_the_others(
    validations: list[Any], tmp_path: Path
) -> None:
    from quality_rules.gx.docs import page_of, write_site

    write_site(tmp_path, validations)
    kept = page_of(tmp_path, validations[1])
    kept.write_text("as it was", encoding="utf-8")
    index = write_site(tmp_path, validations, only=[TABLES[0]])
    assert kept.read_text(encoding="utf-8") == "as it was"
    assert all(table in read(index).text for table in TABLES)


def test_a_page_that_would_fetch_something_is_refused(tmp_path: Path) -> None:
    from quality_rules.gx import docs

    page = tmp_path / "index.html"
    page.write_text("<head><style></style></head><img src='https://example.org/a.png'>")
    with pytest.raises(docs.DataDocsError, match=r"would fetch src='https://example\.org/a\.png"):
        docs._rewrite(page, tmp_path)  # pyright: ignore[reportPrivateUsage]


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs a browser")
def test_a_browser_without_a_network_shows_the_page_styled(
    validations: list[Any], tmp_path: Path
) -> None:
    from quality_rules.gx.docs import write_site

    index = write_site(tmp_path / "site", validations)
    done = subprocess.run(
        [
            "chromium",
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--host-resolver-rules=MAP * 0.0.0.0",
            "--virtual-time-budget=3000",
            "--dump-dom",
            index.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    # Bootstrap Table ran: it counts the rows that it shows.
    assert "Showing 1 to 2 of 2 rows" in done.stdout
