"""The obs columns: keys checked and typed, what they do not allow, and what is known of each cell."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys, Replicates
from scvi_downstream.cells.obs import as_categories, crossed_name, typed_values, with_unknown
from scvi_downstream.cells.samples import find_block
from scvi_downstream.cells.study_design import relation
from scvi_downstream.pipelines.preparation.genes import CELL_CYCLE
from scvi_downstream.pipelines.preparation.options import PreparationOptions
from scvi_downstream.runtime.errors import InputError, closest
from scvi_downstream.runtime.options import UNKNOWN
from scvi_downstream.runtime.slow_types import AnnData
from scvi_downstream.runtime.words import quoted, up_to
from scvi_downstream.statistics.testing import explained_share

logger = logging.getLogger(__name__)

SHAREABLE = ({"batch_key", "sample_key"}, {"sample_key", "categorical_covariates"})
"""Keys that may name one column: a donor can be batch and replicate, or replicate and covariate."""
CONSEQUENCES = {
    "batch_key": "analyses that compare batches are left out",
    "label_key": "analyses that compare labels are left out",
    "condition_key": "conditions are not compared",
}
"""What it means that a key has one value only."""
N_BATCHES_NAMED = 8
STRONG_ASSOCIATION = 0.95
"""Cramér's V from which a key and the batch can hardly be told apart."""
UNANSWERED = {
    "confounded": "no test can tell the two apart",
    "nested": "tests of it are unpaired, and their replicates are batches, however many samples these have",
    "nests": "no test can tell values in different batches from these",
}
"""How batches lie to conditions → what tests of conditions cannot answer."""
LARGE_EXPLAINED_SHARE = 0.3
"""Share of a covariate's variance from which the batch takes part of it away."""
MAX_CATEGORIES = 50
"""Groups beyond which a column that is no key names cells rather than groups them."""
NO_VALUE = frozenset({UNKNOWN, "na", "nan"})


def require_keys(columns: pd.Index, keys: Keys) -> None:
    """Refuse keys that name no obs column, or one column twice.

    Parameters
    ----------
    columns, keys
        Of obs, with those of the joined metadata; what the user set.

    Raises
    ------
    InputError
        Names the key, the column and the closest column.
    """
    named = keys.categorical | _continuous(keys)
    counted = Counter(columns)
    for parameter, column in named.items():
        if column not in counted:
            raise InputError(f"{parameter} '{column}' is not a column of obs{closest(column, columns)}")
        if counted[column] > 1:
            raise InputError(
                f"{parameter} '{column}' names {counted[column]} columns of obs; rename one of them"
            )
    for column in dict.fromkeys(named.values()):
        parameters = [parameter for parameter, other in named.items() if other == column]
        kinds = [parameter.split("[")[0] for parameter in parameters]
        if len(kinds) > 1 and not (len(set(kinds)) == len(kinds) and set(kinds) in SHAREABLE):
            raise InputError(
                f"obs column '{column}' is set for {' and '.join(parameters)}, which a model cannot "
                "tell apart; set it for one of them"
            )


def _continuous(keys: Keys) -> dict[str, str]:
    """Parameter name → obs column, for the continuous covariates."""
    return {f"continuous_covariates[{i}]": column for i, column in enumerate(keys.continuous_covariates)}


