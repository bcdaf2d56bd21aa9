"""Scores against scanpy, their null against uniform, planted markers, and the names they give."""

from typing import Any

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse, stats

from scvi_downstream.cells.expression import log_normalize
from scvi_downstream.pipelines.annotation.marker_table import KnownMarkers, find_markers
from scvi_downstream.pipelines.annotation.naming import (
    cells_by_name,
    choose_names,
    cluster_means,
    score_types,
)
from scvi_downstream.pipelines.annotation.options import MarkerNamingOptions
from scvi_downstream.pipelines.annotation.report import summarize_names
from scvi_downstream.study.defaults import defaults_of

N_CELLS, N_GENES = 300, 400
OPTIONS = defaults_of(MarkerNamingOptions, n_random_sets=1000)


@pytest.fixture(scope="module")
def counts() -> anndata.AnnData:
    """Three types of correlated markers: genes 0-9, 10-19 and 20-29."""
    rng = np.random.default_rng(0)
    types = np.arange(N_CELLS) % 3
    rates = np.tile(0.2 + rng.gamma(1.0, 1.0, N_GENES), (N_CELLS, 1))
    for i in range(3):
        rates[types == i, 10 * i : 10 * i + 10] += 4
    X = sparse.csr_matrix(rng.poisson(rates).astype(np.float32))
    obs = pd.DataFrame({"type": types.astype(str)}, index=[f"c{i}" for i in range(N_CELLS)])
    return anndata.AnnData(X, obs=obs, var=pd.DataFrame(index=[f"g{i}" for i in range(N_GENES)]))


def markers(
    counts: Any, genes: dict[str, list[int]], negative: dict[str, list[int]] | None = None
) -> KnownMarkers:
    rows = [(name, f"g{i}", 1) for name, chosen in genes.items() for i in chosen]
    rows += [(name, f"g{i}", -1) for name, chosen in (negative or {}).items() for i in chosen]
    return find_markers(pd.DataFrame(rows, columns=["type", "gene", "sign"]), counts, 1)


def score(counts: Any, clusters: pd.Series, known: KnownMarkers, seed: int = 0) -> pd.DataFrame:
    return score_types(counts, clusters, known, n_random_sets=OPTIONS.n_random_sets, seed=seed)[0]


