from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats

from scvi_downstream.pipelines.trajectory.gene_trends import GeneCounts, fit_lineages
from scvi_downstream.pipelines.trajectory.trend_tests import (
    check_calibration,
    compare_lineages,
    find_dynamic_genes,
)

N_CELLS, N_GENES = 500, 600
GENES = pd.Index([f"g{i}" for i in range(N_GENES)])


def _draw(log_rates: np.ndarray, seed: int, dispersion: float = 0.5) -> tuple[sparse.csr_matrix, np.ndarray]:
    random = np.random.default_rng(seed)
    library = random.lognormal(8, 0.5, len(log_rates))
    noise = random.gamma(1 / dispersion, dispersion, log_rates.shape)
    return sparse.csr_matrix(random.poisson(np.exp(log_rates) * library[:, None] / 1e4 * noise)), library


def _find(
    counts: sparse.csr_matrix, library: np.ndarray, pseudotime: np.ndarray, **settings: Any
) -> pd.DataFrame:
    times, ones = pd.DataFrame({"x": pseudotime}), pd.DataFrame({"x": np.ones(len(pseudotime))})
    return find_dynamic_genes(fit_lineages(GeneCounts(counts, GENES, library), times, ones)[0], **settings)


@pytest.fixture(scope="module")
def null() -> tuple[sparse.csr_matrix, np.ndarray, np.ndarray]:
    """Genes from next to absent to abundant that do not change, in cells of very different depths."""
    random = np.random.default_rng(0)
    return *_draw(np.tile(random.normal(0.5, 1.5, N_GENES), (N_CELLS, 1)), 1), random.random(N_CELLS)


def test_p_values_of_constant_genes_are_uniform(
    null: tuple[sparse.csr_matrix, np.ndarray, np.ndarray],
) -> None:
    counts, library, pseudotime = null
    table = _find(counts, library, pseudotime)
    p = table["p"].dropna()
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert (p < 0.01).mean() < 0.03
    assert table["dynamic"].sum() <= 1


def test_p_values_hold_where_depth_goes_with_pseudotime() -> None:
    """Later cells have more counts of everything: an offset, not a change."""
    random = np.random.default_rng(4)
    pseudotime = random.random(N_CELLS)
    rates = np.tile(random.normal(0.5, 1.2, N_GENES), (N_CELLS, 1))
    library = np.exp(7 + 2 * pseudotime)
    noise = random.gamma(2, 0.5, rates.shape)
    counts = sparse.csr_matrix(random.poisson(np.exp(rates) * library[:, None] / 1e4 * noise))
    p = _find(counts, library, pseudotime)["p"].dropna()
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_planted_genes_are_found_and_described() -> None:
    random = np.random.default_rng(2)
    pseudotime = 10 * random.random(N_CELLS)
    shapes = {
        "up": 2 * (pseudotime / 10 - 0.5),
        "down": 2 * (0.5 - pseudotime / 10),
        "peak": 2 * np.exp(-(((pseudotime - 4) / 1.5) ** 2)),
        "dip": -2 * np.exp(-(((pseudotime - 6) / 1.5) ** 2)),
    }
    log_rates = np.tile(random.normal(2, 0.7, N_GENES), (N_CELLS, 1))
    for position, shape in enumerate(shapes.values()):
        log_rates[:, position * 25 : (position + 1) * 25] += shape[:, None]
    counts, library = _draw(log_rates, 3)
    table = _find(counts, library, pseudotime, seen={f"g{i}" for i in range(50)}).set_index("gene")
    planted, others = table.loc[GENES[:100]], table.loc[GENES[100:]]
    called = table[table["p_adjusted"] <= 0.05]
    assert (planted["p_adjusted"] <= 0.05).all()
    assert planted["dynamic"].mean() > 0.97
    assert len(called) - 100 <= 0.1 * len(called)
    assert others["dynamic"].sum() <= 5
    for position, name in enumerate(shapes):
        rows = table.loc[GENES[position * 25 : (position + 1) * 25]]
        assert (rows["direction"] == name).mean() > 0.9
    assert planted["peak"].iloc[50:75].median() == pytest.approx(4, abs=0.5)
    assert planted["trough"].iloc[75:].median() == pytest.approx(6, abs=0.5)
    assert planted["log2_range"].median() == pytest.approx(2 / np.log(2), rel=0.25)
    assert table["seen"].sum() == 50
    significant = (table["p_adjusted"] <= 0.05).to_numpy()
    assert not (np.diff(significant.astype(int)) > 0).any()
    assert called["log2_range"].is_monotonic_decreasing


def test_rare_genes_are_not_tested(null: tuple[sparse.csr_matrix, np.ndarray, np.ndarray]) -> None:
    counts, library, pseudotime = null
    few = counts.tolil()
    few[9:, 5] = 0
    row = _find(few.tocsr(), library, pseudotime).set_index("gene").loc["g5"]
    assert np.isnan(row["p"])
    assert not row["dynamic"]
    assert row["mean"] > 0


