"""The command line end to end: a contract of one's own, a recorded stream, and what each command says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.contract import load_catalog

CONTRACT = """table: silver.shop.notes
description: Notes
owner: me
source: {connector: postgres, topic: p.public.notes}
key: [id]
columns:
  id: {type: int32}
  text: {type: string, required: true, classification: confidential}
"""


def event(key: int, lsn: int, text: str | None, op: str = "c") -> dict[str, object]:
    source = {
        "name": "p",
        "schema": "public",
        "table": "notes",
        "snapshot": "false",
        "lsn": lsn,
        "sequence": f'["{lsn}","{lsn}"]',
        "ts_ms": lsn,
    }
    value = {
        "before": None,
        "after": {"id": key, "text": text},
        "source": source,
        "op": op,
        "ts_ms": 1,
        "transaction": None,
    }
    return {"key": json.dumps({"id": key}), "value": json.dumps(value)}


class Bench:
    """A folder of contracts outside the repository, a stream, a lake."""

    def __init__(self, root: Path) -> None:
        self.assets, self.stream, self.lake = root / "assets", root / "s.jsonl", root / "lake"
        (self.assets / "shop" / "silver").mkdir(parents=True)
        self.contract()

    def contract(self) -> None:
        (self.assets / "shop" / "silver" / "notes.yaml").write_text(CONTRACT)

    def record(self, *messages: dict[str, object], topic: str = "p.public.notes") -> None:
        lines = [
            {
                "topic": topic,
                "partition": 0,
                "offset": at,
                "timestamp": 1,
                "ts_type": 1,
                "headers": [],
                **message,
            }
            for at, message in enumerate(messages)
        ]
        with self.stream.open("a") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        settings = {
            "MEDALLION_ASSETS": str(self.assets),
            "MEDALLION_LAKE": str(self.lake),
            **environment,
        }
        clean = {
            name: value for name, value in os.environ.items() if not name.startswith("MEDALLION_")
        }
        return subprocess.run(
            [sys.executable, "-m", "assets.cli", *arguments],
            env={**clean, **settings},
            capture_output=True,
            text=True,
            check=False,
        )

    def told(self, *arguments: str) -> list[dict[str, object]]:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def test_a_stream_becomes_rows_and_the_second_run_changes_nothing(bench: Bench):
    bench.record(
        event(1, 10, "a"),
        event(2, 11, None),
        event(1, 12, "b", "u"),
        {"key": "{}", "value": "{oops"},
    )
    first, second = (
        bench.told("run", "--from-file", str(bench.stream), "--json") for _ in range(2)
    )
    assert (first[0]["kept"], first[0]["quarantined"], second[0]["events"]) == (1, 1, 0)
    assert bench.told("query", "SELECT id, text FROM silver.shop.notes", "-f", "json") == [
        {"id": 1, "text": "b"}
    ]
    assert (
        bench.run("query", "SELECT id, text FROM silver.shop.notes", "-f", "csv").stdout
        == "id,text\n1,b\n"
    )
    status = bench.told("status", "--json")[0]
    assert (
        status["rows"],
        status["quarantined"],
        status["dead_letters"],
        status["unapplied_versions"],
    ) == (1, 1, 1, 0)
    assert bench.told("quarantine", "list", "--json")[0]["issues"] == "text_required"
    assert bench.told("letters", "list", "--json")[0]["reason"] == "not_json"


def test_an_undeclared_topic_waits_among_the_dead_letters_for_its_contract(bench: Bench):
    (bench.assets / "shop" / "silver" / "notes.yaml").write_text(
        CONTRACT.replace("p.public.notes", "p.public.others")
    )
    bench.record(event(1, 10, "a"), event(2, 11, "b"))
    assert bench.run("capture", "--from-file", str(bench.stream)).returncode == 0
    assert {letter["reason"] for letter in bench.told("letters", "list", "--json")} == {
        "undeclared_topic"
    }
    bench.contract()
    assert bench.told("letters", "redrive", "--json") == [{"landed": 2, "left": 0}]
    assert bench.told("letters", "redrive", "--json") == [{"landed": 0, "left": 0}]
    bench.told("apply", "--json")
    assert len(bench.told("query", "SELECT id FROM silver.shop.notes", "-f", "json")) == 2
    assert bench.run("capture", "--from-file", str(bench.stream)).returncode == 0
    assert bench.told("query", "SELECT COUNT(*) AS n FROM bronze.shop.notes", "-f", "json") == [
        {"n": 2}
    ]


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "said"),
    [
        (["query", "SELECT * FROM silver.shop.nots"], {}, 17, "silver.shop.nots"),
        (["apply", "silver.shop.nots"], {}, 11, "did you mean 'silver.shop.notes'?"),
        (["capture", "--topic", "p.public.nots"], {}, 11, "did you mean 'p.public.notes'?"),
        (["capture"], {}, 10, "--bootstrap HOST:PORT"),
        (["capture"], {"MEDALLION_BOOTSTRAP": "127.0.0.1:1"}, 12, "127.0.0.1:1"),
        (["status"], {"MEDALLION_LAEK": "x"}, 10, "MEDALLION_LAKE"),
        (["capture", "--from-file", "missing.jsonl"], {}, 19, "missing.jsonl"),
        (["status"], {"MEDALLION_ASSETS": "/nowhere"}, 11, "no such folder of contracts"),
    ],
)
def test_each_kind_of_failure_has_its_code_and_says_what_next(
    bench: Bench, arguments: list[str], environment: dict[str, str], code: int, said: str
):
    done = bench.run(*arguments, **environment)
    assert done.returncode == code
    assert said in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_a_deleted_table_is_made_again_from_bronze(bench: Bench):
    import shutil

    bench.record(event(1, 10, "a"), event(2, 11, "b"))
    bench.told("run", "--from-file", str(bench.stream), "--json")
    shutil.rmtree(bench.lake / "silver")
    bench.told("apply", "--json")
    assert len(bench.told("query", "SELECT id FROM silver.shop.notes", "-f", "json")) == 2


def test_a_half_written_table_is_a_clear_error(bench: Bench):
    bench.record(event(1, 10, "a"))
    bench.told("run", "--from-file", str(bench.stream), "--json")
    (bench.lake / "silver" / "shop" / "notes" / "_delta_log" / f"{1:020}.json").write_text(
        '{"add": {'
    )
    done = bench.run("apply")
    assert (done.returncode, "Traceback" in done.stderr) == (14, False)
    assert "silver.shop.notes" in done.stderr


def test_contracts_are_written_and_imported(bench: Bench, tmp_path: Path):
    bench.record(event(1, 10, "a"))
    done = bench.run(
        "contract",
        "import",
        "silver.shop.imported",
        "--topic",
        "p.public.notes",
        "--from-file",
        str(bench.stream),
        MEDALLION_ASSETS=str(tmp_path / "new"),
    )
    assert done.returncode == 0, done.stderr
    imported = load_catalog(tmp_path / "new")["silver.shop.imported"]
    assert (imported.key, list(imported.columns)) == (("id",), ["id", "text"])
    again = bench.run(
        "contract",
        "new",
        "silver.shop.imported",
        "--topic",
        "x",
        MEDALLION_ASSETS=str(tmp_path / "new"),
    )
    assert (again.returncode, "is there already" in again.stderr) == (11, True)
    assert bench.run("contract", "check").returncode == 0


@pytest.mark.parametrize(
    "command",
    [
        "capture",
        "apply",
        "build",
        "run",
        "query",
        "replay",
        "status",
        "demo",
        "dev",
        "contract check",
        "contract new",
        "contract import",
        "quarantine release",
        "letters list",
        "letters redrive",
        "person",
    ],
)
def test_every_command_shows_an_example(bench: Bench, command: str):
    done = bench.run(*command.split(), "--help")
    assert done.returncode == 0
    assert f"medallion {command}" in " ".join(done.stdout.split())
