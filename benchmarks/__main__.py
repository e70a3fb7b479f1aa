"""`python -m benchmarks [capture|decode|apply|spark|gold|validate|lineage|catalog|rules|features|follow ...] [--rows N] [--seconds N]`: the ratios, printed and kept.

Examples:
    python -m benchmarks
    python -m benchmarks apply decode
    python -m benchmarks gold --rows 1000000
    python -m tests.stack run -- python -m benchmarks capture
    python -m benchmarks plot

`capture` starts a real Kafka broker where none runs, `spark` fetches PySpark and Delta's jars once. Each line printed is kept in results.jsonl.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.accounts import TABLE
from benchmarks.gold import PLACES, TABLES
from benchmarks.plot import plot

RESULTS = Path(__file__).parent / "results.jsonl"
PLOT = Path(__file__).parents[1] / "docs" / "speed.svg"
ROWS, CHANGES, MESSAGES, EVENTS = 10_000_000, 100_000, 300_000, 300_000
MODELS = 1000
VALIDATED = 1_000_000
#: pgbench's rate a second, and for how long.
TRANSACTIONS, SECONDS = 2000, 600

Line = tuple[str, str, str, str]


def child(code: str, *arguments: str) -> dict[str, Any]:
    """Runs a step in a process of its own; what it prints as JSON, with its peak memory in MB."""
    tail = "; import resource; out['peak_mb'] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024; import json; print(json.dumps(out))"
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import sys; from benchmarks import expectations, features, gold, quality, steps; out = {code}{tail}",
            *arguments,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def repeat(times: int, step: Callable[[], dict[str, Any]]) -> dict[str, float]:
    """The medians of several runs."""
    runs = [step() for _ in range(times)]
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def decode() -> list[Line]:
    """Decode, order and reduce a ten-column table."""
    bare, blocks = (
        repeat(3, lambda with_block=with_block: child(f"steps.decode({EVENTS}, {with_block})"))
        for with_block in (0, 1)
    )
    told = f"{bare['cpu'] * 1e6:.2f} µs of CPU an event, {bare['peak_mb']:,.0f} MB"
    both = f"{blocks['rate']:,.0f} events/s, {blocks['cpu'] * 1e6:.2f} µs of CPU an event"
    return [
        ("decode + reduce, ten columns", f"{bare['rate']:,.0f} events/s", "≥ 600,000 events/s", told),
        ("decode + reduce, with schema blocks / without", f"{blocks['rate'] / bare['rate']:.2f}", "≥ 0.60", both),
    ]  # fmt: skip


def forms() -> list[Line]:
    """Avro against schemaless JSON, from the bytes of a message to a typed event."""
    found = child(f"steps.forms({EVENTS // 3})")
    told = f"{found['avro']:,.0f} against {found['json']:,.0f} events/s; {found['peak_mb']:,.0f} MB"
    return [("read Avro / schemaless JSON", f"{found['avro'] / found['json']:.2f}", "≥ 0.50", told)]


def size() -> list[Line]:
    """Bronze against the JSON it came as: 700 bytes an event, every value its own."""
    found = child(f"steps.sizes({CHANGES})")
    told = f"{found['bronze']:.0f} bytes a message"
    whole, bare = found["bronze"] / found["whole"], found["bronze"] / found["bare"]
    return [
        ("bronze / JSON with schema blocks", f"{whole:.2f}", "≤ 0.15", told),
        ("bronze / JSON without", f"{bare:.2f}", "≤ 0.35", told),
    ]


def apply() -> list[Line]:
    """100k scattered changes to 10M rows, against a bare merge of the same rows."""
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        base = Path(folder)
        made = child(f"steps.prepare({ROWS}, {CHANGES}, sys.argv[1])", str(base / "made"))
        ours, merges = list[dict[str, Any]](), list[dict[str, Any]]()
        for _ in range(3):
            for runs, step in ((ours, "apply"), (merges, "merge")):
                shutil.copytree(base / "made", base / "copy")
                runs.append(child(f"steps.{step}(sys.argv[1], {CHANGES})", str(base / "copy")))
                if step == "apply":
                    marked = child("steps.read(sys.argv[1])", str(base / "copy"))
                shutil.rmtree(base / "copy")
        folded = child("steps.read(sys.argv[1])", str(base / "made"))
        few = child(f"steps.apply_few(sys.argv[1], {ROWS}, 1000)", str(base / "made"))["seconds"]
        small = Path(folder) / "small"
        child(f"steps.prepare({ROWS // 10}, {CHANGES}, sys.argv[1])", str(small))
        tenth = child(f"steps.apply(sys.argv[1], {CHANGES})", str(small))["seconds"]
    mine, theirs = (statistics.median(run["seconds"] for run in runs) for runs in (ours, merges))
    memory = max(run["peak_mb"] for run in ours)
    bare = max(run["peak_mb"] for run in merges)
    order = child(f"steps.ordering({CHANGES})")["seconds"]
    cpu = [statistics.median(run["cpu"] for run in runs) for runs in (ours, merges)]
    told = (
        f"{mine:.2f} s, {memory:,.0f} MB against {theirs:.2f} s, {bare:,.0f} MB; "
        f"{cpu[0]:.2f} s of CPU against {cpu[1]:.2f} s"
    )
    return [
        (
            "apply 100k of 10M / bare DeltaTable.merge",
            f"{mine / theirs:.2f}",
            "≤ 0.10, below 1,500 MB",
            told,
        ),
        (
            "apply 100k of 10M / of 1M",
            f"{mine / tenth:.2f}",
            "< 2.00",
            f"{mine:.2f} s against {tenth:.2f} s; the index of 10M keys took {made['index_seconds']:.1f} s, once",
        ),
        (
            "apply 1,000 of 10M / 100k of 10M",
            f"{few / mine:.2f}",
            "(50 ms at 100M)",
            f"{few * 1000:.0f} ms a batch",
        ),
        (
            "reading with 100k of 10M rows marked / folded",
            f"{marked['seconds'] / folded['seconds']:.2f}",
            "≤ 1.30",
            f"{marked['seconds']:.2f} s against {folded['seconds']:.2f} s; {marked['cpu']:.2f} s of CPU against {folded['cpu']:.2f} s",
        ),
        (
            "order and guard of types / apply",
            f"{order / mine:.2f}",
            "< 0.10",
            f"{order:.3f} s of {mine:.2f} s",
        ),
    ]


def spark() -> list[Line]:
    """100k scattered changes to 10M rows, against Spark's MERGE with deletion vectors, in a session that is warm.

    Spark gets its rows decoded, and the fastest of its merges counts; ours reads and decodes messages.
    """
    from tests.readers.asking import started
    from tests.stack.parts import StackError

    what, wanted = "Spark's MERGE / apply, 100k of 10M", "≥ 20"
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        base = Path(folder)
        child(f"steps.prepare({ROWS}, {CHANGES}, sys.argv[1])", str(base / "made"))
        ours, theirs = list[dict[str, Any]](), list[dict[str, float]]()
        for _ in range(3):
            shutil.copytree(base / "made", base / "copy")
            ours.append(child(f"steps.apply(sys.argv[1], {CHANGES})", str(base / "copy")))
            shutil.rmtree(base / "copy")
        try:
            with started() as engines:
                for number in range(4):
                    rows = str(base / f"{number}.parquet")
                    child(
                        "steps.write_decoded(*sys.argv[1:])", str(base / "made"), f"S{number}", rows
                    )
                    table = base / "made" / Path(*TABLE.split("."))
                    theirs.append(engines.merge(table, Path(rows), "id"))
        except StackError as error:
            return [(what, "not measured", wanted, f"no Spark: {error}")]
    (mine, cpu), (best, used) = (
        (pick(run["seconds"] for run in runs), pick(run["cpu"] for run in runs))
        for pick, runs in ((statistics.median, ours), (min, theirs[1:]))
    )
    told = (
        f"{best:.2f} s, the best of {len(theirs) - 1} after the first, against {mine:.2f} s; "
        f"{used:.2f} s of CPU against {cpu:.2f} s; {ROWS:,} rows"
    )
    return [(what, f"{best / mine:.1f}", wanted, told)]


def gold() -> list[Line]:
    """Gold after 0.1 % of the orders changed, against computing it whole."""
    runs = dict[tuple[str, str, str], list[dict[str, Any]]]()
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        child(f"gold.prepare({ROWS}, sys.argv[1])", folder)
        for seed in range(3):
            for where in PLACES:
                child(f"gold.change({ROWS}, sys.argv[1], sys.argv[2], {seed})", folder, where)
                for name in TABLES:
                    for step in ("part", "whole"):
                        found = child(f"gold.{step}(sys.argv[1], sys.argv[2])", folder, name)
                        runs.setdefault((where, name, step), []).append(found)
    return [_gold_line(runs, where, name) for where in PLACES for name in TABLES]


def _gold_line(
    runs: dict[tuple[str, str, str], list[dict[str, Any]]], where: str, name: str
) -> Line:
    part, whole = (
        {what: statistics.median(each[what] for each in runs[where, name, step]) for what in told}
        for step, told in (
            ("part", ("seconds", "cpu", "written", "peak_mb")),
            ("whole", ("seconds", "cpu", "peak_mb")),
        )
    )
    told = (
        f"{part['seconds']:.3f} s ({part['cpu']:.2f} s of CPU), {part['written']:,.0f} rows written, {part['peak_mb']:,.0f} MB "
        f"against {whole['seconds']:.2f} s ({whole['cpu']:.2f} s of CPU), {whole['peak_mb']:,.0f} MB; {ROWS:,} rows"
    )
    what = f"gold whole / part, {name}, 0.1 % changed {where}"
    return what, f"{whole['seconds'] / part['seconds']:.1f}", "≥ 30", told


def capture() -> list[Line]:
    """Capture into bronze, against an empty consume loop on the same topic of a real broker."""
    from tests.stack import services
    from tests.stack.parts import StackError

    stood = services.status() is not None
    try:
        stack = services.up()
    except StackError as error:
        return [("capture / empty consume loop", "not measured", "≥ 0.85", f"no broker: {error}")]
    lines = list[Line]()
    try:
        for title, blocks in (
            ("schemaless", 0),
            ("with schema block", 1),
        ):
            topic = f"bench.public.accounts{int(time.time())}"
            child(
                f"steps.produce(sys.argv[1], sys.argv[2], {MESSAGES}, {blocks})",
                stack.bootstrap,
                topic,
            )
            loops, tuned, ours = list[float](), list[float](), list[dict[str, Any]]()
            for _ in range(3):
                loops.append(
                    child("steps.consume(sys.argv[1], sys.argv[2], {})", stack.bootstrap, topic)[
                        "rate"
                    ]
                )
                tuned.append(
                    child(
                        "steps.consume(sys.argv[1], sys.argv[2], {'fetch.queue.backoff.ms': 20})",
                        stack.bootstrap,
                        topic,
                    )["rate"]
                )
                with tempfile.TemporaryDirectory(prefix="bench") as folder:
                    ours.append(
                        child(
                            "steps.capture(sys.argv[1], sys.argv[2], sys.argv[3])",
                            stack.bootstrap,
                            topic,
                            folder,
                        )
                    )
            rate, empty, best = (
                statistics.median(x) for x in ([run["rate"] for run in ours], loops, tuned)
            )
            memory = max(run["peak_mb"] for run in ours)
            for loop, against in (("default", empty), ("backoff 20 ms", best)):
                told = (
                    f"{rate:,.0f} against {against:,.0f} messages/s; {memory:,.0f} MB; "
                    f"{MESSAGES:,} messages"
                )
                what = f"capture / empty loop ({loop}), {title}"
                lines.append((what, f"{rate / against:.2f}", "≥ 0.85", told))
    finally:
        if not stood:
            services.down()
    return lines


def validate() -> list[Line]:
    """Great Expectations by our engine, by its own for pandas, and by hand; loading the definitions."""
    rows = min(ROWS, VALIDATED)
    took = child(f"expectations.validate({rows})")
    told = (
        f"{took['ours']:.2f} s against {took['hand']:.2f} s by hand and {took['pandas']:.1f} s on pandas; "
        f"{rows:,} rows, 12 columns, 10 rules"
    )
    return [
        ("validation / one pass by hand", f"{took['ours'] / took['hand']:.2f}", "≤ 3.00", told),
        ("validation on pandas / ours", f"{took['pandas'] / took['ours']:.0f}", "≥ 20", told),
        *_definitions(),
    ]


def _definitions() -> list[Line]:
    """What Dagster loads at each start: of this repository, and of contracts as a grown lake has them."""
    loaded = child("steps.load_definitions()")
    imported = "imported" if loaded["great_expectations"] else "not imported"
    from benchmarks import catalogs

    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        took = dict[int, float]()
        for tables in (3, 150, 300):
            root = Path(folder) / str(tables)
            catalogs.write_contracts(root, tables, 30)
            took[tables] = _validated(root)
    growth = (took[300] - took[3]) / (took[150] - took[3])
    told = "great_expectations " + imported
    few = f"{took[3]:.1f} s for 3 tables, {took[150]:.1f} s for 150"
    return [
        ("dagster definitions validate", f"{_validated():.1f} s", "< 5 s", told),
        ("the same of 300 tables x 30 columns", f"{took[300]:.1f} s", "< 10 s", few),
        ("what 300 tables add to that start / 150", f"{growth:.2f}", "≤ 2.20", "2.00 is linear"),
    ]  # fmt: skip


def _validated(assets: Path | None = None) -> float:
    """Seconds to validate the definitions; the median of three."""
    times = list[float]()
    chosen = {} if assets is None else {"MEDALLION_ASSETS": str(assets)}
    for _ in range(3):
        began = time.monotonic()
        subprocess.run(
            [sys.executable, "-m", "dagster", "definitions", "validate", "-w", "workspace.yaml"],
            env={**os.environ, **chosen},
            capture_output=True,
            check=True,
        )
        times.append(time.monotonic() - began)
    return statistics.median(times)


def rules() -> list[Line]:
    """Ten rules of a million rows of twelve columns, and the rules of a table within an apply."""
    told = child("quality.rules(1_000_000)")
    with tempfile.TemporaryDirectory() as folder:
        child(f"steps.prepare({ROWS // 10}, {CHANGES}, sys.argv[1])", folder)
        applied = child("quality.within_apply(sys.argv[1])", folder)
    judging = applied["judging"]
    return [
        ("row rules / one pass by hand", f"{told['split'] / told['by_hand']:.2f}", "< 1.5", f"{told['split']:.2f} s, 1M x 12 x 10"),
        (f"judging in an apply of {CHANGES:,}", f"{judging / (applied['seconds'] - judging):.2f}", "< 0.20", f"{judging:.2f} s of {applied['seconds']:.2f} s"),
    ]  # fmt: skip


def lineage() -> list[Line]:
    """Trace 1,000 models of TPC-H size, and again where one of them changed."""
    with tempfile.TemporaryDirectory() as folder:
        first = child(f"steps.lineage({MODELS}, sys.argv[1], 0)", folder)
        again = child(f"steps.lineage({MODELS}, sys.argv[1], 1)", folder)
    what = f"lineage of {MODELS:,} models of TPC-H size"
    return [
        (what, f"{first['seconds']:.1f} s", "< 60 s", f"{first['peak_mb']:,.0f} MB"),
        (f"{what}, one changed / all", f"{again['seconds'] / first['seconds']:.2f}", "< 0.25", f"{again['seconds']:.2f} s"),
    ]  # fmt: skip


def catalog() -> list[Line]:
    """The catalog of 300 tables of 30 columns: to build, and to answer a click in headless Chromium."""
    from benchmarks import catalogs

    what = "the catalog of 300 tables x 30 columns"
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        root = Path(folder)
        catalogs.fill_lake(root / "lake", catalogs.write_contracts(root / "assets", 300, 30))
        seconds = catalogs.build_seconds(root)
        lines = [(what, f"{seconds:.1f} s", "< 30 s", "medallion catalog, from its start")]
        chromium = shutil.which("chromium")
        if chromium is None:
            return [*lines, ("a click in its graph", "not measured", "< 200 ms", "no chromium")]
        found = catalogs.click_milliseconds(root / "site", chromium)
        return lines + [
            (f"a click on a {kind} in its graph", f"{statistics.median(times):.0f} ms", "< 200 ms", f"slowest of {len(times)}: {max(times):.0f} ms")
            for kind, times in found.items()
        ]  # fmt: skip


def features() -> list[Line]:
    """One customer's features out of a million's."""
    found = child("features.read_online(1_000_000)")
    return [
        ("features of a key, 1M rows", f"{found['p50']:.1f} ms", "< 10 ms", f"p99 {found['p99']:.1f} ms, first {found['first']:,.0f} ms, {found['peak_mb']:,.0f} MB")
    ]  # fmt: skip


def nightly() -> list[Line]:
    """The nightly run over all domains, 1 % of whose rows changed."""
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        made = child(f"nightly.prepare({ROWS}, sys.argv[1])", folder)
        found = child("nightly.night(sys.argv[1])", folder)
    told = f"{found['changes']:,.0f} changes; {found['cpu']:.0f} s of CPU"
    what = f"the nightly run over all domains, {made['rows']:,.0f} silver rows"
    return [
        (what, f"{found['seconds']:.0f} s", "< 300 s at 10M", told),
        ("its memory", f"{found['peak_mb']:,.0f} MB", "< 4,096 MB at 10M", told),
    ]


def follow() -> list[Line]:
    """pgbench at 2,000 transactions a second, through real Debezium, into a follower's gold."""
    from benchmarks import following
    from tests.stack.parts import StackError

    try:
        found = following.follow(TRANSACTIONS, SECONDS)
    except StackError as error:
        return [("follow, source commit to gold", "not measured", "p95 ≤ 2 s", f"no stack: {error}")]  # fmt: skip
    told = f"{found['tps']:,.0f} of {TRANSACTIONS:,} transactions/s for {SECONDS} s; {found['history']:,} in silver, equal to Postgres"
    return [
        ("follow, source commit to bronze", f"p95 {found['bronze']:.2f} s", "p95 ≤ 1 s", told),
        ("follow, source commit to gold", f"p95 {found['gold']:.2f} s", "p95 ≤ 2 s", told),
        ("follow, memory late / early", f"{found['growth']:.2f}", "flat", f"{found['follower_mb']:,.0f} MB at most"),
    ]  # fmt: skip


