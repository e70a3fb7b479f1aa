"""The rows of a forecast: of each series the back-tests and the days to come. Pure, but for the model's fit."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np
import polars as pl

from pipelines.contract.forecast import FORETOLD, Forecast
from pipelines.forecast.model import Foretold, Model, Values

#: Foretold values are told to so many digits: more would be noise, and differ between machines.
_DIGITS = 4


@dataclass(frozen=True, slots=True)
class _Series:
    """Daily values without gaps; `filled` of them were made up where a day had none."""

    first: date
    values: Values
    filled: int


@dataclass(frozen=True, slots=True)
class _Stretch:
    """What was foretold of the days after the first `known`."""

    known: int
    told: Foretold
    naive: Values


def with_forecasts(
    rows: pl.DataFrame, spec: Forecast, model: Model, least: float | None
) -> pl.DataFrame:
    """The days of the rows' series that are back-tested or to come, with the columns of `FORETOLD`.

    `rows` hold `spec.by`, `spec.day` and `spec.of`, a row a series and day. Nothing below `least` is
    foretold. A series too short to be back-tested twice gives no row.
    """
    by = list(spec.by)
    schema = {**rows.schema, **{name: _POLARS[kind] for name, kind in FORETOLD.items()}}
    parts = [pl.DataFrame(schema=schema)]
    for names, own in rows.drop_nulls(spec.day).partition_by(by, as_dict=True, maintain_order=True).items():  # fmt: skip
        series = _series(own, spec)
        if series is None:
            continue
        told = _told(series, spec, model, least)
        known = own.select(spec.day, spec.of)
        made = told.with_columns(pl.lit(value, rows.schema[name]).alias(name) for name, value in zip(by, names, strict=True))  # fmt: skip
        parts.append(made.join(known, on=spec.day, how="left").select(*schema))
    return pl.concat(parts).sort([*by, spec.day])


_POLARS = {"float64": pl.Float64(), "bool": pl.Boolean(), "date": pl.Date(), "string": pl.String(), "json": pl.String()}  # fmt: skip


def _series(own: pl.DataFrame, spec: Forecast) -> _Series | None:
    """The values from the first day that has one to the last, gaps filled; None where there is none."""
    known = own.select(spec.day, spec.of).drop_nulls().sort(spec.day)
    if not len(known):
        return None
    whole = known.upsample(spec.day, every="1d")
    value = pl.col(spec.of)
    filled = value.fill_null(0.0) if spec.gaps == "zero" else value.forward_fill()
    values = whole.select(filled).to_series().to_numpy()
    return _Series(known[spec.day][0], values.astype(np.float64), len(whole) - len(known))


def _told(series: _Series, spec: Forecast, model: Model, least: float | None) -> pl.DataFrame:
    """Back-tests, then the days to come."""
    count = min(spec.backtests, (len(series.values) - spec.at_least_days) // spec.horizon_days)
    if count < 2 or len(series.values) - count * spec.horizon_days < 2 * spec.season_days:
        return pl.DataFrame(
            schema={spec.day: pl.Date(), **{n: _POLARS[k] for n, k in FORETOLD.items()}}
        )
    ends = [len(series.values) - back * spec.horizon_days for back in range(count, -1, -1)]
    stretches = [_stretch(series.values, known, spec, model) for known in ends]
    errors = [_errors(series.values, each) for each in stretches[:-1]]
    parts = list[pl.DataFrame]()
    for at, each in enumerate(stretches):
        # An interval is made of errors that were not made on the days it is of.
        others = [error for number, error in enumerate(errors) if number != at]
        width = _quantile(np.concatenate(others), spec.level)
        parts.append(_rows(series, each, width, spec, model, least))
    return pl.concat(parts)


def _stretch(values: Values, known: int, spec: Forecast, model: Model) -> _Stretch:
    told = model.foretell(values[:known], spec.horizon_days, spec.season_days)
    last = values[known - spec.season_days : known]
    return _Stretch(known, told, np.resize(last, spec.horizon_days))


def _errors(values: Values, stretch: _Stretch) -> Values:
    actual = values[stretch.known : stretch.known + len(stretch.told.values)]
    return np.abs(actual - stretch.told.values)


def _quantile(errors: Values, level: float) -> float:
    """The error that another is not above with the chance `level` (split conformal prediction, Vovk 2005)."""
    rank = min(math.ceil((len(errors) + 1) * level), len(errors))
    return float(np.sort(errors)[rank - 1])


def _rows(
    series: _Series,
    stretch: _Stretch,
    width: float,
    spec: Forecast,
    model: Model,
    least: float | None,
) -> pl.DataFrame:
    mean, until = stretch.told.values, series.first + timedelta(days=stretch.known - 1)
    features = {
        "first_day": series.first.isoformat(), "trained_days": stretch.known, "filled_days": series.filled,
        "season_days": spec.season_days, "level": spec.level, **stretch.told.found,
    }  # fmt: skip
    ahead = {"forecast": mean, "lower": mean - width, "upper": mean + width, "naive": stretch.naive}
    made = pl.DataFrame({spec.day: list(_days(until, len(mean))), **ahead})
    return made.with_columns(
        *(pl.col(name).clip(lower_bound=least).round(_DIGITS) for name in ahead),
        pl.lit(stretch.known < len(series.values)).alias("is_backtest"),
        pl.lit(until).alias("trained_until"),
        pl.lit(model.name).alias("model"),
        pl.lit(model.version).alias("model_version"),
        pl.lit(json.dumps(features)).alias("features"),
    ).select(spec.day, *FORETOLD)


def _days(until: date, steps: int) -> Iterator[date]:
    return (until + timedelta(days=step) for step in range(1, steps + 1))