def typed_keys(obs: pd.DataFrame, keys: Keys, options: PreparationOptions) -> pd.DataFrame:
    """The key columns of obs: strings as categories, covariates as numbers, labels with ``unknown``.

    Parameters
    ----------
    obs, keys
        One row a cell, with every key; what the user set.
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
        name = f"{parameter} '{column}'"
        _require_complete(obs.index, np.asarray(values.isna()), name)
        if len(values.categories) > max(len(values) / 2, 2):
            raise InputError(
                f"{name} has {len(values.categories):,} values ({quoted(values.categories)}, …) in {len(values):,} "
                "cells and so makes no groups; name a column of groups, or bin it"
            )
        columns[column] = pd.Series(values, index=obs.index)
    for parameter, column in _continuous(keys).items():
        columns[column] = _finite_numbers(obs[column], f"{parameter} '{column}'")
    if keys.batch_key:
        _require_batch_sizes(columns[keys.batch_key], keys.batch_key, options.min_cells_per_batch)
    return pd.DataFrame(columns, index=obs.index)


def _require_complete(cells: pd.Index, missing: np.ndarray, name: str) -> None:
    if missing.any():
        raise InputError(
            f"{name} has no value in {int(missing.sum()):,} of {len(cells):,} cells, "
            f"first {quoted(cells[missing])}; fill them in, or leave those cells out"
        )


def _finite_numbers(values: pd.Series, name: str) -> pd.Series:
    numbers = pd.to_numeric(values.astype(object), errors="coerce").astype(np.float64)
    _require_complete(values.index, values.isna().to_numpy(), name)
    bad = ~np.isfinite(numbers.to_numpy())
    if bad.any():
        at = int(np.argmax(bad))
        raise InputError(
            f"{name} holds {values.iloc[at]!r} in cell '{values.index[at]}' "
            f"({int(bad.sum()):,} such cells), not a finite number; set the column as categorical "
            "covariate, or mend the values"
        )
    return numbers


def _require_batch_sizes(batch: pd.Series, column: str, least: int) -> None:
    sizes = batch.value_counts()
    small = sizes[sizes < least]
    if len(small):
        named = up_to([f"'{name}' ({size})" for name, size in small.items()], N_BATCHES_NAMED)
        raise InputError(
            f"batch_key '{column}' has batches of fewer than {least} cells: {named}; "
            "merge them with others, leave their cells out, or lower preparation.min_cells_per_batch"
        )


def with_typed_keys(obs: pd.DataFrame, typed: pd.DataFrame) -> pd.DataFrame:
    """Obs with its key columns typed, and no categorical column with unused categories."""
    categorical = obs.select_dtypes("category")
    columns = {name: values.cat.remove_unused_categories() for name, values in categorical.items()}
    return obs.assign(**(columns | dict(typed.items())))


def key_warnings(typed: pd.DataFrame, keys: Keys) -> list[str]:
    """What the keys do not allow: one batch, one label, no label, constant covariates.

    ``typed`` is the table of :func:`typed_keys`.
    """
    notes = []
    for parameter, consequence in CONSEQUENCES.items():
        column = getattr(keys, parameter)
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


def confounding_warnings(typed: pd.DataFrame, keys: Keys) -> list[str]:
    """One sentence per key that the batch determines, or nearly so.

    A sample lies in one batch by design, and is not looked at.

    ``typed`` is the table of :func:`typed_keys`.
    """
    if not keys.batch_key or typed[keys.batch_key].nunique() < 2:
        return []
    batch = typed[keys.batch_key]
    sentences = []
    for column in (keys.label_key, keys.condition_key, *keys.categorical_covariates):
        if column and column != keys.batch_key:
            known = (typed[column] != UNKNOWN).to_numpy()
            untold = UNANSWERED if column == keys.condition_key else {}
            sentences += _categorical_warning(batch[known], typed[column][known], untold)
    for column in keys.continuous_covariates:
        share = explained_share(typed[column].to_numpy(), batch)
        if share > LARGE_EXPLAINED_SHARE:
            sentences.append(
                f"batch '{batch.name}' explains {share:.0%} of the variance of '{column}': "
                f"correcting for the batch also removes part of what goes with '{column}'"
            )
    return sentences


def _categorical_warning(batch: pd.Series, key: pd.Series, unanswered: Mapping[str, str]) -> list[str]:
    """The sentence on one key, if there is one, by Cramér's V (1946, Mathematical Methods of Statistics, p. 282)."""
    from scipy.stats.contingency import association

    table = pd.crosstab(batch, key)
    table = table.loc[table.sum(axis=1) > 0, table.sum(axis=0) > 0]
    if min(table.shape) < 2:
        return []
    found = relation(table)
    more = f"; {unanswered[found]}" if found in unanswered else ""
    consequence = f"correcting for the batch also removes differences between values of '{key.name}'{more}"
    if found in ("confounded", "nested"):
        return [
            f"each batch of '{batch.name}' has one value of '{key.name}' only, so the two are confounded: {consequence}"
        ]
    v = association(table.to_numpy(), method="cramer")
    if v <= STRONG_ASSOCIATION:
        return []
    return [f"batch '{batch.name}' and '{key.name}' are confounded (Cramér's V {v:.2f}): {consequence}"]


