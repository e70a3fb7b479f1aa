"""The models that series are foretold by. The only door to statsmodels, which is imported when one is fitted."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Foretold:
    """The values of the next steps, and what the model found in those before."""

    values: Values
    found: Mapping[str, float | bool]


class Model(Protocol):
    """Foretells a series from its values alone; the same values give the same forecast."""

    @property
    def name(self) -> str:
        """What it is called."""
        ...

    @property
    def version(self) -> str:
        """The library that fits it, and its version."""
        ...

    def foretell(self, values: Values, steps: int, season: int) -> Foretold:
        """The next `steps` values of a series that repeats after `season`; there are two seasons of values at least."""
        ...


class Theta:
    """The theta method (Assimakopoulos and Nikolopoulos 2000): exponential smoothing with half the trend.

    The season is taken out before and put back after where the series shows one. It won the M3
    competition with no parameter to tune, and is fitted in milliseconds.
    """

    name = "theta"

    @property
    def version(self) -> str:
        """The installed statsmodels."""
        return f"statsmodels {version('statsmodels')}"

    def foretell(self, values: Values, steps: int, season: int) -> Foretold:
        """See `Model`. A series that never changes goes on as it is."""
        if np.ptp(values) == 0:
            return Foretold(np.full(steps, values[-1]), {"is_constant": True})
        from statsmodels.tsa.forecasting.theta import ThetaModel  # seconds, and 100 MB

        with warnings.catch_warnings():
            # An optimiser that stops early still gives a forecast, and the back-tests say how good it is.
            warnings.simplefilter("ignore")
            fitted = ThetaModel(values, period=season, method="additive").fit()
            ahead = np.asarray(fitted.forecast(steps), dtype=np.float64)
        found = {name: round(float(fitted.params[name]), 6) for name in ("b0", "alpha")}
        return Foretold(ahead, found)
