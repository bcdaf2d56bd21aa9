from __future__ import annotations

import time as clock
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scvi_downstream.pipelines.trajectory.gene_trends import (
    GeneCounts,
    fit_lineage,
    fit_lineages,
    trend_curves,
)
from scvi_downstream.runtime.errors import InputError

from .conftest import N_TREND_CELLS as N_CELLS
from .conftest import draw_counts


def test_curves_and_intervals_hold_the_truth(moving: tuple[np.ndarray, ...]) -> None:
    pseudotime, log_rates, counts, library = moving
    genes = pd.Index([f"g{i}" for i in range(60)])
    trends = fit_lineage(GeneCounts(sparse.csr_matrix(counts), genes, library), pseudotime, np.ones(N_CELLS))
    curves = trend_curves({"lineage 1": trends}, n_places=30)
    order = np.argsort(pseudotime)
    truth = np.array(
        [
            np.interp(rows["pseudotime"], pseudotime[order], np.exp(log_rates[order, int(str(gene)[1:])]))
            for gene, rows in curves.groupby("gene", sort=False, observed=True)
        ]
    ).ravel()
    inside = (curves["ci_lower"] <= truth) & (truth <= curves["ci_upper"])
    assert 0.92 < inside.mean() < 0.98
    assert curves["pseudotime"].between(*np.quantile(pseudotime, [0.005, 0.995])).all()
    np.testing.assert_allclose(trends.mean, counts.sum(axis=0) / library.sum() * 1e4)


def test_weights_choose_the_cells_of_a_lineage(moving: tuple[np.ndarray, ...]) -> None:
    """A cell of weight 0, or without pseudotime, is as good as absent; all weights halved move no curve."""
    pseudotime, _, counts, library = moving
    genes = pd.Index([f"g{i}" for i in range(60)])
    matrix = sparse.csr_matrix(counts)
    few = np.arange(N_CELLS) < 200
    alone = fit_lineage(GeneCounts(matrix[few], genes, library[few]), pseudotime[few], np.ones(200))
    times = pd.DataFrame({"a": np.where(few, pseudotime, np.nan), "b": pseudotime, "c": pseudotime})
    weights = pd.DataFrame({"a": 1.0, "b": np.where(few, 1.0, 0.0), "c": np.where(few, 0.5, 0.0)})
    both, _ = fit_lineages(GeneCounts(matrix, genes, library), times, weights)
    for name in ("a", "b"):
        np.testing.assert_array_equal(both[name].fit.full.coefficients, alone.fit.full.coefficients)
        np.testing.assert_array_equal(both[name].fit.p, alone.fit.p)
    half = trend_curves({"c": both["c"]})
    whole = trend_curves({"b": both["b"]})
    assert set(half["gene"]) == set(whole["gene"])
    np.testing.assert_allclose(half["mean"], whole["mean"], rtol=0.05)
    widths = [np.log(each["ci_upper"] / each["ci_lower"]).median() for each in (half, whole)]
    assert widths[0] == pytest.approx(widths[1] * np.sqrt(2), rel=0.05)


def test_batches_are_told_apart_from_pseudotime() -> None:
    """A batch that doubles half of the genes, more frequent late, passes for change unless it is known."""
    random = np.random.default_rng(3)
    pseudotime = random.random(600)
    late = random.random(600) < 0.2 + 0.6 * pseudotime
    log_rates = random.normal(1.5, 0.8, 80) + 1.5 * late[:, None] * (np.arange(80) < 40)
    counts, library = draw_counts(log_rates, 0.2, seed=4)
    genes, ones = pd.Index([f"g{i}" for i in range(80)]), np.ones(600)
    matrix = sparse.csr_matrix(counts)
    blind = fit_lineage(GeneCounts(matrix, genes, library), pseudotime, ones)
    batches = pd.Series(np.where(late, "late", "early"))
    aware = fit_lineage(GeneCounts(matrix, genes, library, batches), pseudotime, ones)
    assert (blind.fit.p[:40] < 0.05).mean() > 0.8
    assert (aware.fit.p[:40] < 0.05).mean() < 0.2
    assert (aware.fit.p[40:] < 0.05).mean() < 0.2


