"""The options that commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

LakeOption = Annotated[
    str | None,
    typer.Option(
        "--lake",
        help="Folder or object-store URL of the lake. [MEDALLION_LAKE]",
        show_default=False,
    ),
]
AssetsOption = Annotated[
    Path | None,
    typer.Option(
        "--assets", help="Folder of domains with contracts. [MEDALLION_ASSETS]", show_default=False
    ),
]
BootstrapOption = Annotated[
    str | None,
    typer.Option(
        "--bootstrap", help="Kafka's HOST:PORT. [MEDALLION_BOOTSTRAP]", show_default=False
    ),
]
RegistryOption = Annotated[
    str | None,
    typer.Option(
        "--registry",
        help="URL of the schema registry for Avro messages, or a JSON file of schemas by id. [MEDALLION_REGISTRY]",
        show_default=False,
    ),
]
KafkaOption = Annotated[
    list[str] | None,
    typer.Option(
        "--kafka", help="A librdkafka property, as in security.protocol=SASL_SSL; may be repeated."
    ),
]
StorageOption = Annotated[
    list[str] | None,
    typer.Option(
        "--storage", help="An object-store option, as in aws_region=eu-west-1; may be repeated."
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a script to read.")]
TablesArgument = Annotated[
    list[str] | None,
    typer.Argument(
        help="Tables, as in silver.commerce.orders; all when left out.", show_default=False
    ),
]
