"""Features: read online by key, and computed of past instants for training.

A gold table whose contract says `features` is computed for the rows of its `moments` table, each a key
and an instant, out of what was told before that instant. Online it is a table like any other, of which
a row is read through the index of its key. A training set is the same SQL over the same history, with
the rows that somebody asks for in the place of `moments`: no second definition, and nothing from later.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from pipelines.contract import Catalog, Contract, did_you_mean
from pipelines.delta import locate, lookup, read_few, read_places, read_snapshot
from pipelines.errors import ContractError, QueryError
from pipelines.gold import inputs_of, result_over
from pipelines.storage import Lake

#: The column of a moment that is no part of the key.
AS_OF = "as_of"

_INSTANT = pl.Datetime("us", "UTC")
#: A server reads a table again and again: from here on an index of the keys is worth its keeping.
_WORTH_ROWS = 20_000
#: Up to so many rows are cut out one by one, which decodes no other row of their files.
_FEW = 64


def feature_table(catalog: Catalog, table: str | None = None) -> Contract:
    """The contract of a table of features: the one named, or the only one there is.

    Raises:
        ContractError: when it is none, when there are several to choose from, or when its moments are
            not what its SQL reads, by its key and `as_of`.
    """
    known = {c.table: c for c in catalog.layer("gold") if c.features is not None}
    if table is None and len(known) != 1:
        raise ContractError(
            f"{len(known)} tables say 'features'", hint=f"name one: {', '.join(known) or 'none'}"
        )
    contract = known.get(table or next(iter(known)))
    if contract is None:
        raise ContractError(
            f"'{table}' is no table of features", hint=did_you_mean(table or "", known)
        )
    moments = contract.features.moments if contract.features else ""
    if moments not in inputs_of(contract):
        raise ContractError(f"{contract.path}: its SQL does not read its moments, '{moments}'")
    if set(catalog[moments].columns) != {*contract.key, AS_OF}:
        raise ContractError(
            f"{catalog[moments].path}: moments have the columns {', '.join(contract.key)} and {AS_OF}"
        )
    return contract


# ---- ONLINE ---- #


@dataclass(frozen=True, slots=True)
class OnlineFeatures:
    """A table of features to be read by key: each read is of the newest version.

    What a table of 20,000 rows or more is found by lies beside it (`pipelines.delta.index`).
    """

    lake: Lake
    contract: Contract

    def get(self, *keys: Sequence[str]) -> pl.DataFrame:
        """The rows of these keys, in their order; a key that has none is left out.

        Args:
            keys: Each the values of the contract's key in its order, as text.

        Raises:
            QueryError: when a key does not fit the contract's.
            LakeError: when the table is not there.
        """
        asked = self._typed(keys)
        return asked.join(self._find(asked), on=asked.columns, how="inner", maintain_order="left")

    def _typed(self, keys: Sequence[Sequence[str]]) -> pl.DataFrame:
        names = self.contract.key
        if wrong := next((key for key in keys if len(key) != len(names)), None):
            raise QueryError(
                f"the key of {self.contract.table} is {', '.join(names)}: {len(names)} values, not {len(wrong)}"
            )
        told = pl.DataFrame(keys, schema=dict.fromkeys(names, pl.String), orient="row")
        types = {name: self.contract.columns[name].type.stored for name in names}
        try:
            return told.select(pl.col(name).cast(dtype) for name, dtype in types.items())
        except pl.exceptions.PolarsError as error:
            raise QueryError(f"a key does not fit {self.contract.table}'s types") from error

    def _find(self, asked: pl.DataFrame) -> pl.DataFrame:
        snapshot = read_snapshot(self.lake.path(self.contract.table), self.lake.options)
        on, names = asked.columns, list(self.contract.columns)
        try:
            places = lookup(snapshot, asked, on, worth_rows=_WORTH_ROWS)
        except OSError:  # who only may read the lake keeps no index beside it
            places = None
        if places is None:
            return locate(snapshot, asked, on, names).select(names)
        if len(places) <= _FEW:
            return read_few(snapshot, places, names)
        return read_places(snapshot, places, on, names).select(names)


# ---- TRAINING ---- #


def training_set(
    lake: Lake, catalog: Catalog, contract: Contract, asked: pl.DataFrame
) -> pl.DataFrame:
    """The rows of `asked`, in their order, with the features of each as of its own instant.

    What a table told at or after an instant is not in that instant's features, however it came to be
    known; what was corrected later is in them as it was then. An entity that was not known yet has
    the features of one that did nothing.

    Args:
        lake: Where the history lies.
        catalog: All contracts.
        contract: The feature table's.
        asked: The key's columns, `as_of` (without a zone it is UTC), and whatever else is to be kept.

    Raises:
        QueryError: when a column lacks, is of another type or shares a feature's name, or when an
            instant is later than what the lake can answer for.
        LakeError: when an input is not there.
    """
    moments = contract.features.moments if contract.features else ""
    on = [*contract.key, AS_OF]
    typed = _typed_moments(contract, asked, on)
    latest, reached = _latest(typed.lazy()), _latest(lake.scan(moments))
    if latest is not None and (reached is None or latest > reached):
        raise QueryError(
            f"features as of {latest} would lack what is still to come: the lake answers up to {reached}",
            hint="capture, apply and build first, or ask for earlier instants",
        )
    frames = {name: lake.scan(name) for name in inputs_of(contract) if name != moments}
    found = result_over(contract, {**frames, moments: typed.select(on).unique().lazy()})
    return typed.join(found, on=on, how="left", maintain_order="left")


def _typed_moments(contract: Contract, asked: pl.DataFrame, on: Sequence[str]) -> pl.DataFrame:
    """The rows with the key and the instant in the types of the table's own."""
    for name in on:
        if name not in asked.columns:
            raise QueryError(
                f"the rows asked for have no column '{name}'",
                hint=did_you_mean(name, asked.columns)
                or f"a moment is {', '.join(contract.key)} and {AS_OF}",
            )
    if shared := (set(asked.columns) - set(on)) & set(contract.columns):
        raise QueryError(f"column '{min(shared)}' of the rows asked for is the name of a feature")
    instant, given = pl.col(AS_OF), asked.schema[AS_OF]
    if given == pl.String:
        instant = instant.str.to_datetime(time_zone="UTC", time_unit="us")
    elif given == pl.Date or (isinstance(given, pl.Datetime) and given.time_zone is None):
        instant = instant.cast(pl.Datetime("us")).dt.replace_time_zone("UTC")
    keys = (pl.col(name).cast(contract.columns[name].type.stored) for name in contract.key)
    try:
        return asked.with_columns(*keys, instant.cast(_INSTANT))
    except pl.exceptions.PolarsError as error:
        raise QueryError(f"a moment does not fit {contract.table}'s key and an instant") from error


def _latest(moments: pl.LazyFrame) -> datetime | None:
    return moments.select(pl.col(AS_OF).max()).collect().item()
