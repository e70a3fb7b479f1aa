"""A file is taken whole or set aside whole, and whoever sent it reads where, why and what next."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from pipelines.bronze import DEAD_LETTERS
from pipelines.capture.embedded import EmbeddedBroker, Outgoing
from pipelines.capture.records import NoticeKind
from pipelines.cli import app
from pipelines.cli.arrivals import SetAsideError
from pipelines.contract import Catalog
from pipelines.contract.model import Contract
from pipelines.errors import SettingsError
from pipelines.files.fault import report
from pipelines.files.inbox import take_inbox, waiting
from pipelines.files.upload import UPLOADS, Uploaded, Verdict, upload
from pipelines.ingest import capture_kafka
from pipelines.settings import Settings
from pipelines.silver import apply
from pipelines.storage import Lake
from tests.spec.domains import ASSETS

NOW = datetime(2026, 6, 1, tzinfo=UTC)
TABLE = "silver.ads.days"
GOOD = "ad,day,clicks,cost,mail\na,2026-05-01,10,12.50,x@example.org\nb,2026-05-01,4,0.99,\n"


def given(**more: object) -> dict[str, Any]:
    files = {"names": "days*.csv", "optional": ["mail"], **more}
    return {
        "table": TABLE,
        "description": "d",
        "owner": "o",
        "source": {"connector": "events", "topic": "ads.ads.days", "files": files},
        "key": ["ad", "day"],
        "columns": {
            "ad": {"type": "string", "required": True},
            "day": {"type": "date"},
            "clicks": {"type": "int64", "min": 0},
            "cost": {"type": "decimal(8,2)"},
            "mail": {"type": "string", "classification": "confidential", "pattern": "@"},
        },
        "rules": [
            {"name": "costs_little", "expression": {"sql": "cost < 1000"}, "description": "Nobody pays that much"},
            {"name": "odd", "severity": "warning", "expression": {"sql": "clicks < 100"}},
        ],
    }  # fmt: skip


def contract(**more: object) -> Contract:
    return Contract.model_validate(given(**more))


CATALOG = Catalog(Path(), {TABLE: contract()})


class Desk:
    """A lake, and files that are brought to it."""

    def __init__(self, folder: Path, catalog: Catalog = CATALOG) -> None:
        self.folder, self.catalog, self.lake, self.now = (
            folder,
            catalog,
            Lake(str(folder / "lake")),
            NOW,
        )

    def bring(self, data: str | bytes, name: str = "days.csv") -> Uploaded:
        path = self.folder / name
        path.write_bytes(data.encode() if isinstance(data, str) else data)
        return upload(self.lake, self.catalog, path, now=self.now)

    def rows(self) -> list[tuple[object, ...]]:
        apply(self.lake, self.catalog, TABLE, now=self.now)
        silver = self.lake.scan(TABLE).select("ad", "day", "clicks", "cost", "mail")
        return sorted(silver.collect().rows())

    def letters(self) -> list[bytes]:
        if self.lake.open(DEAD_LETTERS) is None:
            return []
        return self.lake.scan(DEAD_LETTERS).collect()["value"].to_list()

    def versions(self) -> dict[str, int | None]:
        return {table: self.lake.version(table) for table in self.lake.tables()}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


# ---- TAKEN ---- #


def test_the_rows_of_a_file_are_silvers(desk: Desk):
    done = desk.bring(GOOD)
    assert (done.verdict, done.table, done.rows) == (Verdict.LANDED, TABLE, 2)
    day = datetime(2026, 5, 1).date()
    made = desk.lake.scan("bronze.ads.days").collect()
    assert [[str(v) for v in row] for row in desk.rows()] == [
        ["a", str(day), "10", "12.50", "x@example.org"],
        ["b", str(day), "4", "0.99", "None"],
    ]
    assert made["kafka_offset"].to_list() == [2, 3]  # the lines of the file
    assert done.upload_id in made["headers"][0]


def test_the_same_bytes_change_nothing_whatever_their_name(desk: Desk):
    desk.bring(GOOD)
    before = desk.versions()
    again = desk.bring(GOOD, "days_copy.csv")
    assert (again.verdict, again.rows) == (Verdict.REPEATED, 2)
    assert desk.versions() == before


def test_a_later_file_corrects_an_earlier_one_at_the_same_moment(desk: Desk):
    desk.bring(GOOD)
    desk.bring(GOOD.replace("12.50", "11.00"), "days_2.csv")
    assert str(desk.rows()[0][3]) == "11.00"


def test_a_row_that_stands_twice_is_one_row(desk: Desk):
    line = "b,2026-05-01,4,0.99,\n"
    done = desk.bring(GOOD + line)
    assert (done.verdict, done.rows, done.equal_rows) == (Verdict.LANDED, 2, 1)
    assert len(desk.rows()) == 2


@pytest.mark.parametrize(
    ("data", "rows"),
    [
        ("\ufeff" + GOOD, 2),  # Excel's mark
        (GOOD.replace("\n", "\r\n") + "\r\n\r\n", 2),
        (
            "day,cost,clicks,ad\n2026-05-01,1.00,3,c\n",
            1,
        ),  # another order, an optional column left out
        ('ad,day,clicks,cost,mail\n"a,\nb",2026-05-01,3,1.00,\n', 1),  # a line break within a value
        ("ad,day,clicks,cost,mail,more\na,2026-05-01,3,1.00,,x\n", 1),  # drift is silver's to judge
    ],
)
def test_what_people_export_is_read(desk: Desk, data: str, rows: int):
    done = desk.bring(data)
    assert (done.verdict, done.faults) == (Verdict.LANDED, ())
    assert len(desk.rows()) == rows


def test_a_declared_encoding_and_separator_are_read(tmp_path: Path):
    other = contract(encoding="cp1252", separator=";")
    desk = Desk(tmp_path, Catalog(Path(), {TABLE: other}))
    done = desk.bring("ad;day;clicks;cost\nJürgen;2026-05-01;3;1.00\n".encode("cp1252"))
    assert done.verdict is Verdict.LANDED
    assert desk.rows()[0][0] == "Jürgen"


# ---- SET ASIDE ---- #

#: A bad file, and where and why it is set aside.
BAD: dict[str, tuple[bytes, list[tuple[int | None, str | None, str]]]] = {
    "empty": (b"", [(None, None, "is empty")]),
    "blank": (b" \r\n\r\n", [(None, None, "is empty")]),
    "no rows": (b"ad,day,clicks,cost,mail\n", [(1, None, "no row below")]),
    "semicolons": (GOOD.replace(",", ";").encode(), [(1, None, "separated by semicolons, not by commas")]),
    "tabs": (GOOD.replace(",", "\t").encode(), [(1, None, "separated by tabs, not by commas")]),
    "missing column": (b"ad,day,clicks,mail\na,2026-05-01,1,\n", [(1, "cost", "is missing from the header")]),
    "misspelt column": (b"ad,day,clicks,costs\na,2026-05-01,1,1.00\n", [(1, "cost", "is missing")]),
    "column twice": (b"ad,day,clicks,cost,ad\na,2026-05-01,1,1.00,b\n", [(1, "ad", "stands twice")]),
    "cp1252": (GOOD.replace("a,", "\xe9,").encode("cp1252"), [(2, None, "0xE9 that is no utf-8")]),
    "utf-16": (GOOD.encode("utf-16"), [(1, None, "begins as utf-16 does")]),
    "a value too many": ((GOOD + "c,2026-05-01,1,1,50,\n").encode(), [(4, None, "has 6 values where the header has 5")]),
    "open quote": ((GOOD + '"c,2026-05-01,1,1.00,\n').encode(), [(4, None, "cannot be taken apart")]),
    "no number": (GOOD.replace(",10,", ",ten,").encode(), [(2, "clicks", "'ten' is no int64")]),
    "decimal comma": (GOOD.replace("12.50", '"12,50"').encode(), [(2, "cost", "'12,50' is no decimal(8,2)")]),
    "too many digits": (GOOD.replace("0.99", "0.999").encode(), [(3, "cost", "'0.999' is no decimal(8,2)")]),
    "american date": (GOOD.replace("2026-05-01,4", "05/01/2026,4").encode(), [(3, "day", "is no date")]),
    "no key": (GOOD.replace("b,2026", ",2026").encode(), [(3, "ad", "ad_required")]),
    "below its range": (GOOD.replace(",10,", ",-1,").encode(), [(2, "clicks", "clicks_range")]),
    "condition": (GOOD.replace("12.50", "1000").encode(), [(2, None, "costs_little': Nobody pays that much")]),
    "one key, two values": ((GOOD + "a,2026-05-01,11,12.50,\n").encode(), [(2, "ad, day", "has this key"), (4, "ad, day", "has this key")]),
    "two faults": (GOOD.replace("10", "x").replace("0.99", "y").encode(), [(2, "clicks", "'x'"), (3, "cost", "'y'")]),
}  # fmt: skip


@pytest.mark.parametrize("what", BAD)
def test_a_bad_file_is_set_aside_whole_and_its_report_tells(desk: Desk, what: str):
    data, expected = BAD[what]
    done = desk.bring(data)
    assert done.verdict is Verdict.SET_ASIDE
    assert [(fault.line, fault.column) for fault in done.faults] == [(line, column) for line, column, _ in expected]  # fmt: skip
    for fault, (_, _, reason) in zip(done.faults, expected, strict=True):
        assert reason in fault.reason
        assert fault.next_step.endswith(".")
    assert desk.lake.open("bronze.ads.days") is None
    assert desk.letters() == [data]
    told = desk.lake.scan(UPLOADS).collect()
    assert told.select("file_name", "verdict", "row_count").rows() == [("days.csv", "set aside", 0)]
    assert [fault["line"] for fault in told["faults"][0]] == [line for line, _, _ in expected]


def test_a_misspelt_column_is_recognised(desk: Desk):
    data, _ = BAD["misspelt column"]
    assert desk.bring(data).faults[0].next_step == "The header has costs: rename it."


def test_a_classified_value_is_in_no_report(desk: Desk):
    done = desk.bring(GOOD.replace("x@example.org", "secret-name"))
    assert [(fault.line, fault.column) for fault in done.faults] == [(2, "mail")]
    assert "secret-name" not in report("days.csv", done.faults)
    assert "secret-name" not in str(desk.lake.scan(UPLOADS).collect().to_dicts())


def test_a_file_that_no_table_takes_is_told_the_names(desk: Desk):
    done = desk.bring(GOOD, "weeks.csv")
    assert (done.verdict, done.table) == (Verdict.SET_ASIDE, None)
    assert done.faults[0].next_step == "Give it the name of what it holds: days*.csv."


def test_a_bad_file_brought_again_stays_one_letter(desk: Desk):
    desk.bring(b"")
    before = desk.versions()
    assert desk.bring(b"", "days_2.csv").verdict is Verdict.SET_ASIDE
    assert desk.versions() == before


def test_a_file_lands_once_its_contract_is_mended(desk: Desk):
    data = GOOD.replace(",", ";")
    desk.bring(data)
    desk.catalog = Catalog(Path(), {TABLE: contract(separator=";")})
    assert desk.bring(data).verdict is Verdict.LANDED
    assert desk.letters() == []
    assert len(desk.rows()) == 2


# ---- INBOX ---- #


def put(inbox: Path, name: str, data: str, seconds_ago: float = 60) -> None:
    inbox.mkdir(exist_ok=True)
    (inbox / name).write_text(data)
    at = (NOW - timedelta(seconds=seconds_ago)).timestamp()
    os.utime(inbox / name, (at, at))


def test_an_inbox_is_emptied_once_and_keeps_what_it_took(desk: Desk):
    inbox = desk.folder / "inbox"
    put(inbox, "days_1.csv", GOOD)
    put(inbox, "days_2.csv", "")
    put(inbox, "days_3.csv.partial", GOOD)
    put(inbox, ".days_4.csv", GOOD)
    put(inbox, "days_5.csv", GOOD, seconds_ago=1)  # somebody may still write to it
    done = list(take_inbox(desk.lake, CATALOG, inbox, now=NOW))
    assert [each.verdict for each in done] == [Verdict.LANDED, Verdict.SET_ASIDE]
    assert [path.name[13:] for path in sorted((inbox / "landed").iterdir())] == ["days_1.csv"]
    assert [path.name[13:] for path in sorted((inbox / "aside").iterdir())] == ["days_2.csv", "days_2.csv.report.txt"]  # fmt: skip
    told = next((inbox / "aside").glob("*.report.txt")).read_text()
    assert told.startswith(
        "days_2.csv was set aside whole, no row of it was taken: 1 fault\n  is empty\n"
    )
    assert waiting(inbox, NOW) == []
    later = list(take_inbox(desk.lake, CATALOG, inbox, now=NOW + timedelta(minutes=1)))
    assert [each.verdict for each in later] == [Verdict.REPEATED]


def test_an_inbox_that_is_not_there_is_an_error(desk: Desk):
    with pytest.raises(SettingsError, match="no inbox"):
        waiting(desk.folder / "nowhere", NOW)


def test_files_need_plain_events():
    told = given()
    told["source"] |= {"connector": "postgres"}
    with pytest.raises(ValidationError, match="not a database's changes") as caught:
        Contract.model_validate(told)
    assert caught.value.error_count() == 1


def test_a_stream_and_files_share_a_table_in_the_order_they_came(desk: Desk):
    """What was said last counts, on whichever way it came."""
    from pipelines.bronze import Bronze
    from pipelines.capture.flat import flat_batch
    from pipelines.capture.records import Origin, Partition

    desk.bring(GOOD)
    at = int(NOW.timestamp() * 1000)
    for offset, (cost, when) in enumerate([("7.00", at + 60_000), ("8.00", at - 60_000)]):
        row = pl.DataFrame([{"ad": "a", "day": "2026-05-01", "clicks": "1", "cost": cost, "mail": None}], schema_overrides={"mail": pl.String})  # fmt: skip
        batch = flat_batch(
            row, pl.Series([offset]), key=["ad", "day"], place=Partition("ads.ads.days", 0),
            origin=Origin(cluster="kafka"), next_offset=offset + 1, at_ms=when,
        )  # fmt: skip
        Bronze(desk.lake, CATALOG).land(batch)
    assert str(desk.rows()[0][3]) == "7.00"
    desk.now = NOW + timedelta(hours=1)
    desk.bring(GOOD.replace("12.50", "9.00"), "days_2.csv")
    assert str(desk.rows()[0][3]) == "9.00"


def test_a_topic_whose_rows_come_as_files_need_not_be_there(desk: Desk):
    live = {"connector": "events", "topic": "ads.ads.live"}
    streamed = Contract.model_validate({**given(), "table": "silver.ads.live", "source": live})
    both = Catalog(Path(), {**CATALOG.contracts, "silver.ads.live": streamed})
    with EmbeddedBroker() as broker:
        broker.produce([Outgoing("ads.ads.other", None, b"{}", (), 0)])
        done = capture_kafka(Settings(lake=desk.lake.root, bootstrap=broker.bootstrap), both)
    assert [(n.kind, n.topic) for n in done.notices] == [(NoticeKind.MISSING_TOPIC, "ads.ads.live")]


# ---- COMMANDS ---- #

NAMES = "alias,channel\nGoogle Ads,search\n"


def test_the_command_tells_of_each_file_and_ends_with_a_code_of_its_own(tmp_path: Path):
    (tmp_path / "channel_names.csv").write_text(NAMES)
    (tmp_path / "channel_names_bad.csv").write_text(NAMES.replace(",", ";"))
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "marketing").symlink_to(ASSETS / "marketing")
    places = ["--lake", str(tmp_path / "lake"), "--assets", str(tmp_path / "assets")]
    files = [str(path) for path in sorted(tmp_path.glob("*.csv"))]
    done = CliRunner().invoke(app, ["upload", *files, *places])
    assert "channel_names.csv: 1 rows of silver.marketing.channel_names landed" in done.stdout
    assert "line 1: its values are separated by semicolons, not by commas" in done.stderr
    assert isinstance(done.exception, SetAsideError)
    assert done.exception.exit_code == 26
    again = CliRunner().invoke(app, ["upload", files[0], "--json", *places])
    assert [each["verdict"] for each in json.loads(again.stdout)] == ["repeated"]


def test_a_run_takes_the_inbox_without_a_broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    put(tmp_path / "inbox", "channel_names.csv", NAMES)
    (tmp_path / "assets").mkdir()
    (tmp_path / "assets" / "marketing").symlink_to(ASSETS / "marketing")
    monkeypatch.setenv("MEDALLION_INBOX", str(tmp_path / "inbox"))
    monkeypatch.delenv("MEDALLION_BOOTSTRAP", raising=False)
    places = ["--lake", str(tmp_path / "lake"), "--assets", str(tmp_path / "assets")]
    done = CliRunner().invoke(app, ["run", *places])
    assert "1 rows of silver.marketing.channel_names landed" in done.stderr
    silver = Lake(str(tmp_path / "lake")).scan("silver.marketing.channel_names").collect()
    assert silver["alias"].to_list() == ["Google Ads"]
