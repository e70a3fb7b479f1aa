"""The command `medallion`, with the commands that need Dagster: the demo and the UI."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

import assets.following  # pyright: ignore[reportUnusedImport] - adds its command
import assets.generator.command  # noqa: F401 # pyright: ignore[reportUnusedImport] - adds its command
from assets.demo import (
    STORIES,
    assets_of,
    chosen_stories,
    fill_inbox,
    out,
    prove,
    show,
    write_registry,
)
from pipelines.capture.embedded import EmbeddedBroker, Outgoing
from pipelines.cli import app
from pipelines.cli import main as run_main
from pipelines.contract import load_catalog
from pipelines.errors import MedallionError
from pipelines.settings import child_environment, load_settings
from pipelines.storage import Lake

_ROOT = Path(__file__).resolve().parent.parent
_DEMO = Path(".demo")


@app.command()
def demo(
    seed: Annotated[int, typer.Option(help="Another seed, another story.")] = 7,
    domain: Annotated[
        list[str] | None,
        typer.Option(help=f"Whose changes: {', '.join(STORIES)} or all; may be repeated."),
    ] = None,
    folder: Annotated[Path, typer.Option(help="Where the demo's lake lies; made anew.")] = _DEMO,
) -> None:
    """Run a change stream through every layer, without any server: a shop's, unless told otherwise.

    An in-process broker, a stream with every awkward event, the whole pipeline through Dagster, and
    a proof that silver and quarantine together are the source.

    Examples:

        medallion demo --seed 11

        medallion demo --domain tasks --domain interactions
    """
    stories = chosen_stories(domain or [])
    began = time.monotonic()
    shutil.rmtree(folder, ignore_errors=True)
    home = _dagster_home(folder / "dagster")
    lake, contracts = Lake(str(folder / "lake")), assets_of(stories, folder / "assets")
    told = {story.domain: story.told(seed) for story in stories}
    fill_inbox(list(told.values()), folder / "inbox")
    with EmbeddedBroker() as broker:
        for story in stories:
            records = told[story.domain].records
            broker.produce(
                Outgoing(r.topic, r.key, r.value, r.headers, 0, r.timestamp_ms) for r in records
            )
            files = len(told[story.domain].files)
            more = f", {files} files in an inbox" if files else ""
            out.print(f"{story.title}: {len(records):,} messages on an in-process broker{more}")
        environment = child_environment(
            MEDALLION_LAKE=lake.root,
            MEDALLION_BOOTSTRAP=broker.bootstrap,
            MEDALLION_ASSETS=str(contracts),
            MEDALLION_INBOX=str(folder / "inbox"),
            MEDALLION_REGISTRY=str(write_registry(stories, folder / "registry.json")),
            DAGSTER_HOME=str(home),
        )
        with out.status("Dagster captures, applies and builds every table"):
            _run_everything(environment, folder / "run.log")
    catalog = load_catalog(contracts)
    show(lake, catalog, stories)
    prove(lake, catalog, told)
    out.print(f"\nPlots of gold: {lake.root}/_reports/index.html")
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


def main() -> None:
    """The process's entry point."""
    run_main(app)


if __name__ == "__main__":
    main()
