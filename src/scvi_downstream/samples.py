"""Samples that hold several conditions."""

from __future__ import annotations

import pandas as pd

from scvi_downstream.errors import InputError
from scvi_downstream.parameters import Keys


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


def sample_column(obs: pd.DataFrame, keys: Keys) -> str:
    """Which obs column holds the samples that are compared.

    ``sample_key``, or, where samples hold cells of several conditions, the column ``<sample_key>_x_<condition_key>``
    that :func:`with_crossed_samples` adds: one sample a donor and condition.

    Parameters
    ----------
    obs
        One row a cell, with the study's keys.
    keys
        Names the sample and the condition.

    Raises
    ------
    InputError
        When there is no ``sample_key``, or the crossed column is missing.
    """
    if not keys.sample_key:
        raise InputError("sample_key is empty, so there are no samples to compare; set it to an obs column")
    if _crossed(obs, keys) is None:
        return keys.sample_key
    name = crossed_name(keys)
    if name not in obs:
        raise InputError(
            f"samples of '{keys.sample_key}' hold several values of '{keys.condition_key}', but obs has no column "
            f"'{name}'; run the preparation again, which adds it"
        )
    return name


def with_crossed_samples(obs: pd.DataFrame, keys: Keys) -> pd.DataFrame:
    """Obs with a category for each sample and condition, where samples hold cells of several conditions.

    Parameters
    ----------
    obs
        One row a cell, with the study's keys as categories.
    keys
        Names the sample and the condition.

    Returns
    -------
    The same obs, or one with the column ``<sample_key>_x_<condition_key>`` (``donor_1 × stim``).

    Raises
    ------
    InputError
        When obs has a column of that name with other values.
    """
    crossed = _crossed(obs, keys)
    if crossed is None:
        return obs
    name = crossed_name(keys)
    if name in obs and not (obs[name].astype(str).to_numpy() == crossed.astype(str).to_numpy()).all():
        raise InputError(
            f"obs has a column '{name}' already, which is not '{keys.sample_key}' crossed with "
            f"'{keys.condition_key}'; rename it"
        )
    return obs.assign(**{name: crossed})


def crossed_name(keys: Keys) -> str:
    """Name of the column of samples crossed with conditions."""
    return f"{keys.sample_key}_x_{keys.condition_key}"


def _crossed(obs: pd.DataFrame, keys: Keys) -> pd.Series | None:
    if not keys.sample_key or not keys.condition_key:
        return None
    return split_by_condition(obs[keys.sample_key], obs[keys.condition_key])
