"""Confidence intervals of means over folds, which share most of their training cells."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

LEVEL = 0.95


@dataclass(frozen=True)
class Mean:
    """A mean with its confidence interval.

    Attributes
    ----------
    value, low, high
        The mean and its interval; ``low`` and ``high`` are NaN with fewer than two values.
    sd
        Standard deviation of the values.
    n
        How many there were.
    """

    value: float
    low: float
    high: float
    sd: float
    n: int

    def as_record(self) -> dict[str, Any]:
        """For a JSON file: NaN becomes ``None``."""
        return {
            name: None if isinstance(number, float) and not np.isfinite(number) else number
            for name, number in asdict(self).items()
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Mean:
        """Back from the JSON file."""
        numbers = {
            name: np.nan if record[name] is None else float(record[name])
            for name in ("value", "low", "high", "sd")
        }
        return cls(**numbers, n=int(record["n"]))


def mean_over_folds(values: np.ndarray, test_share: float, *, level: float = LEVEL) -> Mean:
    """Mean over the folds of a cross-validation with the corrected resampled t interval.

    Models of different folds are trained on mostly the same cells, so that their scores vary less than independent
    ones would. The variance of the mean is taken as ``(1 / K + n_test / n_train) s²`` in the place of ``s² / K``. That
    is a conservative correction for what random splits share; it has no exact justification for K folds, for which
    no unbiased estimate exists (Bengio & Grandvalet 2004).

    Parameters
    ----------
    values
        One score a fold, ``(n_folds,)``; not finite ones are left out.
    test_share
        Held-out cells over training cells, ``n_test / n_train``; 0: values are independent.
    level
        Of the interval.

    References
    ----------
    Nadeau & Bengio (2003), doi:10.1023/A:1024068626366; Bouckaert & Frank (2004),
    doi:10.1007/978-3-540-24775-3_3.
    """
    from scipy.stats import t

    finite = np.asarray(values, dtype=np.float64)
    finite = finite[np.isfinite(finite)]
    n = len(finite)
    if n == 0:
        return Mean(np.nan, np.nan, np.nan, np.nan, 0)
    value = float(finite.mean())
    if n == 1:
        return Mean(value, np.nan, np.nan, np.nan, 1)
    sd = float(finite.std(ddof=1))
    reach = float(t.ppf((1 + level) / 2, n - 1)) * sd * float(np.sqrt(1 / n + test_share))
    return Mean(value, value - reach, value + reach, sd, n)


def mean_of_independent(values: np.ndarray, *, level: float = LEVEL) -> Mean:
    """Mean of independent values (cells, batches) with Student's t interval."""
    return mean_over_folds(values, 0.0, level=level)
