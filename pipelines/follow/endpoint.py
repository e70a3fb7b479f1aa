"""/healthz, /readyz and /metrics of a follower, over HTTP."""

from __future__ import annotations

import json
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from prometheus_client import CONTENT_TYPE_LATEST

from pipelines.errors import SettingsError
from pipelines.follow.vitals import Vitals


@contextmanager
def serve(vitals: Vitals, host: str, port: int) -> Generator[int]:
    """Answers while the block runs; the port it listens on (0 asks for any).

    Raises:
        SettingsError: when the port is taken, or may not be used.
    """
    try:
        server = ThreadingHTTPServer((host, port), _handler(vitals))
    except OSError as error:
        raise SettingsError(
            f"cannot listen on {host}:{port}: {error.strerror}", hint="choose another with --port"
        ) from error
    thread = Thread(target=server.serve_forever, name="endpoint", daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(vitals: Vitals) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, kind, body = answer(vitals, self.path)
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Probes come every second; nobody wants to read of them."""

    return Handler


def answer(vitals: Vitals, path: str) -> tuple[int, str, bytes]:
    """Status, content type and body of a GET."""
    checks = {"/healthz": vitals.alive, "/readyz": vitals.ready}
    if path == "/metrics":
        return 200, CONTENT_TYPE_LATEST, vitals.exposition()
    if path in checks:
        said = {"ok": checks[path], "troubles": dict(vitals.troubles)}
        return 200 if checks[path] else 503, "application/json", json.dumps(said).encode() + b"\n"
    return 404, "text/plain; charset=utf-8", b"/healthz, /readyz or /metrics\n"
