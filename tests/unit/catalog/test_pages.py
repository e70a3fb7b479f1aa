"""The catalog's pages: what they say, that no text of a contract gets out of its place, that links lead somewhere."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote

import pytest

from lineage.catalog.flows import Flows, classified_columns
from lineage.catalog.graph_data import graph_data
from lineage.catalog.links import column_id, slug
from lineage.catalog.model import (
    ColumnEntry,
    Judged,
    RuleEntry,
    SchemaChange,
    Site,
    Storage,
    TableEntry,
)
from lineage.catalog.plot import trend
from lineage.catalog.site import NotACatalogError, write_site
from lineage.catalog.words import about, size, span
from lineage.columns import Indirect
from lineage.flow import Source
from lineage.graph import ColumnRef, TableLineage

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HALF_A_PAIR = chr(0xD800)
HOSTILE = (
    HALF_A_PAIR
    + """</script><script>alert(1)</script><img src=x onerror=alert(2)>" onmouseover='alert(3)' {{ 7*7 }} \u2028 """
)


def hostile_site() -> Site:
    """A table that feeds another, and every text of both an attack."""
    column = ColumnEntry(
        name=f"a{HOSTILE}", type=HOSTILE, description=HOSTILE, classification="restricted"
    )
    rule = RuleEntry(
        name=HOSTILE, says=HOSTILE, severity=HOSTILE, description=HOSTILE,
        results=(Judged(at=NOW, records=3, failed=1, rate=66.66, passed=False),),
    )  # fmt: skip
    source = TableEntry(
        name=f"../../{HOSTILE}", layer=HOSTILE, domain=HOSTILE, description=HOSTILE, owner=HOSTILE,
        tags=(HOSTILE,), facts={HOSTILE: HOSTILE}, columns=(column,), sql=f"SELECT '{HOSTILE}'",
        rules=(rule,), storage=Storage(version=1, rows=3, files=1, size_bytes=9, changed_at=NOW),
        schema_changes=(SchemaChange(version=1, at=NOW, added=((HOSTILE, HOSTILE),)),),
    )  # fmt: skip
    target = TableEntry(name="gold.a.b", layer="gold", domain="a", columns=(column,))
    lineage = TableLineage(
        "gold.a.b", "DIMENSIONAL_MODEL", (source.name,), {column.name: (Source(source.name, column.name),)}
    )  # fmt: skip
    return Site(
        tables={source.name: source, target.name: target},
        lineage={"gold.a.b": lineage},
        made_at=NOW,
    )


