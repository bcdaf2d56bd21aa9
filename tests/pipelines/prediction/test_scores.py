"""Scores against scipy, and against noise that must not count as skill."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse, stats

from scvi_downstream.pipelines.prediction import scores
from scvi_downstream.pipelines.prediction.comparison import (
    Decoded,
    Group,
    TrainingMeans,
    log_mean,
    measured,
    measured_again,
    predict,
    shares_of,
)
from scvi_downstream.pipelines.prediction.design import Blocks, halved_weights, whole_weights

N_GENES = 200


def group(*, seed: int = 0, n: int = 40, change: np.ndarray | None = None) -> Group:
    """Poisson cells of one block; the target's rates are changed by ``exp(change)``."""
    rng = np.random.default_rng(seed)
    base = rng.lognormal(0, 1, N_GENES)
    after = base * np.exp(np.zeros(N_GENES) if change is None else change)
    before, after = base / base.sum(), after / after.sum()
    cells = [shares_of(rng.poisson(500 * np.tile(mean, (n, 1)))) for mean in (before, before, after)]
    blocks = Blocks(*[np.zeros(n, dtype=int)] * 3, n=1)
    decoded = Decoded(np.tile(before, (1, n, 1)), np.tile(after, (1, n, 1)))
    training = TrainingMeans(target=log_mean(after))
    return Group(*cells, blocks=blocks, training=training, decoded={"scvi": decoded})


def halves(cells: Group, n: int = 10):
    return halved_weights(
        cells.blocks, np.ones((n, 1)), np.random.default_rng(0), resampled=np.zeros(n, dtype=bool)
    )


def test_scores_are_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    cells = group(change=np.where(np.arange(N_GENES) < 20, 1.0, 0.0))
    pair = halves(cells, 3)
    found = scores.score_halves(cells, pair, 15)
    truth, given, again = (
        measured(cells, pair[1]),
        predict(cells, pair[0])["scvi"],
        measured_again(cells, pair[0]),
    )
    rows = {"delta_pearson": [], "spearman": [], "rmse_top": [], "r2_top": []}
    for row in range(6):
        top = np.argsort(-np.abs(again.change[row]), kind="stable")[:15]
        x, y = given.expression[row], truth.expression[row]
        rows["delta_pearson"].append(stats.pearsonr(given.change[row], truth.change[row])[0])
        rows["spearman"].append(stats.spearmanr(x, y)[0])
        rows["rmse_top"].append(np.sqrt(np.mean((x[top] - y[top]) ** 2)))
        rows["r2_top"].append(1 - np.sum((x[top] - y[top]) ** 2) / np.sum((y[top] - y[top].mean()) ** 2))
    for name, values in rows.items():
        np.testing.assert_allclose(found["scvi"][name], np.reshape(values, (3, 2)).mean(axis=1), rtol=1e-9)
    x, y = rng.normal(size=(2, 3, 50))
    np.testing.assert_allclose(
        scores.pearson(x, y), [stats.pearsonr(*pair)[0] for pair in zip(x, y, strict=True)]
    )
    assert np.isnan(scores.pearson(np.ones((1, 5)), np.arange(5)[None])).all()


def test_noise_of_the_source_is_not_taken_for_a_change() -> None:
    """A fixed prediction less a noisy source correlates with a target less the same source; ours does not."""
    naive, ours = [], []
    for seed in range(12):
        cells = group(seed=seed)
        whole = whole_weights(cells.blocks)
        again = measured_again(cells, whole).change[0]
        naive.append(np.corrcoef(predict(cells, whole)["target_mean"].change[0], again)[0, 1])
        ours.append(scores.score_halves(cells, halves(cells), 20)["target_mean"]["delta_pearson"].mean())
    assert np.mean(naive) > 0.5
    assert abs(np.mean(ours)) < 3 * np.std(ours) / np.sqrt(len(ours)) + 0.02


def test_predictions_do_not_look_at_the_target_or_the_reference() -> None:
    cells, other = group(), group(seed=1, change=np.full(N_GENES, 1.0))
    changed = Group(cells.source, other.reference, other.target, cells.blocks, cells.training, cells.decoded)
    whole = whole_weights(cells.blocks)
    before, after = predict(cells, whole), predict(changed, whole)
    for name in before:
        np.testing.assert_array_equal(before[name].expression, after[name].expression)
        np.testing.assert_array_equal(before[name].change, after[name].change)


def test_right_signs() -> None:
    predicted = np.array([[1.0, -1, 2, 0], [1, 1, 1, 1]])
    change = np.array([2.0, 1, -1, 5])
    responders = np.array([True, True, False, True])
    np.testing.assert_allclose(scores.right_signs(predicted, change, responders), [1 / 3, 1])
    assert np.isnan(scores.right_signs(np.zeros((1, 4)), change, responders)).all()
    assert np.isnan(scores.right_signs(predicted, change, np.zeros(4, dtype=bool))).all()


def test_intervals_lie_about_the_estimate_and_within_bounds() -> None:
    rng = np.random.default_rng(0)
    replicates = rng.normal(0.5, 0.1, 4000)
    value, low, high = scores.interval("delta_pearson", np.array([0.6, 0.8]), replicates)
    assert value == pytest.approx(0.7)
    assert (low, high) == pytest.approx((0.7 - 0.196, 0.7 + 0.196), abs=0.01)
    assert scores.interval("delta_pearson", np.array([0.95]), replicates)[2] == 1.0
    assert scores.interval("rmse", np.array([0.1]), replicates)[1] == 0.0
    assert np.isnan(scores.interval("rmse", np.array([np.nan]), replicates)).all()
    assert scores.better_by("rmse", np.array([1.0]), np.array([3.0])) == 2
    assert scores.better_by("delta_pearson", np.array([1.0]), np.array([3.0])) == -2


def test_shares_add_up_to_one_and_empty_cells_stay_zero() -> None:
    counts = sparse.csr_matrix(np.array([[1, 3, 0], [0, 0, 0]], dtype=np.float32))
    np.testing.assert_allclose(shares_of(counts).toarray(), [[0.25, 0.75, 0], [0, 0, 0]])
    assert counts.toarray().sum() == 4