def test_permuted_pseudotime_shows_the_error_rates(
    null: tuple[sparse.csr_matrix, np.ndarray, np.ndarray],
) -> None:
    counts, library, pseudotime = null
    settings: Any = {"n_permutations": 2, "max_genes": 200}
    cells, ones = GeneCounts(counts, GENES, library), np.ones(N_CELLS)
    first = check_calibration(cells, pseudotime, ones, **settings)
    assert first == check_calibration(cells, pseudotime, ones, **settings)
    assert first["n_tests"] > 300
    assert first["share_0.05"] == pytest.approx(0.05, abs=0.03)
    assert first["inflation"] == pytest.approx(1, abs=0.2)


def test_noise_follows_an_ordering_made_of_it() -> None:
    """Why genes that were seen are marked: an ordering of pure noise calls what it was made of, and no other gene."""
    random = np.random.default_rng(6)
    counts, library = _draw(np.tile(random.normal(2, 0.5, N_GENES), (N_CELLS, 1)), 7)
    normalised = np.log1p(counts[:, :30].toarray() / library[:, None] * 1e4)
    centred = normalised - normalised.mean(axis=0)
    ordering = np.linalg.svd(centred, full_matrices=False)[0][:, 0]
    table = _find(counts, library, ordering, seen=set(GENES[:30]))
    share = (table["p"] < 0.05).groupby(table["seen"]).mean()
    assert share[True] > 0.4
    assert share[False] < 0.08


def test_genes_that_differ_between_lineages() -> None:
    random = np.random.default_rng(8)
    pseudotime, side = random.random(N_CELLS), random.random(N_CELLS) < 0.5
    after = np.maximum(pseudotime - 0.4, 0) / 0.6
    rates = np.tile(random.normal(2, 0.7, N_GENES), (N_CELLS, 1)) + 1.5 * pseudotime[:, None] * (
        np.arange(N_GENES) % 2
    )
    rates[:, :50] += 2.5 * (after * side)[:, None]
    counts, library = _draw(rates, 9)
    shared = pseudotime < 0.4
    times = pd.DataFrame({"a": pseudotime, "b": pseudotime})
    weights = pd.DataFrame({"a": np.where(shared | side, 1.0, 0.0), "b": np.where(shared | ~side, 1.0, 0.0)})
    times = times.where(weights > 0)
    table = compare_lineages(GeneCounts(counts, GENES, library), times, weights).set_index("gene")
    assert set(table["lineage"]) == {"a"}
    assert set(table["other"]) == {"b"}
    assert (table.loc[GENES[:50], "p_adjusted"] <= 0.05).mean() > 0.95
    assert (table.loc[GENES[:50], "log2_difference"] > 1).mean() > 0.9
    assert table.loc[GENES[:50], "at"].median() > 0.8
    assert 0.9 * (~shared).sum() < table["n_cells"].max() <= (~shared).sum()
    others = table.loc[table.index.intersection(GENES[50:])]
    assert stats.kstest(others["p"], "uniform").pvalue > 0.01
    assert (others["p_adjusted"] <= 0.05).sum() <= 6


def test_lineages_that_cannot_be_compared() -> None:
    random = np.random.default_rng(10)
    counts, library = _draw(np.full((200, N_GENES), 1.0), 11)
    time = np.linspace(0, 1, 200)
    apart = pd.DataFrame({"a": (time < 0.5).astype(float), "b": (time >= 0.5).astype(float)})
    times = pd.DataFrame({"a": time, "b": time})
    cells = GeneCounts(counts, GENES, library)
    assert compare_lineages(cells, times, apart).empty
    one = compare_lineages(cells, times[["a"]], apart[["a"]])
    assert one.empty
    assert list(one.columns) == list(compare_lineages(cells, times, apart).columns)
    same = pd.DataFrame({"a": random.uniform(0.8, 1, 200), "b": random.uniform(0.8, 1, 200)})
    assert compare_lineages(cells, times, same).empty


@pytest.mark.slow
def test_branches_of_planted_cells(planted: Callable[..., Any]) -> None:
    """On the true tree: genes of a branch are found, and permuted counts give none."""
    cells = planted("bifurcating", n_cells=900)
    library = cells.counts.sum(axis=1).astype(float)
    genes = pd.Index([f"g{i}" for i in range(cells.counts.shape[1])])
    trunk = cells.branch == "trunk"
    weights = pd.DataFrame(
        {name: (trunk | (cells.branch == name)).astype(float) for name in ("left", "right")}
    )
    times = pd.DataFrame({name: np.where(weights[name] > 0, cells.time, np.nan) for name in weights})
    data = GeneCounts(sparse.csr_matrix(cells.counts), genes, library)
    table = find_dynamic_genes(fit_lineages(data, times, weights)[0])
    assert table.groupby("lineage", observed=True)["dynamic"].sum().min() > 100
    differ = compare_lineages(data, times, weights)
    assert (differ["p_adjusted"] <= 0.05).sum() > 60
    shuffled = data.counts[np.random.default_rng(0).permutation(len(library))]
    again = GeneCounts(shuffled, genes, np.asarray(shuffled.sum(axis=1)).ravel())
    nothing, _ = fit_lineages(again, times, weights)
    assert find_dynamic_genes(nothing)["dynamic"].sum() <= 3
