"""Long-running processes known by a pid file each, so that a stop touches those and no others."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.stack.parts import StackError

POLL_SECONDS = 0.1
# Kafka flushes its segments on SIGTERM: 1 to 9 s here. Beyond this it hangs.
PATIENCE_SECONDS = 30.0

# Kept until they are stopped: a forgotten Popen warns when collected, and its zombie looks alive.
_children: dict[int, subprocess.Popen[bytes]] = {}


def spawn(run: Path, name: str, argv: Sequence[str], *, user: str | None = None) -> None:
    """Starts a process in a session of its own; `run` gets its log and its pid file."""
    with (run / f"{name}.log").open("wb") as log:
        child = subprocess.Popen(
            argv,
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            **as_user(user),
        )
    _children[child.pid] = child
    (run / f"{name}.pid").write_text(f"{child.pid} {_started(child.pid)}\n")


def as_user(user: str | None) -> dict[str, object]:
    """What makes subprocess run as `user`; nothing unless we are root and a user is named."""
    if user is None or os.getuid() != 0:
        return {}
    return {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": []}


def running(run: Path, name: str) -> int | None:
    """The pid of the process we started under this name, if that very process still lives."""
    try:
        pid, started = (run / f"{name}.pid").read_text().split()
    except (FileNotFoundError, ValueError):
        return None
    # A pid alone may have gone to a stranger since; the start time tells.
    return int(pid) if _started(int(pid)) == started else None


def stop(run: Path, name: str, *, with_signal: signal.Signals = signal.SIGTERM) -> bool:
    """Ends the process and waits for it, with SIGKILL after 30 s; whether there was one."""
    pid = running(run, name)
    if pid is not None:
        os.kill(pid, with_signal)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while running(run, name) is not None:
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            time.sleep(POLL_SECONDS)
    _reap()
    (run / f"{name}.pid").unlink(missing_ok=True)
    return pid is not None


def wait_until(
    ready: Callable[[], bool], *, what: str, seconds: float, run: Path, name: str
) -> None:
    """Returns once `ready()` holds.

    Raises:
        StackError: The process died or the seconds passed; the text ends with its log's last lines.
    """
    deadline = time.monotonic() + seconds
    while not ready():
        gone = running(run, name) is None
        if gone or time.monotonic() > deadline:
            how = "died" if gone else f"did not answer within {seconds:.0f} s"
            raise StackError(f"{what} {how}; {run / name}.log ends:\n{tail(run / f'{name}.log')}")
        time.sleep(POLL_SECONDS)


def tail(log: Path, lines: int = 20) -> str:
    """The last lines of a log, for an error's text."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])


def _reap() -> None:
    """Takes leave of children that have ended, whoever ended them."""
    for pid in [pid for pid, child in _children.items() if child.poll() is not None]:
        del _children[pid]


def _started(pid: int) -> str | None:
    """When the kernel started the process, in clock ticks since boot; None when it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name before the last ")" may hold spaces; then come state (field 3) ... start time (22).
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else fields[19]