BENCHMARKS: dict[str, Callable[[], list[Line]]] = {
    "decode": decode,
    "forms": forms,
    "size": size,
    "apply": apply,
    "spark": spark,
    "gold": gold,
    "capture": capture,
    "validate": validate,
    "lineage": lineage,
    "catalog": catalog,
    "rules": rules,
    "features": features,
    "follow": follow,
}


def _number(words: list[str], option: str, default: int) -> int:
    """What follows an option, both taken out of the words."""
    if option not in words:
        return default
    at = words.index(option)
    number = int(words[at + 1].replace("_", ""))
    del words[at : at + 2]
    return number


def main() -> None:
    """Runs the benchmarks named, or all."""
    global ROWS, SECONDS
    names = sys.argv[1:]
    if names[:1] == ["plot"]:
        into = Path(names[1]) if names[1:] else PLOT
        print(f"{into}: {plot(RESULTS, into)} lines")
        return
    ROWS, SECONDS = _number(names, "--rows", ROWS), _number(names, "--seconds", SECONDS)
    names = names or list(BENCHMARKS)
    if unknown := set(names) - set(BENCHMARKS):
        sys.exit(
            f"{__doc__}\nno benchmark '{min(unknown)}'; there are {', '.join(BENCHMARKS)}"
            if "--help" not in names
            else __doc__
        )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    machine = f"{os.cpu_count()} cores, {memory} GiB, Python {platform.python_version()}"
    table = Table(
        "what", "measured", "wanted", "how", title=machine, title_justify="left", box=None
    )
    with RESULTS.open("a", encoding="utf-8") as kept:
        for name in names:
            load = os.getloadavg()[0]  # what else ran when this began
            for line in BENCHMARKS[name]():
                table.add_row(*line)
                told = dict(zip(("what", "measured", "wanted", "how"), line, strict=True))
                kept.write(
                    json.dumps(
                        {
                            "at": datetime.now(UTC).isoformat(timespec="seconds"),
                            "machine": machine,
                            "load": round(load, 2),
                            **told,
                        },
                        ensure_ascii=False,
                    )
                    + "\n"
                )
    Console(width=170).print(table)


if __name__ == "__main__":
    main()
