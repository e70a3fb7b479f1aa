"""pgbench through real Postgres, Debezium and Kafka into a follower's gold: how old is what it shows?

Lags are the follower's own histograms: of each batch the age of its oldest event, by the source's
clock, when bronze, silver or gold showed it. So an event's own lag is at most what is told here.
"""

from __future__ import annotations

import re
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2

from pipelines.storage import Lake
from tests.stack import connect, services, topics
from tests.stack.connect import Form
from tests.stack.services import Stack

CONTRACTS = Path(__file__).parent / "pgbench"
TABLES = ("accounts", "tellers", "branches", "history")
PREFIX = "pgbench"
#: pgbench's unit: 100,000 accounts each.
_SCALE = 10
_METRIC = re.compile(
    r'^medallion_(source_to_\w+)_seconds_bucket\{le="([^"]+)",\w+="([^"]+)"\} (\S+)'
)


def follow(rate: int, seconds: int) -> dict[str, Any]:
    """p95 of the lags in seconds, peak and growth of memory in MB; silver equals Postgres at the end."""
    with services.running() as stack, tempfile.TemporaryDirectory(prefix="bench") as folder:
        name = f"pgbench_{secrets.token_hex(4)}"
        _sql(stack, "postgres", f"create database {name}")
        try:
            return _measure(stack, name, Path(folder), rate, seconds)
        finally:
            _clear(stack, name)


