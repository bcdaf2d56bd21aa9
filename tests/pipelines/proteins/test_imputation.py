"""The imputation is scored on proteins that were hidden, and finds nothing where there is nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import stats

from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.parameters import Keys
from scvi_downstream.parameters.proteins import ProteinsOptions
from scvi_downstream.pipelines.proteins.held_out import choose_held_out, masked_counts
from scvi_downstream.pipelines.proteins.imputation import METHODS, neighbor_means, score_predictions
from scvi_downstream.pipelines.proteins.nodes import score_protein_imputation


def test_batches_of_fewest_cells_are_held_out_first(simulated: Callable[..., AnnData], keys: Keys) -> None:
    counts = simulated(241)
    both = choose_held_out(counts, keys, ProteinsOptions(), 0)
    assert [(held.name, held.kind, held.sources) for held in both] == [
        ("b", "batch", ("a",)),
        ("a", "batch", ("b",)),
    ]
    one = choose_held_out(counts, keys, ProteinsOptions(max_held_out_batches=1), 0)
    assert [held.name for held in one] == ["b"]
    assert choose_held_out(counts, keys, ProteinsOptions(max_held_out_batches=0), 0) == []


@pytest.mark.parametrize("batch_key", ["batch", None])
def test_with_one_batch_a_random_third_is_called_a_batch(
    simulated: Callable[..., AnnData], batch_key: str | None
) -> None:
    counts = simulated(without="b") if batch_key else simulated()
    keys = Keys(batch_key=batch_key, protein_key="protein_expression")
    (held,) = choose_held_out(counts, keys, ProteinsOptions(), 0)
    assert held.kind == "random third"
    n_measured = 120 if batch_key else 240
    assert held.cells.sum() == n_measured // 3
    assert sorted(held.batches.cat.categories) == (
        ["a", "a (held out)", "b"] if batch_key else ["all cells", "all cells (held out)"]
    )
    again = choose_held_out(counts, keys, ProteinsOptions(), 0)[0]
    np.testing.assert_array_equal(held.cells, again.cells)


def test_too_few_cells_are_not_held_out(simulated: Callable[..., AnnData], keys: Keys) -> None:
    assert choose_held_out(simulated(18), keys, ProteinsOptions(), 0) == []


def test_hidden_proteins_are_hidden_and_the_study_stays_as_it_was(counts: AnnData, keys: Keys) -> None:
    before = counts.obsm["protein_expression"].copy()
    (held,) = choose_held_out(counts, keys, ProteinsOptions(max_held_out_batches=1), 0)
    masked = masked_counts(counts, held)
    hidden = masked.obsm["protein_expression"].to_numpy()
    assert (hidden[held.cells] == 0).all()
    np.testing.assert_array_equal(hidden[~held.cells], before.to_numpy()[~held.cells])
    pd.testing.assert_frame_equal(counts.obsm["protein_expression"], before)


def test_neighbours_are_averaged_among_the_sources_only(counts: AnnData, keys: Keys) -> None:
    (held,) = choose_held_out(counts, keys, ProteinsOptions(max_held_out_batches=1), 0)
    sources = ~held.cells
    points = np.random.default_rng(0).normal(size=(counts.n_obs, 3))
    logged = np.random.default_rng(1).normal(size=(counts.n_obs, 2))
    found = neighbor_means(points, logged, sources, held, 4)
    first = int(np.flatnonzero(held.cells)[0])
    distances = np.linalg.norm(points - points[first], axis=1)
    distances[held.cells] = np.inf
    np.testing.assert_allclose(found[0], logged[np.argsort(distances)[:4]].mean(axis=0))
    poisoned = logged.copy()
    poisoned[held.cells] = np.nan
    np.testing.assert_array_equal(neighbor_means(points, poisoned, sources, held, 4), found)


def test_scores_are_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    measured = pd.DataFrame(rng.poisson(4, size=(80, 2)).astype(float), columns=["P", "Q"])
    predicted = {method: measured + rng.normal(size=(80, 2)) * (i + 1) for i, method in enumerate(METHODS)}
    predicted["mean"] = measured * 0 + 1
    scores = score_predictions({"measured": measured, **predicted}, 500, 0).set_index(["method", "protein"])
    for method in METHODS[:-1]:
        x, y = predicted[method]["P"], measured["P"]
        row = scores.loc[(method, "P")]
        assert row["pearson"] == pytest.approx(stats.pearsonr(x, y).statistic)
        assert row["spearman"] == pytest.approx(stats.spearmanr(x, y).statistic)
        interval = stats.pearsonr(x, y).confidence_interval()
        assert row["pearson_lower"] == pytest.approx(interval.low, abs=0.1)
        assert row["pearson_upper"] == pytest.approx(interval.high, abs=0.1)
    assert scores.loc[("mean", "P"), "pearson"] == 0
    own = scores.loc[("knn_pca", "P")]
    assert (own["minus_knn"], own["minus_knn_lower"], own["minus_knn_upper"]) == (0, 0, 0)
    better = scores.loc[("totalvi", "P")]
    assert 0 < better["minus_knn_lower"] < better["minus_knn"] < better["minus_knn_upper"]


@pytest.mark.slow
def test_planted_proteins_are_imputed(
    counts: AnnData, pca_latent: pd.DataFrame, spec: dict[str, Any], keys: Keys, tmp_path: Path
) -> None:
    options = ProteinsOptions(max_held_out_batches=1)
    scores, values = score_protein_imputation(
        counts, pca_latent, spec, keys, options, 0, "cpu", CheckpointStore(tmp_path / "c")
    )
    medians = scores.groupby("method")["pearson"].median()
    assert medians["totalvi"] > 0.7
    assert medians["knn_pca"] > 0.7
    assert len(values) == 120 * 6
    assert set(values["cell"]) == set(counts.obs_names[(counts.obs["batch"] == "a").to_numpy()])


@pytest.mark.slow
def test_proteins_permuted_over_cells_cannot_be_imputed(
    counts: AnnData, pca_latent: pd.DataFrame, spec: dict[str, Any], keys: Keys, tmp_path: Path
) -> None:
    null = counts.copy()
    order = np.random.default_rng(3).permutation(counts.n_obs)
    null.obsm["protein_expression"] = pd.DataFrame(
        counts.obsm["protein_expression"].to_numpy()[order],
        index=counts.obs_names,
        columns=counts.obsm["protein_expression"].columns,
    )
    options = ProteinsOptions(max_held_out_batches=1)
    scores, _ = score_protein_imputation(
        null, pca_latent, spec, keys, options, 0, "cpu", CheckpointStore(tmp_path / "c")
    )
    own = scores[scores["method"] == "totalvi"]
    # 120 cells: the standard error of r is 0.09; proteins of one type share their permutation
    assert own["pearson"].abs().max() < 0.3
    assert (own["pearson_lower"] < 0.1).all()
