"""Mean and normalised variance of the genes, with the highly variable ones."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scvi_downstream.plots.log_ticks import plain_log_ticks
from scvi_downstream.plots.point_labels import label_points
from scvi_downstream.plots.style import MISSING, OKABE_ITO, new_figure

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.figure import Figure

N_NAMED = 12


def plot_highly_variable(counts: AnnData) -> Figure:
    """Normalised variance against mean, log axes, the first ranked genes by name.

    Parameters
    ----------
    counts
        ``var`` with ``means``, ``variances_norm``, ``highly_variable`` and ``highly_variable_rank``;
        ``symbol`` where names and symbols differ.
    """
    var = counts.var
    figure = new_figure(6.5, 4.5)
    axes = figure.subplots()
    drawable = (var["means"] > 0) & (var["variances_norm"] > 0)
    if not drawable.any():
        axes.text(
            0.5, 0.5, "no mean-variance trend could be fitted\nto these counts", ha="center", va="center"
        )
        axes.set_axis_off()
        return figure
    var = var[drawable]
    chosen = var["highly_variable"].to_numpy(dtype=bool)
    for mask, color, name in ((~chosen, MISSING, "other"), (chosen, OKABE_ITO[0], "highly variable")):
        if not mask.any():
            continue
        axes.scatter(
            var["means"][mask],
            var["variances_norm"][mask],
            s=5,
            c=color,
            linewidths=0,
            rasterized=True,
            label=f"{name} ({mask.sum():,})",
        )
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="Mean counts per cell",
        ylabel="Normalised variance (observed / expected)",
    )
    axes.legend(loc="lower left", bbox_to_anchor=(0.0, 1.0), ncols=2, markerscale=3)
    plain_log_ticks(axes.xaxis)
    plain_log_ticks(axes.yaxis)
    first = var[chosen].nsmallest(N_NAMED, "highly_variable_rank")
    names = first.get("symbol", first.index)
    figure.draw_without_rendering()
    xy = first[["means", "variances_norm"]].to_numpy()
    others = var.drop(index=first.index)[["means", "variances_norm"]].to_numpy()
    label_points(axes, xy, [str(name) for name in names], avoid=others)
    return figure
