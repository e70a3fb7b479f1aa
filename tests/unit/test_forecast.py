"""Forecasts: made of the days before alone, tried on days that are known, and told with what they were made of."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from pydantic import ValidationError

from pipelines.contract.forecast import FORETOLD, Forecast
from pipelines.contract.model import Contract
from pipelines.errors import QueryError
from pipelines.forecast.model import Foretold, Theta, Values
from pipelines.forecast.series import with_forecasts
from pipelines.origins import origins_of
from pipelines.provenance import lineage_of
from tests.spec.domains import only

FIRST = date(2026, 1, 5)
SPEC = Forecast(of="sold", by=("shop",), horizon_days=7, backtests=3, at_least_days=21)


class Last:
    """Foretells the last value, and remembers what it was shown."""

    name, version = "last", "of this test"

    def __init__(self) -> None:
        self.shown = list[Values]()

    def foretell(self, values: Values, steps: int, season: int) -> Foretold:
        self.shown.append(values)
        return Foretold(np.full(steps, values[-1]), {"season": season})


def rows_of(values: list[float | None], shop: str = "a", skip: frozenset[int] = frozenset()) -> pl.DataFrame:  # fmt: skip
    told = [(shop, FIRST + timedelta(days=n), v) for n, v in enumerate(values) if n not in skip]
    return pl.DataFrame(told, schema={"shop": pl.String, "day": pl.Date, "sold": pl.Float64}, orient="row")  # fmt: skip


def foretold(values: list[float | None], spec: Forecast = SPEC, model: Any = None, least: float | None = None, **more: Any) -> pl.DataFrame:  # fmt: skip
    return with_forecasts(rows_of(values, **more), spec, model or Last(), least)


RISING = [float(n) for n in range(49)]


def test_known_days_are_back_tested_and_days_to_come_are_foretold():
    made = foretold(RISING)
    assert made.columns == ["shop", "day", "sold", *FORETOLD]
    tests = made.filter("is_backtest")
    assert tests["day"].to_list() == [FIRST + timedelta(days=n) for n in range(28, 49)]
    assert tests["sold"].to_list() == RISING[28:]
    ahead = made.filter(~pl.col("is_backtest"))
    assert ahead["day"].to_list() == [FIRST + timedelta(days=n) for n in range(49, 56)]
    assert ahead["sold"].null_count() == 7
    assert set(ahead["forecast"]) == {48.0}
    assert set(ahead["trained_until"]) == {FIRST + timedelta(days=48)}
    assert tests["trained_until"].unique().sort().to_list() == [FIRST + timedelta(days=n) for n in (27, 34, 41)]  # fmt: skip
    assert ahead["naive"].to_list() == RISING[42:]


def test_a_stretch_is_foretold_from_the_days_before_alone():
    model = Last()
    foretold(RISING, model=model)
    assert [len(each) for each in model.shown] == [28, 35, 42, 49]
    other = foretold([*RISING[:35], *[999.0] * 14])
    same = pl.col("trained_until") <= FIRST + timedelta(days=27)
    columns = ["day", "forecast", "naive"]
    assert other.filter(same).select(columns).equals(foretold(RISING).filter(same).select(columns))


def test_an_interval_is_as_wide_as_nine_of_ten_errors_on_other_days():
    # Each stretch of the last value misses by 1 to 7; of the 21 errors 90 % are at most 7.
    made = foretold(RISING).filter(~pl.col("is_backtest"))
    assert set(made["upper"] - made["forecast"]) == {7.0}
    half = foretold(RISING, SPEC.model_copy(update={"level": 0.5})).filter(~pl.col("is_backtest"))
    assert set(half["forecast"] - half["lower"]) == {4.0}
    # The errors of a stretch's own days are not in its interval: here the last stretch alone misses.
    jump = foretold([5.0] * 42 + [50.0] * 7)
    own = jump.filter(pl.col("trained_until") == FIRST + timedelta(days=41))
    assert own.select((pl.col("upper") == pl.col("lower")).all()).item()
    assert jump.filter(~pl.col("is_backtest"))["upper"].max() == 95.0


def test_nothing_below_what_the_contract_allows_is_foretold():
    made = foretold([3.0] * 28 + [float(n % 2) * 20 for n in range(21)], least=0.0)
    assert made.select(pl.min_horizontal("forecast", "lower").min()).item() == 0.0


def test_days_without_a_value_are_filled_as_the_contract_says_and_told():
    values: list[float | None] = [*RISING[:40], None, *RISING[41:]]
    last = SPEC.model_copy(update={"gaps": "last"})
    for spec, filled in ((SPEC, 0.0), (last, 39.0)):
        model = Last()
        made = foretold(values, spec, model)
        assert model.shown[-1][40] == filled
        assert json.loads(made["features"][-1])["filled_days"] == 1
        assert made.filter(pl.col("day") == FIRST + timedelta(days=40))["sold"].to_list() == [None]
    gone = Last()
    foretold(RISING, model=gone, skip=frozenset({40, 41}))
    assert (gone.shown[-1][40], len(gone.shown[-1])) == (0.0, 49)


def test_a_series_too_short_to_be_tried_twice_is_not_foretold():
    assert len(foretold(RISING[:34])) == 0
    assert foretold(RISING[:35]).select(pl.col("trained_until").n_unique()).item() == 3
    assert len(foretold([None] * 60)) == 0


def test_series_are_foretold_apart_and_each_row_tells_what_it_is_of():
    both = pl.concat([rows_of(RISING, "b"), rows_of([1.0] * 49, "a")])
    made = with_forecasts(both, SPEC, Last(), None)
    assert made["shop"].unique(maintain_order=True).to_list() == ["a", "b"]
    assert made.filter(pl.col("shop") == "b").drop("shop").equals(foretold(RISING).drop("shop"))
    assert set(made["model"]) == {"last"}
    assert json.loads(made["features"][-1]) == {
        "first_day": "2026-01-05", "trained_days": 49, "filled_days": 0, "season_days": 7, "level": 0.9, "season": 7,
    }  # fmt: skip


# ---- THE MODEL ---- #


def test_theta_finds_a_season_and_a_trend_and_beats_last_week():
    chance = np.random.default_rng(1)
    week = np.array([0, 4, 2, 0, -2, 6, -10])
    values = 50 + 0.1 * np.arange(200) + np.resize(week, 200) + chance.normal(0, 2, 200)
    spec = Forecast(of="sold", by=("shop",))
    made = with_forecasts(rows_of(values.tolist()), spec, Theta(), None)
    tests = made.filter("is_backtest")
    error = (tests["sold"] - tests["forecast"]).abs().mean()
    naive = (tests["sold"] - tests["naive"]).abs().mean()
    assert isinstance(error, float)
    assert isinstance(naive, float)
    assert error < 2 < 0.9 * naive
    assert tests["sold"].is_between(tests["lower"], tests["upper"]).mean() == pytest.approx(0.9, abs=0.08)  # fmt: skip
    assert made["model_version"][0].startswith("statsmodels ")
    again = with_forecasts(rows_of(values.tolist()), spec, Theta(), None)
    assert made.equals(again)


def test_a_series_that_never_changes_goes_on():
    told = Theta().foretell(np.full(30, 3.0), 5, 7)
    assert told.values.tolist() == [3.0] * 5


def test_nothing_is_imported_before_something_is_foretold():
    code = "import sys, assets.cli, assets.definitions as d; d.definitions(); sys.exit(any(n in sys.modules for n in ('statsmodels', 'scipy', 'pandas')))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# ---- THE CONTRACT ---- #


def test_a_foretold_row_is_not_explained_by_rows():
    contract = only("marketing")["gold.marketing.roi_forecast"]
    with pytest.raises(QueryError, match="a model made its rows"):
        origins_of(contract, pl.DataFrame(), {})


def test_what_is_foretold_comes_from_what_it_is_of():
    lineage = lineage_of(only("marketing"))["gold.marketing.acquisition_forecast"]
    for name in ("forecast", "lower", "upper", "naive"):
        told = {(s.table, s.column, s.transformation) for s in lineage.columns[name]}
        assert told == {("gold.marketing.daily_channels", "new_customers", "expression")}


def test_a_contract_without_a_forecasts_columns_is_refused():
    columns = {"shop": {"type": "string"}, "day": {"type": "date"}, "sold": {"type": "float64"}}
    columns |= {name: {"type": kind} for name, kind in FORETOLD.items()}
    given: dict[str, Any] = {"table": "gold.x.y", "description": "d", "owner": "o", "key": ["shop", "day"], "columns": columns, "forecast": SPEC.model_dump()}  # fmt: skip
    assert Contract.model_validate(given).forecast == SPEC
    for name, kind in (("upper", "float64"), ("day", "date"), ("shop", "a column of the SQL")):
        with pytest.raises(ValidationError, match=f"needs the column '{name}' \\({kind}\\)"):
            Contract.model_validate({**given, "key": ["sold"], "columns": {n: c for n, c in columns.items() if n != name}})  # fmt: skip
    with pytest.raises(ValidationError, match="forecast"):
        Contract.model_validate({**given, "table": "silver.x.y", "source": {"connector": "events", "topic": "a.b.c"}})  # fmt: skip
