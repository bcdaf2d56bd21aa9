"""Figures of latent factors: genes at both ends, and covariates that dimensions follow."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scvi_downstream.cells.expression import symbols_of
from scvi_downstream.pipelines.factors.options import FactorOptions
from scvi_downstream.plots.charts import HIGHER, LOWER, heat_map
from scvi_downstream.plots.panels import panel_grid, shortened
from scvi_downstream.plots.style import DIVERGING, empty_figure, new_figure
from scvi_downstream.runtime.slow_types import AnnData, Axes, Figure

SEQUENTIAL = "Purples"
# What fits on a page: panels and columns of panels, covariates of a heat map, letters of names.
MAX_FACTORS, COLUMNS, MAX_COVARIATES = 15, 5, 20
LONGEST_NAME, LONGEST_COVARIATE = 14, 28


def plot_loadings(
    loadings: pd.DataFrame, factor_variance: pd.DataFrame, counts: AnnData, options: FactorOptions
) -> Figure:
    """The genes that each factor raises and lowers most, factors by the variance that they explain.

    Parameters
    ----------
    loadings
        Genes × ``factor_1`` …
    factor_variance
        One row a factor, with ``variance_share``, ``unique_share`` and ``active``; inactive ones are not drawn.
    counts, options
        For the genes' symbols; how many genes of each end.
    """
    active = factor_variance[factor_variance["active"]]
    if active.empty:
        return empty_figure("No loadings: the decoder uses no latent dimension.")
    labels = symbols_of(counts.var).reindex(loadings.index).to_numpy()
    shown = active.head(MAX_FACTORS)
    each = min(options.top_genes, len(loadings) // 2)
    figure, panels = panel_grid(
        len(shown), columns=COLUMNS, width=2.25, height=0.25 * each + 0.75, more_width=0.4, more_height=0.5
    )
    for axes, (_, factor) in zip(panels, shown.iterrows(), strict=True):
        _draw_loadings(axes, loadings[factor["factor"]].to_numpy(), labels, each)
        title = f"{factor['factor'].replace('_', ' ')}: {factor['variance_share']:.1%}"
        axes.set_title(f"{title} ({factor['unique_share']:.1%} unique)", fontsize="small")
    weaker, unused = len(active) - len(shown), len(factor_variance) - len(active)
    more = f"; {weaker} with less are not drawn" if weaker else ""
    more += f"; {unused} dimensions are not used by the decoder" if unused else ""
    title = f"Genes that each latent factor raises and lowers most; its share of the decoded variance{more}"
    figure.suptitle(title)
    figure.supxlabel("loading: log-expression per standard deviation of the factor")
    return figure


def _draw_loadings(axes: Axes, loadings: np.ndarray, labels: np.ndarray, each: int) -> None:
    order = np.argsort(-loadings, kind="stable")
    chosen = np.concatenate([order[:each], order[len(order) - each :]])
    values = loadings[chosen]
    places = np.arange(len(chosen)) + np.repeat([0, 0.8], each)
    axes.barh(places, values, color=np.where(values >= 0, HIGHER, LOWER), height=0.75)
    axes.axvline(0, color="#333333", linewidth=0.6)
    axes.set_yticks(places, [shortened(name, LONGEST_NAME) for name in labels[chosen]], fontsize="small")
    axes.tick_params(axis="y", length=0, pad=1)
    axes.tick_params(axis="x", labelsize="small")
    axes.set_ylim(places[-1] + 0.7, -0.7)
    axes.locator_params(axis="x", nbins=4)


def plot_associations(associations: pd.DataFrame, options: FactorOptions) -> Figure:
    """Dimensions × covariates: Spearman's ρ of numbers, η² of categories, a star where the covariate is followed.

    Parameters
    ----------
    associations, options
        One row a dimension and covariate; FDR and effect that earn a star.
    """
    if associations["effect"].notna().sum() == 0:
        return empty_figure("No associations: no covariate varies, or none can be tested.")
    effects = {"continuous": "rho", "categorical": "eta2"}
    by_kind = {kind: table for kind in effects if len(table := associations[associations["kind"] == kind])}
    tables = [_widened(table, effects[kind]) for kind, table in by_kind.items()]
    widths = [max(table.shape[1], 2) for table, _ in tables]
    height = max(0.24 * len(tables[0][0]), 1.6)
    figure = new_figure(0.36 * sum(widths) + 1.3 * len(tables) + 1.4, height + 2.5)
    panels = figure.subplots(1, len(tables), width_ratios=widths, squeeze=False)[0]
    for axes, (kind, table), (wide, follows) in zip(panels, by_kind.items(), tables, strict=True):
        _draw_associations(axes, wide, follows, kind)
        left = table["covariate"].nunique() - wide.shape[1]
        if left:
            axes.set_xlabel(f"{left} weaker ones not drawn", fontsize="small")
    panels[0].tick_params(axis="y", labelsize=9)
    for axes in panels[1:]:
        axes.set_yticks([])
    figure.suptitle(
        f"Covariates that latent dimensions follow (★ FDR ≤ {options.fdr:g} and effect ≥ {options.min_effect:g}; "
        "□ the strongest of a covariate)",
    )
    return figure


def _widened(table: pd.DataFrame, effect: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Effects and stars, dimensions × at most 20 covariates in their order, those of the largest effects."""
    strongest = table.groupby("covariate", sort=False)["effect"].max()
    kept = strongest.nlargest(MAX_COVARIATES).index
    order = [name for name in strongest.index if name in kept]
    dimensions = table["dimension"].drop_duplicates()
    wide = table.pivot_table(
        index="dimension", columns="covariate", values=effect, dropna=False, observed=True, sort=False
    )
    stars = table.set_index(["dimension", "covariate"])["follows"].unstack()
    return wide.reindex(index=dimensions, columns=order), stars.reindex(index=dimensions, columns=order)


def _draw_associations(axes: Axes, effects: pd.DataFrame, follows: pd.DataFrame, kind: str) -> None:
    from matplotlib.patches import Rectangle

    continuous = kind == "continuous"
    values = effects.to_numpy(dtype=np.float64)
    named = effects.rename(
        index=lambda name: str(name).replace("_", " "),
        columns=lambda name: shortened(name, LONGEST_COVARIATE),
    )
    axes.set_facecolor("#DDDDDD")
    limits, cmap = ((-1, 1), DIVERGING) if continuous else ((0, 1), SEQUENTIAL)
    image = heat_map(axes, named, limits=limits, cmap=cmap, rotation=45)
    for row, column in zip(*np.nonzero(follows.to_numpy(dtype=bool)), strict=True):
        color = "white" if abs(values[row, column]) > 0.6 else "#222222"
        axes.text(column, row, "★", ha="center", va="center", fontsize="small", color=color)
    for column in np.flatnonzero(follows.any()):
        row = int(np.nanargmax(np.abs(values[:, column])))
        corner = (column - 0.5, row - 0.5)
        axes.add_patch(Rectangle(corner, 1, 1, fill=False, edgecolor="#222222", linewidth=1.1))
    axes.set_title("numbers" if continuous else "categories")
    label = "Spearman's ρ" if continuous else "η², share of variance\nbetween categories"
    axes.figure.colorbar(image, ax=axes, label=label, shrink=0.8, pad=0.02, aspect=18)
