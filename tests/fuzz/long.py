"""The long form: `python -m tests.fuzz --mutants 1000000 --seed 7`; `--reduce` a fault to few messages."""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

from tests.fuzz.run import Outcome, Plan, forms, messages_of, play, reduce, signature

#: Mutants of one round: enough that a lake's fixed cost of two seconds weighs little.
ROUND = 20_000
#: After this many rounds a process has seen every form, and its memory must stay where it is.
WARM_UP = 8
#: Megabytes by which one round may raise a process's peak without being named.
JUMP = 150


def plans(mutants: int, seed: str, size: int) -> Iterator[Plan]:
    names = forms()
    for number in range(-(-mutants // size)):
        yield Plan(
            names[number % len(names)],
            f"{seed}/{number}",
            min(size, mutants - number * size),
        )


def _work(plan: Plan, running: str) -> tuple[int, Outcome]:
    """A round in a worker, which says beforehand what it is at: a crash of the process tells nothing."""
    (Path(running) / str(os.getpid())).write_text(str(plan))
    outcome = play(plan)
    (Path(running) / str(os.getpid())).unlink()
    return os.getpid(), outcome


def run(mutants: int, seed: str, size: int, workers: int) -> int:
    began, outcomes = time.monotonic(), list[Outcome]()
    memory = dict[int, list[tuple[float, Plan]]]()
    faults = Counter[str]()
    with tempfile.TemporaryDirectory() as running:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context) as pool:
            futures = [pool.submit(_work, plan, running) for plan in plans(mutants, seed, size)]
            try:
                for future in as_completed(futures):
                    process, outcome = future.result()
                    outcomes.append(outcome)
                    memory.setdefault(process, []).append((outcome.peak_mb, outcome.plan))
                    if outcome.fault is not None:
                        last = outcome.fault.strip().splitlines()[-1][:300]
                        faults[last] += 1
                        if faults[last] == 1:
                            print(f"\nFAULT in round {outcome.plan}\n{outcome.fault[-4000:]}")
            except BrokenProcessPool:
                at = [path.read_text() for path in Path(running).iterdir()]
                print(f"\nFAULT: a process died, in one of the rounds {at}")
                faults["a process died"] += 1
    report(outcomes, memory, time.monotonic() - began)
    for text, count in faults.most_common():
        print(f"{count} rounds failed: {text}")
    return 1 if faults else 0


def report(
    outcomes: list[Outcome], memory: dict[int, list[tuple[float, Plan]]], seconds: float
) -> None:
    made = sum(each.mutants for each in outcomes)
    reasons = sum((each.reasons for each in outcomes), Counter[str]())
    worked = sum(each.cpu_seconds for each in outcomes)
    print(f"{worked:.0f} s of one core: {made / max(worked, 0.1):.0f} mutants a second")
    names = ("landed", "letters", "checked", "disordered", "taken")
    print(
        f"{made} mutants in {len(outcomes)} rounds, {seconds:.0f} s: {made / seconds:.0f} a second"
    )
    print(", ".join(f"{name} {sum(getattr(each, name) for each in outcomes)}" for name in names))
    print(f"slowest land and apply {max((each.slowest for each in outcomes), default=0.0):.1f} s")
    for process, peaks in sorted(memory.items()):
        warm = peaks[min(WARM_UP, len(peaks)) - 1][0]
        print(f"process {process}: {warm:.0f} MB when warm, {peaks[-1][0]:.0f} MB at the end")
        for (before, _), (after, plan) in itertools.pairwise(peaks):
            if after - before > JUMP:
                print(f"  {before:.0f} to {after:.0f} MB in round {plan}")
    print("dead letters:", ", ".join(f"{name} {count}" for name, count in reasons.most_common()))


def show_reduced(plan: Plan) -> int:
    if (found := signature(plan, messages_of(plan))) is None:
        print("lands and applies without an exception:", play(plan).fault)
        return 0
    print(found)
    for sent in reduce(plan):
        print(sent.number, repr(sent.message)[:3000])
    return 1


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--mutants", type=int, default=100_000)
    parser.add_argument("--seed", default="7")
    parser.add_argument("--round", type=int, default=ROUND, dest="size")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--reduce", nargs=3, metavar=("FORM", "SEED", "MUTANTS"))
    given = parser.parse_args()
    os.environ.setdefault("POLARS_MAX_THREADS", "1")  # read when a worker starts
    if given.reduce:
        form, seed, count = given.reduce
        return show_reduced(Plan(form, seed, int(count)))
    return run(given.mutants, given.seed, given.size, given.workers)
