"""Latent dimensions against annotations."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.parameters import MetadataAnalysisOptions
from scvi_downstream.plots.style import SEQUENTIAL, empty_figure, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure
else:  # Kedro resolves the annotations of nodes; importing it for that would slow every command
    Figure = Any

MAX_COLUMNS = 30


def plot_metadata_associations(
    metadata_associations: pd.DataFrame, options: MetadataAnalysisOptions
) -> Figure:
    """Effect of each annotation on each latent dimension; a dot marks what is significant at the FDR.

    Parameters
    ----------
    metadata_associations
        One row a dimension and annotation.
    options
        FDR.
    """
    if metadata_associations.empty or metadata_associations["effect"].isna().all():
        return empty_figure("No associations: no annotation has enough values to be tested.")
    table = metadata_associations.assign(
        label=metadata_associations["covariate"].astype(str)
        + "  ("
        + metadata_associations["kind"].map({"continuous": "|ρ|", "categorical": "η²"}).astype(str)
        + ", "
        + metadata_associations["n"].map("{:,}".format)
        + " "
        + metadata_associations["unit"].astype(str)
        + "s)"
    )
    labels = table["label"].unique()[:MAX_COLUMNS]
    dimensions = table["dimension"].unique()
    effect = table.pivot_table(index="label", columns="dimension", values="effect", observed=True)
    effect = effect.reindex(index=labels, columns=dimensions)
    p = table.pivot_table(index="label", columns="dimension", values="p_adjusted", observed=True)
    p = p.reindex(index=labels, columns=dimensions)
    figure = new_figure(0.42 * len(dimensions) + 4.4, 0.32 * len(labels) + 2.1)
    axes = figure.subplots()
    image = axes.imshow(effect.to_numpy(), cmap=SEQUENTIAL, vmin=0, vmax=1, aspect="auto")
    called_rows, called_columns = np.nonzero((p <= options.fdr).to_numpy())
    axes.scatter(
        called_columns, called_rows, s=22, color="white", edgecolor="black", linewidth=0.6,
        label=f"adjusted p ≤ {options.fdr:g}",
    )  # fmt: skip
    axes.set_xticks(range(len(dimensions)), [str(name) for name in dimensions], rotation=90, fontsize=8)
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.set(xlabel="latent dimension", title="Latent dimensions against annotations")
    for spine in axes.spines.values():
        spine.set_visible(False)
    figure.colorbar(
        image, cax=axes.inset_axes((1.02, 0, 12 / 72 / (0.42 * len(dimensions)), 1)), label="effect"
    )
    figure.legend(loc="outside lower center")
    return figure
