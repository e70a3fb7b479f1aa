"""The catalog's entries from contracts, lineage and a lake."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime

from lineage.catalog.model import ColumnEntry, RuleEntry, Site, TableEntry
from lineage.graph import ColumnRef, TableLineage
from lineage.layers import PAYLOAD
from lineage.privacy import DEFAULT_CLASS
from pipelines.catalog.describe import (
    added_column,
    audit_columns,
    column_entry,
    contract_facts,
    interval_columns,
    says,
)
from pipelines.catalog.facts import facts_of, results_of
from pipelines.contract import Catalog, Contract
from pipelines.contract.rules import rules_of
from pipelines.landing import BRONZE
from pipelines.privacy import classes_of, leaking
from pipelines.provenance import columns_of, lineage_of, source_of
from pipelines.quality import RESULTS
from pipelines.status import count
from pipelines.storage import Lake


def site_of(catalog: Catalog, lake: Lake, now: datetime) -> Site:
    """Everything the pages show; a table that is not in the lake yet has no storage.

    Raises:
        ContractError: when a contract's SQL cannot be followed.
        LakeError: when a table's log cannot be read.
    """
    lineage = lineage_of(catalog)
    classes = classes_of(catalog, {c.table: source_of(c) for c in catalog.layer("silver")})
    known = frozenset(lake.tables())
    results = results_of(lake) if RESULTS in known else {}
    entries = dict[str, TableEntry]()
    for contract in catalog.contracts.values():
        for entry in _entries(contract, lineage, classes):
            rules = tuple(
                replace(rule, results=results.get((entry.name, rule.name), ()))
                for rule in entry.rules
            )
            entries[entry.name] = _with_facts(replace(entry, rules=rules), lake, known)
    found = leaking(catalog, lineage, classes, columns_of(catalog))
    leaks = frozenset((leak.source, leak.target) for leak in found)
    return Site(tables=entries, lineage=lineage, made_at=now, leaks=leaks)


def _with_facts(entry: TableEntry, lake: Lake, known: frozenset[str]) -> TableEntry:
    """The entry with what the lake says of its table."""
    if entry.name not in known:
        return entry
    storage, changes = facts_of(lake, entry.name)
    waiting = f"quarantine.{entry.domain}.{entry.short}"
    quarantined = count(lake, waiting) if entry.layer == "silver" and waiting in known else None
    return replace(entry, storage=storage, schema_changes=changes, quarantined=quarantined)


def _entries(
    contract: Contract, lineage: Mapping[str, TableLineage], classes: Mapping[ColumnRef, str]
) -> Iterator[TableEntry]:
    """The tables that one contract speaks of: a silver one has a source, bronze and maybe history."""
    if contract.layer == "silver":
        yield _source(contract, classes)
        yield _bronze(contract, lineage, classes)
        if contract.history:
            yield _history(contract)
    yield _declared(contract)


def _declared(contract: Contract) -> TableEntry:
    own = tuple(column_entry(contract, name) for name in contract.columns)
    return TableEntry(
        name=contract.table,
        layer=contract.layer,
        domain=contract.domain,
        description=contract.description,
        owner=contract.owner,
        version=contract.version,
        tags=contract.tags,
        facts=contract_facts(contract),
        columns=own + (audit_columns() if contract.layer == "silver" else ()),
        sql=contract.sql or "",
        rules=tuple(
            RuleEntry(
                name=rule.name,
                says=says(rule, contract),
                severity=rule.severity.value,
                columns=rule.columns,
                description=rule.description,
                active=rule.active,
            )
            for rule in rules_of(contract)
        ),
        freshness=contract.freshness,
    )


def _history(contract: Contract) -> TableEntry:
    own = tuple(column_entry(contract, name) for name in contract.columns)
    return TableEntry(
        name=contract.sibling("history"),
        layer="history",
        domain=contract.domain,
        description=f"Every version of every row of {contract.table}, with the interval in which it was valid.",
        owner=contract.owner,
        version=contract.version,
        facts={"Key": ", ".join((*contract.key, "valid_from"))},
        columns=own + audit_columns() + interval_columns(),
    )


def _bronze(
    contract: Contract, lineage: Mapping[str, TableLineage], classes: Mapping[ColumnRef, str]
) -> TableEntry:
    def class_of(column: str) -> str:
        return classes.get(ColumnRef(contract.bronze, column), DEFAULT_CLASS)

    inside = [
        replace(entry, name=f"{PAYLOAD}.{entry.name}", classification=class_of(f"{PAYLOAD}.{entry.name}"))
        for entry in _sent(contract)
        if f"{PAYLOAD}.{entry.name}" in lineage[contract.bronze].columns or entry.name in contract.withheld
    ]  # fmt: skip
    own = [
        added_column(name, dtype, classification=class_of(name)) for name, dtype in BRONZE.items()
    ]
    topic = contract.source.topic if contract.source else ""
    return TableEntry(
        name=contract.bronze,
        layer="bronze",
        domain=contract.domain,
        description=f"Every record of topic {topic}, as it came.",
        owner=contract.owner,
        facts={"Key": "event_id", "Topic": topic},
        columns=(*own, *inside),
    )


def _source(contract: Contract, classes: Mapping[ColumnRef, str]) -> TableEntry:
    source, name = contract.source, source_of(contract)
    return TableEntry(
        name=name,
        layer="source",
        domain=contract.domain,
        description=f"The table of the database behind {contract.table}, as far as its contract knows it.",
        owner=contract.owner,
        facts={"Connector": source.connector, "Topic": source.topic} if source else {},
        columns=tuple(
            replace(entry, classification=classes.get(ColumnRef(name, entry.name), DEFAULT_CLASS))
            for entry in _sent(contract)
        ),
    )


def _sent(contract: Contract) -> Iterator[ColumnEntry]:
    """The fields as the source sends them: what the contract promises of ours, their type too, is not known."""
    for field, column in {contract.field_of(name): name for name in contract.columns}.items():
        own = column_entry(contract, column)
        yield ColumnEntry(name=field, description=own.description, key=own.key)
    for field in contract.withheld:
        yield ColumnEntry(name=field, description="Withheld: it never leaves bronze")
