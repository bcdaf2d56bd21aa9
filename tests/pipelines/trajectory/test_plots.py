from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from scvi_downstream.pipelines.trajectory.options import TrajectoryOptions
from scvi_downstream.pipelines.trajectory.plots import (
    plot_agreement,
    plot_fates,
    plot_gene_trends,
    plot_time_agreement,
    plot_trend_heatmap,
)
from scvi_downstream.study.defaults import defaults_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CELLS = pd.Index([f"cell{i}" for i in range(300)], name="cell")
OPTIONS = defaults_of(TrajectoryOptions, time_key="embryo_time")


def genes_of(symbols: dict[str, str]) -> AnnData:
    """No cells of genes with symbols."""
    var = pd.DataFrame({"symbol": list(symbols.values())}, index=list(symbols))
    return AnnData(np.zeros((0, len(symbols))), var=var)


def dynamic_genes(genes: list[str]) -> pd.DataFrame:
    """All of them change, the first ones most."""
    return pd.DataFrame({"gene": genes, "dynamic": True, "log2_range": np.arange(len(genes))[::-1] + 1.0})


def _drawn(figure: Figure) -> list[str]:
    figure.draw_without_rendering()
    return [text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text"))]


def _panel(figure: Figure, title: str) -> Axes:
    return next(axes for axes in figure.axes if axes.get_title() == title)


def _curves(genes: list[str], lineages: list[str]) -> pd.DataFrame:
    rows = []
    for position, gene in enumerate(genes):
        for lineage in lineages:
            time = np.linspace(0, 5 if lineage == lineages[0] else 10, 30)
            peak = 5 * position / max(len(genes) - 1, 1)
            mean = 1 + 20 * np.exp(-((time - peak) ** 2))
            rows.append(
                pd.DataFrame(
                    {
                        "lineage": lineage, "gene": gene, "pseudotime": time, "mean": mean,
                        "ci_lower": mean * 0.8, "ci_upper": np.where(time > 4.9, 1e9, mean * 1.2),
                    }
                )
            )  # fmt: skip
    return pd.concat(rows, ignore_index=True).astype({"lineage": "category", "gene": "category"})


@pytest.mark.thorough
@pytest.mark.parametrize("n_genes", [1, 20])
def test_genes_over_cells(n_genes: int) -> None:
    genes = [f"ENS{i}" for i in range(n_genes)]
    random = np.random.default_rng(0)
    values = random.poisson(4, (2000, n_genes)).astype(float)
    rest = 10_000 - values.sum(axis=1, keepdims=True)  # counts are those per 10,000
    cells = [f"cell{i}" for i in range(2000)]
    symbols = [*(f"S{i}" for i in range(n_genes)), "x", "rest"]
    counts = AnnData(
        np.hstack([values, values[:, :1] * 0, rest]),
        obs=pd.DataFrame(index=cells),
        var=pd.DataFrame({"symbol": symbols}, index=[*genes, "absent", "rest"]),
    )
    from scipy import sparse

    counts.X = sparse.csr_matrix(counts.X)
    first, time = random.random(2000) < 0.5, random.random(2000) * 5
    orders = pd.DataFrame(index=cells)
    for number, on in enumerate((first, ~first), start=1):
        orders[f"slingshot_pseudotime_{number}"] = np.where(on, time, np.nan)
        orders[f"slingshot_weight_{number}"] = on.astype(float)
    lineages, tests = ["lineage_1", "lineage_2"], dynamic_genes([*genes, "absent"])
    figure = plot_gene_trends(_curves(genes, lineages), tests, orders, counts, OPTIONS)
    texts = _drawn(figure)
    assert "S0" in texts
    assert ("S15" in texts) == (n_genes == 20)
    assert "S16" not in texts
    assert any("counts per 10,000" in text for text in texts)
    axes = figure.axes[0]
    assert 20 < axes.get_ylim()[1] < 30
    assert len(axes.lines) >= 2
    assert len(axes.collections[0].get_offsets()) == 1500
    nothing = plot_gene_trends(_curves(genes, lineages), tests[-1:], orders, counts, OPTIONS)
    assert "none could be fitted" in _drawn(nothing)[-1]


@pytest.mark.parametrize("lineages", [["a"], ["a", "b"]])
def test_heat_map_is_ordered_by_peak(lineages: list[str]) -> None:
    genes = [f"g{i}" for i in range(12)]
    counts = genes_of({gene: f"S{i}" for i, gene in enumerate(genes)})
    wanted = dynamic_genes(genes).sample(frac=1, random_state=1).assign(log2_range=1.0)
    curves = _curves(genes, lineages)
    curves = curves[~((curves["gene"] == "g3") & (curves["lineage"] == "b"))]
    figure = plot_trend_heatmap(curves, wanted, counts, OPTIONS)
    texts = _drawn(figure)
    assert any("z-score" in text for text in texts)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels == [f"S{i}" for i in range(12)]
    images = [axes.images[0].get_array() for axes in figure.axes[: len(lineages)]]
    assert (np.diff(images[0].argmax(axis=1)) >= 0).all()
    joined = np.ma.filled(np.ma.hstack(images).astype(float), np.nan)
    np.testing.assert_allclose(np.nanmean(joined, axis=1), 0, atol=1e-9)
    np.testing.assert_allclose(np.nanstd(joined, axis=1), 1, atol=1e-9)
    assert np.isnan(joined).any() == (len(lineages) == 2)
    nothing = plot_trend_heatmap(curves, wanted.assign(dynamic=False), counts, OPTIONS)
    assert "none changes" in _drawn(nothing)[-1]


def test_matrix_of_agreement_has_its_numbers() -> None:
    of_r = "R monocle_r_pseudotime"
    pairs = [("a_1", "b", -0.87), ("a_1", of_r, np.nan), ("b", of_r, 0.2)]
    agreement = pd.DataFrame(pairs, columns=["first", "second", "spearman"])
    figure = plot_agreement(agreement)
    texts = _drawn(figure)
    assert texts.count("−0.87") == 2
    assert texts.count("n/a") == 2
    assert {"a 1", "Monocle 2 (R)"} <= set(texts)
    assert figure.axes[0].images[0].get_clim() == (-1, 1)
    assert "one ordering" in _drawn(plot_agreement(agreement.iloc[:0]))[-1]


@pytest.mark.parametrize("within", [True, False])
def test_agreement_with_time_is_drawn_best_first(*, within: bool) -> None:
    table = pd.DataFrame(
        {
            "representation": ["pca", "scvi", "scvi", "pca"],
            "method": ["dpt", "dpt", "graph", "graph"],
            "spearman": [-0.4, 0.7, 0.84, np.nan],
            "low": [-0.5, 0.6, 0.8, np.nan],
            "high": [-0.3, 0.75, 0.9, np.nan],
        }
    )
    numbers = (0.3, 0.1, 0.5) if within else (np.nan, np.nan, np.nan)
    names = ("within_batch_spearman", "within_batch_low", "within_batch_high")
    table = table.assign(**dict(zip(names, numbers, strict=True)))
    figure = plot_time_agreement(table, OPTIONS)
    texts = _drawn(figure)
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "scvi · graph",
        "scvi · dpt",
        "pca · dpt",
    ]
    assert any("embryo_time" in text for text in texts)
    assert ("within batches" in texts) == within
    assert axes.get_xlim()[0] < -0.5
    assert "No known time" in _drawn(plot_time_agreement(table.iloc[3:], OPTIONS))[-1]


