"""A listener that holds every event to the specification, and a small lake that tells it things."""

from __future__ import annotations

import json
import os
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from pipelines.cli import app
from tests.unit.openlineage.published import published
from tests.unit.openlineage.spec import formats, validator

NOTES = """table: silver.shop.notes
description: Notes that customers left.
owner: shop-data
history: true
source: {connector: postgres, topic: p.public.notes}
key: [id]
columns:
  id: {type: int32, description: Number}
  kind: {type: string, required: true}
  text: {type: string, classification: confidential, pattern: "^[a-z ]+$"}
"""

KINDS = """table: gold.shop.kinds
description: Notes of each kind.
owner: me@example.org
key: [kind]
columns:
  kind: {type: string, description: The kind}
  notes: {type: int64}
"""

KINDS_SQL = """SELECT kind, COUNT(*) AS notes
FROM silver.shop.notes
WHERE id > 0
GROUP BY kind
"""


VALIDATOR = validator()

#: Faults by the published schemas too, where somebody says where they lie.
PUBLISHED = (
    published(Path(SPEC), formats()) if (SPEC := os.environ.get("OPENLINEAGE_SPEC")) else None
)


class Listening:
    """An HTTP server that takes OpenLineage events; `answers` are given first, then 201 for ever."""

    def __init__(self, port: int = 0) -> None:
        self.events: list[dict[str, Any]] = []
        self.faults: list[str] = []
        self.answers: list[int] = []
        self.seconds = 0.0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                time.sleep(outer.seconds)
                answer = outer.answers.pop(0) if outer.answers else outer.take(json.loads(body))
                self.send_response(answer)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def take(self, event: dict[str, Any]) -> int:
        faults = [f"{e.json_path}: {e.message}" for e in VALIDATOR.iter_errors(event)]
        faults += PUBLISHED(event) if PUBLISHED else []
        self.faults += faults
        self.events.append(event)
        return 422 if faults else 201

    def wait_for(self, job: str, state: str, seconds: float = 20) -> None:
        until = time.monotonic() + seconds
        wanted = (job, state)
        while wanted not in [(e["job"]["name"], e["eventType"]) for e in list(self.events)]:
            assert time.monotonic() < until, f"{job} was not told"
            time.sleep(0.02)

    def told(self, job: str, state: str) -> dict[str, Any]:
        (event,) = [e for e in self.events if e["job"]["name"] == job and e["eventType"] == state]
        return event

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class Shop:
    """Contracts, a recorded stream and a lake; commands run in this process."""

    def __init__(self, root: Path, url: str) -> None:
        self.root, self.outbox = root, root / "outbox"
        self.environment = {
            "MEDALLION_ASSETS": str(root / "assets"),
            "MEDALLION_LAKE": str(root / "lake"),
            "MEDALLION_OPENLINEAGE_OUTBOX": str(self.outbox),
            "OPENLINEAGE_CONFIG": str(root / "openlineage.yml"),
            "OPENLINEAGE_NAMESPACE": "tests",
        }
        self.configure(f"transport: {{type: http, url: '{url}', timeout: 1, retry: {{total: 0}}}}")
        for layer, name, text in (("silver", "notes", NOTES), ("gold", "kinds", KINDS)):
            (root / "assets" / "shop" / layer).mkdir(parents=True)
            (root / "assets" / "shop" / layer / f"{name}.yaml").write_text(text)
        (root / "assets" / "shop" / "gold" / "kinds.sql").write_text(KINDS_SQL)
        self.record(("a note", 1), ("BAD 5", 2), ("other", 3))

    def configure(self, text: str) -> None:
        (self.root / "openlineage.yml").write_text(text)

    def record(self, *notes: tuple[str, int]) -> None:
        lines = [
            {
                "topic": "p.public.notes",
                "partition": 0,
                "offset": number,
                "timestamp": 1_700_000_000_000 + number,
                "key": json.dumps({"id": number}),
                "value": json.dumps(_event(number, text)),
            }
            for text, number in notes
        ]
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (self.root / "stream.jsonl").write_text(text)

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments), env=self.environment)

    def run_all(self, *, listened: bool = True) -> Result:
        """A whole run; where somebody listens, until all is told, however slow the machine is."""
        done = self.run("run", "--from-file", str(self.root / "stream.jsonl"))
        assert done.exit_code == 0, (done.output, done.exception)
        until = time.monotonic() + 20
        while listened and self.waiting() and time.monotonic() < until:
            time.sleep(0.05)
        return done

    def waiting(self) -> list[Path]:
        return sorted(self.outbox.glob("*.json"))


def _event(number: int, text: str) -> dict[str, Any]:
    source = {"name": "p", "schema": "public", "table": "notes", "snapshot": "false"}
    source |= {"lsn": number, "sequence": f'["{number}","{number}"]', "ts_ms": number}
    after = {"id": number, "kind": "k", "text": text}
    return {"before": None, "after": after, "source": source, "op": "c", "ts_ms": 1}
