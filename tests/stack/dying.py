"""python -m tests.stack.dying before|after N COMMAND...: the command line, killed at its N-th write.

A random moment seldom falls between two writes; here a process kills itself there. What counts as a
write: a table made, a commit through delta-rs, and each object our own writer puts (data file,
deletion vectors, the commit itself). Nothing else of the pipeline is touched.
"""

from __future__ import annotations

import functools
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from pipelines.delta.store import Store
from pipelines.storage import Lake

When = Literal["before", "after"]


@dataclass(slots=True)
class Death:
    """Counts writes and kills the process at the n-th."""

    when: When
    nth: int
    seen: int = 0

    def wrap(
        self, write: Callable[..., Any], counts: Callable[..., bool] = lambda *_: True
    ) -> Callable[..., Any]:
        """The write, deadly when its turn has come."""

        @functools.wraps(write)
        def counted(*args: Any, **kwargs: Any) -> Any:
            is_turn = False
            if counts(*args):
                self.seen += 1
                is_turn = self.seen == self.nth
            if is_turn and self.when == "before":
                _die()
            result = write(*args, **kwargs)
            if is_turn:
                _die()
            return result

        return counted


def main() -> None:
    """Runs the command line with its death arranged."""
    when, nth, *arguments = sys.argv[1:]
    arrange(Death("before" if when == "before" else "after", int(nth)))
    from assets.cli import main as medallion  # after the writes are wrapped

    sys.argv = ["medallion", *arguments]
    medallion()


def arrange(death: Death) -> None:
    """Wraps every write of this process."""
    Lake.write = death.wrap(Lake.write)
    Lake.create = death.wrap(Lake.create, _is_missing)
    Store.put = death.wrap(Store.put)


def _is_missing(lake: Lake, table: str, *_: object) -> bool:
    return lake.version(table) is None


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
