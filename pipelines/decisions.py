"""What people decided of quarantined rows, as apply and every rebuild read it.

A decision is about one event of a row, by the event's id in bronze: a newer event of the row is
judged on its own. In a keyless table whose rows are told apart by all their columns it is about the
row's id, which no two different rows share. The newest decision on an event counts.

`release`: the row is kept although it breaks the rules that the decision lists; a rule that it does
not list quarantines the row as ever. `drop`: the row stands neither in silver nor in quarantine; a
tombstone `DROP` takes its place, so that nothing older comes back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from pipelines.contract import Contract
from pipelines.contract.model import ROW_ID
from pipelines.contract.rules import rules_of
from pipelines.storage import Lake
from quality_rules.rule import Severity
from quality_rules.split import SPECIAL, Split

DECISIONS = "system.main.quarantine_decisions"
RELEASE, DROP = "release", "drop"

#: The operation of the tombstone that a dropped row leaves.
DROPPED = "DROP"

DECISIONS_TABLE: Mapping[str, pl.DataType] = {
    "decision_id": pl.String(),
    "table_name": pl.String(),
    "row_id": pl.String(),
    "row_key": pl.String(),
    "act": pl.String(),
    "issues": pl.List(pl.String()),
    "why": pl.String(),
    "decided_by": pl.String(),
    "os_user": pl.String(),
    "decided_at": pl.Datetime("us", "UTC"),
}

_OF_A_ROW: Mapping[str, pl.DataType] = {
    "_decided": pl.String(),
    "_act": pl.String(),
    "_covered": pl.List(pl.String()),
}


@dataclass(frozen=True, slots=True)
class Decisions:
    """The newest decision on each event of one table."""

    contract: Contract
    rows: pl.DataFrame

    def dropped(self, rows: pl.DataFrame) -> pl.Series:
        """Which of the rows somebody dropped."""
        return (
            self._beside(rows).select((pl.col("_act") == DROP).fill_null(value=False)).to_series()
        )

    def released(self, rows: pl.DataFrame) -> pl.Series:
        """Which of these judged rows are kept although they break rules: a release lists each of them."""
        refusing = refusing_issues(self.contract)
        uncovered = refusing.list.set_difference(pl.col("_covered").fill_null([]))
        released = (pl.col("_act") == RELEASE) & (uncovered.list.len() == 0)
        return self._beside(rows).select(released.fill_null(value=False)).to_series()

    def with_released(self, split: Split) -> Split:
        """The split with the released rows among the kept, their issues still listed."""
        if not len(self.rows) or not len(split.quarantined):
            return split
        released = self.released(split.quarantined)
        return Split(
            kept=pl.concat([split.kept, split.quarantined.filter(released)]),
            quarantined=split.quarantined.filter(~released),
        )

    def _beside(self, rows: pl.DataFrame) -> pl.DataFrame:
        mine = rows.with_columns(row_id(self.contract).alias("_decided"))
        return mine.join(self.rows, on="_decided", how="left", maintain_order="left")


def decisions_of(lake: Lake, contract: Contract) -> Decisions:
    """The decisions on one table's rows, none where nobody has decided anything.

    Raises:
        LakeError: when they cannot be read: rows would be judged without them.
    """
    if lake.version(DECISIONS) is None:
        return Decisions(contract, pl.DataFrame(schema=_OF_A_ROW))
    rows = (
        lake.scan(DECISIONS)
        .filter(pl.col("table_name") == contract.table)
        .sort("decided_at", "decision_id")
        .unique("row_id", keep="last", maintain_order=True)
        .select(
            pl.col("row_id").alias("_decided"),
            pl.col("act").alias("_act"),
            pl.col("issues").alias("_covered"),
        )
    )
    return Decisions(contract, rows.collect())


def row_id(contract: Contract) -> pl.Expr:
    """What a decision names a row by."""
    return pl.col(ROW_ID if contract.identity == "row" else "source_bronze_id")


def refusing_issues(contract: Contract) -> pl.Expr:
    """Those of a row's `quality_issues` that keep it out of silver."""
    mild = [rule.name for rule in rules_of(contract) if rule.severity is not Severity.ERROR]
    told = pl.element().str.starts_with(f"{SPECIAL}:") | pl.element().is_in(mild)
    return pl.col("quality_issues").list.filter(~told)
