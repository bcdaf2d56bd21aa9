"""What embeddings are coloured by: the study's keys, chosen obs columns and quality."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_downstream.errors import InputError, closest
from scvi_downstream.parameters import EmbeddingOptions, Keys

if TYPE_CHECKING:
    from anndata import AnnData

MOST_CATEGORIES = 40


def colorings(
    counts: AnnData, qc_metrics: pd.DataFrame, keys: Keys, options: EmbeddingOptions
) -> dict[str, pd.Series]:
    """Title → one value a cell, categorical or float, in the order of the figures.

    Parameters
    ----------
    counts
        obs holds the keys and ``options.color_by``.
    qc_metrics
        ``n_counts`` and ``mitochondrial_percent`` of the same cells.
    keys
        The study's obs columns.
    options
        ``color_by`` names more columns of obs or of ``qc_metrics``.

    Returns
    -------
    At most 40 categories a column: the smaller ones are joined as ``other``, and the title says so.

    Raises
    ------
    InputError
        When a column of ``color_by`` does not exist.
    """
    quality = qc_metrics.reindex(counts.obs_names)
    quality = quality[[name for name in quality.columns if name not in counts.obs]]
    known = pd.concat([counts.obs, quality], axis=1)
    for name in options.color_by:
        if name not in known:
            raise InputError(f"embedding.color_by '{name}' is not in obs{closest(name, known.columns)}")
    names = [keys.batch_key, keys.label_key, keys.condition_key, keys.sample_key]
    chosen = dict.fromkeys([*filter(None, names), *keys.categorical_covariates, *keys.continuous_covariates])
    columns = {name: known[name] for name in (*chosen, *options.color_by)}
    drawn = dict(_drawable(name, values) for name, values in columns.items())
    if "n_counts" in qc_metrics and "n_counts" not in drawn:
        counted = qc_metrics["n_counts"].reindex(counts.obs_names)
        drawn["counts per cell (log10)"] = np.log10(counted.astype(float).clip(lower=1))
    if "mitochondrial_percent" in qc_metrics and qc_metrics["mitochondrial_percent"].notna().any():
        drawn["mitochondrial counts (%)"] = (
            qc_metrics["mitochondrial_percent"].reindex(counts.obs_names).astype(float)
        )
    return drawn


def _drawable(name: str, values: pd.Series) -> tuple[str, pd.Series]:
    is_number = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    if is_number:
        return name, values.astype(float)
    labels = values.astype("category").cat.remove_unused_categories()
    if len(labels.cat.categories) <= MOST_CATEGORIES:
        return name, labels.cat.rename_categories(labels.cat.categories.astype(str))
    largest = labels.value_counts(sort=True).index[: MOST_CATEGORIES - 1].astype(str)
    text = labels.astype(str)
    joined = text.where(text.isin(largest), "other")
    title = f"{name} ({MOST_CATEGORIES - 1} largest of {len(labels.cat.categories)})"
    return title, pd.Series(pd.Categorical(joined, categories=[*largest, "other"]), index=values.index)
