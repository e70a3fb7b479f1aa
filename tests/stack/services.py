"""Postgres, Kafka and Kafka Connect with Debezium on loopback: started, found again, stopped."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psycopg2

from tests.stack import processes
from tests.stack.configuration import CONNECT_CONF, KAFKA_CONF, POSTGRES_CONF
from tests.stack.parts import HERE, Parts, StackError, find_parts

# In the order they start; they stop in reverse.
SERVICES = ("postgres", "kafka", "connect")
# Started by the tests that want them, stopped with the rest if those could not.
BESIDE = ("mariadb",)
SIGNALS = {"postgres": signal.SIGINT}  # "fast": sessions are cut, data stays whole
PORTS = ("postgres", "kafka", "controller", "connect")
LOOPBACK = "127.0.0.1"
JVM = ("-XX:+UseSerialGC", "-Xshare:auto", f"-Dlog4j2.configurationFile={HERE / 'log4j2.yaml'}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """A running stack: its ports, all on loopback, and where its parts lie."""

    run: str
    jars: str
    java: str
    postgres_bin: str
    postgres: int
    kafka: int
    controller: int
    connect: int

    @property
    def bootstrap(self) -> str:
        """Kafka's bootstrap servers."""
        return f"{LOOPBACK}:{self.kafka}"

    @property
    def connect_url(self) -> str:
        """Root of Kafka Connect's REST interface."""
        return f"http://{LOOPBACK}:{self.connect}"

    def dsn(self, database: str = "postgres") -> str:
        """Connection string of a database, as the superuser."""
        return f"host={LOOPBACK} port={self.postgres} user=postgres dbname={database}"


def run_folder() -> Path:
    """Where data, logs and pid files lie; the postgres user must be able to reach it."""
    return Path(os.environ.get("MEDALLION_STACK_DIR") or "/tmp/medallion-stack")


def up() -> Stack:
    """The running stack, started if it is not; what a crashed start left behind is cleared first.

    Raises:
        StackError: A part is missing or does not come up; then nothing is left running.
    """
    run = run_folder()
    with _locked(run):
        if (standing := status()) is not None:
            return standing
        stack = _planned(run, find_parts())
        _clear(run)
        try:
            _start(stack)
        except BaseException:
            _stop_all(run)
            raise
        (run / "stack.json").write_text(json.dumps(asdict(stack), indent=1))
        return stack


def down() -> list[str]:
    """Stops what `up` started and deletes its data, the logs stay; the names of what was running."""
    run = run_folder()
    if not run.is_dir():
        return []
    with _locked(run):
        return _clear(run)


def status() -> Stack | None:
    """The stack if it was fully started and each of its processes still lives."""
    run = run_folder()
    try:
        stack = Stack(**json.loads((run / "stack.json").read_text()))
    except (FileNotFoundError, TypeError, ValueError):
        return None
    return stack if all(processes.running(run, name) for name in SERVICES) else None


@contextmanager
def running() -> Iterator[Stack]:
    """The stack for a while; one that was up before stays up afterwards."""
    stood_before = status() is not None
    stack = up()
    try:
        yield stack
    finally:
        if not stood_before:
            down()