def gather_covariates(
    counts: AnnData, qc_metrics: pd.DataFrame, cell_cycle: pd.DataFrame, keys: Replicates
) -> pd.DataFrame:
    """Everything known of each cell that a latent dimension could follow, typed.

    Parameters
    ----------
    counts
        Prepared counts; the study's keys and every other column of obs that varies and makes groups are taken.
    qc_metrics
        ``n_counts``, ``n_genes``, ``mitochondrial_percent`` of the same cells.
    cell_cycle, keys
        Scores and phase, or no columns; their columns are kept whatever their number of categories.

    Returns
    -------
    One row a cell. Numbers (more than two values) as float64, with ``log10_n_counts`` for the counts; groups
    (strings, booleans, numbers with two values; 2 to 50 of them and fewer than cells) as categories; what is
    missing or ``unknown`` is missing. Constant columns are left out, and so are those that say the same as an
    earlier one: equal groups under other names, numbers in the same order.
    """
    obs = counts.obs
    block = find_block(obs, keys) if keys.block_key is None else keys.block_key
    chosen = [*keys.categorical.values(), *keys.continuous_covariates, *([block] if block else [])]
    sources = {name: obs[name] for name in chosen}
    sources["log10_n_counts"] = np.log10(qc_metrics["n_counts"])
    sources |= dict(qc_metrics[["n_genes", "mitochondrial_percent"]].items()) | dict(cell_cycle.items())
    crossed = crossed_name(keys) if keys.sample_key and keys.condition_key else None  # two keys said again
    names = [name for name in CELL_CYCLE if name in obs] + [name for name in obs.columns if name != crossed]
    sources |= {name: obs[name] for name in names if name not in sources}
    columns: dict[str, pd.Series] = {}
    first_of: dict[bytes, str] = {}
    for name, values in sources.items():
        column = _numbers_or_groups(values, always=name in chosen)
        if column is None:
            continue
        first = first_of.setdefault(_order_of_cells(column), name)
        if first != name and name not in chosen:
            logger.info("covariates: '%s' says the same as '%s' and is left out", name, first)
            continue
        columns[str(name)] = column
    return pd.DataFrame(columns, index=obs.index)


def _numbers_or_groups(values: pd.Series, *, always: bool) -> pd.Series | None:
    """Typed values, or ``None`` where they are of no use."""
    values = typed_values(values)
    if not isinstance(values.dtype, pd.CategoricalDtype) and values.nunique() > 2:
        return values
    groups = pd.Series(as_categories(values), index=values.index)
    kept = [name for name in groups.cat.categories if str(name).lower() not in NO_VALUE]
    groups = groups.cat.set_categories(kept)
    few = len(kept) <= MAX_CATEGORIES and len(kept) < groups.notna().sum()
    return groups if len(kept) >= 2 and (few or always) else None


def _order_of_cells(column: pd.Series) -> bytes:
    """Equal for columns that part, or order, the cells in the same way."""
    is_group = isinstance(column.dtype, pd.CategoricalDtype)
    codes = pd.factorize(column, sort=not is_group)[0]
    return (b"groups" if is_group else b"numbers") + np.asarray(codes, dtype=np.int32).tobytes()
