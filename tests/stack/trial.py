"""python -m tests.stack.trial --seed 1 --minutes 10: the real stack under a drawn workload, and the laws.

A history is a list of steps drawn from its seed and number before it begins: transactions at the
source, accidents of the connector, of the topics and of the pipeline's processes. When it is over,
the pipeline runs once undisturbed and every law of tests/stack/laws.py must hold.

This is a plain drawn list and not Hypothesis' RuleBasedStateMachine. A history takes half a minute
on servers that keep state: Hypothesis would replay dozens to shrink one, its health checks and
deadlines would have to be off, and a fault that shows only at some moment makes it stop as flaky.
Here each step has a random source of its own, so that steps can be left out and the others stay as
they are: `--history 4` does one history again, `--without 3,7` less of it, and `--shrink` finds
out which steps the fault needs. What the source does repeats exactly; moments do not.
"""

from __future__ import annotations

import argparse
import itertools
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import psycopg2
from confluent_kafka import KafkaException
from deltalake.exceptions import CommitFailedError

from pipelines.contract import load_catalog
from pipelines.errors import MedallionError
from pipelines.storage import Lake
from tests.stack import laws, services
from tests.stack.connect import TABLES, Form
from tests.stack.crew import Crew
from tests.stack.mischief import Mischief, interleave
from tests.stack.parts import StackError
from tests.stack.services import Stack
from tests.stack.shop import Shop, open_shop
from tests.stack.wire import Wire

#: Whether a table may be empty when a connector snapshots again: its topic then tells nothing of it.
EMPTIED_UNSEEN = False

#: What may go wrong in a history and be its fault; anything else is the trial's own.
FAULTS = (
    AssertionError,
    StackError,
    MedallionError,
    KafkaException,
    psycopg2.Error,
    subprocess.TimeoutExpired,
)

#: Transactions of one clerk, by the name of the turn.
TURNS = {
    "basket": 7,
    "swap_keys": 5,
    "take_a_freed_key": 5,
    "there_and_back": 3,
    "rekey_all": 2,
    "many_rows": 3,
    "rewrite": 3,
    "empty": 1,
    "touch_beside_a_long_note": 4,
    "lengthen_and_shorten": 3,
    "truncate": 5,
    "nested_savepoints": 3,
}

#: How often each step is drawn, of the sum of all that are possible then.
STEPS = {
    **TURNS,
    "trade": 14,
    "interleave": 4,
    "restart": 4,
    "pause": 3,
    "resume": 8,
    "resnapshot": 4,
    "incremental": 5,
    "blocking": 3,
    "repartition": 3,
    "add_column": 2,
    "widen": 2,
    "other_identity": 1,
    "capture": 5,
    "capture_little_by_little": 4,
    "apply": 5,
    "run": 3,
    "follow": 5,
    "stop_following": 4,
    "kill_follower": 5,
    "kill_capture": 4,
    "kill_apply": 4,
    "die_capturing": 6,
    "die_applying": 8,
    "die_running": 5,
    "rivals": 2,
    "compact": 2,
    "look": 1,
}

#: Steps of the pipeline: in some histories they begin late, so that the first finds a lot.
PIPELINE = tuple(itertools.dropwhile(lambda name: name != "capture", STEPS))

#: About as many batches a topic is captured in, little by little.
MOST_BATCHES = 200

#: Turns that delete nothing and change no key.
HARMLESS = (
    "place_order",
    "move_order_on",
    "change_note",
    "pay_order",
    "new_customer",
    "edit_customer",
    "reprice_product",
    "mend",
)


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happens; its number in the full history gives it its random source."""

    number: int
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A history before it happens."""

    seed: int
    history: int
    form: Form
    partitions: int
    steps: tuple[Step, ...]

    def without(self, numbers: set[int]) -> Plan:
        """The same with some steps left out."""
        steps = tuple(step for step in self.steps if step.number not in numbers)
        return Plan(
            seed=self.seed,
            history=self.history,
            form=self.form,
            partitions=self.partitions,
            steps=steps,
        )


@dataclass(slots=True)
class Tally:
    """What happened, over all histories."""

    counts: Counter[str] = field(default_factory=Counter[str])
    steps: Counter[str] = field(default_factory=Counter[str])
    faults: list[str] = field(default_factory=list[str])

    def print(self, seconds: float) -> None:
        """The summary table."""
        print(f"\n{'histories':24}{self.counts['histories']:>9,}   in {seconds:,.0f} s")
        for name in (
            "transactions",
            "events",
            "kills",
            "conflicts",
            "connector restarts",
            "re-snapshots",
            "incremental snapshots",
            "blocking snapshots",
            "DDLs",
            "faults",
        ):
            print(f"{name:24}{self.counts[name]:>9,}")
        print("steps: " + ", ".join(f"{name} {n}" for name, n in self.steps.most_common()))
        for fault in self.faults:
            print(f"FAULT {fault}")