def _measure(stack: Stack, name: str, folder: Path, rate: int, seconds: int) -> dict[str, Any]:
    _pgbench(stack, name, "-i", "-q", "-s", str(_SCALE))
    config = connect.connector(
        stack, database=name, prefix=PREFIX, slot=name, form=Form.ENVELOPED, partitions=1
    )
    listed = {"table.include.list": ",".join(f"public.pgbench_{table}" for table in TABLES)}
    connect.create(stack, name, {**config, **listed, "poll.interval.ms": "50"})
    shutil.copytree(CONTRACTS, folder / "assets" / "pgbench")
    with _follower(stack, folder) as (process, port):
        _until_ready(stack, name, process, port)
        before, applied = _buckets(port), _applied(port)
        memory = list[float]()
        load = _load(stack, name, rate, seconds)
        while load.poll() is None:
            memory.append(_resident(process.pid))
            time.sleep(1)
        after = _buckets(port)
        ran = load.communicate()[0] or ""
        _until_applied(stack, name, port, applied)
    tps = re.search(r"tps = ([\d.]+)", ran)
    return {
        "tps": float(tps[1]) if tps else 0.0,
        "bronze": _p95(before, after, "source_to_bronze", f"{PREFIX}.public.pgbench_"),
        "gold": _p95(before, after, "source_to_table", "gold."),
        "follower_mb": max(memory),
        "growth": _median(memory[-len(memory) // 5 :]) / _median(memory[len(memory) // 5 : len(memory) * 2 // 5]),
        **_equal(stack, name, folder / "lake"),
    }  # fmt: skip


@contextmanager
def _follower(stack: Stack, folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A follower, drained by SIGTERM at the end."""
    port = _free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "assets.cli", "follow", "--port", str(port), "--no-report",
         "--bootstrap", stack.bootstrap, "--lake", str(folder / "lake"), "--assets", str(folder / "assets")]
    )  # fmt: skip
    try:
        yield process, port
        process.terminate()
        if process.wait(timeout=300):
            raise SystemExit(f"the follower ended with {process.returncode}")
    finally:
        process.kill()


def _free_port() -> int:
    with socket.socket() as held:
        held.bind((services.LOOPBACK, 0))
        return int(held.getsockname()[1])


def _until_ready(stack: Stack, name: str, process: subprocess.Popen[bytes], port: int) -> None:
    """Returns when the snapshot is in silver and gold."""
    wanted = _SCALE * (100_000 + 10 + 1)
    deadline = time.monotonic() + 900
    while _applied(port) < wanted or connect.flushed_lsn(stack, name) < 0:
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit("the follower does not come up to the snapshot")
        time.sleep(1)
    time.sleep(5)


def _until_applied(stack: Stack, name: str, port: int, before: float) -> None:
    """Returns when the follower has applied as many events as Postgres has seen: four a transaction."""
    wanted = before + 4 * _sql(stack, name, "select count(*) from pgbench_history")[0]
    deadline = time.monotonic() + 600
    while _applied(port) < wanted:
        if time.monotonic() > deadline:
            raise SystemExit(f"the follower applied {_applied(port):,.0f} of {wanted:,.0f} events")
        time.sleep(0.5)


def _load(stack: Stack, name: str, rate: int, seconds: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        _argv(stack, name, "-n", "-c", "4", "-j", "1", "-R", str(rate), "-T", str(seconds)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


# ---- WHAT THE FOLLOWER SAYS ---- #


def _metrics(port: int) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            return answer.read().decode()
    except OSError:
        return ""  # it is still starting


def _applied(port: int) -> float:
    said = re.findall(r"^medallion_events_applied_total\{.*\} (\S+)", _metrics(port), re.M)
    return sum(map(float, said))


Buckets = Mapping[tuple[str, str], Mapping[float, float]]


def _buckets(port: int) -> Buckets:
    """Of each histogram and label: how many were at most so many seconds old."""
    found: dict[tuple[str, str], dict[float, float]] = {}
    for line in _metrics(port).splitlines():
        if told := _METRIC.match(line):
            name, bound, label, count = told.groups()
            found.setdefault((name, label), {})[float(bound)] = float(count)
    return found


def _p95(before: Buckets, after: Buckets, name: str, label: str) -> float:
    """Seconds, straight between the bounds of the bucket that holds it, as Prometheus reads histograms."""
    counts: dict[float, float] = {}
    for (told, at), bounds in after.items():
        if told == name and at.startswith(label):
            for bound, count in bounds.items():
                earlier = before.get((told, at), {}).get(bound, 0.0)
                counts[bound] = counts.get(bound, 0.0) + count - earlier
    wanted, low, below = 0.95 * max(counts.values(), default=0.0), 0.0, 0.0
    for bound, count in sorted(counts.items()):
        if count >= wanted:
            return low + (bound - low) * (wanted - below) / max(count - below, 1.0)
        low, below = bound, count
    return float("inf")


def _resident(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2] if values else float("nan")


# ---- THE SOURCE ---- #


def _equal(stack: Stack, name: str, lake: Path) -> dict[str, float]:
    """Rows by table, equal in count and sum in Postgres and in silver.

    Raises:
        SystemExit: when they are not.
    """
    held = dict[str, float]()
    for table, value in (("accounts", "abalance"), ("tellers", "tbalance"), ("branches", "bbalance"), ("history", "delta")):  # fmt: skip
        theirs = _sql(stack, name, f"select count(*), sum({value}) from pgbench_{table}")
        ours = Lake(str(lake)).scan(f"silver.pgbench.{table}").select(value).collect()
        if theirs != (len(ours), ours[value].sum()):
            raise SystemExit(f"{table}: {theirs} in Postgres, {(len(ours), ours[value].sum())} in silver")  # fmt: skip
        held[table] = len(ours)
    return held


def _argv(stack: Stack, name: str, *options: str) -> list[str]:
    at = ["-h", services.LOOPBACK, "-p", str(stack.postgres), "-U", "postgres", name]
    return [f"{stack.postgres_bin}/pgbench", *options, *at]


def _pgbench(stack: Stack, name: str, *options: str) -> None:
    subprocess.run(_argv(stack, name, *options), check=True, capture_output=True)


def _sql(stack: Stack, database: str, sql: str) -> Any:
    with closing(psycopg2.connect(stack.dsn(database))) as db:
        db.autocommit = True
        with db.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchone() if cursor.description else None


def _clear(stack: Stack, name: str) -> None:
    if name in connect.names(stack):
        connect.delete(stack, name)
    deadline = time.monotonic() + 60
    while _sql(stack, "postgres", f"select 1 from pg_replication_slots where slot_name = '{name}' and active"):  # fmt: skip
        if time.monotonic() > deadline:
            break
        time.sleep(0.2)
    _sql(stack, "postgres", f"select pg_drop_replication_slot(slot_name) from pg_replication_slots where slot_name = '{name}'")  # fmt: skip
    _sql(stack, "postgres", f"drop database {name} with (force)")
    topics.delete(stack, topics.named(stack, PREFIX))
