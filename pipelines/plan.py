"""The order in which tables are made: each after those it refers to or reads."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

from pipelines.contract import Catalog, Contract


def parents_of(contract: Contract) -> list[str]:
    """The silver tables that a silver table's rules refer to, itself left out."""
    named = {
        rule.reference.table
        for rule in contract.rules
        if rule.reference is not None and rule.active
    }
    return sorted(named - {contract.table})


def silver_order(catalog: Catalog) -> list[str]:
    """The silver tables, parents first, so that a row finds its parent in the same run.

    Tables that refer to each other in a circle come in the order of their names: their rows find
    each other in the next run, when the quarantine is judged again.
    """
    needs = {contract.table: parents_of(contract) for contract in catalog.layer("silver")}
    try:
        return [table for table in TopologicalSorter(needs).static_order() if table in needs]
    except CycleError:
        return sorted(needs)
