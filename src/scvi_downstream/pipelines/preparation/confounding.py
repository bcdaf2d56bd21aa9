"""Does the batch go together with a covariate, so that correcting for one removes the other?"""

from __future__ import annotations

import numpy as np
import pandas as pd

from scvi_downstream.parameters import UNKNOWN, Keys
from scvi_downstream.statistics.explained_share import explained_share

STRONG_ASSOCIATION = 0.95
LARGE_EXPLAINED_SHARE = 0.3


def confounding_warnings(typed: pd.DataFrame, keys: Keys) -> list[str]:
    """One sentence per key that the batch determines, or nearly so.

    A sample lies in one batch by design, and is not looked at.

    Parameters
    ----------
    typed
        Categories and numbers of the keys, one row a cell.
    keys
        Columns of ``typed`` by their part in the study.
    """
    if not keys.batch_key or typed[keys.batch_key].nunique() < 2:
        return []
    batch = typed[keys.batch_key]
    sentences = []
    categorical = (keys.label_key, keys.condition_key, *keys.categorical_covariates)
    for column in [name for name in categorical if name and name != keys.batch_key]:
        known = (typed[column] != UNKNOWN).to_numpy()
        sentences += _categorical_warning(batch[known], typed[column][known])
    for column in keys.continuous_covariates:
        share = explained_share(typed[column].to_numpy(), batch)
        if share > LARGE_EXPLAINED_SHARE:
            sentences.append(
                f"batch '{batch.name}' explains {share:.0%} of the variance of '{column}': "
                f"correcting for the batch also removes part of what goes with '{column}'"
            )
    return sentences


def _categorical_warning(batch: pd.Series, key: pd.Series) -> list[str]:
    table = pd.crosstab(batch, key)
    table = table.loc[table.sum(axis=1) > 0, table.sum(axis=0) > 0]
    if min(table.shape) < 2:
        return []
    consequence = f"correcting for the batch also removes differences between values of '{key.name}'"
    if ((table > 0).sum(axis=1) == 1).all():
        return [
            f"each batch of '{batch.name}' has one value of '{key.name}' only, so the two are confounded: "
            f"{consequence}"
        ]
    association = cramers_v(table.to_numpy())
    if association > STRONG_ASSOCIATION:
        return [
            f"batch '{batch.name}' and '{key.name}' are confounded (Cramér's V {association:.2f}): "
            f"{consequence}"
        ]
    return []


def cramers_v(table: np.ndarray) -> float:
    """Cramér's V of a contingency table, in [0, 1].

    Parameters
    ----------
    table
        ``(n_rows, n_columns)`` counts, no empty row or column, at least two of each.

    References
    ----------
    Cramér (1946), Mathematical Methods of Statistics, p. 282.
    """
    from scipy.stats.contingency import association

    return float(association(table, method="cramer"))
