"""A shop's traffic: seeded transactions from several connections at once, with every awkward turn.

Each connection is a clerk with a random source of its own, so *what* a clerk does repeats with the
seed, and how the clerks' transactions interleave does not. All counts are of committed changes.
"""

from __future__ import annotations

import random
import subprocess
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import dataclass, field

import psycopg2

from tests.stack.clerk import Clerk
from tests.stack.parts import StackError


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How much of it: `transactions` over all connections, rolled back ones included.

    A second wave on the same shop needs another `seed`, since seeds give the keys. Without
    `truncate` the payments are never truncated (a bare-row stream cannot tell that they were).
    """

    seed: int = 1
    transactions: int = 2000
    connections: int = 4
    truncate: bool = True
    pgbench_seconds: int = 3


@dataclass(frozen=True, slots=True)
class Outcome:
    """Changes committed, by (table, op) with Debezium's ops c, u, d, t, and how transactions ended.

    A key change counts as d and c, as it is streamed.
    """

    changes: Counter[tuple[str, str]] = field(default_factory=Counter)
    committed: int = 0
    rolled_back: int = 0
    turns: Counter[str] = field(default_factory=Counter)

    def __add__(self, other: Outcome) -> Outcome:
        return Outcome(
            self.changes + other.changes,
            self.committed + other.committed,
            self.rolled_back + other.rolled_back,
            self.turns + other.turns,
        )

    def count(self, op: str, table: str | None = None) -> int:
        """Committed changes of one op, of one table or all."""
        return sum(
            n for (at, done), n in self.changes.items() if done == op and table in (None, at)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Pgbench:
    """Where pgbench is and which database it loads."""

    program: str
    host: str
    port: int
    database: str

    def argv(self, options: Sequence[str]) -> list[str]:
        """Command line with these options before the connection's."""
        at = ["-h", self.host, "-p", str(self.port), "-U", "postgres"]
        return [self.program, *options, *at, self.database]


def stock(dsn: str, *, seed: int, customers: int = 60, products: int = 30) -> Outcome:
    """Fills an empty shop a little, so that a connector's snapshot finds rows in every table."""
    with closing(psycopg2.connect(dsn)) as db:
        clerk = Clerk(db, "stock", random.Random(f"stock {seed}"))
        for _ in range(customers):
            clerk.take("new_customer")
        for _ in range(products):
            clerk.take("new_product")
        for _ in range(40):
            clerk.take("place_order")
        return _outcome(clerk)


def run(dsn: str, plan: Plan, *, pgbench: Pgbench) -> Outcome:
    """The whole plan, to its end; pgbench runs beside it on tables of its own."""
    beside = _start_pgbench(pgbench, plan.pgbench_seconds) if plan.pgbench_seconds else None
    try:
        with ExitStack() as opened, ThreadPoolExecutor(plan.connections) as pool:
            # All have read which orders are theirs before the first of them changes any.
            clerks = [_clerk(opened, dsn, plan, number) for number in range(plan.connections)]
            shifts = [pool.submit(_shift, clerk, plan, n) for n, clerk in enumerate(clerks)]
            total = sum((shift.result() for shift in shifts), Outcome())
    finally:
        said = beside.communicate()[0] if beside else ""
    if beside and beside.returncode != 0:
        raise StackError(f"pgbench failed: {said[-2000:]}")
    return total


def _clerk(opened: ExitStack, dsn: str, plan: Plan, number: int) -> Clerk:
    db = opened.enter_context(closing(psycopg2.connect(dsn)))
    clerk = Clerk(db, f"clerk-{number}", random.Random(f"{plan.seed} {number}"))
    clerk.learn(number, plan.connections)
    return clerk


def _shift(clerk: Clerk, plan: Plan, number: int) -> Outcome:
    """One clerk's share; the first clerk truncates the payments when half of it is done."""
    share = plan.transactions // plan.connections + (number < plan.transactions % plan.connections)
    for done in range(share):
        if plan.truncate and number == 0 and done == share // 2:
            clerk.take("truncate_payments")
        else:
            clerk.take(clerk.next_turn())
    return _outcome(clerk)


def _outcome(clerk: Clerk) -> Outcome:
    return Outcome(clerk.changes, clerk.committed, clerk.rolled_back, clerk.turns)


def _start_pgbench(pgbench: Pgbench, seconds: int) -> subprocess.Popen[str]:
    made = subprocess.run(
        pgbench.argv(["-i", "-q", "-s", "1"]), capture_output=True, text=True, check=False
    )
    if made.returncode != 0:
        raise StackError(f"pgbench -i failed: {made.stderr[-2000:]}")
    # 300 transactions a second: enough to lie between ours in the log, too little to starve them.
    return subprocess.Popen(
        pgbench.argv(["-n", "-T", str(seconds), "-c", "2", "-R", "300"]),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
