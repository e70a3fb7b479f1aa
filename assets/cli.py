"""The command `medallion`, with the commands that need Dagster: the demo and the UI."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import polars as pl
import typer
from rich.console import Console

from assets.demo_shop import KEYS, Shop, generate
from lineage.graph import ColumnRef, LineageGraph
from lineage.render import tree
from pipelines.capture.embedded import EmbeddedBroker, Outgoing
from pipelines.cli import app
from pipelines.cli import main as run_main
from pipelines.contract import load_catalog
from pipelines.errors import MedallionError
from pipelines.provenance import lineage_of
from pipelines.quality import RESULTS
from pipelines.query import query
from pipelines.settings import child_environment, load_settings
from pipelines.storage import Lake

out = Console(soft_wrap=True)

_ROOT = Path(__file__).resolve().parent.parent
_DEMO = Path(".demo")


@app.command()
def demo(
    seed: Annotated[int, typer.Option(help="Another seed, another shop.")] = 7,
    folder: Annotated[Path, typer.Option(help="Where the demo's lake lies; made anew.")] = _DEMO,
) -> None:
    """Run a shop's change stream through every layer, without any server.

    An in-process broker, a stream with every awkward event, the whole pipeline through Dagster, and
    a proof that silver and quarantine together are the source.

    Example:

        medallion demo --seed 11
    """
    began = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    home = _dagster_home(folder / "dagster")
    shop = generate(seed=seed)
    lake = Lake(str(folder / "lake"))
    with EmbeddedBroker() as broker:
        broker.produce(
            Outgoing(r.topic, r.key, r.value, r.headers, 0, r.timestamp_ms) for r in shop.records
        )
        out.print(
            f"A shop of five days: {len(shop.records):,} Debezium messages on an in-process broker"
        )
        environment = child_environment(
            MEDALLION_LAKE=lake.root, MEDALLION_BOOTSTRAP=broker.bootstrap, DAGSTER_HOME=str(home)
        )
        with out.status("Dagster captures, applies and builds every table"):
            _run_everything(environment, folder / "run.log")
    _show(lake)
    _prove(lake, shop)
    out.print(
        f"\nDone in {time.monotonic() - began:.0f} s. See every table in the Dagster UI on http://localhost:3000:\n"
    )
    out.print(f"    uv run medallion dev --lake {lake.root} --home {home}\n")


@app.command()
def dev(
    lake: Annotated[str | None, typer.Option(help="The lake. [MEDALLION_LAKE]")] = None,
    home: Annotated[Path, typer.Option(help="Where Dagster keeps its runs (DAGSTER_HOME).")] = Path(
        ".dagster"
    ),
    port: Annotated[int, typer.Option(help="The port of the UI.")] = 3000,
) -> None:
    """Open the Dagster UI; ends with Ctrl-C.

    Example:

        medallion dev --lake .demo/lake --home .demo/dagster
    """
    settings = load_settings(lake=lake)
    environment = child_environment(
        MEDALLION_LAKE=str(Path(settings.lake).absolute())
        if "://" not in settings.lake
        else settings.lake,
        DAGSTER_HOME=str(_dagster_home(home)),
    )
    command = [
        sys.executable,
        "-m",
        "dagster",
        "dev",
        "-w",
        "workspace.yaml",
        "-h",
        "127.0.0.1",
        "-p",
        str(port),
    ]
    raise typer.Exit(subprocess.run(command, cwd=_ROOT, env=environment, check=False).returncode)


def _dagster_home(folder: Path) -> Path:
    """A Dagster instance's folder with the project's dagster.yaml in it."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(_ROOT / "dagster.yaml", folder / "dagster.yaml")
    return folder.absolute()


def _run_everything(environment: dict[str, str], log: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "dagster",
        "job",
        "execute",
        "-m",
        "assets.definitions",
        "-j",
        "everything",
    ]
    with log.open("w") as file:
        done = subprocess.run(
            command, env=environment, stdout=file, stderr=subprocess.STDOUT, check=False
        )
    if done.returncode:
        raise MedallionError(
            f"the Dagster run failed; its log is {log}", hint="its last lines tell which table"
        )


# ---- SHOW ---- #

_GOLD = "SELECT order_date_key, order_count, total_revenue, avg_order_value, unique_customers FROM gold.commerce.daily_sales ORDER BY order_date_key"
_QUALITY = f"""
SELECT table_name, rule_name, severity, record_count, failed_count, success_rate
FROM {RESULTS} WHERE failed_count > 0 ORDER BY table_name, rule_name
"""  # noqa: S608 - a constant


def _show(lake: Lake) -> None:
    _print("gold.commerce.daily_sales, from its SQL", query(lake, _GOLD))
    waiting = [
        lake.scan(f"quarantine.commerce.{table}").select(
            pl.lit(table).alias("table"),
            pl.col(key).alias("key"),
            pl.col("quality_issues").list.join(", ").alias("issues"),
        )
        for table, key in KEYS.items()
    ]
    _print(
        "Quarantine: rows that break an error rule, kept apart until they are mended",
        pl.concat(waiting).sort("table", "issues", "key").collect(),
    )
    _print("Rules that some rows break", query(lake, _QUALITY))
    letters = (
        "SELECT topic, kafka_offset, reason FROM system.main.dead_letters ORDER BY kafka_offset"
    )
    _print("Dead letters: messages that are no change event", query(lake, letters))
    graph = LineageGraph.of(list(lineage_of(load_catalog(load_settings().assets)).values()))
    out.print("\n[bold]Where a number comes from[/bold]")
    out.print(tree(graph, ColumnRef("gold.commerce.daily_sales", "total_revenue")), highlight=False)


def _print(title: str, rows: pl.DataFrame) -> None:
    out.print(f"\n[bold]{title}[/bold]")
    with pl.Config(
        tbl_hide_dataframe_shape=True,
        tbl_hide_column_data_types=True,
        tbl_rows=20,
        fmt_str_lengths=60,
        tbl_width_chars=160,
    ):
        out.print(str(rows), highlight=False)


def _prove(lake: Lake, shop: Shop) -> None:
    """Law 2, before your eyes: silver and quarantine together are the source, and share no key."""
    out.print("\n[bold]Silver + quarantine = source[/bold]")
    for table, key in KEYS.items():
        kept = set(lake.scan(f"silver.commerce.{table}").select(key).collect()[key])
        waiting = set(lake.scan(f"quarantine.commerce.{table}").select(key).collect()[key])
        source = shop.truth[table]
        different = [
            k
            for k, row in _rows(lake, table, key).items()
            if any(row[c] != v for c, v in source.get(k, {}).items())
        ]
        if kept | waiting != set(source) or kept & waiting or different:
            raise MedallionError(
                f"{table}: silver and quarantine are not the source",
                hint="this is a fault of ours; please report it",
            )
        out.print(
            f"  {table:<12} {len(kept):>5,} kept + {len(waiting)} quarantined = {len(source):,} rows, every value equal"
        )


def _rows(lake: Lake, table: str, key: str) -> dict[str, dict[str, object]]:
    return {
        str(row[key]): row
        for row in lake.scan(f"silver.commerce.{table}").collect().iter_rows(named=True)
    }


def main() -> None:
    """The process's entry point."""
    run_main(app)


if __name__ == "__main__":
    main()
