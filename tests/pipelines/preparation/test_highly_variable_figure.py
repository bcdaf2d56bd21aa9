from __future__ import annotations

import anndata as ad
import numpy as np
import pytest

from scvi_downstream.pipelines.preparation.plots import N_GENES_NAMED, plot_highly_variable


def test_every_gene_is_drawn_and_the_first_are_named(pbmc_counts: ad.AnnData) -> None:
    axes = plot_highly_variable(pbmc_counts).axes[0]
    assert sorted(len(points.get_offsets()) for points in axes.collections) == [300, 465]
    first = pbmc_counts.var.nsmallest(N_GENES_NAMED, "highly_variable_rank").index
    written = {text.get_text() for text in axes.texts}
    assert written <= set(first)
    assert len(written) >= N_GENES_NAMED // 2
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")


def test_symbols_are_shown_instead_of_identifiers(pbmc_counts: ad.AnnData) -> None:
    counts = ad.AnnData(var=pbmc_counts.var.assign(symbol="symbol of " + pbmc_counts.var_names))
    assert all(
        text.get_text().startswith("symbol of ") for text in plot_highly_variable(counts).axes[0].texts
    )


def test_all_genes_highly_variable_leaves_no_other_in_the_legend(pbmc_counts: ad.AnnData) -> None:
    counts = ad.AnnData(var=pbmc_counts.var.assign(highly_variable=True))
    legend = plot_highly_variable(counts).axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["highly variable (765)"]


def test_without_a_trend_the_figure_says_so(pbmc_counts: ad.AnnData) -> None:
    counts = ad.AnnData(var=pbmc_counts.var.assign(variances_norm=np.nan))
    assert "no mean-variance trend" in plot_highly_variable(counts).axes[0].texts[0].get_text()


@pytest.mark.parametrize(("low", "high", "expected"), [(200, 2000, "500"), (0.01, 1000, "1k")])
def test_log_ticks_are_plain_numbers(low: float, high: float, expected: str) -> None:
    from scvi_downstream.plots.style import new_figure, plain_log_ticks

    figure = new_figure(4, 3)
    axes = figure.subplots()
    axes.set(xscale="log", xlim=(low, high))
    plain_log_ticks(axes.xaxis)
    figure.draw_without_rendering()
    labels = [label.get_text() for label in axes.get_xticklabels()]
    assert expected in labels
    assert not any("10^" in label for label in labels)
