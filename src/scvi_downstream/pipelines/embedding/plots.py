"""UMAP coloured by the study's keys, chosen columns and quality."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.embedding.options import EmbeddingOptions
from scvi_downstream.plots.panels import panel_grid, umap_panel
from scvi_downstream.plots.style import column_colors
from scvi_downstream.runtime.errors import InputError, closest

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.figure import Figure
else:  # Kedro resolves the annotations at every command, and importing these is slow
    AnnData = Figure = Any

MOST_CATEGORIES = 40  # Beyond this a legend is longer than its panel.


def plot_embedding(
    umap: pd.DataFrame, counts: AnnData, qc_metrics: pd.DataFrame, keys: Keys, options: EmbeddingOptions
) -> Figure:
    """One UMAP panel a colouring.

    Parameters
    ----------
    umap
        `n_cells` × ``UMAP1``, ``UMAP2``.
    counts, qc_metrics
        obs and quality of the same cells.
    keys, options
        The study's obs columns, to which ``color_by`` adds others.

    Raises
    ------
    InputError
        When a column of ``color_by`` does not exist.
    """
    panels = _colorings(counts, qc_metrics, keys, options.color_by)
    figure, grid = panel_grid(len(panels), columns=2, width=6.0, height=4.0)
    for axes, (title, values) in zip(grid, panels.items(), strict=True):
        grouped = isinstance(values.dtype, pd.CategoricalDtype) and values.name in counts.obs
        colors: dict[str, Any] = {"colors": column_colors(counts, str(values.name))} if grouped else {}
        umap_panel(axes, umap.to_numpy(), values.reindex(umap.index), title, **colors)
    return figure


def _colorings(
    counts: AnnData, qc_metrics: pd.DataFrame, keys: Keys, color_by: tuple[str, ...]
) -> dict[str, pd.Series]:
    """Title → one value a cell, categorical or float, in the order of the figures.

    At most 40 categories a column: the smaller ones are joined as ``other``, and the title says so.
    """
    quality = qc_metrics.reindex(counts.obs_names)
    known = pd.concat([counts.obs, quality.drop(columns=counts.obs.columns, errors="ignore")], axis=1)
    for name in color_by:
        if name not in known:
            raise InputError(f"embedding.color_by '{name}' is not in obs{closest(name, known.columns)}")
    names = [keys.batch_key, keys.label_key, keys.condition_key, keys.sample_key]
    chosen = [*filter(None, names), *keys.categorical_covariates, *keys.continuous_covariates, *color_by]
    drawn = dict(_drawable(name, known[name]) for name in dict.fromkeys(chosen))
    if "n_counts" not in drawn:
        drawn["counts per cell (log10)"] = np.log10(quality["n_counts"].astype(float).clip(lower=1))
    if quality["mitochondrial_percent"].notna().any():
        drawn["mitochondrial counts (%)"] = quality["mitochondrial_percent"].astype(float)
    return drawn


def _drawable(name: str, values: pd.Series) -> tuple[str, pd.Series]:
    """Title and values of a panel: numbers as floats, all else as at most 40 categories."""
    if pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values):
        return name, values.astype(float)
    labels = values.astype("category").cat.remove_unused_categories()
    n_labels = len(labels.cat.categories)
    if n_labels <= MOST_CATEGORIES:
        return name, labels.cat.rename_categories(labels.cat.categories.astype(str))
    largest = labels.value_counts(sort=True).index[: MOST_CATEGORIES - 1].astype(str)
    texts = labels.astype(str)
    joined = pd.Categorical(texts.where(texts.isin(largest), "other"), categories=[*largest, "other"])
    return f"{name} ({len(largest)} largest of {n_labels})", pd.Series(joined, values.index, name=name)
