"""Lineage as one line that a reader can check against the SQL."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lineage.columns import SelectLineage

Shown = Callable[[SelectLineage], str]


def _shown(lineage: SelectLineage) -> str:
    """`total = o.amount (aggregation) | o.at sort, o.tag window of total`; tables by their last name."""
    outputs = [
        f"{output.name} = "
        + " + ".join(
            f"{_last(s.table)}.{s.column}"
            + ("" if s.transformation == "identity" else f" ({s.transformation})")
            for s in output.sources
        )
        for output in lineage.outputs
    ]
    indirect = [
        f"{_last(i.table)}.{i.column} {i.kind}"
        + (f" of {' '.join(i.outputs)}" if i.outputs else "")
        for i in lineage.indirect
    ]
    return "; ".join(outputs) + (" | " + ", ".join(indirect) if indirect else "")


def _last(table: str) -> str:
    return table.rpartition(".")[2]


@pytest.fixture
def shown() -> Shown:
    return _shown
