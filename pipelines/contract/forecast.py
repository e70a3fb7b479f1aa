"""What a gold table foretells: the series that its SQL gives, and how far ahead, how surely and how tried."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from pipelines.contract.base import Strict
from pipelines.contract.types import DataType

#: The columns that a forecast adds to those of the SQL, and their types.
FORETOLD: Mapping[str, str] = {
    "forecast": "float64",
    "lower": "float64",
    "upper": "float64",
    "naive": "float64",
    "is_backtest": "bool",
    "trained_until": "date",
    "model": "string",
    "model_version": "string",
    "features": "json",
}


class Forecast(Strict):
    """A forecast of daily series: each is the rows of one value of `by`, told by the table's own SQL.

    The table holds the days to come, and the days of the back-tests: what would have been foretold
    of them from the days before. `lower` and `upper` hold the actual value with the chance `level`,
    by the errors of the back-tests (conformal prediction).
    """

    of: str = Field(description="The column that is foretold; null on the days to come.")
    by: tuple[str, ...] = Field(min_length=1, description="The columns that tell series apart.")
    day: str = Field(default="day", description="The column of days.")
    horizon_days: int = Field(default=28, ge=1, le=366, description="How many days ahead.")
    season_days: int = Field(default=7, ge=2, le=366, description="After how many days it repeats.")
    level: float = Field(default=0.9, ge=0.5, le=0.99, description="The chance of an interval.")
    backtests: int = Field(
        default=4,
        ge=2,
        le=52,
        description="How many stretches of `horizon_days` are back-tested at most; two at least.",
    )
    at_least_days: int = Field(
        default=56,
        ge=14,
        description="A series of fewer days before its back-tests is not foretold.",
    )
    gaps: Literal["zero", "last"] = Field(
        default="zero",
        description="What a day without a value counts as: nothing, or as the last one.",
    )

    def fault(self, types: Mapping[str, DataType]) -> tuple[str, str] | None:
        """The column that a table of these types lacks or has otherwise, and what it should be; None: all is well."""
        wanted = {**FORETOLD, self.day: "date", self.of: "float64", **dict.fromkeys(self.by, "")}
        for name, kind in wanted.items():
            known = types.get(name)
            if known is None or (kind and str(known) != kind):
                return name, kind or "a column of the SQL"
        return None
