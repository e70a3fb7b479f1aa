"""Gold: one SQL file a table, run over the lake's tables at fixed versions.

When no input, no SQL and no contract has changed nothing is read. When inputs changed, the part of
the table that they can reach is computed, or the whole where no part can be proved to do
(`pipelines.incremental`). What comes out is compared with what is there, and only rows that differ
are written.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from graphlib import CycleError, TopologicalSorter
from typing import Literal, TypeVar

import polars as pl
from deltalake import DeltaTable

from lineage.columns import tables_of
from lineage.errors import LineageError
from pipelines.contract import Catalog, Contract, did_you_mean
from pipelines.contract.forecast import FORETOLD
from pipelines.cut import Cut, refuse_half_transactions
from pipelines.delta import Snapshot, commit_info
from pipelines.difference import stored_rows, write_difference
from pipelines.errors import ContractError, LakeError, LossError, QualityError, QueryError
from pipelines.exact import exact_cast, exactly
from pipelines.forecast.model import Theta
from pipelines.forecast.series import with_forecasts
from pipelines.incremental import NotProvable, Part, Summed, part_since
from pipelines.masks import release, salt_mark
from pipelines.storage import Lake
from pipelines.surrogate import keep_numbers, with_surrogate_key
from pipelines.version import CODE_VERSION

#: What foretells series.
MODEL = Theta()
P = TypeVar("P")

#: Operations that leave the rows as they were.
_HARMLESS = ("OPTIMIZE", "VACUUM START", "VACUUM END", "SET TBLPROPERTIES", "ADD FEATURE")
#: How far back the last build is looked for.
_KEPT_COMMITS = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """What a build did: `changed` tells whether a new version was written.

    `computed` is `nothing`, `part` or `whole`, and `why` what kept a part from being enough.
    `dropped` counts the groups left out of what was computed since they are smaller than the
    contract allows.
    """

    table: str
    rows: int
    changed: bool
    computed: Literal["nothing", "part", "whole"] = "nothing"
    why: str | None = None
    removed: int = 0
    added: int = 0
    version: int
    input_versions: Mapping[str, int]
    seconds: float = 0.0
    dropped: int = 0


def inputs_of(contract: Contract) -> tuple[str, ...]:
    """The tables that a gold table's SQL reads.

    Raises:
        ContractError: when the SQL does not parse.
    """
    try:
        return _tables_in(contract.sql or "")
    except LineageError as error:
        raise ContractError(f"{contract.path.with_suffix('.sql')}: {error}") from error


@lru_cache(maxsize=4096)  # parsed once: every turn of a follower asks
def _tables_in(sql: str) -> tuple[str, ...]:
    return tuple(tables_of(sql))


def order_of(catalog: Catalog) -> list[str]:
    """The gold tables, each after those it reads.

    Raises:
        ContractError: when tables read each other in a circle, or read one that nobody makes.
    """
    gold = {contract.table: contract for contract in catalog.layer("gold")}
    needs = {
        table: [name for name in inputs_of(contract) if name.startswith("gold.")]
        for table, contract in gold.items()
    }
    for table, names in needs.items():
        for name in names:
            if name not in gold:
                raise ContractError(
                    f"{gold[table].path}: reads '{name}', which no contract makes",
                    hint=did_you_mean(name, gold),
                )
    try:
        return list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        raise ContractError(f"gold tables read each other: {' <- '.join(error.args[1])}") from error


def build(
    lake: Lake,
    catalog: Catalog,
    table: str,
    *,
    batch_id: str,
    now: datetime,
    cut: Cut | None = None,
) -> Built:
    """Brings a gold table to what its SQL says of its inputs as they are now.

    `cut` is what the silver tables were just brought to; without one they must show all that has landed.

    Raises:
        LakeError: when an input is not there yet.
        ContractError: when the SQL gives other columns than the contract.
        LossError: when a value does not fit the contract's type exactly.
        QualityError: when the key is not one: null, or the same twice; or a group is too small.
        SettingsError: when a mask needs a salt and there is none.
        QueryError: when the engine refuses the SQL.
        LagError: when its inputs would show a transaction of their source in part.
        ConflictError: when another builder came first; the table is as that one left it.
    """
    began = time.monotonic()
    contract = catalog[table]
    stands = _stands(lake, contract)
    if stands is not None:
        return replace(stands, seconds=time.monotonic() - began)
    handles = open_inputs(lake, contract)
    versions = {name: (str(it.metadata().id), it.version()) for name, it in handles.items()}
    recipe = _recipe(contract, versions)
    existing = lake.open(table)
    before = lake.snapshot(table, existing.version()) if existing is not None else None
    last = _last_recipe(before) if before is not None else None
    refuse_half_transactions(lake, catalog, table, inputs_of(contract), cut)
    keys = {name: catalog[name].key for name in handles if name in catalog.contracts}
    part, why = _or_why(lambda: part_since(lake, contract, handles, last, recipe, keys))
    found, part, why = _run(lake, contract, handles, before, part, why)
    shown = release(contract, found)
    rows = _foretold(contract, exactly(contract, shown, added_columns(contract)))
    rows, numbers = with_surrogate_key(lake, contract, rows, exact_cast)
    refuse_bad_keys(contract, rows)
    if numbers is not None:
        keep_numbers(lake, contract, numbers, now)
    written = write_difference(
        lake,
        contract,
        rows,
        existing=existing,
        part=part,
        batch_id=batch_id,
        metadata={"recipe": recipe},
    )
    return Built(
        table=table,
        rows=written.rows,
        changed=written.changed,
        computed="whole" if part is None else "part",
        why=why,
        removed=written.removed,
        added=written.added,
        version=written.version,
        input_versions={name: version for name, (_, version) in versions.items()},
        seconds=time.monotonic() - began,
        dropped=len(found) - len(shown),
    )


def _stands(lake: Lake, contract: Contract) -> Built | None:
    """The table where nothing that it depends on changed, told by the logs alone."""
    inputs = {name: lake.snapshot(name) for name in inputs_of(contract)}
    known = {name: (it.identity, it.version) for name, it in inputs.items() if it is not None}
    held = lake.snapshot(contract.table)
    all_there = held is not None and known.keys() == inputs.keys()
    if held is None or not all_there or _last_recipe(held) != _recipe(contract, known):
        return None
    return Built(
        table=contract.table,
        rows=held.num_rows,
        changed=False,
        version=held.version,
        input_versions={name: version for name, (_, version) in known.items()},
    )


def _or_why(find: Callable[[], P]) -> tuple[P | None, str | None]:
    """The part to compute; or None for the whole table, and why."""
    try:
        return find(), None
    except NotProvable as reason:
        return None, str(reason)


def open_inputs(lake: Lake, contract: Contract) -> dict[str, DeltaTable]:
    """The tables that a contract's SQL reads, each at its newest version.

    Raises:
        LakeError: when one is not there yet.
    """
    handles = dict[str, DeltaTable]()
    for name in inputs_of(contract):
        handle = lake.open(name)
        if handle is None:
            raise LakeError(
                f"{contract.table}: its input {name} is not in the lake yet",
                hint="run 'medallion run', or apply and build in this order",
            )
        handles[name] = handle
    return handles


def _recipe(contract: Contract, versions: Mapping[str, tuple[str, int]]) -> str:
    """Everything that the result depends on, as JSON: the inputs by identity and version."""
    sql = hashlib.sha256((contract.sql or "").encode()).hexdigest()
    terms = hashlib.sha256(contract.model_dump_json().encode()).hexdigest()
    inputs = {name: f"{identity}@{at}" for name, (identity, at) in sorted(versions.items())}
    return json.dumps(
        {
            "inputs": inputs,
            "sql": sql,
            "contract": terms,
            "contract_version": contract.version,
            "code": CODE_VERSION,
            "salt": salt_mark(contract),
            **({"model": MODEL.version} if contract.forecast else {}),
        }
    )


def _last_recipe(snapshot: Snapshot) -> str | None:
    """The recipe of the last build; what only laid the same rows otherwise is passed over."""
    newest = snapshot.version
    for version in range(newest, max(-1, newest - _KEPT_COMMITS), -1):
        commit = commit_info(snapshot, version)
        if commit is None or "recipe" in commit or commit.get("operation") not in _HARMLESS:
            return None if commit is None else commit.get("recipe")
    return None


def last_inputs(snapshot: Snapshot) -> dict[str, int]:
    """The versions of its inputs that a gold table was last written from; empty when that is not known."""
    recipe = _last_recipe(snapshot)
    told: dict[str, str] = json.loads(recipe)["inputs"] if recipe else {}
    return {name: int(place.rpartition("@")[2]) for name, place in told.items()}


# ---- RUN ---- #


def _run(
    lake: Lake,
    contract: Contract,
    handles: Mapping[str, DeltaTable],
    before: Snapshot | None,
    part: Part | Summed | None,
    why: str | None,
) -> tuple[pl.DataFrame, Part | None, str | None]:
    """The rows that the SQL gives of the inputs, all or those of the part; the part, or why there is none."""
    if isinstance(part, Summed):
        try:
            return *_moved(before, contract, part), None
        except (NotProvable, QueryError, LossError, pl.exceptions.PolarsError):
            part, why = _or_why(part.otherwise)  # what has to be refused is refused there
    if part is not None:
        return part.of(run_sql(contract, part.frames).lazy()).collect(), part, None
    whole = {name: lake.scan_handle(handle) for name, handle in handles.items()}
    return run_sql(contract, whole), None, why


def _moved(before: Snapshot | None, contract: Contract, part: Summed) -> tuple[pl.DataFrame, Part]:
    """The stored groups, moved by what went and came."""
    assert before is not None  # noqa: S101 - the changes are those since its last build
    return part.result(
        lambda frames: result_over(contract, frames),
        lambda keys: stored_rows(before, contract, keys),
    )


def result_over(contract: Contract, frames: Mapping[str, pl.LazyFrame]) -> pl.DataFrame:
    """What a gold table's SQL says of other rows than the lake's, without the build's own columns.

    Raises:
        ContractError: when the SQL gives other columns than the contract.
        LossError: when a value does not fit the contract's type exactly.
        QueryError: when the engine refuses the SQL.
    """
    return exactly(contract, release(contract, run_sql(contract, frames)), added_columns(contract))


def run_sql(contract: Contract, frames: Mapping[str, pl.LazyFrame]) -> pl.DataFrame:
    """The rows that a gold table's SQL gives of these inputs.

    Raises:
        QueryError: when the engine refuses the SQL.
    """
    try:
        return (
            pl.SQLContext(frames)
            .execute(contract.sql or "", eager=False)
            .collect(engine="streaming")
        )
    except pl.exceptions.PolarsError as error:
        raise QueryError(
            f"{contract.path.with_suffix('.sql')}: {error}",
            hint="'medallion query' runs a part of it",
        ) from error


def _foretold(contract: Contract, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows of a table that foretells; those of any other as they are."""
    spec = contract.forecast
    if spec is None:
        return rows
    least = contract.columns[spec.of].min
    return with_forecasts(rows, spec, MODEL, None if least is None else float(least))


