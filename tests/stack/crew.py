"""The pipeline's processes in a trial: started, stopped, killed, and held to how they may end."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.stack.test_silver import ASSETS

CONFLICT = 15
KILLED = -signal.SIGKILL
#: Seconds until a process surely listens to signals.
YOUTH = 8.0


class UnexpectedEndError(AssertionError):
    """A process ended in a way that it must not."""


@dataclass(slots=True, kw_only=True)
class Crew:
    """Starts the command line on one lake, with contracts that name the topics of one prefix."""

    folder: Path
    bootstrap: str
    prefix: str
    kills: int = 0
    conflicts: int = 0
    followers: list[subprocess.Popen[bytes]] = field(default_factory=list[subprocess.Popen[bytes]])
    _begun: dict[int, float] = field(default_factory=dict[int, float])

    def __post_init__(self) -> None:
        shutil.copytree(ASSETS / "commerce", self.assets / "commerce")
        for contract in self.assets.glob("*/silver/*.yaml"):
            text = contract.read_text()
            contract.write_text(text.replace("topic: shop.", f"topic: {self.prefix}."))

    @property
    def lake(self) -> Path:
        """Where the tables are."""
        return self.folder / "lake"

    @property
    def anew(self) -> Path:
        """Where the same topics are read again, in one go."""
        return self.folder / "anew"

    @property
    def assets(self) -> Path:
        """The shop's contracts, of topics of our own: two trials may run on one broker."""
        return self.folder / "assets"

    @property
    def log(self) -> Path:
        """What the processes said."""
        return self.folder / "medallion.log"

    def start(
        self, *arguments: str, dying: tuple[str, int] | None = None, lake: Path | None = None
    ) -> subprocess.Popen[bytes]:
        """A command; `dying` says before or after which write it kills itself."""
        environment = {
            **os.environ,
            "MEDALLION_LAKE": str(lake or self.lake),
            "MEDALLION_ASSETS": str(self.assets),
            "MEDALLION_BOOTSTRAP": self.bootstrap,
        }
        death = ("tests.stack.dying", dying[0], str(dying[1])) if dying else ("assets.cli",)
        with self.log.open("ab") as log:
            log.write(f"$ medallion {' '.join((*death[1:], *arguments))}\n".encode())
            log.flush()
            return subprocess.Popen(
                [sys.executable, "-m", *death, *arguments],
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def ended(self, process: subprocess.Popen[bytes], *, may_die: bool = False) -> int:
        """Waits for its end, which is well, a conflict with a rival, or the kill that was arranged.

        Raises:
            UnexpectedEndError: It ended otherwise; with the last it said.
        """
        code = process.wait(timeout=900)
        self.kills += may_die and code == KILLED
        self.conflicts += code == CONFLICT
        rivals = bool(self.followers) or may_die
        if code and not (code == KILLED and may_die) and not (code == CONFLICT and rivals):
            said = self.log.read_text(errors="replace").splitlines()[-30:]
            raise UnexpectedEndError(f"{process.args} ended with {code}:\n" + "\n".join(said))
        return code

    def run(self, *arguments: str, dying: tuple[str, int] | None = None) -> int:
        """A command to its end."""
        return self.ended(self.start(*arguments, dying=dying), may_die=dying is not None)

    def kill(self, process: subprocess.Popen[bytes]) -> None:
        """Ends it at once, wherever it is; not counted when it has ended by itself."""
        process.send_signal(signal.SIGKILL)
        self.ended(process, may_die=True)

    def follow(self, max_records: int) -> None:
        """One more follower of the trial's own group."""
        limits = ("--max-records", str(max_records), "--max-seconds", "0.2")
        follower = self.start("capture", "--follow", "--group", self.prefix, *limits)
        self._begun[follower.pid] = time.monotonic()
        self.followers.append(follower)

    def stop_follower(self, *, how: signal.Signals) -> None:
        """The follower that was started first: SIGTERM lands its batch, SIGKILL does not."""
        follower = self.followers[0]
        # One that has not come to its signal handlers yet is ended by the signal itself.
        is_young = follower.poll() is None and time.monotonic() - self._begun[follower.pid] < YOUTH
        follower.send_signal(how)
        if is_young and follower.wait(timeout=300) == -signal.SIGTERM:
            follower.returncode = 0
        self.ended(follower, may_die=how is signal.SIGKILL)
        self.followers.remove(follower)

    def disband(self) -> None:
        """Ends all that still runs, without a question; for the end of a trial that failed."""
        for follower in self.followers:
            follower.kill()
            follower.wait()
        self.followers.clear()
