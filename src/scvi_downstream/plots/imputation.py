"""Raw beside denoised expression on the UMAP."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.errors import InputError, closest
from scvi_downstream.expression import ExpressionMatrix
from scvi_downstream.normalization import log_normalize
from scvi_downstream.parameters import ImputationOptions
from scvi_downstream.plots.style import bare_umap_axes, new_figure, scatter_values

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.figure import Figure
else:  # Kedro resolves the annotations of nodes; importing these for that would slow every command
    AnnData = Figure = Any

_GENES_IN_ONE_COLUMN = 3


def plot_imputation(
    counts: AnnData,
    expression: ExpressionMatrix,
    umap: pd.DataFrame,
    markers: pd.DataFrame,
    options: ImputationOptions,
) -> Figure:
    """Log-normalised counts beside denoised expression of some genes, on the UMAP.

    Parameters
    ----------
    counts
        Raw counts, ``n_cells`` × all genes.
    expression
        Denoised expression, of which only the genes drawn are read.
    umap
        Columns UMAP1 and UMAP2 of the same cells.
    markers
        Columns ``group`` and ``gene``, the best first; used when ``options.figure_genes`` is empty.
    options
        Genes to draw, or how many, and the library size that ``expression`` is scaled to.

    Raises
    ------
    InputError
        When a gene of ``figure_genes`` was not decoded.
    """
    genes = genes_to_draw(expression.genes, markers, options)
    if not genes:
        figure = new_figure(6, 1.5)
        figure.text(
            0.5,
            0.5,
            "No marker gene was decoded: name genes in imputation.figure_genes",
            ha="center",
            va="center",
        )
        return figure
    denoised = expression.read(genes=genes).loc[umap.index]
    positions = counts.var_names.get_indexer(genes)
    raw = pd.DataFrame(log_normalize(counts, positions).toarray(), index=counts.obs_names, columns=genes).loc[
        umap.index
    ]
    pairs = 1 if len(genes) <= _GENES_IN_ONE_COLUMN else 2
    rows = ceil(len(genes) / pairs)
    figure = new_figure(6.2 * pairs, 2.6 * rows)
    panels = figure.subplots(rows, 2 * pairs, squeeze=False)
    unit = "expected count" if options.library_size == "latent" else f"counts per {options.library_size:,.0f}"
    xy = umap[["UMAP1", "UMAP2"]].to_numpy()
    for position in range(rows * pairs):
        row, pair = position % rows, position // rows
        left, right = panels[row, 2 * pair], panels[row, 2 * pair + 1]
        if position >= len(genes):
            left.set_axis_off()
            right.set_axis_off()
            continue
        gene = genes[position]
        scatter_values(left, xy, raw[gene].to_numpy(), "log(1 + counts per 10,000)")
        scatter_values(right, xy, np.log1p(denoised[gene].to_numpy()), f"log(1 + {unit})")
        bare_umap_axes(left, f"{gene}, raw")
        bare_umap_axes(right, f"{gene}, denoised")
    return figure


def genes_to_draw(decoded: pd.Index, markers: pd.DataFrame, options: ImputationOptions) -> list[str]:
    """The genes named in the options, or the top decoded markers, taking the groups in turn.

    Raises
    ------
    InputError
        When a named gene was not decoded.
    """
    for gene in options.figure_genes:
        if gene not in decoded:
            raise InputError(f"imputation.figure_genes: '{gene}' was not decoded{closest(gene, decoded)}")
    if options.figure_genes:
        return list(dict.fromkeys(options.figure_genes))
    usable = markers[markers["gene"].isin(decoded)].drop_duplicates("gene")
    rank = usable.groupby("group", sort=False, observed=True).cumcount()
    return (
        usable.assign(rank=rank)
        .sort_values("rank", kind="stable")["gene"]
        .head(options.n_figure_genes)
        .tolist()
    )