@contextmanager
def _locked(run: Path) -> Iterator[None]:
    """Lets one process at a time start or stop the stack of a folder."""
    run.mkdir(parents=True, exist_ok=True)
    run.chmod(0o755)
    with (run / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _planned(run: Path, parts: Parts) -> Stack:
    ports = _ports()
    return Stack(
        run=str(run),
        jars=str(parts.jars),
        java=parts.java,
        postgres_bin=str(parts.postgres_bin),
        **ports,
    )


def _ports() -> dict[str, int]:
    """A port a listener: MEDALLION_STACK_<NAME>_PORT, otherwise a free one."""
    ports: dict[str, int] = {}
    with ExitStack() as held:  # all are held at once, so that no two are the same
        for name in PORTS:
            wanted = int(os.environ.get(f"MEDALLION_STACK_{name.upper()}_PORT") or 0)
            listener = held.enter_context(socket.socket())
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind((LOOPBACK, wanted))
            except OSError as error:
                raise StackError(
                    f"Port {wanted} for {name} is taken.\n"
                    f"  Hint: unset MEDALLION_STACK_{name.upper()}_PORT to get a free one."
                ) from error
            ports[name] = listener.getsockname()[1]
    return ports


def _start(stack: Stack) -> None:
    """Starts Postgres and Kafka side by side, then Connect, which needs the broker."""
    run = Path(stack.run)
    _spawn_postgres(stack, run)
    _spawn_kafka(stack, run)
    processes.wait_until(
        lambda: _listens(stack.kafka), what="Kafka", seconds=90, run=run, name="kafka"
    )
    _spawn_connect(stack, run)
    processes.wait_until(
        lambda: _accepts(stack), what="Postgres", seconds=60, run=run, name="postgres"
    )
    processes.wait_until(
        lambda: _has_debezium(stack), what="Kafka Connect", seconds=120, run=run, name="connect"
    )


def _spawn_postgres(stack: Stack, run: Path) -> None:
    data, user = run / "postgres", "postgres"
    data.mkdir(mode=0o700)
    if os.getuid() == 0:  # the server refuses to run as root
        owner = pwd.getpwnam(user)
        os.chown(data, owner.pw_uid, owner.pw_gid)
    how = ["-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "--no-sync"]
    initdb = subprocess.run(
        [f"{stack.postgres_bin}/initdb", "-D", str(data), *how],
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        **processes.as_user(user),
    )
    if initdb.returncode != 0:
        raise StackError(
            f"initdb failed: {initdb.stderr.strip()}\n"
            f"  Hint: the postgres user must reach {run}; MEDALLION_STACK_DIR names another folder."
        )
    with (data / "postgresql.conf").open("a") as conf:
        conf.write(POSTGRES_CONF.format(host=LOOPBACK, port=stack.postgres))
    processes.spawn(run, "postgres", [f"{stack.postgres_bin}/postgres", "-D", str(data)], user=user)


def _spawn_kafka(stack: Stack, run: Path) -> None:
    conf, data = run / "kafka.properties", run / "kafka"
    conf.write_text(
        KAFKA_CONF.format(host=LOOPBACK, port=stack.kafka, controller=stack.controller, data=data)
    )
    # A leading "-" would be read as an option, so the id starts with a letter.
    cluster = "m" + base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[1:22]
    tool = _java(stack, "128m", "kafka.tools.StorageTool")
    formatted = subprocess.run(
        [*tool, "format", "--standalone", "-t", cluster, "-c", str(conf)],
        capture_output=True,
        text=True,
        check=False,
    )
    if formatted.returncode != 0:
        raise StackError(f"Kafka could not format {data}: {formatted.stdout[-2000:]}")
    processes.spawn(run, "kafka", [*_java(stack, "512m", "kafka.Kafka"), str(conf)])


def _spawn_connect(stack: Stack, run: Path) -> None:
    conf = run / "connect.properties"
    plugins = Path(stack.jars) / "plugins"
    conf.write_text(
        CONNECT_CONF.format(
            bootstrap=stack.bootstrap, host=LOOPBACK, port=stack.connect, plugins=plugins
        )
    )
    main = "org.apache.kafka.connect.cli.ConnectDistributed"
    processes.spawn(run, "connect", [*_java(stack, "1g", main), str(conf)])


def _java(stack: Stack, heap: str, main: str) -> list[str]:
    return [stack.java, f"-Xmx{heap}", *JVM, "-cp", f"{stack.jars}/libs/*", main]


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((LOOPBACK, port)) == 0


def _accepts(stack: Stack) -> bool:
    try:
        psycopg2.connect(stack.dsn()).close()
    except psycopg2.OperationalError:
        return False
    return True


def _has_debezium(stack: Stack) -> bool:
    try:
        with urllib.request.urlopen(f"{stack.connect_url}/connector-plugins", timeout=5) as answer:
            return b"io.debezium.connector.postgresql" in answer.read()
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return False


def _stop_all(run: Path) -> list[str]:
    return [
        name
        for name in (*BESIDE, *reversed(SERVICES))
        if processes.stop(run, name, with_signal=SIGNALS.get(name, signal.SIGTERM))
    ]


def _clear(run: Path) -> list[str]:
    """Stops whatever of ours still runs here and deletes its data."""
    (run / "stack.json").unlink(missing_ok=True)
    stopped = _stop_all(run)
    for data in (*BESIDE, "postgres", "kafka"):
        shutil.rmtree(run / data, ignore_errors=True)
    return stopped
