"""The study's keys: present, complete, of the right type, with enough cells in every batch."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.cells.obs import as_categories, with_unknown
from scvi_downstream.pipelines.preparation.options import PreparationOptions
from scvi_downstream.runtime.errors import InputError, closest
from scvi_downstream.runtime.options import UNKNOWN

SHAREABLE = ({"batch_key", "sample_key"}, {"sample_key", "categorical_covariates"})
"""Keys that may name one column: a donor can be batch and replicate, or replicate and covariate."""


def require_keys(columns: pd.Index, keys: Keys) -> None:
    """Refuse keys that name no obs column, or one column twice.

    Parameters
    ----------
    columns
        Of obs, with those of the joined metadata.
    keys
        What the user set.

    Raises
    ------
    InputError
        Names the key, the column and the closest column.
    """
    named = keys.categorical | {
        f"continuous_covariates[{i}]": key for i, key in enumerate(keys.continuous_covariates)
    }
    counted = Counter(columns)
    for parameter, column in named.items():
        if column not in counted:
            raise InputError(f"{parameter} '{column}' is not a column of obs{closest(column, columns)}")
        if counted[column] > 1:
            raise InputError(
                f"{parameter} '{column}' names {counted[column]} columns of obs; rename one of them"
            )
    parameters_of: dict[str, list[str]] = {}
    for parameter, column in named.items():
        parameters_of.setdefault(column, []).append(parameter)
    for column, parameters in parameters_of.items():
        kinds = [parameter.split("[")[0] for parameter in parameters]
        if len(kinds) > 1 and not (len(set(kinds)) == len(kinds) and set(kinds) in SHAREABLE):
            raise InputError(
                f"obs column '{column}' is set for {' and '.join(parameters)}, which a model cannot "
                "tell apart; set it for one of them"
            )


def typed_keys(obs: pd.DataFrame, keys: Keys, options: PreparationOptions) -> pd.DataFrame:
    """The key columns of obs: strings as categories, covariates as numbers, labels with ``unknown``.

    Parameters
    ----------
    obs
        One row a cell, with every key.
    keys
        What the user set.
    options
        Names of what is no label, and the least cells of a batch.

    Returns
    -------
    One row a cell, one column a key.

    Raises
    ------
    InputError
        Names the key, the column, the value seen and what to do.
    """
    columns: dict[str, pd.Series] = {}
    for parameter, column in keys.categorical.items():
        values = as_categories(obs[column])
        if parameter == "label_key":
            values = with_unknown(values, options.unknown_labels)
        _require_complete(obs.index, np.asarray(values.isna()), parameter, column)
        _require_groups(values, parameter, column)
        columns[column] = pd.Series(values, index=obs.index)
    for i, column in enumerate(keys.continuous_covariates):
        columns[column] = _numbers(obs[column], f"continuous_covariates[{i}]", column)
    if keys.batch_key:
        _require_batch_sizes(columns[keys.batch_key], keys.batch_key, options.min_cells_per_batch)
    return pd.DataFrame(columns, index=obs.index)


def _require_complete(cells: pd.Index, missing: np.ndarray, parameter: str, column: str) -> None:
    if missing.any():
        first = ", ".join(f"'{cell}'" for cell in cells[missing][:3])
        raise InputError(
            f"{parameter} '{column}' has no value in {int(missing.sum()):,} of {len(cells):,} cells, "
            f"first {first}; fill them in, or leave those cells out"
        )


def _require_groups(values: pd.Categorical, parameter: str, column: str) -> None:
    if len(values.categories) > max(len(values) / 2, 2):
        first = ", ".join(f"'{name}'" for name in values.categories[:3])
        raise InputError(
            f"{parameter} '{column}' has {len(values.categories):,} values ({first}, …) in {len(values):,} "
            "cells and so makes no groups; name a column of groups, or bin it"
        )


def _numbers(values: pd.Series, parameter: str, column: str) -> pd.Series:
    numbers = pd.to_numeric(values.astype(object), errors="coerce").astype(np.float64)
    _require_complete(values.index, values.isna().to_numpy(), parameter, column)
    bad = ~np.isfinite(numbers.to_numpy())
    if bad.any():
        at = int(np.argmax(bad))
        raise InputError(
            f"{parameter} '{column}' holds {values.iloc[at]!r} in cell '{values.index[at]}' "
            f"({int(bad.sum()):,} such cells), not a finite number; set the column as categorical "
            "covariate, or mend the values"
        )
    return numbers


def _require_batch_sizes(batch: pd.Series, column: str, least: int) -> None:
    sizes = batch.value_counts()
    small = sizes[sizes < least]
    if len(small):
        named = ", ".join(f"'{name}' ({size})" for name, size in small.head(8).items())
        more = f" and {len(small) - 8} more" if len(small) > 8 else ""
        raise InputError(
            f"batch_key '{column}' has batches of fewer than {least} cells: {named}{more}; "
            "merge them with others, leave their cells out, or lower preparation.min_cells_per_batch"
        )


def key_warnings(typed: pd.DataFrame, keys: Keys) -> list[str]:
    """What the keys do not allow: one batch, one label, no label, constant covariates.

    Parameters
    ----------
    typed
        Table of ``typed_keys``.
    keys
        What the user set.
    """
    notes = []
    for parameter, column, consequence in (
        ("batch_key", keys.batch_key, "analyses that compare batches are left out"),
        ("label_key", keys.label_key, "analyses that compare labels are left out"),
        ("condition_key", keys.condition_key, "conditions are not compared"),
    ):
        if not column:
            continue
        names = [name for name in typed[column].cat.categories if name != UNKNOWN or parameter != "label_key"]
        if not names:
            notes.append(
                f"{parameter} '{column}': all cells are unlabelled, so analyses by label are left out"
            )
        elif len(names) == 1:
            notes.append(f"{parameter} '{column}' holds one value only ('{names[0]}'): {consequence}")
    notes.extend(
        f"covariate '{column}' is the same in all cells and tells the model nothing"
        for column in (*keys.categorical_covariates, *keys.continuous_covariates)
        if (typed[column] == typed[column].iloc[0]).all()
    )
    return notes


def with_typed_keys(obs: pd.DataFrame, typed: pd.DataFrame) -> pd.DataFrame:
    """Obs with its key columns typed, and no categorical column with unused categories."""
    columns = {
        name: values.cat.remove_unused_categories()
        for name, values in obs.items()
        if isinstance(values.dtype, pd.CategoricalDtype)
    }
    return obs.assign(**(columns | dict(typed.items())))
