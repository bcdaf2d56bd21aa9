"""By how much one model is better than another on the same cells, and whether that is the noise of these cells."""

from __future__ import annotations

from dataclasses import dataclass
from math import isnan, nan, sqrt
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np

Noise = Literal["one_standard_error", "interval", "none"]
# Of intervals and of the t distribution behind them: the field reports 95 %.
LEVEL = 0.95
TAILS = ((1 - LEVEL) / 2, (1 + LEVEL) / 2)


@dataclass(frozen=True)
class Difference:
    """By how much one model is better than another, positive when it is; ``low`` to ``high`` holds 95 %.

    The standard error and the interval are NaN where the noise is not known.
    """

    value: float
    standard_error: float = nan
    low: float = nan
    high: float = nan

    def is_noise(self, noise: Noise) -> bool:
        """Whether the difference cannot be told from none.

        ``one_standard_error`` is Breiman's rule on paired differences: of two equally good models it finds a
        difference in a third of cases, which is the price of seeing small ones; an unknown error counts as none.
        ``interval`` errs in 5 %.

        References
        ----------
        Breiman, Friedman, Stone & Olshen (1984), Classification and Regression Trees, section 3.4.3.
        """
        if noise == "none":
            return False
        if noise == "interval":
            return self.low <= 0
        return bool(self.value <= (0 if isnan(self.standard_error) else self.standard_error))


def mean_difference(values: np.ndarray) -> Difference:
    """Mean of at least two values, one a cell, with its t interval."""
    from scipy.stats import t

    mean = float(values.mean())
    error = float(values.std(ddof=1) / sqrt(len(values)))
    reach = float(t.ppf(TAILS[1], len(values) - 1)) * error
    return Difference(mean, error, mean - reach, mean + reach)


def drawn_difference(value: float, draws: np.ndarray) -> Difference:
    """A difference with the spread and the percentile interval of its ``(n_draws,)`` bootstrap draws."""
    import numpy as np

    low, high = np.quantile(draws, TAILS)
    return Difference(value, float(draws.std(ddof=1)), float(low), float(high))
