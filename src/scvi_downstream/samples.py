"""Samples that hold several conditions."""

from __future__ import annotations

import pandas as pd


def constant_within(values: pd.Series, groups: pd.Series) -> bool:
    """Whether no group of cells holds two values; missing ones do not count."""
    n_values = values.groupby(groups.to_numpy(), observed=True).nunique()
    return bool(n_values.max() <= 1)


def split_by_condition(samples: pd.Series, conditions: pd.Series | None) -> pd.Series | None:
    """A sample's cells of each condition as a sample of their own, ``None`` where every sample has one condition.

    Parameters
    ----------
    samples
        Sample of each cell, as string categories.
    conditions
        Of the same cells; ``None``: there are none.
    """
    if conditions is None or constant_within(conditions, samples):
        return None
    texts = samples.astype(object).str.cat(conditions.astype(object).astype(str), sep=" × ")
    return texts.astype("category")