def test_means_by_cluster_are_those_of_scaled_expression(counts) -> None:
    means = cluster_means(log_normalize(counts), counts.obs["type"])
    dense = log_normalize(counts).toarray().astype(np.float64)
    scaled = (dense - dense.mean(axis=0)) / dense.std(axis=0)
    expected = pd.DataFrame(scaled).groupby(counts.obs["type"].to_numpy()).mean().to_numpy()
    np.testing.assert_allclose(means.z, expected, atol=1e-4)
    assert np.bincount(means.bins).tolist() == [N_GENES // 25] * 25


def test_score_is_positive_less_negative_markers(counts) -> None:
    known = markers(counts, {"A": [0, 1], "B": [10]}, {"A": [10, 20]})
    means = cluster_means(log_normalize(counts), counts.obs["type"])
    scores = score(counts, counts.obs["type"], known).set_index(["cluster", "type"])
    expected = means.z[:, [0, 1]].mean(axis=1) - means.z[:, [10, 20]].mean(axis=1)
    np.testing.assert_allclose(scores.xs("A", level="type")["score"], expected, atol=1e-9)
    assert scores.loc[("0", "A"), "n_genes"] == 4


def test_planted_markers_name_their_clusters_and_no_other(counts) -> None:
    known = markers(counts, {"A": [0, 1, 2], "B": [10, 11, 12], "nothing": [100, 101, 102]})
    scores, means = score_types(counts, counts.obs["type"], known, n_random_sets=1000, seed=0)
    names = choose_names(scores, means, known, OPTIONS).set_index("cluster")
    assert names["name"].to_dict() == {"0": "A", "1": "B", "2": "unknown"}
    assert names.loc["2", "why_unknown"] == "no type is significant"
    assert set(names.loc["0", "genes"].split(", ")) == {"g0", "g1", "g2"}
    cells = cells_by_name(counts.obs["type"], names.reset_index())
    assert cells["cell_type_markers"].cat.categories.tolist() == ["A", "B", "unknown"]
    labels = counts.obs["type"].map({"0": "A", "1": "B", "2": "C"}).rename("line")
    summary = summarize_names(names.reset_index(), cells, known, labels)
    assert summary["ari_labels"] == pytest.approx(1.0)
    assert summary["share_equal"] == 1.0
    assert summary["sentences"][0].startswith("2 of 3 clusters (67% of the cells) were named")


def test_two_types_that_fit_alike_leave_a_cluster_unknown(counts) -> None:
    known = markers(counts, {"A": [0, 1, 2, 3], "A too": [0, 1, 2, 4]})
    scores, means = score_types(counts, counts.obs["type"], known, n_random_sets=1000, seed=0)
    options = defaults_of(MarkerNamingOptions, n_random_sets=1000, min_margin=50.0)
    names = choose_names(scores, means, known, options).set_index("cluster")
    assert names.loc["0", "why_unknown"] == "two types are equally likely"
    assert names.loc["0", "runner_up"] in {"A", "A too"}


def test_clusters_of_random_cells_get_no_name_though_markers_vary_together(counts) -> None:
    known = markers(counts, {"A": list(range(5)), "B": list(range(10, 15)), "C": list(range(20, 25))})
    p, n_named = [], 0
    for seed in range(12):
        chosen = np.random.default_rng(seed).integers(0, 6, N_CELLS).astype(str)
        clusters = pd.Series(pd.Categorical(chosen), index=counts.obs_names)
        scores, means = score_types(counts, clusters, known, n_random_sets=200, seed=seed)
        p.append(scores[["p_cells", "p"]])
        n_named += int((choose_names(scores, means, known, OPTIONS)["name"] != "unknown").sum())
    joined = pd.concat(p)
    assert stats.kstest(joined["p_cells"], "uniform").pvalue > 0.01
    assert (joined["p"] <= 0.05).mean() < 0.08
    assert n_named <= 3  # of 72, at an FDR of 5 % in each of 12 runs


def test_random_genes_have_uniform_p_in_real_clusters(counts) -> None:
    rng = np.random.default_rng(1)
    known = markers(counts, {f"r{i}": rng.choice(N_GENES, 4, replace=False).tolist() for i in range(80)})
    scores = score(counts, counts.obs["type"], known)
    assert 0.02 < (scores["p_genes"] <= 0.05).mean() < 0.09
    assert scores["p_genes"].min() >= 1 / 1001


def test_pearson_iii_is_the_permutation_p(counts) -> None:
    """Against 4,000 draws of as many cells, for a skewed score and a small cluster."""
    chosen = np.array(["rest"] * N_CELLS, dtype=object)
    chosen[[0, 3, 6, 9, 1, 2, 4, 5, 7, 8, 10, 11]] = "few"
    clusters = pd.Series(pd.Categorical(chosen), index=counts.obs_names)
    known = markers(counts, {"A": [0, 1]})
    scores = score(counts, clusters, known).set_index("cluster")
    dense = log_normalize(counts).toarray()[:, :2].astype(np.float64)
    cells = ((dense - dense.mean(axis=0)) / dense.std(axis=0)).mean(axis=1)
    rng = np.random.default_rng(0)
    draws = np.array([cells[rng.choice(N_CELLS, 12, replace=False)].mean() for _ in range(4000)])
    assert scores.loc["few", "p_cells"] == pytest.approx(
        (draws >= scores.loc["few", "score"]).mean(), abs=0.03
    )


def test_same_seed_same_scores_and_genes_that_do_not_vary_count_nothing(counts) -> None:
    silent = counts.copy()
    silent.X = sparse.csr_matrix(silent.X.toarray() * (np.arange(N_GENES) != 50))
    known = markers(silent, {"A": [0, 50], "dead": [50]})
    one, other = (score(silent, silent.obs["type"], known) for _ in range(2))
    pd.testing.assert_frame_equal(one, other)
    assert (one.loc[one["type"] == "dead", "p"] == 1).all()
    everything = pd.Series(pd.Categorical(["all"] * N_CELLS), index=silent.obs_names)
    assert (score(silent, everything, known)["p"] == 1).all()
