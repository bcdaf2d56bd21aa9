"""Surface proteins by totalVI: denoised, imputed where not measured, and as markers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.cells.proteins import PROTEIN_KEY
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.families import parse_spec, require_capability
from scvi_downstream.pipelines.proteins import imputation, markers
from scvi_downstream.pipelines.proteins import markers as genes
from scvi_downstream.pipelines.proteins.decoding import decode_all
from scvi_downstream.pipelines.proteins.options import ProteinsOptions
from scvi_downstream.pipelines.proteins.plots import (
    plot_protein_distributions,
    plot_protein_imputation,
    plot_protein_markers,
    plot_protein_umap,
)
from scvi_downstream.pipelines.proteins.report import summarize
from scvi_downstream.runtime.errors import InputError, closest

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.figure import Figure

    from scvi_downstream.models.saved import SavedModel
else:  # Kedro resolves the annotations at every command, and importing these is slow
    AnnData = SavedModel = Figure = Any

__all__ = [
    "correlate_proteins_with_genes",
    "denoise_proteins",
    "draw_protein_distributions",
    "draw_protein_markers",
    "draw_protein_umap",
    "find_protein_markers",
    "plot_protein_imputation",
    "score_protein_imputation",
    "summarize_proteins",
]


def denoise_proteins(
    fitted: SavedModel, counts: AnnData, keys: Keys, options: ProteinsOptions, seed: int, accelerator: str
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Expected counts without background, their uncertainty, and the probability of the foreground.

    Parameters
    ----------
    fitted
        Saved totalVI.
    counts
        Counts and proteins that it was fitted on.
    keys
        Batch.
    options
        Number of draws.
    seed
        Of the draws.
    accelerator
        Where to decode.

    Returns
    -------
    Three tables `n_cells` × `n_proteins`: posterior means and standard deviations of the foreground's expected
    count, without the efficiency of the batch; mean probability that a count is of the foreground. Proteins that a
    batch did not measure are decoded as of the batches that did.
    """
    model = _attach(fitted, counts, accelerator)
    batches = counts.obs[keys.batch_key] if keys.batch_key else None
    decoded, _ = decode_all(model, batches, n_samples=options.n_samples, seed=seed)
    cells = counts.obs_names.rename("cell")
    names = counts.obsm[PROTEIN_KEY].columns

    def table(values: np.ndarray) -> pd.DataFrame:
        return pd.DataFrame(values, index=cells, columns=names)

    return table(decoded.mean), table(decoded.sd), table(decoded.foreground)


def score_protein_imputation(
    counts: AnnData,
    pca_latent: pd.DataFrame,
    spec: dict[str, Any],
    keys: Keys,
    options: ProteinsOptions,
    seed: int,
    accelerator: str,
    checkpoint: CheckpointStore,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Hide the proteins of a batch, train again, compare; see :func:`.imputation.score_imputation`.

    Raises
    ------
    InputError
        The model is not one of proteins, or there are none.
    """
    model = parse_spec(spec)
    _require_proteins(model.family, counts)
    return imputation.score_imputation(
        counts, pca_latent, model, keys, options,
        seed=seed, accelerator=accelerator, checkpoints=checkpoint,
    )  # fmt: skip


def find_protein_markers(
    fitted: SavedModel,
    counts: AnnData,
    clusters: pd.DataFrame,
    keys: Keys,
    options: ProteinsOptions,
    seed: int,
    accelerator: str,
) -> pd.DataFrame:
    """Proteins of clusters and labels by the posterior and by the counts; see :func:`.markers.find_markers`."""
    return markers.find_markers(_attach(fitted, counts, accelerator), counts, clusters, keys, options, seed)


def correlate_proteins_with_genes(
    counts: AnnData, protein_expression: pd.DataFrame, keys: Keys, options: ProteinsOptions, seed: int
) -> pd.DataFrame:
    """Proteins beside genes of the same name; see :func:`.genes.correlate_with_genes`."""
    return genes.correlate_with_genes(counts, protein_expression, keys, options, seed)


def summarize_proteins(
    counts: AnnData,
    protein_imputation: pd.DataFrame,
    protein_markers: pd.DataFrame,
    protein_genes: pd.DataFrame,
    keys: Keys,
    options: ProteinsOptions,
) -> dict[str, Any]:
    """The verdicts in words and their numbers; see :func:`.summary.summarize`."""
    return summarize(counts, protein_imputation, protein_markers, protein_genes, keys, options)


def draw_protein_umap(
    umap: pd.DataFrame,
    counts: AnnData,
    protein_expression: pd.DataFrame,
    protein_markers: pd.DataFrame,
    options: ProteinsOptions,
) -> Figure:
    """Counts and denoised values of the proteins that differ most, on the UMAP."""
    return plot_protein_umap(
        umap, counts.obsm[PROTEIN_KEY], protein_expression, shown(protein_markers, counts, options)
    )


def draw_protein_markers(
    counts: AnnData,
    clusters: pd.DataFrame,
    protein_expression: pd.DataFrame,
    protein_foreground: pd.DataFrame,
    protein_markers: pd.DataFrame,
    keys: Keys,
    options: ProteinsOptions,
) -> Figure:
    """Denoised proteins by label, or by cluster where there are no labels."""
    groups = counts.obs[keys.label_key] if keys.label_key else clusters.loc[counts.obs_names, "leiden"]
    return plot_protein_markers(
        groups, protein_expression, protein_foreground, shown(protein_markers, counts, options)
    )


def draw_protein_distributions(
    counts: AnnData,
    protein_expression: pd.DataFrame,
    protein_foreground: pd.DataFrame,
    protein_markers: pd.DataFrame,
    options: ProteinsOptions,
) -> Figure:
    """Distribution of counts and of denoised values of the proteins that differ most."""
    return plot_protein_distributions(
        counts.obsm[PROTEIN_KEY],
        protein_expression,
        protein_foreground,
        shown(protein_markers, counts, options),
    )


def shown(protein_markers: pd.DataFrame, counts: AnnData, options: ProteinsOptions) -> list[str]:
    """Names of the proteins to draw: those that the user named, else those that mark a group most.

    Parameters
    ----------
    protein_markers
        Of :func:`find_protein_markers`.
    counts
        With proteins.
    options
        Names and number.

    Raises
    ------
    InputError
        A name is not among the proteins.
    """
    names = [str(name) for name in counts.obsm[PROTEIN_KEY].columns]
    if options.proteins:
        for name in options.proteins:
            if name not in names:
                raise InputError(f"proteins.proteins: there is no protein '{name}'{closest(name, names)}")
        return list(options.proteins)
    strongest = (
        protein_markers.groupby("protein")["lfc_median"].max()
        if len(protein_markers)
        else pd.Series(dtype=float)
    )
    return sorted(names, key=lambda name: -float(strongest.get(name, 0.0)))[: options.top_proteins]


def _attach(fitted: SavedModel, counts: AnnData, accelerator: str) -> Any:
    _require_proteins(fitted.family, counts)
    return fitted.attach(counts, accelerator)


def _require_proteins(family: str, counts: AnnData) -> None:
    require_capability(family, "proteins", "proteins")
    if PROTEIN_KEY not in counts.obsm:
        raise InputError(
            f"the counts bring no proteins (obsm['{PROTEIN_KEY}']); set protein_key to the obsm entry that holds them"
        )
