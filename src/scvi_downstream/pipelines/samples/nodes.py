"""What samples and conditions change, as MrVI sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.families import require_capability
from scvi_downstream.pipelines.samples import abundance, comparison, expression
from scvi_downstream.pipelines.samples.comparison import measure_distances
from scvi_downstream.pipelines.samples.design import ALL_CELLS, sample_design
from scvi_downstream.pipelines.samples.options import SamplesOptions
from scvi_downstream.pipelines.samples.plots import plot_sample_abundance as draw_sample_abundance
from scvi_downstream.pipelines.samples.plots import (
    plot_sample_distances,
    plot_sample_expression,
    plot_sample_map,
)
from scvi_downstream.pipelines.samples.report import summarize
from scvi_downstream.runtime.threads import quiet

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.figure import Figure

    from scvi_downstream.models.saved import SavedModel
else:  # Kedro resolves the annotations at every command, and importing these is slow
    AnnData = Figure = SavedModel = Any

__all__ = [
    "cluster_samples",
    "compare_sample_abundance",
    "compare_sample_expression",
    "compare_samples",
    "decode_as_samples",
    "plot_sample_abundance",
    "plot_sample_distances",
    "plot_sample_expression",
    "plot_sample_map",
    "read_latent_z",
    "summarize_samples",
]


DENSITY = "density_"
"""Prefix of the columns of log-ratios of densities, by condition."""


def _attach(fitted: SavedModel, counts: AnnData, accelerator: str) -> Any:
    require_capability(fitted.family, "sample_distances", "samples")
    return fitted.attach(counts, accelerator)


def plot_sample_abundance(
    umap: pd.DataFrame, sample_density_ratios: pd.DataFrame, sample_abundance: pd.DataFrame
) -> Figure:
    """Where cells of a condition are denser, on the UMAP, and by group."""
    return draw_sample_abundance(
        umap, sample_density_ratios.rename(columns=lambda name: name.removeprefix(DENSITY)), sample_abundance
    )


def read_latent_z(fitted: SavedModel, counts: AnnData, accelerator: str) -> pd.DataFrame:
    """State z of every cell, with what its sample changes: `n_cells` × ``z_1``, …, posterior means.

    Parameters
    ----------
    fitted
        Saved MrVI.
    counts
        All cells, all genes.
    accelerator
        Where the encoder runs.
    """
    with quiet():
        z = _attach(fitted, counts, accelerator).get_latent_representation(give_z=True)
    columns = [f"z_{i + 1}" for i in range(z.shape[1])]
    return pd.DataFrame(z, index=counts.obs_names.rename("cell"), columns=columns)


def compare_samples(
    fitted: SavedModel,
    counts: AnnData,
    clusters: pd.DataFrame,
    keys: Keys,
    options: SamplesOptions,
    seed: int,
    accelerator: str,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Distances between samples in each group of cells, and what conditions do to them; see `comparison`.

    Parameters
    ----------
    fitted
        Saved MrVI.
    counts
        Counts that it was fitted on.
    clusters
        Its clusters, the groups where there are no labels.
    keys
        Sample, condition, label.
    options
        Groups, pairs, draws, permutations.
    seed
        Of draws and permutations.
    accelerator
        Where to compute.
    """
    design = sample_design(counts, clusters, keys, options)
    return measure_distances(_attach(fitted, counts, accelerator), design, options, seed)


def cluster_samples(
    sample_distances: pd.DataFrame,
    counts: AnnData,
    clusters: pd.DataFrame,
    keys: Keys,
    options: SamplesOptions,
) -> pd.DataFrame:
    """Hierarchical clusters of samples in each group; see :func:`.separation.cluster_samples`."""
    return comparison.cluster_samples(
        sample_distances, sample_design(counts, clusters, keys, options), options
    )


def compare_sample_expression(
    fitted: SavedModel,
    counts: AnnData,
    clusters: pd.DataFrame,
    keys: Keys,
    options: SamplesOptions,
    seed: int,
    accelerator: str,
) -> pd.DataFrame:
    """Genes that conditions change in each group, with ``symbol``; see :func:`.expression.compare_expression`."""
    model = _attach(fitted, counts, accelerator)
    design = sample_design(counts, clusters, keys, options)
    table = expression.compare_expression(model, model.adata.X.tocsr(), design, options, seed)
    return table.assign(symbol=_symbols(counts).reindex(table["gene"]).to_numpy())


def compare_sample_abundance(
    fitted: SavedModel,
    counts: AnnData,
    clusters: pd.DataFrame,
    keys: Keys,
    options: SamplesOptions,
    seed: int,
    accelerator: str,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Where cells of a condition are denser: by cell and by group; see :func:`.abundance.compare_abundance`.

    Returns
    -------
    `n_cells` × ``density_<condition>`` for each but the reference, natural log-ratios of densities; and one row a
    group and condition.
    """
    design = sample_design(counts, clusters, keys, options)
    cells = counts.obs_names.rename("cell")
    if not design.compared:
        return pd.DataFrame(index=cells), pd.DataFrame(columns=list(abundance.GROUPS))
    densities = abundance.sample_densities(_attach(fitted, counts, accelerator), design, options, seed)
    ratios, groups = abundance.compare_abundance(densities, design, options, seed)
    return pd.DataFrame(ratios, index=cells, columns=[DENSITY + name for name in design.compared]), groups


def decode_as_samples(
    fitted: SavedModel,
    counts: AnnData,
    clusters: pd.DataFrame,
    sample_expression: pd.DataFrame,
    keys: Keys,
    options: SamplesOptions,
    seed: int,
    accelerator: str,
) -> pd.DataFrame:
    """Mean expression of each group as if from each sample; see :func:`.expression.counterfactual_means`.

    The genes are those of ``samples.genes``, or those that conditions change most over all cells, or else the most
    variable ones.

    Raises
    ------
    InputError
        A gene is not modelled; names the closest.
    """
    model = _attach(fitted, counts, accelerator)
    design = sample_design(counts, clusters, keys, options)
    genes = list(options.genes)
    if not genes:
        changed = sample_expression[sample_expression["group"] == ALL_CELLS]
        genes = changed.sort_values("rank", kind="stable")["gene"].drop_duplicates().tolist()
    if not genes:
        variable = counts.var.loc[model.adata.var_names]
        genes = variable.sort_values("highly_variable_rank", kind="stable").index.tolist()
    chosen = genes if options.genes else genes[: options.top_genes]
    return expression.counterfactual_means(model, model.adata.X.tocsr(), design, chosen, options, seed)


def summarize_samples(
    sample_distances: pd.DataFrame,
    sample_effects: pd.DataFrame,
    sample_expression: pd.DataFrame,
    sample_abundance: pd.DataFrame,
    counts: AnnData,
    clusters: pd.DataFrame,
    keys: Keys,
    options: SamplesOptions,
) -> dict[str, Any]:
    """Numbers by group, and verdicts in words; see :func:`.summary.summarize`."""
    design = sample_design(counts, clusters, keys, options)
    symbols = _symbols(counts)
    named = sample_expression.assign(symbol=symbols.reindex(sample_expression["gene"]).to_numpy())
    return summarize(
        sample_distances, sample_effects, named, sample_abundance, design, counts.obs, keys, options
    )


def _symbols(counts: AnnData) -> pd.Series:
    if "symbol" in counts.var:
        return counts.var["symbol"].astype(object)
    return pd.Series(np.asarray(counts.var_names, dtype=object), index=counts.var_names)
