"""A column of known time, as numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scvi_downstream.categories import MISSING_TEXTS
from scvi_downstream.errors import InputError, closest

MIN_VALUES = 3


def known_time(observations: pd.DataFrame, time_key: str) -> pd.Series:
    """Times of the cells; NaN where they are missing.

    Numbers that are kept as text or as categories, such as the time points of samples, are numbers too.

    Parameters
    ----------
    observations
        ``obs`` of the counts.
    time_key
        Name of the column, as in ``trajectory.time_key``.

    Raises
    ------
    InputError
        There is no such column, it holds something else than numbers, or fewer than three different ones.
    """
    if time_key not in observations:
        raise InputError(
            f"trajectory.time_key '{time_key}' is not in obs{closest(time_key, map(str, observations.columns))}"
        )
    column = observations[time_key]
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "mMb":
        raise InputError(
            f"trajectory.time_key '{time_key}' holds {column.dtype} values such as '{column.iloc[0]}'; "
            "it must hold numbers, such as hours"
        )
    plain = column.astype(object)
    time = pd.to_numeric(plain, errors="coerce").astype(np.float64)
    missing = plain.isna() | plain.astype(str).str.strip().isin(MISSING_TEXTS)
    wrong = plain[time.isna() & ~missing]
    if len(wrong):
        raise InputError(
            f"trajectory.time_key '{time_key}' holds '{wrong.iloc[0]}', which is not a number; "
            "it must hold numbers, such as hours"
        )
    time = time.where(np.isfinite(time))
    n_values = time.nunique()
    if n_values < MIN_VALUES:
        raise InputError(
            f"trajectory.time_key '{time_key}' holds {n_values} different numbers; an order needs at least {MIN_VALUES}"
        )
    return time
