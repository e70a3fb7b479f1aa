"""Rows pulled from an API that is a server of this process: every page, each thing said once, no value lost."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from pipelines.contract import Catalog
from pipelines.contract.model import Contract
from pipelines.errors import MedallionError, PullError, SettingsError
from pipelines.pull.client import Client
from pipelines.pull.pull import PULLS, Pulled, position_of, pull
from pipelines.settings import load_settings
from pipelines.silver import apply
from pipelines.storage import Lake
from tests.properties.test_uploads import DiedError, MortalLake

NOW = datetime(2026, 6, 1, tzinfo=UTC)
TABLE = "silver.ads.campaigns"
Answer = tuple[int, dict[str, str], bytes]


class Api:
    """The server: campaigns, an answer to each request, and what was asked."""

    def __init__(self) -> None:
        self.asked = list[tuple[str, dict[str, str], str | None]]()
        self.campaigns = [campaign(n) for n in range(5)]
        self.answer: Callable[[str, dict[str, str]], Answer] = self.by_cursor
        self.failing = list[Answer]()

    def changed(self, given: dict[str, str]) -> list[Any]:
        since = given.get("updated_since", "")
        return sorted((c for c in self.campaigns if c["updated_at"] >= since), key=lambda c: c["updated_at"])  # fmt: skip

    def by_cursor(self, _path: str, given: dict[str, str]) -> Answer:
        at = int(given.get("cursor", "0"))
        found = self.changed(given)
        after = str(at + 2) if at + 2 < len(found) else None
        return said({"data": {"items": found[at : at + 2]}, "paging": {"next": after}})

    def by_number(self, _path: str, given: dict[str, str]) -> Answer:
        at = 2 * (int(given["page"]) - 1)
        return said(self.changed(given)[at : at + 2])

    def by_url(self, path: str, given: dict[str, str]) -> Answer:
        at = int(given.get("at", "0"))
        more = at + 2 < len(self.campaigns)
        return said({"items": self.campaigns[at : at + 2], "next": f"{path}?at={at + 2}" if more else None})  # fmt: skip


def said(body: Any, status: int = 200, **headers: str) -> Answer:
    return status, headers, body if isinstance(body, bytes) else json.dumps(body).encode()


def campaign(number: int, budget: object = 10.5) -> dict[str, Any]:
    return {"id": number, "budget": budget, "name": f"Cämpaign {number}", "updated_at": f"2026-05-0{number + 1}T00:00:00Z", "owner": {"team": "x"}}  # fmt: skip


@pytest.fixture
def api() -> Iterator[tuple[Api, str]]:
    told = Api()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            given = {name: values[0] for name, values in parse_qs(parts.query).items()}
            told.asked.append((parts.path, given, self.headers["Authorization"]))
            status, headers, body = told.failing.pop(0) if told.failing else told.answer(parts.path, given)  # fmt: skip
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_given: object) -> None:
            return

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield told, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


CURSOR = {
    "name": "ads", "path": "/v1/campaigns", "items": "data.items", "parameters": {"limit": "2"},
    "paging": {"cursor": "paging.next", "parameter": "cursor"}, "since": {"field": "updated_at", "parameter": "updated_since"},
}  # fmt: skip
PAGES = {**CURSOR, "items": "", "paging": {"parameter": "page"}}
URLS = {"name": "ads", "path": "/v1/campaigns", "items": "items", "paging": {"cursor": "next"}}


def catalog_of(way: dict[str, Any] = CURSOR) -> Catalog:
    contract = Contract.model_validate(
        {
            "table": TABLE,
            "description": "d",
            "owner": "o",
            "source": {"connector": "events", "topic": "ads.ads.campaigns", "api": way},
            "key": ["id"],
            "columns": {
                "id": {"type": "int32"},
                "name": {"type": "string"},
                "budget": {"type": "decimal(20,2)"},
                "updated_at": {"type": "timestamp"},
            },
        }
    )
    return Catalog(Path(), {TABLE: contract})


class Bench:
    """A lake that pulls from the server."""

    def __init__(self, folder: Path, url: str, way: dict[str, Any] = CURSOR) -> None:
        self.lake, self.catalog = Lake(str(folder / "lake")), catalog_of(way)
        self.now, self.waits = NOW, list[float]()
        self.client = Client(url=url, token="hush", wait=self.waits.append)

    def pull(self, lake: Lake | None = None) -> Pulled:
        self.now += timedelta(minutes=1)
        return pull(lake or self.lake, self.catalog, TABLE, self.client, now=self.now)

    def rows(self) -> dict[int, str]:
        apply(self.lake, self.catalog, TABLE, now=NOW)
        rows = self.lake.scan(TABLE).select("id", "budget").collect()
        return {number: str(budget) for number, budget in rows.rows()}

    def versions(self) -> dict[str, int | None]:
        return {table: self.lake.version(table) for table in self.lake.tables()}


WAYS = {"cursor": (CURSOR, "by_cursor"), "number": (PAGES, "by_number"), "url": (URLS, "by_url")}


@pytest.mark.parametrize("paging", WAYS)
def test_every_page_is_read_and_again_changes_nothing(api: Any, tmp_path: Path, paging: str):
    server, url = api
    way, answer = WAYS[paging]
    server.answer = getattr(server, answer)
    bench = Bench(tmp_path, url, way)
    done = bench.pull()
    assert (done.items, done.rows, done.pages) == (5, 5, 4 if paging == "number" else 3)
    assert bench.rows() == dict.fromkeys(range(5), "10.50")
    assert {token for _, _, token in server.asked} == {"Bearer hush"}
    before = bench.versions()
    assert bench.pull().rows == 0
    assert bench.versions() == before


def test_a_pull_goes_on_where_the_last_one_ended(api: Any, tmp_path: Path):
    server, url = api
    bench = Bench(tmp_path, url)
    bench.pull()
    assert position_of(bench.lake, TABLE) == "2026-05-05T00:00:00Z"
    server.campaigns[1] |= {"budget": 99, "updated_at": "2026-05-20T00:00:00Z"}
    server.asked.clear()
    done = bench.pull()
    assert server.asked[0][1] == {"limit": "2", "updated_since": "2026-05-05T00:00:00Z"}
    assert (done.items, done.rows, done.position) == (2, 1, "2026-05-20T00:00:00Z")
    assert bench.rows() == {**dict.fromkeys(range(5), "10.50"), 1: "99.00"}
    server.campaigns[1] |= {"budget": 10.5, "updated_at": "2026-05-21T00:00:00Z"}  # and back
    bench.pull()
    assert bench.rows()[1] == "10.50"


@pytest.mark.parametrize("dies", range(6))
def test_a_pull_that_dies_loses_and_doubles_nothing(api: Any, tmp_path: Path, dies: int):
    _, url = api
    bench = Bench(tmp_path, url)
    mortal = MortalLake(bench.lake.root, {}, [dies])
    with pytest.raises(DiedError):
        bench.pull(mortal)
    bench.pull()
    assert bench.rows() == dict.fromkeys(range(5), "10.50")
    assert bench.lake.scan("bronze.ads.campaigns").collect().height == 5


def test_numbers_are_what_the_api_wrote(api: Any, tmp_path: Path):
    server, url = api
    server.answer = lambda *_: said(b'{"data":{"items":[{"id":1,"budget":123456789012345678.90},{"id":2,"budget":0.10},{"id":3,"budget":"7.00"}]}}')  # fmt: skip
    bench = Bench(tmp_path, url)
    bench.pull()
    assert bench.rows() == {1: "123456789012345678.90", 2: "0.10", 3: "7.00"}


def test_a_busy_api_is_asked_again_after_the_time_it_wants(api: Any, tmp_path: Path):
    server, url = api
    server.failing = [said(b"", 503), said(b"", 429, Retry_After="7")]
    bench = Bench(tmp_path, url)
    assert bench.pull().rows == 5
    assert bench.waits == [1.0, 7.0]


BAD: dict[str, tuple[Answer, str]] = {
    "no such path": (said(b"", 404), "answered 404.*\n.*api.path"),
    "no token": (said(b"", 401), "answered 401.*\n.*TOKEN"),
    "moved": (said(b"", 302, Location="http://elsewhere.example/"), "answered 302.*\n.*redirects are not followed"),
    "a page for people": (said(b"<html>"), "is no JSON"),
    "no list": (said({"data": {}, "total": 3}), "no list at 'data.items'.*\n.*it has data, total"),
    "no objects": (said({"data": {"items": [1]}}), "item 1 of a page"),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_an_answer_that_is_none_is_an_error_that_says_what_next(
    api: Any, tmp_path: Path, what: str
):
    server, url = api
    answer, text = BAD[what]
    server.failing = [answer]
    with pytest.raises(PullError, match=text) as caught:
        Bench(tmp_path, url).pull()
    assert "hush" not in str(caught.value)


def test_an_api_that_stays_down_is_given_up(api: Any, tmp_path: Path):
    server, url = api
    server.failing = [said(b"", 503)] * 9
    bench = Bench(tmp_path, url)
    with pytest.raises(PullError, match="answered 503"):
        bench.pull()
    assert bench.waits == [1.0, 2.0, 4.0, 8.0]
    bench.client = Client(url="http://127.0.0.1:9", wait=lambda _: None)
    with pytest.raises(PullError, match="no answer"):
        bench.pull()


def test_pages_in_a_circle_and_pages_elsewhere_end_a_pull(api: Any, tmp_path: Path):
    server, url = api
    bench = Bench(tmp_path, url, URLS)
    server.answer = lambda path, _: said({"items": server.campaigns[:1], "next": path})
    with pytest.raises(PullError, match="in a circle"):
        bench.pull()
    server.answer = lambda *_: said({"items": [], "next": "http://elsewhere.example/v1"})
    with pytest.raises(PullError, match="at another place"):
        bench.pull()
    assert bench.lake.open(PULLS) is None


def test_where_an_api_is_comes_from_the_environment():
    environment = {
        "MEDALLION_API_ADS_URL": "https://ads.example/",
        "MEDALLION_API_ADS_TOKEN": "hush",
    }
    settings = load_settings(environment=environment)
    source = catalog_of()[TABLE].source
    assert source
    assert source.api
    client = Client.of(settings, source.api)
    assert (client.url, client.token) == ("https://ads.example", "hush")
    assert "hush" not in f"{settings!r} {client!r}"
    with pytest.raises(SettingsError, match="MEDALLION_API_ADS_URL"):
        Client.of(load_settings(environment={}), source.api)
    with pytest.raises(MedallionError, match="begins with https"):
        Client(url="file:///etc")
