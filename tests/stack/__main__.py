"""python -m tests.stack up | down | status | run COMMAND: the real stack from a shell."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time

from tests.stack import processes, services
from tests.stack.parts import StackError


def main() -> int:
    """Does what the first word says; 0 when it worked."""
    parser = argparse.ArgumentParser(prog="python -m tests.stack", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("up", help="start what is not running, print where it listens")
    verbs.add_parser("down", help="stop it and delete its data")
    verbs.add_parser("status", help="where it listens; ends with 1 when it is not running")
    run = verbs.add_parser("run", help="run a command with the stack up, e.g. run -- pytest")
    run.add_argument("command", nargs=argparse.REMAINDER)
    said = parser.parse_args()
    try:
        match said.verb:
            case "up":
                return _up()
            case "down":
                stopped = services.down()
                print("stopped " + ", ".join(stopped) if stopped else "nothing was running")
                return 0
            case "status":
                return _status()
            case _:
                return _run([word for word in said.command if word != "--"])
    except StackError as error:
        print(error, file=sys.stderr)
        return 1


def _up() -> int:
    begun = time.monotonic()
    services.up()
    print(f"up after {time.monotonic() - begun:.1f} s")
    return _status()


def _status() -> int:
    stack, run = services.status(), services.run_folder()
    if stack is None:
        print(f"not running ({run})")
        return 1
    for name in services.SERVICES:
        where = f"{services.LOOPBACK}:{getattr(stack, name)}"
        print(f"{name:9} {where:16} pid {processes.running(run, name)}, log {run / name}.log")
    print(f"export MEDALLION_BOOTSTRAP={stack.bootstrap}")
    return 0


def _run(command: list[str]) -> int:
    # A cancelled test run ends with SIGTERM; the stack must not outlive it.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    with services.running():
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
