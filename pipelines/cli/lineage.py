"""lineage: what a column or a table comes from, and what it feeds."""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

from lineage.errors import LineageError
from lineage.graph import LineageGraph
from lineage.walk import as_json, as_mermaid, as_tree, walk
from pipelines.cli.options import AssetsOption
from pipelines.contract import load_catalog
from pipelines.errors import QueryError
from pipelines.provenance import lineage_of
from pipelines.settings import load_settings

app = typer.Typer()


class Shape(StrEnum):
    """How a way is written."""

    TREE = "tree"
    JSON = "json"
    MERMAID = "mermaid"


@app.command("lineage")
def lineage_command(
    name: Annotated[
        str, typer.Argument(help="A table or a column, as in gold.commerce.daily_sales.total_tax.")
    ],
    up: Annotated[
        bool, typer.Option("--up/--down", help="To what it comes from, or to what it feeds.")
    ] = True,
    depth: Annotated[
        int | None, typer.Option(min=1, help="Steps to go; to the end when left out.")
    ] = None,
    form: Annotated[Shape, typer.Option("--format", "-f", help="How it is written.")] = Shape.TREE,
    indirect: Annotated[
        bool,
        typer.Option("--indirect", help="Also columns that only decide (filter, join, group ...)."),
    ] = False,
    assets: AssetsOption = None,
) -> None:
    """Show where a column or a table comes from, or what it feeds, from the contracts and SQL that run.

    A source table is written with its connector, as in postgres:shop.public.orders.

    Examples:
        medallion lineage gold.commerce.daily_sales.total_revenue

        medallion lineage silver.commerce.orders.total_amount --down --indirect

        medallion lineage gold.commerce.daily_sales --up --depth 1

        medallion lineage postgres:shop.public.orders --down --format mermaid > orders.mmd

        medallion lineage silver.commerce.customers.email --down --format json
    """
    catalog = load_catalog(load_settings(assets=assets).assets)
    graph = LineageGraph.of(list(lineage_of(catalog).values()))
    try:
        found = walk(graph, name, up=up, depth=depth, indirect=indirect)
    except LineageError as error:
        raise QueryError(str(error)) from error
    if form is Shape.JSON:
        text = as_json(found)
    else:
        text = as_tree(found) if form is Shape.TREE else as_mermaid(found, graph)
    sys.stdout.write(text)