def test_fates_with_and_without_genes() -> None:
    share = np.linspace(0, 1, 300)
    umap = pd.DataFrame({"UMAP1": np.cos(np.pi * share), "UMAP2": np.sin(np.pi * share)}, index=CELLS)
    terminal = np.where(share > 0.95, "B", None)
    fates = pd.DataFrame(
        {"fate_B": share, "fate_T": 1 - share, "fate_entropy": 0.5, "terminal_state": terminal}, index=CELLS
    )
    fates.loc["cell0", ["fate_B", "fate_T"]] = np.nan
    drivers = pd.DataFrame(
        {
            "terminal_state": ["B", "B", "T"], "gene": ["b1", "b2", "t1"], "correlation": [0.9, 0.5, 0.7],
            "ci_lower": [0.8, 0.4, 0.6], "ci_upper": [0.95, 0.6, 0.8], "rank": [1, 2, 1],
        }
    )  # fmt: skip
    counts = genes_of({"b1": "B1", "b2": "B2", "t1": "T1"})
    options = defaults_of(TrajectoryOptions, fates={"top_drivers": 1})
    figure = plot_fates(umap, fates, drivers, counts, options)
    texts = _drawn(figure)
    assert {"fate: B", "fate: T", "B1", "T1", "none (1 cells)", "terminal (15 cells)"} <= set(texts)
    assert "B2" not in texts
    assert "fate: entropy" not in texts
    panel = _panel(figure, "fate: B")
    coloured = next(each for each in panel.collections if each.get_array() is not None)
    assert coloured.get_clim() == (0, 1)
    assert "B1" not in _drawn(plot_fates(umap, fates, drivers.iloc[:0], counts, options))
    none = fates[["fate_entropy", "terminal_state"]]
    assert "No fates" in _drawn(plot_fates(umap, none, drivers.iloc[:0], counts, options))[-1]
