"""The imputation is scored on proteins that were hidden, and finds nothing where there is nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import stats

from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.pipelines.proteins.imputation import (
    BATCH_COLUMN,
    FEWEST_CELLS,
    METHODS,
    choose_held_out,
    masked_counts,
    score_predictions,
    score_protein_imputation,
)
from scvi_downstream.pipelines.proteins.neighbors import choose_imputation, nearest_cells
from scvi_downstream.pipelines.proteins.options import ProteinsOptions
from scvi_downstream.study.defaults import defaults_of

from .conftest import KEYS, SPEC, principal_components, scores_of, simulate

ONE_HELD_OUT = defaults_of(ProteinsOptions, max_held_out_batches=1, n_bootstrap=200)


def test_neighbours_are_looked_for_among_the_sources_only() -> None:
    counts = simulate(60)
    (held,) = choose_held_out(counts, KEYS, ONE_HELD_OUT, 0)
    points = np.random.default_rng(0).normal(size=(counts.n_obs, 3))
    found = nearest_cells(points, ~held.cells, held.cells, 4)
    first = int(np.flatnonzero(held.cells)[0])
    distances = np.linalg.norm(points - points[first], axis=1)
    distances[held.cells] = np.inf
    np.testing.assert_array_equal(found[0], np.argsort(distances)[:4])


def test_the_better_imputation_over_proteins_and_batches() -> None:
    assert choose_imputation(scores_of()) == "totalvi"
    assert choose_imputation(scores_of(totalvi=0.7, knn_pca=0.6, knn_latent=0.65, mean=0.9)) == "totalvi"
    one, other = scores_of(totalvi=0.72, knn_pca=0.73), scores_of(totalvi=0.75, knn_pca=0.6)
    assert choose_imputation(one) == "knn_pca"
    assert choose_imputation(pd.concat([one, other.assign(held_out="two")])) == "totalvi"


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
    baseline = scores.loc[("knn_pca", "P")]
    assert (baseline["minus_knn"], baseline["minus_knn_lower"], baseline["minus_knn_upper"]) == (0, 0, 0)
    better = scores.loc[("totalvi", "P")]
    assert 0 < better["minus_knn_lower"] < better["minus_knn"] < better["minus_knn_upper"]


@pytest.mark.slow
def test_planted_proteins_are_imputed_and_permuted_ones_are_not(tmp_path: Path) -> None:
    counts = simulate()
    arguments = (principal_components(counts), SPEC, KEYS, ONE_HELD_OUT, 0, "cpu")
    scores, values = score_protein_imputation(counts, *arguments, CheckpointStore(tmp_path / "planted"))
    medians = scores.groupby("method")["pearson"].median()
    assert medians["totalvi"] > 0.7
    assert medians["knn_pca"] > 0.7
    assert set(values["cell"]) == set(counts.obs_names[(counts.obs["batch"] == "one").to_numpy()])

    proteins = counts.obsm["protein_expression"]
    order = np.random.default_rng(3).permutation(counts.n_obs)
    counts.obsm["protein_expression"] = pd.DataFrame(
        proteins.to_numpy()[order], index=proteins.index, columns=proteins.columns
    )
    null, _ = score_protein_imputation(counts, *arguments, CheckpointStore(tmp_path / "null"))
    own = null[null["method"] == "totalvi"]
    # 80 cells: the standard error of r is 0.11, and all proteins share their permutation
    assert own["pearson"].abs().max() < 0.35
    assert not ((own["pearson_lower"] > 0.1) | (own["pearson_upper"] < -0.1)).any()


TWO = defaults_of(ProteinsOptions, max_held_out_batches=2)


@pytest.fixture
def counts() -> AnnData:
    return simulate(60)


def test_the_smallest_batches_come_first_and_the_others_are_its_sources(counts: AnnData) -> None:
    first, second = choose_held_out(counts, KEYS, TWO, 0)
    assert (first.name, second.name) == ("one", "two")
    assert first.sources == ("two",)
    assert first.kind == "batch"
    np.testing.assert_array_equal(first.cells, counts.obs["batch"] == "one")
    assert [
        each.name
        for each in choose_held_out(counts, KEYS, defaults_of(ProteinsOptions, max_held_out_batches=1), 0)
    ] == ["one"]
    assert choose_held_out(counts, KEYS, defaults_of(ProteinsOptions, max_held_out_batches=0), 0) == []


def test_only_proteins_of_all_sources_are_scored(counts: AnnData) -> None:
    counts.obsm["protein_expression"].loc[counts.obs["batch"] == "two", "CD3"] = 0
    for each in choose_held_out(counts, KEYS, TWO, 0):
        assert "CD3" not in each.proteins
        assert len(each.proteins) == 5


@pytest.mark.parametrize(
    "keys", [KEYS.model_copy(update={"batch_key": None}), KEYS], ids=["no batches", "one has"]
)
def test_a_random_third_stands_for_a_batch_where_there_is_one(keys: Keys) -> None:
    counts = simulate(120)
    if keys.batch_key:
        counts.obsm["protein_expression"].loc[counts.obs["batch"] == "two"] = 0
    (drawn,) = choose_held_out(counts, keys, TWO, 0)
    assert drawn.kind == "random third"
    with_proteins = counts.obsm["protein_expression"].to_numpy().any(axis=1)
    assert drawn.cells.sum() == with_proteins.sum() // 3
    assert with_proteins[drawn.cells].all()
    told = set(drawn.batches[drawn.cells])
    assert len(told) == 1
    assert not told & set(drawn.batches[~drawn.cells])
    (again,) = choose_held_out(counts, keys, TWO, 0)
    np.testing.assert_array_equal(drawn.cells, again.cells)
    (other,) = choose_held_out(counts, keys, TWO, 1)
    assert (drawn.cells != other.cells).any()


def test_too_few_cells_are_not_held_out() -> None:
    small = simulate(3 * FEWEST_CELLS - 3)
    assert [each.name for each in choose_held_out(small, KEYS, TWO, 0)] == ["two"]
    no_batches = KEYS.model_copy(update={"batch_key": None})
    assert choose_held_out(small, no_batches, TWO, 0) == []


def test_hidden_proteins_are_gone_and_the_rest_is_untouched(counts: AnnData) -> None:
    before = counts.obsm["protein_expression"].copy()
    counts.var["highly_variable"] = np.arange(counts.n_vars) < 10
    (first, _) = choose_held_out(counts, KEYS, TWO, 0)
    genes = masked_counts(counts, first)
    pd.testing.assert_frame_equal(counts.obsm["protein_expression"], before)
    assert BATCH_COLUMN not in counts.obs
    assert genes.n_vars == 10
    hidden = genes.obsm["protein_expression"]
    assert not hidden.loc[first.cells].to_numpy().any()
    pd.testing.assert_frame_equal(hidden.loc[~first.cells], before.loc[~first.cells])
