"""Which labels the cells of each cluster came with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.plots.style import empty_figure, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure
else:  # Kedro resolves the annotations of nodes; importing these for that would slow every command
    Figure = Any

COLORMAP = "Blues"
MOST_WRITTEN = 20
MOST_LABELS = 60


def plot_label_contingency(label_contingency: pd.DataFrame, label_agreement: pd.DataFrame) -> Figure:
    """Share of each cluster's labelled cells by label; labels in the order of the clusters that they fill.

    Parameters
    ----------
    label_contingency
        ``clustering, cluster, label, n, share_of_cluster``.
    label_agreement
        Agreement by ``clustering``.
    """
    if label_contingency.empty:
        return empty_figure("No cell has a label to compare the clusters with.")
    name = str(label_contingency["clustering"].iloc[0])
    clusters = list(dict.fromkeys(label_contingency["cluster"]))
    shares = label_contingency.pivot(index="cluster", columns="label", values="share_of_cluster")
    sizes = label_contingency.groupby("cluster")["n"].sum()
    shares = 100 * shares.reindex(clusters).fillna(0)
    kept = label_contingency.groupby("label")["n"].sum().nlargest(MOST_LABELS).index
    shares = shares[kept]
    shares = shares[sorted(kept, key=lambda label: (int(np.argmax(shares[label].to_numpy())), label))]
    width = 0.42 * shares.shape[1] + 2.6
    height = 0.3 * len(clusters) + 0.075 * max(len(str(label)) for label in kept) + 1.2
    figure = new_figure(max(width, 5.5), max(height, 2.8))
    axes = figure.subplots()
    image = axes.imshow(
        shares.to_numpy(), cmap=COLORMAP, vmin=0, vmax=100, aspect="auto", interpolation="nearest"
    )
    axes.set_xticks(range(shares.shape[1]), shares.columns, rotation=90, fontsize=8)
    axes.set_yticks(
        range(len(clusters)), [f"{cluster} ({sizes[cluster]:,})" for cluster in clusters], fontsize=8
    )
    axes.tick_params(length=0)
    if max(shares.shape) <= MOST_WRITTEN:
        for (row, column), share in np.ndenumerate(shares.to_numpy()):
            if share >= 0.5:
                color = "white" if share > 55 else "black"
                axes.text(column, row, f"{share:.0f}", ha="center", va="center", fontsize=7, color=color)
    axes.set(xlabel="label", ylabel=f"{name} cluster (labelled cells)", title=_title(name, label_agreement))
    figure.colorbar(image, ax=axes, label="share of the cluster (%)", shrink=0.8, pad=0.02)
    return figure


def _title(name: str, agreement: pd.DataFrame) -> str:
    own = agreement[agreement["clustering"] == name]
    if own.empty:
        return f"{name} and labels"
    row = own.iloc[0]
    return (
        f"{name} and labels: ARI {row['ari']:.2f}, NMI {row['nmi']:.2f}\n"
        f"homogeneity {row['homogeneity']:.2f}, completeness {row['completeness']:.2f}"
    )
