"""features: what a model is told of somebody, online by key and offline as of past instants."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import polars as pl
import typer

from pipelines.cli.options import AssetsOption, LakeOption, StorageOption
from pipelines.cli.show import out
from pipelines.contract import load_catalog
from pipelines.errors import QueryError, SettingsError
from pipelines.features import AS_OF, OnlineFeatures, feature_table, training_set
from pipelines.ingest import open_lake
from pipelines.moment import parse_moment
from pipelines.settings import load_settings

features_app = typer.Typer(
    help="Features of a gold table that says so: read by key, or computed of past instants.",
    no_args_is_help=True,
)

TableOption = Annotated[
    str | None,
    typer.Option("--table", help="The feature table, where there are several.", show_default=False),
]

_READ = {".parquet": pl.read_parquet, ".csv": pl.read_csv, ".ndjson": pl.read_ndjson}
_WRITE = {
    ".parquet": pl.DataFrame.write_parquet,
    ".csv": pl.DataFrame.write_csv,
    ".ndjson": pl.DataFrame.write_ndjson,
}


@features_app.command("get")
def get_command(
    keys: Annotated[
        list[str], typer.Argument(help="Keys; the values of one of several columns with commas.")
    ],
    table: TableOption = None,
    as_of: Annotated[
        str | None, typer.Option("--as-of", help="As of this time, out of what was known before.")
    ] = None,
    lake: LakeOption = None,
    assets: AssetsOption = None,
    storage: StorageOption = None,
) -> None:
    """Print the features of some keys, a JSON document a line, the newest or as of a time.

    Examples:

        medallion features get 7c9e6679-7425-40de-944b-e07fc1f90ae7

        medallion features get 7c9e6679-7425-40de-944b-e07fc1f90ae7 --as-of 2026-06-04T12:00:00Z
    """
    settings = load_settings(lake=lake, assets=assets, storage=storage or ())
    catalog = load_catalog(settings.assets)
    contract, place = feature_table(catalog, table), open_lake(settings)
    parts = [key.split(",") for key in keys]
    if as_of is None:
        rows = OnlineFeatures(place, contract).get(*parts)
    else:
        time = parse_moment(as_of).time
        if time is None:
            raise SettingsError("--as-of: features are of a time, not of a position")
        asked = pl.DataFrame(parts, schema=dict.fromkeys(contract.key, pl.String), orient="row")
        rows = training_set(place, catalog, contract, asked.with_columns(pl.lit(time).alias(AS_OF)))
    if len(rows) < len(keys):
        raise QueryError(f"{contract.table}: {len(keys) - len(rows)} of these keys have no row")
    sys.stdout.write(rows.write_ndjson())


@features_app.command("set")
def set_command(
    asked: Annotated[
        Path, typer.Argument(help="The moments: the key's columns and as_of, and any others.")
    ],
    out_file: Annotated[Path, typer.Option("--out", help="The file to write.")],
    table: TableOption = None,
    lake: LakeOption = None,
    assets: AssetsOption = None,
    storage: StorageOption = None,
) -> None:
    """Write a training set: each row of a file with its features as of its own instant.

    Nothing that was told at or after an instant is in its features. Files are .parquet, .csv or .ndjson.

    Example:

        medallion features set labels.parquet --out training.parquet
    """
    for path, known in ((asked, _READ), (out_file, _WRITE)):
        if path.suffix not in known:
            raise SettingsError(f"{path}: files are {', '.join(known)}")
    settings = load_settings(lake=lake, assets=assets, storage=storage or ())
    catalog = load_catalog(settings.assets)
    contract = feature_table(catalog, table)
    try:
        rows = _READ[asked.suffix](asked)
    except (OSError, pl.exceptions.PolarsError) as error:
        raise SettingsError(f"{asked}: cannot be read: {str(error).splitlines()[0]}") from error
    made = training_set(open_lake(settings), catalog, contract, rows)
    _WRITE[out_file.suffix](made, out_file)
    out.print(f"{len(made):,} rows with the features of {contract.table}: {out_file}")