class Seen(HTMLParser):
    """What a browser would make of a page: its elements, their ids and links, the scripts' texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.ids: set[str] = set()
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.tags.append((tag, given))
        if "id" in given:
            self.ids.add(given["id"])
        self.links += [given[name] for name in ("href", "src") if name in given]


def pages(out: Path) -> dict[Path, Seen]:
    return {path: Seen(path.read_text("utf-8")) for path in sorted(out.rglob("*.html"))}


def test_no_text_becomes_markup_and_every_link_stays_inside(tmp_path: Path):
    write_site(hostile_site(), tmp_path / "site")
    assert {path.name for path in tmp_path.iterdir()} == {"site"}
    for path, seen in pages(tmp_path / "site").items():
        for tag, attributes in seen.tags:
            assert tag != "img", path
            assert not [name for name in attributes if name.startswith("on")], path
            if tag == "script":
                inside = attributes.get("type") == "application/json" or "src" in attributes
                assert inside, path
        assert not re.search(r"\b49\b", path.read_text("utf-8")), path


def test_every_link_leads_to_a_file_and_every_fragment_to_an_element(tmp_path: Path):
    write_site(hostile_site(), tmp_path)
    seen = pages(tmp_path)
    for path, page in seen.items():
        for link in page.links:
            target, _, fragment = link.partition("#")
            if target.startswith(("data:",)):
                continue
            file = (path.parent / unquote(target)).resolve() if target else path
            assert file.is_file(), f"{path}: {link}"
            assert file.is_relative_to(tmp_path), link
            if fragment and file.name != "lineage.html":
                assert unquote(fragment) in {each.strip() for each in seen[file].ids}, link


def test_the_data_for_scripts_is_json_without_markup(tmp_path: Path):
    write_site(hostile_site(), tmp_path)
    text = (tmp_path / "data" / "search.js").read_text("utf-8")
    assert "<" not in text
    assert json.loads(text.removeprefix("window.catalogIndex = ").removesuffix(";\n"))


def test_a_folder_of_other_files_is_left_alone(tmp_path: Path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(NotACatalogError, match="no catalog"):
        write_site(hostile_site(), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_page_of_a_table_that_is_gone_goes_with_the_next_catalog(tmp_path: Path):
    write_site(hostile_site(), tmp_path)
    site = hostile_site()
    write_site(Site(tables={}, lineage={}, made_at=site.made_at), tmp_path)
    assert list(tmp_path.glob("tables/*")) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [("a/b", "a_b"), ("A", "a"), ("postgres:x", "postgres-x"), ("..", "."), ("é", "e")],
)
def test_two_names_are_two_plain_files(one: str, other: str):
    assert slug(one) != slug(other)
    assert re.fullmatch(r"-?[a-z0-9][a-z0-9_.-]*", slug(one).lstrip("-"))


def test_an_id_has_no_space():
    assert not re.search(r"\s", column_id("a b\tc\n"))


# ---- FLOWS ---- #


def column(name: str, classification: str = "internal", mask: str | None = None) -> ColumnEntry:
    return ColumnEntry(name=name, classification=classification, mask=mask)


def table(name: str, *columns: ColumnEntry) -> TableEntry:
    layer, domain, _ = name.split(".")
    return TableEntry(name=name, layer=layer, domain=domain, columns=columns)


def test_a_classified_value_is_followed_and_where_its_class_is_lost_is_said():
    tables = {
        each.name: each
        for each in (
            table("silver.a.b", column("email", "confidential")),
            table("gold.a.c", column("hashed", mask="hash"), column("kept", "restricted")),
            table("gold.a.d", column("leak")),
        )
    }
    email = (Source("silver.a.b", "email"),)
    lineage = {
        "gold.a.c": TableLineage("gold.a.c", "X", ("silver.a.b",), {"hashed": email, "kept": email}),
        "gold.a.d": TableLineage("gold.a.d", "X", ("gold.a.c",), {"leak": (Source("gold.a.c", "kept"),)}),
    }  # fmt: skip
    leak = (ColumnRef("gold.a.c", "kept"), ColumnRef("gold.a.d", "leak"))
    site = Site(tables=tables, lineage=lineage, made_at=NOW, leaks=frozenset({leak}))
    (found,) = classified_columns(site, Flows(lineage))
    assert (found.table, found.entry.name) == ("silver.a.b", "email")
    assert [(r.table, r.column, r.step, r.verdict) for r in found.reached] == [
        ("gold.a.c", "hashed", 1, "masked"),
        ("gold.a.c", "kept", 1, "kept"),
        ("gold.a.d", "leak", 2, "leaked"),
    ]
    assert [r.column for r in found.leaked] == ["leak"]


def test_a_column_that_decides_in_several_ways_is_told_once():
    lineage = TableLineage(
        "gold.a.c", "X", ("silver.a.b",), {"n": ()},
        tuple(Indirect("silver.a.b", name, kind, outputs) for name, kind, outputs in (
            ("day", "filter", None), ("day", "group", None), ("day", "window", ("n",)), ("at", "join", ("n",)),
        )),
    )  # fmt: skip
    told = Flows({"gold.a.c": lineage}).decided_by("gold.a.c")
    assert [(each.column, each.outputs, each.kinds) for each in told] == [
        ("day", None, ("filter", "group")), ("at", ("n",), ("join",)), ("day", ("n",), ("window",)),
    ]  # fmt: skip
    assert Flows({}).decided_by("silver.a.b") == ()


# ---- GRAPH ---- #


def test_the_graphs_data_names_each_column_once_and_points_to_it_by_number():
    tables = {
        each.name: each
        for each in (
            table("silver.a.b", column("email", "confidential"), column("day")),
            table("gold.a.c", column("people")),
        )
    }
    lineage = TableLineage(
        "gold.a.c", "X", ("silver.a.b", "other:x"),
        {"people": (Source("silver.a.b", "email", "aggregation"), Source("other:x", "n"))},
        (Indirect("silver.a.b", "day", "filter"), Indirect("silver.a.b", "day", "window", ("people",))),
    )  # fmt: skip
    data = graph_data(Site(tables=tables, lineage={"gold.a.c": lineage}, made_at=NOW))
    names = [name for name, *_ in data["tables"]]
    columns = [[name for name, *_ in each[-1]] for each in data["tables"]]
    levels = {each[0]: each[3] for each in data["tables"]}
    assert levels == {"silver.a.b": 0, "other:x": 0, "gold.a.c": 1}

    def told(table: int, at: int) -> str:
        return f"{names[table]}.{columns[table][at]}"

    assert [(told(a, b), told(c, d), data["how"][how]) for a, b, c, d, how in data["ways"]] == [
        ("silver.a.b.email", "gold.a.c.people", "aggregation"),
        ("other:x.n", "gold.a.c.people", "identity"),
    ]
    assert [(told(a, b), names[c], data["how"][how], d) for a, b, c, how, d in data["decides"]] == [
        ("silver.a.b.day", "gold.a.c", "filter", None),
        ("silver.a.b.day", "gold.a.c", "window", [0]),
    ]
    assert sorted((names[a], names[b]) for a, b in data["inputs"]) == [
        ("other:x", "gold.a.c"), ("silver.a.b", "gold.a.c"),
    ]  # fmt: skip


# ---- WORDS AND PLOTS ---- #


def judged(rate: float, day: int, failed: int = 0) -> Judged:
    return Judged(
        at=NOW + timedelta(days=day), records=100, failed=failed, rate=rate, passed=not failed
    )


def test_a_trend_is_named_in_words_and_lower_rates_lie_lower():
    svg = str(trend((judged(100, 0), judged(90, 1, 10), judged(99, 2, 1))))
    assert 'role="img"' in svg
    assert "judged 3 times since 2026-03-01; lowest 90.00 % on 2026-03-02, last 99.00 %" in svg
    heights = [
        float(point.split(",")[1]) for point in re.search(r'points="([^"]*)"', svg)[1].split()
    ]
    assert heights[0] < heights[2] < heights[1]
    assert trend(()) == ""


@pytest.mark.parametrize(
    ("given", "said"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (999_600, "1.0 MB"), (123_456, "123 kB"), (3_400_000, "3.4 MB"), (2 * 10**15, "2,000.0 TB")],
)  # fmt: skip
def test_sizes(given: int, said: str):
    assert size(given) == said


def test_durations():
    assert span(timedelta(minutes=15)) == "15 minutes"
    assert span(timedelta(hours=36)) == "36 hours"
    assert about(timedelta(hours=36)) == "1 day"
    assert about(timedelta(seconds=-3)) == "0 seconds"


def test_a_table_is_late_when_it_was_neither_written_nor_judged_in_time():
    hour = timedelta(hours=1)
    entry = TableEntry(
        name="gold.a.b", layer="gold", domain="a", freshness=hour,
        storage=Storage(version=1, rows=1, files=1, size_bytes=1, changed_at=NOW - 3 * hour),
    )  # fmt: skip
    assert entry.late(NOW)
    rule = RuleEntry(name="r", says="", severity="error", results=(Judged(at=NOW, records=1, failed=0, rate=100, passed=True),))  # fmt: skip
    judged_now = TableEntry(name="gold.a.b", layer="gold", domain="a", freshness=hour, rules=(rule,), storage=entry.storage)  # fmt: skip
    assert not judged_now.late(NOW)
