"""contract check, diff, new, import."""

from __future__ import annotations

from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from pipelines.checks import check_sql, refuse
from pipelines.cli.impact import contract_diff
from pipelines.cli.options import (
    AssetsOption,
    BootstrapOption,
    JsonOption,
    KafkaOption,
    RegistryOption,
)
from pipelines.cli.show import note, out, print_records
from pipelines.contract import Contract, load_catalog
from pipelines.contract.importer import from_database, from_stream, place, skeleton
from pipelines.contract.rules import rules_of
from pipelines.errors import ContractError
from pipelines.report import load_each, load_reports, refuse_faulty
from pipelines.settings import load_settings

contract_app = typer.Typer(help="Check, write and import contracts.", no_args_is_help=True)
contract_app.command("diff")(contract_diff)


@contract_app.command("check")
def contract_check(assets: AssetsOption = None, as_json: JsonOption = False) -> None:
    """Check every contract, rule, SQL file and report; exit code 11 when one is at fault.

    Example:
        medallion contract check --assets my/assets
    """
    settings = load_settings(assets=assets)
    catalog = load_catalog(settings.assets)
    faults = [fault for contract in catalog.contracts.values() if (fault := _fault_of(contract))]
    if faults:
        raise ContractError("\n".join(faults))
    findings = check_sql(catalog)
    refuse(findings)
    refuse_faulty(catalog, chain.from_iterable(load_reports(catalog.root).values()))
    refuse_faulty(catalog, chain.from_iterable(load_each(catalog.root).values()))
    rows = [
        {
            "table": c.table,
            "version": c.version,
            "columns": len(c.columns),
            "rules": len(rules_of(c)),
            "owner": c.owner,
        }
        for c in catalog.contracts.values()
    ]
    print_records(rows, as_json=as_json)
    for text in findings.notes:
        note(text)


def _fault_of(contract: Contract) -> str | None:
    try:
        rules_of(contract)
    except ContractError as error:
        return str(error)
    return None


@contract_app.command("new")
def contract_new(
    table: Annotated[str, typer.Argument(help="The table, as in silver.commerce.orders.")],
    topic: Annotated[str, typer.Option(help="Its Kafka topic.")],
    assets: AssetsOption = None,
) -> None:
    """Write the first lines of a contract for you to fill in.

    Example:
        medallion contract new silver.shop.orders --topic shop.public.orders --assets my/assets
    """
    settings = load_settings(assets=assets)
    out.print(str(place(settings.assets, table, skeleton(table, topic))))


@contract_app.command("import")
def contract_import(
    table: Annotated[
        str, typer.Argument(help="The silver table to make, as in silver.shop.orders.")
    ],
    topic: Annotated[str, typer.Option(help="Its Kafka topic.")],
    source: Annotated[
        str | None,
        typer.Option(
            help="postgresql:// URL to read the columns from; the password from PGPASSWORD."
        ),
    ] = None,
    source_table: Annotated[
        str | None, typer.Option(help="The table there; by default the topic's last two parts.")
    ] = None,
    from_file: Annotated[
        Path | None, typer.Option(help="A recorded stream to read the columns from.")
    ] = None,
    bootstrap: BootstrapOption = None,
    kafka: KafkaOption = None,
    registry: RegistryOption = None,
    assets: AssetsOption = None,
) -> None:
    """Write a contract from a live topic, a recorded stream, or the source database.

    The database knows every type; a message with a schema block nearly; one without only what JSON
    tells, and the columns to look at are marked.

    Examples:
        medallion contract import silver.shop.orders --topic shop.public.orders --source postgresql://reader@localhost/shop

        medallion contract import silver.shop.orders --topic shop.public.orders --bootstrap localhost:9092
    """
    settings = load_settings(
        assets=assets, bootstrap=bootstrap, kafka=kafka or (), registry=registry
    )
    if source:
        text = from_database(table, topic, source, source_table or ".".join(topic.split(".")[-2:]))
    else:
        text = from_stream(table, topic, settings, from_file)
    out.print(str(place(settings.assets, table, text)))
