"""Genes at both ends of latent factors."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_downstream.pipelines.factors.options import FactorOptions
from scvi_downstream.plots.style import DIVERGING, OKABE_ITO, empty_figure, new_figure

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


MAX_FACTORS = 15
COLUMNS = 5
UP, DOWN = OKABE_ITO[3], OKABE_ITO[0]
LONGEST_NAME = 14


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
    counts
        For the genes' symbols.
    options
        How many genes of each end.
    """
    active = factor_variance[factor_variance["active"]]
    if active.empty:
        return empty_figure("No loadings: the decoder uses no latent dimension.")
    symbols = (
        counts.var["symbol"] if "symbol" in counts.var else pd.Series(counts.var_names, counts.var_names)
    )
    labels = symbols.reindex(loadings.index).astype(str).to_numpy()
    shown = active.head(MAX_FACTORS)
    each = min(options.top_genes, len(loadings) // 2)
    columns = min(COLUMNS, len(shown))
    rows = ceil(len(shown) / columns)
    figure = new_figure(2.25 * columns + 0.4, (0.125 * 2 * each + 0.75) * rows + 0.5)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes, (_, factor) in zip(panels, shown.iterrows(), strict=False):
        _draw(axes, loadings[factor["factor"]].to_numpy(), labels, each)
        title = f"{factor['factor'].replace('_', ' ')}: {factor['variance_share']:.1%}"
        axes.set_title(f"{title} ({factor['unique_share']:.1%} unique)", fontsize=8)
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    weaker, unused = len(active) - len(shown), len(factor_variance) - len(active)
    more = f"; {weaker} with less are not drawn" if weaker else ""
    more += f"; {unused} dimensions are not used by the decoder" if unused else ""
    figure.suptitle(
        f"Genes that each latent factor raises and lowers most; its share of the decoded variance{more}",
        fontsize=10,
    )
    figure.supxlabel("loading: log-expression per standard deviation of the factor", fontsize=9)
    return figure


def _draw(axes: Axes, loadings: np.ndarray, labels: np.ndarray, each: int) -> None:
    order = np.argsort(-loadings, kind="stable")
    chosen = np.concatenate([order[:each], order[len(order) - each :]])
    values = loadings[chosen]
    places = np.arange(len(chosen)) + np.repeat([0, 0.8], each)
    axes.barh(places, values, color=np.where(values >= 0, UP, DOWN), height=0.75)
    axes.axvline(0, color="#333333", linewidth=0.6)
    names = [name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…" for name in labels[chosen]]
    axes.set_yticks(places, names, fontsize=6)
    axes.tick_params(axis="y", length=0, pad=1)
    axes.tick_params(axis="x", labelsize=7)
    axes.set_ylim(places[-1] + 0.7, -0.7)
    axes.locator_params(axis="x", nbins=4)


MAX_COVARIATES = 20
LONGEST_COVARIATE = 28
SEQUENTIAL = "Purples"


def plot_associations(associations: pd.DataFrame, options: FactorOptions) -> Figure:
    """Dimensions × covariates: Spearman's ρ of numbers, η² of categories, a star where the covariate is followed.

    Parameters
    ----------
    associations
        One row a dimension and covariate.
    options
        FDR and effect that earn a star.
    """
    if associations["effect"].notna().sum() == 0:
        return empty_figure("No associations: no covariate varies, or none can be tested.")
    parts = [
        (kind, effect, table)
        for kind, effect in (("continuous", "rho"), ("categorical", "eta2"))
        if len(table := associations[associations["kind"] == kind])
    ]
    tables = [_wide(table, effect) for _, effect, table in parts]
    widths = [max(table[0].shape[1], 2) for table in tables]
    n_dimensions = len(tables[0][0])
    height = max(0.24 * n_dimensions, 1.6)
    figure = new_figure(0.36 * sum(widths) + 1.3 * len(parts) + 1.4, height + 2.5)
    panels = figure.subplots(1, len(parts), width_ratios=widths, squeeze=False)[0]
    for axes, (kind, _, table), (effects, follows) in zip(panels, parts, tables, strict=True):
        _draw_associations(axes, effects, follows, kind)
        left = table["covariate"].nunique() - effects.shape[1]
        if left:
            axes.set_xlabel(f"{left} weaker ones not drawn", fontsize=7)
    panels[0].set_yticks(range(n_dimensions), [str(name).replace("_", " ") for name in tables[0][0].index])
    for axes in panels[1:]:
        axes.set_yticks([])
    figure.suptitle(
        f"Covariates that latent dimensions follow (★ FDR ≤ {options.fdr:g} and effect ≥ {options.min_effect:g}; "
        "□ the strongest of a covariate)",
        fontsize=9,
    )
    return figure


def _wide(table: pd.DataFrame, effect: str) -> tuple[pd.DataFrame, pd.DataFrame]:
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
    axes.set_facecolor("#DDDDDD")
    image = axes.imshow(
        values,
        aspect="auto",
        cmap=DIVERGING if continuous else SEQUENTIAL,
        vmin=-1 if continuous else 0,
        vmax=1,
        interpolation="nearest",
    )
    for row, column in zip(*np.nonzero(follows.to_numpy(dtype=bool)), strict=True):
        dark = abs(values[row, column]) > 0.6
        axes.text(
            column, row, "★", ha="center", va="center", fontsize=7, color="white" if dark else "#222222"
        )
    for column in range(values.shape[1]):
        if follows.iloc[:, column].any():
            row = int(np.nanargmax(np.abs(values[:, column])))
            axes.add_patch(
                Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor="#222222", linewidth=1.1)
            )
    names = [
        name if len(name) <= LONGEST_COVARIATE else name[: LONGEST_COVARIATE - 1] + "…"
        for name in effects.columns
    ]
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor", fontsize=8)
    axes.set_title("numbers" if continuous else "categories", fontsize=9)
    axes.tick_params(length=0)
    label = "Spearman's ρ" if continuous else "η², share of variance\nbetween categories"
    axes.figure.colorbar(image, ax=axes, label=label, shrink=0.8, pad=0.02, aspect=18)
