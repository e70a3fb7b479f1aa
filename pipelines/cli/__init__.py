"""The command line `medallion`: each command is one step of the pipeline, or a look at it."""

from __future__ import annotations

import sys

import typer

from pipelines.cli.again import app as again_app
from pipelines.cli.alerts import alerts_app
from pipelines.cli.arrivals import app as arrivals_app
from pipelines.cli.catalog import app as catalog_app
from pipelines.cli.contracts import contract_app
from pipelines.cli.explain import app as explain_app
from pipelines.cli.export import app as export_app
from pipelines.cli.features import features_app
from pipelines.cli.lineage import app as lineage_app
from pipelines.cli.look import app as look_app
from pipelines.cli.look import letters_app
from pipelines.cli.person import app as person_app
from pipelines.cli.proof import app as proof_app
from pipelines.cli.quality import quality_app
from pipelines.cli.quarantine import quarantine_app
from pipelines.cli.registry import registry_app
from pipelines.cli.report import app as report_app
from pipelines.cli.show import err
from pipelines.cli.steps import app as steps_app
from pipelines.cli.upkeep import app as upkeep_app
from pipelines.errors import MedallionError

app = typer.Typer(
    name="medallion",
    help="A lakehouse fed by change data capture that can prove it is right.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(steps_app)
app.add_typer(arrivals_app)
app.add_typer(look_app)
app.add_typer(proof_app)
app.add_typer(again_app)
app.add_typer(upkeep_app)
app.add_typer(catalog_app)
app.add_typer(lineage_app)
app.add_typer(report_app)
app.add_typer(person_app)
app.add_typer(explain_app)
app.add_typer(export_app)
app.add_typer(contract_app, name="contract")
app.add_typer(registry_app, name="registry")
app.add_typer(quarantine_app, name="quarantine")
app.add_typer(letters_app, name="letters")
app.add_typer(quality_app, name="quality")
app.add_typer(alerts_app, name="alerts")
app.add_typer(features_app, name="features")


def main(command: typer.Typer = app) -> None:
    """The process's outermost loop: an error of ours is said without a traceback, with its own code."""
    try:
        command()
    except MedallionError as error:
        err.print(f"[red]{type(error).__name__}:[/red] {error}", highlight=False)
        sys.exit(error.exit_code)