def draw(seed: int, history: int, length: int) -> Plan:
    """The history of a seed and number; a step is only drawn where it can be taken."""
    rng = Random(f"{seed} {history}")
    form = rng.choices(list(Form), (3, 3, 1, 1))[0]
    late = rng.choice((0, 0, length // 2))
    steps, paused = list[Step](), False
    followers: int = 0
    for number in range(length):
        impossible = {
            "resume" if not paused else "pause",
            *(("stop_following", "kill_follower") if not followers else ()),
            *(("follow",) if followers == 2 else ()),
            *(("truncate",) if form.is_unwrapped else ()),
            *(PIPELINE if number < late else ()),
        }
        possible = {name: n for name, n in STEPS.items() if name not in impossible}
        name = rng.choices(list(possible), list(possible.values()))[0]
        steps.append(Step(number, name))
        paused = (paused or name == "pause") and name not in (
            "resume",
            "resnapshot",
            "blocking",
            "look",
        )
        followers += (name == "follow") - (name in ("stop_following", "kill_follower"))
    return Plan(
        seed=seed, history=history, form=form, partitions=rng.choice((1, 3)), steps=tuple(steps)
    )


class History:
    """A plan as it happens, on a shop and a lake of its own."""

    def __init__(self, plan: Plan, shop: Shop, folder: Path, counts: Counter[str]) -> None:
        self.plan, self.shop, self.counts = plan, shop, counts
        prefix = f"trial_{shop.database}"
        self.wire = Wire(shop, prefix, plan.form, plan.partitions)
        self.crew = Crew(folder=folder, bootstrap=shop.bootstrap, prefix=prefix)

    def happen(self) -> None:
        """Every step, then the undisturbed run and the laws.

        Raises:
            AssertionError: A law is broken, or a process ended as it must not.
        """
        began = time.monotonic()
        try:
            for step in self.plan.steps:
                rng = Random(f"{self.plan.seed} {self.plan.history} {step.number}")
                said = self._take(step.name, rng)
                print(
                    f"  {time.monotonic() - began:6.1f} s  {step.number:2} {step.name}"
                    f"{': ' if said else ''}{said}",
                    flush=True,
                )
            self._end()
        finally:
            self.crew.disband()
            self.counts["kills"] += self.crew.kills
            self.counts["conflicts"] += self.crew.conflicts

    def _end(self) -> None:
        while self.crew.followers:
            self.crew.stop_follower(how=signal.SIGTERM)
        self._settle()
        before = laws.versions(self.crew.lake)
        self.crew.run("run")
        assert laws.versions(self.crew.lake) == before, "a run without news wrote something"
        self.counts["events"] += self._settle(run=False)
        self.crew.ended(self.crew.start("run", lake=self.crew.anew))
        laws.made_anew_is_the_same(self.crew)
        self.crew.run("replay", "--check")

    def _settle(self, *, run: bool = True) -> int:
        """The laws on all that has been committed so far; events in bronze."""
        if self.wire.paused:
            self.wire.resume()
        self.wire.wait_until_streamed()
        if run:
            self._catch_up()
        return laws.hold(self.wire, self.crew)

    def _catch_up(self) -> None:
        """Runs, again where a follower was in the way."""
        for _ in range(20):
            if self.crew.run("run") == 0 and not self.crew.followers:
                return
            if self.crew.followers:
                self.crew.stop_follower(how=signal.SIGTERM)
        raise AssertionError("20 runs came into conflict with nobody there")

    def _take(self, name: str, rng: Random) -> str:
        if name in TURNS:
            return self._work(rng, [name])
        return str(getattr(self, f"_{name}")(rng) or "")

    # ---- THE SOURCE ---- #

    def _work(self, rng: Random, turns: Sequence[str] | None = None, count: int = 0) -> str:
        """The turns named, or as many of a clerk's own; each is a transaction."""
        with closing(psycopg2.connect(self.shop.dsn)) as db:
            clerk = Mischief(db, "clerk", rng)
            clerk.truncates = not self.plan.form.is_unwrapped
            clerk.restock()
            for turn in turns or [clerk.next_turn() for _ in range(count)]:
                clerk.take(turn)
            self.counts["transactions"] += clerk.committed
            return f"{clerk.committed} transactions, {sum(clerk.changes.values())} changes"

    def _trade(self, rng: Random) -> str:
        return self._work(rng, count=rng.randint(5, 40))

    def _interleave(self, rng: Random) -> str:
        """Two transactions; at times the connector restarts after the end of one, before the other's."""
        restarts = rng.random() < 0.4 and not self.wire.paused

        def amid() -> None:
            if restarts:
                self.shop.wait_until_streamed()
                self.wire.restart()
                self.counts["connector restarts"] += 1

        clerks = interleave(self.shop.dsn, str(rng.random()), amid)
        self.counts["transactions"] += sum(clerk.committed for clerk in clerks)
        return "a restart between their commits" if restarts else ""

    # ---- THE CONNECTOR ---- #

    def _restart(self, rng: Random) -> None:
        if not self.wire.paused:
            self._work(rng, count=8)
            self.wire.restart()
            self.counts["connector restarts"] += 1

    def _pause(self, _: Random) -> None:
        if not self.wire.paused:
            self.wire.pause()

    def _resume(self, _: Random) -> None:
        if self.wire.paused:
            self.wire.resume()
            self.counts["connector restarts"] += 1

    def _resnapshot(self, rng: Random) -> str:
        if self.wire.paused:
            self.wire.resume()
        if rng.random() < 0.5:
            self.wire.wait_until_streamed()
        away, back = Random(rng.random()), Random(rng.random())
        turns = [rng.choice(HARMLESS) for _ in range(rng.randint(0, 15))]
        turns += [rng.choice(list(TURNS)) for _ in range(4)]
        turns += [] if EMPTIED_UNSEEN else ["leave_no_table_empty"]
        self.wire.resnapshot(
            lambda: print(f"    away: {self._work(away, turns)}"),
            lambda: print(f"    back: {self._trade(back)}"),
        )
        if self.plan.form.is_unwrapped:
            self.wire.touch_a_row()
        self.counts["re-snapshots"] += 1
        return self.shop.stream.name

    def _incremental(self, rng: Random) -> str:
        tables = rng.sample(TABLES, rng.randint(1, 3))
        self.wire.signal("incremental", tables)
        self.counts["incremental snapshots"] += 1
        turns = [name for name in TURNS if name not in ("truncate", "many_rows")]
        return f"{tables}, {self._work(rng, rng.choices(turns, k=4))}"

    def _blocking(self, rng: Random) -> str:
        """A full snapshot of some tables in mid-stream, while rows are changed and deleted."""
        if self.wire.paused:
            self.wire.resume()
        tables, during = rng.sample(TABLES, rng.randint(1, 3)), Random(rng.random())
        self._work(rng, count=10)
        self.wire.block(tables, lambda: print(f"    during: {self._trade(during)}"))
        self.counts["blocking snapshots"] += 1
        return str(tables)

    def _repartition(self, rng: Random) -> str:
        table = rng.choice(TABLES)
        return f"{table} has {self.wire.repartition(table, rng.randint(1, 2))} partitions"

    def _add_column(self, rng: Random) -> str:
        self.counts["DDLs"] += 1
        return self.wire.add_column(rng)

    def _widen(self, rng: Random) -> str:
        self.counts["DDLs"] += 1
        return self.wire.widen(rng)

    def _other_identity(self, rng: Random) -> str:
        self.counts["DDLs"] += 1
        return self.wire.other_identity(rng)

    # ---- THE PIPELINE ---- #

    def _capture(self, _: Random) -> str:
        return f"ended with {self.crew.run('capture')}"

    def _capture_little_by_little(self, rng: Random) -> str:
        limit = rng.choice((1, 7, 50, 50))
        table = rng.choice(TABLES)
        only = ("--topic", self.shop.topic(table)) if limit < 50 else ()
        # A commit a record of ten thousand records shows no more than of a few hundred.
        limit = max(limit, sum(self.wire.ends(table).values()) // MOST_BATCHES)
        code = self.crew.run("capture", "--max-records", str(limit), *only)
        return f"{limit} at a time{', ' + table if only else ''}, ended with {code}"

    def _apply(self, _: Random) -> str:
        return f"ended with {self.crew.run('apply')}"

    def _run(self, _: Random) -> str:
        return f"ended with {self.crew.run('run')}"

    def _follow(self, rng: Random) -> None:
        self.crew.follow(rng.choice((20, 300, 50_000)))

    def _stop_following(self, rng: Random) -> None:
        if self.crew.followers:
            self._work(rng, count=5)
            self.crew.stop_follower(how=signal.SIGTERM)

    def _kill_follower(self, rng: Random) -> None:
        if self.crew.followers:
            self._work(rng, count=10)
            time.sleep(rng.uniform(0.1, 2.0))
            self.crew.stop_follower(how=signal.SIGKILL)

    def _kill_capture(self, rng: Random) -> str:
        return self._kill(rng, "capture", "--max-records", str(rng.choice((20, 200))))

    def _kill_apply(self, rng: Random) -> str:
        return self._kill(rng, "apply")

    def _kill(self, rng: Random, *arguments: str) -> str:
        """SIGKILL at a random moment, while the source goes on."""
        process, moment = self.crew.start(*arguments), time.monotonic() + rng.uniform(1.2, 3.5)
        done = self._work(rng, count=10)
        time.sleep(max(0.0, moment - time.monotonic()))
        self.crew.kill(process)
        return f"ended with {process.returncode}; meanwhile {done}"

    def _die_capturing(self, rng: Random) -> str:
        return self._die(rng, 12, "capture", "--max-records", str(rng.choice((20, 200, 50_000))))

    def _die_applying(self, rng: Random) -> str:
        return self._die(rng, 40, "apply")

    def _die_running(self, rng: Random) -> str:
        return self._die(rng, 70, "run")

    def _die(self, rng: Random, last: int, *arguments: str) -> str:
        """Kills itself at one of its first writes, the earlier the likelier."""
        nth = min(rng.randint(1, last), rng.randint(1, last))
        when = rng.choice(("before", "after"))
        self._work(rng, count=10)
        if arguments == ("apply",):
            self.crew.run("capture")
        code = self.crew.run(*arguments, dying=(when, nth))
        return f"{when} write {nth}, ended with {code}"

    def _compact(self, rng: Random) -> str:
        """Somebody compacts a bronze table, which brings nothing new."""
        catalog, lake = load_catalog(self.crew.assets), Lake(str(self.crew.lake))
        table = catalog[f"silver.commerce.{rng.choice(TABLES)}"].bronze
        handle = lake.open(table)
        if handle is None:
            return "nothing yet"
        with suppress(CommitFailedError):  # a follower came first
            handle.optimize.compact()
        return table

    def _look(self, _: Random) -> str:
        """The laws, here already."""
        return f"{self._settle()} events, every law holds"

    def _rivals(self, _: Random) -> str:
        """The same twice at once: one may be told to come again, and nothing happens twice."""
        codes = list[int]()
        for command in ("capture", "apply"):
            pair = [self.crew.start(command), self.crew.start(command)]
            codes += [self.crew.ended(process, may_die=True) for process in pair]
        return f"ended with {codes}"


def take(stack: Stack, plan: Plan, tally: Tally) -> bool:
    """One history from the first step to the laws; whether all held. A fault's files are kept."""
    print(
        f"seed {plan.seed} history {plan.history}: {plan.form}, {plan.partitions} partitions,"
        f" {len(plan.steps)} steps",
        flush=True,
    )
    began, folder = time.monotonic(), Path(tempfile.mkdtemp(prefix="trial-"))
    fault: BaseException | None = None
    try:
        with open_shop(stack, seed=plan.seed * 1000 + plan.history) as shop:
            History(plan, shop, folder, tally.counts).happen()
    except FAULTS as error:
        fault = error
        print("".join(traceback.format_exception(error)), flush=True)
        text = str(error).splitlines()[0] if str(error) else repr(error)
        tally.faults.append(f"seed {plan.seed} history {plan.history}: {text}; see {folder}")
        tally.counts["faults"] += 1
    else:
        shutil.rmtree(folder)
    tally.counts["histories"] += 1
    tally.steps.update(step.name for step in plan.steps)
    print(f"  {time.monotonic() - began:6.1f} s  {'FAULT' if fault else 'every law holds'}\n")
    return fault is None


def shrink(stack: Stack, plan: Plan, tally: Tally) -> Plan:
    """The history with every step left out without which there is a fault still."""
    for step in reversed(plan.steps):
        less = plan.without({step.number})
        if not take(stack, less, tally):
            plan = less
            print(f"  step {step.number} is not needed; left: {[s.name for s in plan.steps]}")
    return plan


def main() -> int:
    """Histories until the minutes are over; 1 when a law was broken."""
    parser = argparse.ArgumentParser(prog="python -m tests.stack.trial")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--steps", type=int, default=18, help="steps a history")
    parser.add_argument("--history", type=int, help="only this one")
    parser.add_argument("--without", default="", help="numbers of steps to leave out: 3,7")
    parser.add_argument(
        "--shrink", action="store_true", help="leave out what a fault does not need"
    )
    said = parser.parse_args()
    left_out = {int(number) for number in said.without.split(",") if number}
    # SIGTERM ends the history in hand properly: its database, slots and topics go.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    began, tally = time.monotonic(), Tally()
    with services.running() as stack:
        try:
            for number in itertools.count() if said.history is None else [said.history]:
                plan = draw(said.seed, number, said.steps).without(left_out)
                if not take(stack, plan, tally) and said.shrink:
                    print(shrink(stack, plan, tally))
                if time.monotonic() - began > said.minutes * 60:
                    break
                if services.status() is None:
                    print("the stack was stopped by somebody else")
                    return 1
        finally:
            tally.print(time.monotonic() - began)
    return 1 if tally.faults else 0


if __name__ == "__main__":
    sys.exit(main())
