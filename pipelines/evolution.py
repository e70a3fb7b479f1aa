"""A table that follows its contract, and as far as the contract lets it, its source.

What a source taught a table (a column more, a wider type) is kept in a table of the lake and laid
over the contract. A silver table whose columns are not those that the contract now asks for is made
again from bronze, which holds every value as it came: no cast can lose what the old type had refused.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

import polars as pl

from pipelines.change.drift import UNKNOWN, Drift, Kind, drift_of_key, drifts, drifts_of_names
from pipelines.change.images import last_image
from pipelines.change.position import ORDER, in_order
from pipelines.change.schema import read_block
from pipelines.contract import Catalog, Column, Contract
from pipelines.contract.importer import plain_name
from pipelines.contract.types import DataType, parse_type
from pipelines.delta import Snapshot, read_snapshot
from pipelines.errors import DriftError
from pipelines.history import history_schema
from pipelines.plan import parents_of
from pipelines.rebuild import overlay, rebuild
from pipelines.state import CLOSED, progress_of, quarantine_schema, silver_schema, tombstone_schema
from pipelines.storage import Lake

LEARNED = "system.main.learned_columns"
_LEARNED: Mapping[str, pl.DataType] = {
    "table_name": pl.String(),
    "column_name": pl.String(),
    "field": pl.String(),
    "type": pl.String(),
    "kind": pl.String(),
    "learned_at": pl.Datetime("us", "UTC"),
}

_MOST_DIGITS = 38


# ---- WHAT THE SOURCE SHOWS ---- #


def drifts_in(
    rows: pl.DataFrame, contract: Contract, blocks: Mapping[str, str], *, newest: bool
) -> list[Drift]:
    """How the messages among some bronze rows depart from the contract.

    What is more or other in any of them counts; what is missing, or how the key is made, only as the
    newest message of all has it, for older ones were right in their time.
    """
    source = contract.source
    if source is None or source.connector in ("mongodb", "cassandra") or not len(rows):
        return []
    ordered = in_order(rows, [*ORDER[:3], "kafka_offset"])
    found = list[Drift]()
    marks = ordered["schema_fingerprint"].unique(maintain_order=True).drop_nulls().to_list()
    last = ordered["schema_fingerprint"][-1]
    for mark in marks:
        found += [
            d
            for d in _of_block(contract, blocks.get(mark))
            if _counts(d, newest=newest and mark == last)
        ]
    if last is None:
        image = _last(ordered.filter(pl.col("schema_fingerprint").is_null()))
        found += [d for d in drifts_of_names(contract, image) if _counts(d, newest=newest)]
    if newest:
        found += _of_keys(contract, ordered["key"].drop_nulls().tail(_KEYS_LOOKED_AT))
    return list(dict.fromkeys(found))


#: A single message with another table's key is a stray; it stops a table only if no other key is right.
_KEYS_LOOKED_AT = 100


def _of_keys(contract: Contract, keys: pl.Series) -> list[Drift]:
    """How the keys are made now, when none of the newest is made as the contract says."""
    found = [drift_of_key(contract, key) for key in keys.unique(maintain_order=True)]
    return found[-1] if found and all(found) else []


def _of_block(contract: Contract, block: str | None) -> list[Drift]:
    try:
        schema = read_block(block) if block else None
        return drifts(contract, schema) if schema else []
    except (ValueError, TypeError, KeyError, AttributeError):
        return []  # a block that is none: its rows are refused when they are decoded


def _counts(drift: Drift, *, newest: bool) -> bool:
    return newest or drift.kind not in (Kind.DROP, Kind.NARROW)


def _last(rows: pl.DataFrame) -> str | None:
    """The newest row image without a schema."""
    upserts = rows.filter(
        ~pl.col("operation_type").is_in(["DELETE", "TOMBSTONE", "TRUNCATE"])
    ).tail(1)
    return last_image(upserts) if len(upserts) else None


# ---- WHAT BECOMES OF IT ---- #


def decide(contract: Contract, found: Sequence[Drift]) -> tuple[list[Drift], tuple[str, ...]]:
    """What the table takes over, and what is only to be said.

    Raises:
        DriftError: when the contract refuses one of them, naming each that it refuses.
    """
    policies = [(drift, getattr(contract.drift, drift.kind)) for drift in found]
    refused = [drift for drift, policy in policies if policy == "refuse"]
    if refused:
        raise DriftError(
            f"{contract.table}: the source changed: {'; '.join(map(str, refused))}",
            hint=f"mend {contract.path.name or 'the contract'} and run again; bronze keeps every event. "
            f"Its 'drift' says which changes stop the table",
        )
    taken = [
        drift for drift, policy in policies if policy == "evolve" and drift.kind in _CAN_EVOLVE
    ]
    told = [str(drift) for drift, policy in policies if policy != "ignore"]
    return [drift for drift in taken if drift.now != UNKNOWN], tuple(told)


_CAN_EVOLVE = (Kind.ADD, Kind.WIDEN, Kind.RETYPE)


def learn(lake: Lake, contract: Contract, taken: Sequence[Drift], now: datetime) -> None:
    """Keeps what a source taught a table.

    Raises:
        ConflictError: when another process learned meanwhile.
    """
    rows = [
        (
            contract.table,
            drift.column or plain_name(drift.field),
            drift.field,
            _learned_type(drift),
            str(drift.kind),
            now,
        )
        for drift in taken
    ]
    handle = lake.create(LEARNED, _LEARNED)
    frame = pl.DataFrame(rows, schema=dict(_LEARNED), orient="row")
    lake.write(handle, frame, mode="append", app={LEARNED: handle.version() + 1})


def _learned_type(drift: Drift) -> str:
    """The type that holds the old values and the new ones."""
    if drift.kind is Kind.ADD:
        return drift.now
    was, now = parse_type(drift.was), parse_type(drift.now)
    if drift.kind is Kind.WIDEN and "decimal" in (was.kind, now.kind):
        whole, scale = max(_whole(was), _whole(now)), max(was.scale, now.scale)
        return f"decimal({whole + scale},{scale})" if whole + scale <= _MOST_DIGITS else "string"
    return drift.now if drift.kind is Kind.WIDEN else "string"


def _whole(kind: DataType) -> int:
    digits = {"int8": 3, "int16": 5, "int32": 10, "int64": 19}
    return digits.get(kind.kind, kind.precision - kind.scale)


# ---- THE TABLE UNDER ITS CONTRACT ---- #


def follow_contract(lake: Lake, catalog: Catalog, table: str, now: datetime) -> Contract:
    """The contract with what its source has taught, and the table in its shape.

    Raises:
        ConflictError: when another process wrote the table meanwhile.
        LakeError: when bronze cannot be read, or the table not written.
    """
    contract = _with_learned(lake, catalog[table])
    stored, buried = lake.snapshot(table), lake.snapshot(contract.sibling("tombstones"))
    if stored is not None and not (
        _has(stored, silver_schema(contract))
        and (buried is None or _has(buried, tombstone_schema(contract)))
    ):
        _make_again(lake, catalog.having(contract), contract, now)
    return contract


def _has(stored: Snapshot, schema: Mapping[str, pl.DataType]) -> bool:
    return dict(stored.schema) == dict(pl.Schema(schema))


def _with_learned(lake: Lake, contract: Contract) -> Contract:
    if lake.version(LEARNED) is None:
        return contract
    of_table = pl.col("table_name") == contract.table
    rows = lake.scan(LEARNED).filter(of_table).sort("learned_at").collect()
    columns = dict(contract.columns)
    for name, field, text, kind in rows.select("column_name", "field", "type", "kind").iter_rows():
        columns[name] = _learned_column(columns.get(name), name, field, parse_type(text), kind)
    return (
        contract
        if columns == contract.columns
        else contract.model_copy(update={"columns": columns})
    )


def _learned_column(
    known: Column | None, name: str, field: str, kind: DataType, how: str
) -> Column:
    """A column as the source has it now; a new one is nobody's to read until a contract says so."""
    if known is None:
        return Column(
            type=kind,
            source=field if field != name else None,
            classification="restricted",
            description="Learned from the source",
        )
    if how == Kind.ADD:  # the contract names it by now
        return known
    return known.model_copy(update={"type": kind, "encoding": None})


