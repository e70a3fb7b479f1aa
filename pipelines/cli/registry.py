"""registry check: whether a schema may be the next version of a subject."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.avro import open_registry
from pipelines.avro.compatibility import Compatibility, breaks
from pipelines.avro.connect import connect_schema
from pipelines.change.drift import drifts
from pipelines.change.schema import read_block
from pipelines.cli.options import AssetsOption, JsonOption, RegistryOption
from pipelines.cli.show import note, print_records
from pipelines.contract import Contract, did_you_mean, load_catalog
from pipelines.errors import IncompatibleError, SettingsError
from pipelines.evolution import decide
from pipelines.settings import load_settings

registry_app = typer.Typer(help="Versions of Avro schemas.", no_args_is_help=True)


@registry_app.callback()
def _commands() -> None:
    """Versions of Avro schemas."""


@registry_app.command("check")
def registry_check(
    schema: Annotated[Path, typer.Argument(help="The proposed schema: Avro's JSON (.avsc).")],
    subject: Annotated[str, typer.Option(help="The subject, as in orders-topic-value.")],
    compatibility: Annotated[
        str | None, typer.Option(help="The level to check, instead of the subject's own.")
    ] = None,
    registry: RegistryOption = None,
    assets: AssetsOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check a schema against the versions of its subject, and against the contract of its topic; registers nothing.

    Levels are the registry's: BACKWARD (readers of the new version read old messages), FORWARD (the other
    way), FULL, each against the last version or, with _TRANSITIVE, all. Exit code 28 when the registry
    would refuse it, 23 when the table of its topic would stop.

    Example:
        medallion registry check order_event.avsc --subject orders-topic-value --registry http://localhost:8081
    """
    settings = load_settings(registry=registry, assets=assets)
    known = open_registry(settings.registry, settings.registry_options)
    if known is None:
        raise SettingsError("no schema registry is named", hint="give --registry or MEDALLION_REGISTRY")  # fmt: skip
    proposed, versions = _read(schema), known.versions(subject)
    level = _level(compatibility or known.level(subject))
    try:
        found = breaks(proposed, versions, level)
    except ValueError as error:
        raise SettingsError(f"{schema}: {error}") from error
    rows = [
        {"readers": f"v{b.version}" if b.direction.forward else "the new version", "messages": "the new version" if b.direction.forward else f"v{b.version}",
         "field": b.fault.field or "(the schema)", "why": b.fault.why}
        for b in found
    ]  # fmt: skip
    if rows or as_json:
        print_records(rows, as_json=as_json)
    for contract in load_catalog(settings.assets).layer("silver"):
        if contract.source is not None and f"{contract.source.topic}-value" == subject:
            _say_what_its_table_does(contract, proposed)
    if found:
        fields = ", ".join(dict.fromkeys(b.fault.field or "the schema's name" for b in found))
        raise IncompatibleError(
            f"{schema} is not {level} with {subject}: {fields}",
            hint="give a new field a default, keep old ones until nobody reads them, or publish to a new subject",
        )
    checked = "which has no version yet" if not versions else f"of {len(versions)} versions"
    note(f"{schema} may be the next version of {subject}, {checked} ({level})")


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise SettingsError(
            f"the schema in {path} cannot be read: {type(error).__name__}",
            hint="give a file with an Avro schema in JSON",
        ) from error


def _level(name: str) -> Compatibility:
    try:
        return Compatibility(name.upper())
    except ValueError:
        raise SettingsError(
            f"'{name}' is no level of compatibility; there are {', '.join(Compatibility)}",
            hint=did_you_mean(name.upper(), Compatibility),
        ) from None


def _say_what_its_table_does(contract: Contract, schema: Any) -> None:
    """Notes on where messages of the schema depart from the contract.

    Raises:
        DriftError: when the contract refuses such messages.
    """
    block = read_block(json.dumps(connect_schema(schema)))
    _, told = decide(contract, drifts(contract, block) if block else [])
    for text in told:
        note(f"{contract.table}: {text}")