def test_what_cannot_be_fitted_is_said(moving: tuple[np.ndarray, ...]) -> None:
    pseudotime, _, counts, library = moving
    genes, ones = pd.Index([f"g{i}" for i in range(60)]), np.ones(N_CELLS)
    cells = GeneCounts(sparse.csr_matrix(counts), genes, library)
    with pytest.raises(InputError, match="'lineage 1' holds 20 cells, too few"):
        fit_lineage(cells, pseudotime, (np.arange(N_CELLS) < 20).astype(float))
    with pytest.raises(InputError, match="pseudotime is the same"):
        fit_lineage(cells, np.zeros(N_CELLS), ones)
    with pytest.raises(InputError, match="no gene is in 10 cells"):
        fit_lineage(replace(cells, counts=cells.counts * 0), pseudotime, ones)
    steps = np.repeat(np.arange(8.0), 50)
    with pytest.raises(InputError, match="cannot be told apart"):
        fit_lineage(replace(cells, batches=pd.Series(steps.astype(str))), steps, ones)
    times, weights = pd.DataFrame({"a": pseudotime, "b": 0.0}), pd.DataFrame({"a": ones, "b": ones})
    fitted, refused = fit_lineages(cells, times, weights)
    assert list(fitted) == ["a"]
    assert refused[0].startswith("no genes were followed: pseudotime is the same")
    with pytest.raises(InputError, match="no lineage can be followed by its genes; no genes were followed: "):
        fit_lineages(cells, times[["b"]], weights[["b"]])


def test_genes_absent_from_a_stretch_stay_finite() -> None:
    pseudotime = np.linspace(0, 1, 300)
    random = np.random.default_rng(0)
    counts = np.column_stack(
        [random.poisson(np.where(pseudotime > start, 4, 0)) for start in (0.3, 0.6, 0.9)]
    )
    cells = GeneCounts(sparse.csr_matrix(counts), pd.Index(list("abc")), np.full(300, 1e4))
    trends = fit_lineage(cells, pseudotime, np.ones(300))
    curves = trend_curves({"x": trends})
    assert trends.fit.full.converged.all()
    assert np.isfinite(curves[["mean", "ci_lower", "ci_upper"]].to_numpy()).all()
    assert (trends.fit.p < 1e-10).all()
    early = curves[(curves["pseudotime"] < 0.2) & (curves["gene"] == "b")]
    assert (early["mean"] < 0.1).all()


@pytest.mark.slow
def test_two_thousand_genes_take_seconds() -> None:
    random = np.random.default_rng(0)
    pseudotime = random.random(2000)
    log_rates = random.normal(0, 1.5, 2000) + random.normal(0, 1, 2000) * pseudotime[:, None]
    counts, library = draw_counts(log_rates, 0.4)
    start = clock.process_time()
    cells = GeneCounts(sparse.csr_matrix(counts), pd.Index(range(2000)).astype(str), library)
    trends = fit_lineage(cells, pseudotime, np.ones(2000))
    assert clock.process_time() - start < 15
    assert trends.fit.full.converged.mean() > 0.999


@pytest.mark.slow
def test_embryo_time_of_worm_cells(real_data: Path) -> None:
    """Along the measured time of real embryos most genes change, and none along a permuted one."""
    file = real_data / "worm_embryo.h5ad"
    if not file.exists():
        pytest.skip(f"{file.name} is not in {real_data} (set SCVI_DOWNSTREAM_DATA)")
    import anndata

    cells = anndata.read_h5ad(file)
    library = np.asarray(cells.X.sum(axis=1)).ravel()
    chosen = np.argsort(-np.asarray(cells.X.sum(axis=0)).ravel())[:1500]
    matrix, time = cells.X[:, chosen], cells.obs["embryo_time"].to_numpy(float)
    ones, genes = np.ones(len(time)), cells.var_names[chosen]
    data = GeneCounts(matrix, genes, library)
    real = fit_lineage(data, time, ones)
    shuffled = np.random.default_rng(0).permutation(time)
    permuted = fit_lineage(data, shuffled, ones)
    assert (real.fit.p < 1e-3).mean() > 0.5
    assert (permuted.fit.p < 0.05).mean() < 0.1
    assert (permuted.fit.p < 1e-3).mean() < 0.01