def _make_again(lake: Lake, catalog: Catalog, contract: Contract, now: datetime) -> None:
    """Silver, quarantine, tombstones and history from bronze, up to where silver had come.

    Silver is written last: a crash before leaves it in its old shape, so that all is made again.
    """
    snapshot = read_snapshot(lake.path(contract.table), lake.options)
    bronze = lake.handle(contract.bronze)
    reached = snapshot.app_versions.get(progress_of(bronze))
    if reached is None:
        reached = -1
    with tempfile.TemporaryDirectory(prefix="medallion-again-") as folder:
        made = overlay(lake, contract, folder, parents=frozenset(_parents(lake, contract)))
        rebuild(made, catalog, contract.table, now=now, until=reached)
        for table, schema in _tables(contract):
            if lake.version(table) is None or made.version(table) is None:
                continue
            rows = made.scan(table).select(schema).collect()
            app = dict(snapshot.app_versions) if table == contract.table else {}
            handle = lake.handle(table)
            lake.write(
                handle,
                rows,
                mode="overwrite",
                app={
                    name: version
                    for name, version in app.items()
                    if name == CLOSED or name.startswith(("bronze/", "epoch/"))
                },
                metadata={
                    "contract_version": contract.version,
                    "made_again": "the contract's columns changed",
                },
                reshape=True,
            )


def _parents(lake: Lake, contract: Contract) -> Iterator[str]:
    return (table for table in parents_of(contract) if lake.version(table) is not None)


def _tables(contract: Contract) -> list[tuple[str, Sequence[str]]]:
    """The tables of a contract in the order they are written, with their columns."""
    return [
        *(
            [(contract.sibling("history"), list(history_schema(contract)))]
            if contract.history
            else []
        ),
        (contract.sibling("tombstones"), list(tombstone_schema(contract))),
        (contract.sibling("quarantine"), list(quarantine_schema(contract))),
        (contract.table, list(silver_schema(contract))),
    ]