def added_columns(contract: Contract) -> list[str]:
    """The columns that the build gives, not the SQL.

    Raises:
        ContractError: when one of them, or a part of the natural key, is not a column to be had.
    """
    surrogate = contract.surrogate_key
    added = [name for name in (surrogate and surrogate.column, contract.batch_id) if name]
    added += FORETOLD if contract.forecast is not None else ()
    from_sql = [name for name in contract.columns if name not in added]
    wanted = [(name, contract.columns, "batch_id and surrogate_key.column") for name in added]
    if surrogate is not None:
        wanted += [(name, from_sql, "surrogate_key.of") for name in surrogate.of]
    for name, known, place in wanted:
        if name not in known:
            raise ContractError(
                f"{contract.path}: column '{name}' is not one that {place} can name",
                hint=did_you_mean(name, known),
            )
    return added


def refuse_bad_keys(contract: Contract, rows: pl.DataFrame) -> None:
    """Nothing, when the contract's key tells each row from every other.

    Raises:
        QualityError: when it does not.
    """
    key = list(contract.key)
    nulls = rows.filter(pl.any_horizontal(pl.col(name).is_null() for name in key)).height
    twins = rows.select(pl.struct(key).is_duplicated().sum()).item()
    if nulls or twins:
        raise QualityError(
            f"{contract.table}: {nulls} rows without a key and {twins} rows that share one ({', '.join(key)}); the table was left as it is",
            hint="the SQL's grain is finer than the contract's key",
        )
