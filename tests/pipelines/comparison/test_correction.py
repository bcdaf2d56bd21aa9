"""Is correction needed? Silent without a batch effect, whatever the composition; not silent with one."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.stats import binom

from scvi_downstream.cells.keys import Keys
from scvi_downstream.graphs.neighbors import NeighborsGraph, find_neighbors
from scvi_downstream.pipelines.comparison.batch_structure import (
    N_NEIGHBORS,
    Verdict,
    judge,
    same_batch_excess,
)
from scvi_downstream.pipelines.comparison.correction import judge_correction, likelihood_gain
from scvi_downstream.pipelines.comparison.noise import Evidence

LABELLED = Keys(batch_key="batch", label_key="cell_type")
UNLABELLED = Keys(batch_key="batch")


def cells(
    seed: int, *, shift: float = 0.0, imbalance: float = 0.0, n_cells: int = 600, n_batches: int = 3
) -> tuple[np.ndarray, pd.DataFrame]:
    """Four types in ten dimensions; each batch moves all its cells by ``shift`` in a direction of its own."""
    rng = np.random.default_rng(seed)
    types = rng.integers(4, size=n_cells)
    anywhere = rng.integers(n_batches, size=n_cells)
    batches = np.where(rng.random(n_cells) < imbalance, types % n_batches, anywhere)
    directions = rng.standard_normal((n_batches, 10))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    points = 4 * rng.standard_normal((4, 10))[types] + rng.standard_normal((n_cells, 10))
    obs = pd.DataFrame({"batch": batches.astype(str), "cell_type": types.astype(str)})
    return points + shift * directions[batches], obs.set_index(pd.Index([f"c{i}" for i in range(n_cells)]))


def graph(points: np.ndarray, names: pd.Index) -> NeighborsGraph:
    """Every cell's nearest neighbours, joined with weight 1."""
    indices, distances = find_neighbors(points, N_NEIGHBORS + 1, exact=True, seed=0)
    rows = np.repeat(np.arange(len(points)), N_NEIGHBORS)
    one_way = sparse.csr_matrix(
        (np.ones(len(rows)), (rows, indices[:, 1:].ravel())), shape=(len(points),) * 2
    )
    connectivities = one_way.maximum(one_way.T).tocsr()
    return NeighborsGraph(names, indices, distances, connectivities, N_NEIGHBORS + 1, True)


def verdict_on(keys: Keys, seed: int, **planted: Any) -> Verdict:
    points, obs = cells(seed, **planted)
    return judge(graph(points, obs.index), obs, keys, seed=seed, n_permutations=199)


def on_counts(keys: Keys, *, effect: float, imbalance: float) -> dict[str, Any]:
    """The answer on PCA of simulated counts of five types that overlap."""
    from simulation import Planted, simulate

    from scvi_downstream.cells.expression import log_normalize
    from scvi_downstream.pipelines.embedding.nodes import principal_components

    planted = Planted(
        n_cells=800, n_genes=200, n_types=5, n_batches=3, batch_effect=effect, imbalance=imbalance
    )
    counts = simulate(planted, seed=1)
    neighbors = graph(principal_components(log_normalize(counts), 30, 0), counts.obs_names)
    return judge_correction(neighbors, counts, keys, 4, pd.DataFrame(), {})


def test_shares_are_those_of_a_count_by_hand() -> None:
    rng = np.random.default_rng(0)
    neighbors = rng.integers(60, size=(60, 5))
    batches, strata = rng.integers(3, size=60), rng.integers(2, size=60)
    counted = rng.random(60) < 0.8
    found = same_batch_excess(
        neighbors, batches, strata, counted, names=["a", "b", "c"], n_permutations=400, seed=1
    )
    same = [[batches[j] == batches[i] for j in neighbors[i]] for i in np.flatnonzero(counted)]
    assert found[0].share == pytest.approx(np.mean(same))
    # a permuted pair of cells shares its batch as often as two cells drawn from their strata do
    chance = []
    for i in np.flatnonzero(counted):
        for j in neighbors[i]:
            own, other = (batches[strata == strata[cell]] for cell in (i, j))
            pairs = (own[:, None] == other).sum() - (len(own) if strata[i] == strata[j] else 0)
            among = len(own) * len(other) - (len(own) if strata[i] == strata[j] else 0)
            chance.append(1.0 if i == j else pairs / among)
    assert found[0].expected == pytest.approx(np.mean(chance), abs=0.01)
    assert found[0].effect == pytest.approx((found[0].share - found[0].expected) / (1 - found[0].expected))


@pytest.mark.slow
@pytest.mark.parametrize("imbalance", [0.0, 0.7])
def test_without_a_batch_effect_correction_is_hardly_ever_needed(imbalance: float) -> None:
    verdicts = [verdict_on(LABELLED, seed, imbalance=imbalance) for seed in range(120)]
    smallest = np.array([min(one.p for one in verdict.excess) for verdict in verdicts])
    assert np.mean([verdict.needed is True for verdict in verdicts]) <= 0.05
    assert all(verdict.needed is not None for verdict in verdicts)
    assert binom.cdf((smallest <= 0.05).sum(), 120, 0.05) < 0.999
    assert 0.3 < np.median(smallest) < 0.7


@pytest.mark.thorough
def test_a_planted_effect_is_found_and_grows_with_the_shift() -> None:
    effects = []
    for shift in (1.0, 1.5, 2.5):
        verdicts = [verdict_on(LABELLED, seed, shift=shift, imbalance=0.5) for seed in range(5)]
        assert all(verdict.needed for verdict in verdicts)
        effects.append(np.mean([verdict.overall.effect for verdict in verdicts if verdict.overall]))
    assert effects == sorted(effects)
    assert effects[-1] > 0.4


def test_one_small_batch_apart_is_named() -> None:
    points, obs = cells(3, n_cells=1500, n_batches=20)
    points[(obs["batch"] == "7").to_numpy()] += 4
    answer = judge_correction(
        graph(points, obs.index), SimpleNamespace(obs=obs), LABELLED, 0, pd.DataFrame(), {}
    )
    assert answer["needed"] is True
    assert "1 of 20 batches stand apart: 7 (" in answer["sentences"][0]


@pytest.mark.thorough
def test_without_labels_composition_is_not_taken_for_an_effect() -> None:
    balanced = [verdict_on(UNLABELLED, seed) for seed in range(6)]
    assert sum(verdict.needed is not False for verdict in balanced) <= 1
    for imbalance in (0.3, 0.6, 0.9):
        verdicts = [verdict_on(UNLABELLED, seed, imbalance=imbalance) for seed in range(3)]
        assert {verdict.outcome for verdict in verdicts} <= {"none", "negligible", "composition", "ambiguous"}
    assert verdict_on(UNLABELLED, 0, imbalance=0.6).outcome == "composition"


@pytest.mark.parametrize("imbalance", [0.5, 0.9])
def test_without_labels_composition_of_overlapping_types_is_no_effect(imbalance: float) -> None:
    assert on_counts(UNLABELLED, effect=0.0, imbalance=imbalance)["needed"] is not True


@pytest.mark.thorough
def test_without_labels_an_effect_is_never_denied() -> None:
    for shift in (1.5, 3.0, 10.0):
        verdicts = [verdict_on(UNLABELLED, seed, shift=shift) for seed in range(5)]
        assert all(verdict.needed is not False for verdict in verdicts)
    assert verdict_on(UNLABELLED, 0, shift=1.5).needed is True
    assert verdict_on(UNLABELLED, 0, shift=10.0).outcome == "ambiguous"


def test_batch_and_biology_that_are_the_same_cannot_be_told_apart() -> None:
    points, obs = cells(0)
    obs["batch"] = obs["cell_type"]
    verdict = judge(graph(points, obs.index), obs, LABELLED, seed=0)
    assert (verdict.outcome, verdict.needed) == ("confounded", None)


def test_cells_of_unknown_label_are_not_counted() -> None:
    points, obs = cells(0, n_cells=400)
    unknown = np.arange(400) < 150
    points[unknown & (obs["batch"] == "0").to_numpy()] += 20
    obs.loc[unknown, "cell_type"] = "unknown"
    verdict = judge(graph(points, obs.index), obs, LABELLED, seed=0)
    assert (verdict.needed, verdict.n_cells) == (False, 250)


def test_one_batch_or_none_needs_no_test() -> None:
    points, obs = cells(0, n_cells=60)
    obs["batch"] = "only"
    neighbors = graph(points, obs.index)
    assert judge(neighbors, obs, LABELLED, seed=0).needed is False
    assert judge(neighbors, obs, Keys(label_key="cell_type"), seed=0).needed is None
    answer = judge_correction(neighbors, SimpleNamespace(obs=obs), LABELLED, 0, pd.DataFrame(), {})
    assert answer["sentences"] == ["obs['batch'] holds one batch, so there is nothing to correct."]


@pytest.mark.thorough
@pytest.mark.parametrize(("effect", "needed"), [(0.0, False), (0.3, True)])
def test_counts_with_and_without_a_planted_effect(effect: float, needed: bool) -> None:
    answers = [on_counts(LABELLED, effect=effect, imbalance=0.5) for _ in range(2)]
    assert answers[0] == answers[1]
    assert answers[0]["needed"] is needed
    assert ("correction is needed" in answers[0]["sentences"][0]) is needed


def likelihoods(mean: float, seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    shared = 50 * np.random.default_rng(0).standard_normal(200)
    return pd.DataFrame({"share": "test", "elbo": mean + shared + rng.standard_normal(200)})


def test_models_that_differ_in_the_batch_alone_are_compared() -> None:
    models = {
        "scvi": {"name": "scvi", "family": "SCVI", "n_latent": 10, "correct_batch": True},
        "blind": {"name": "blind", "family": "SCVI", "n_latent": 10, "correct_batch": False},
        "blind5": {"name": "blind5", "family": "SCVI", "n_latent": 5, "correct_batch": False},
    }
    cells = {"scvi": likelihoods(-500, 1), "blind": likelihoods(-503, 2), "blind5": likelihoods(-400, 3)}
    board = pd.DataFrame({"elbo_test": {name: table["elbo"].mean() for name, table in cells.items()}})
    gain = likelihood_gain(board, models, Evidence(cells=cells))
    assert gain is not None
    assert (gain.with_batch, gain.without_batch) == ("scvi", "blind")
    assert gain.difference.value == pytest.approx(3, abs=0.5)
    assert gain.difference.standard_error == pytest.approx(np.sqrt(2 / 200), rel=0.2)
    assert likelihood_gain(board.drop("blind"), models, Evidence(cells=cells)) is None


def draws(**means: float) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    return pd.DataFrame({name: mean + 0.01 * rng.standard_normal(200) for name, mean in means.items()})


@pytest.mark.parametrize(("bio", "warned"), [(0.5, True), (0.66, False)])
def test_lost_biology_is_said(bio: float, warned: bool) -> None:
    scores = {
        "pca": {"scib_batch_correction": 0.3, "scib_bio_conservation": 0.65, "scib_total": 0.51},
        "scvi": {"scib_batch_correction": 0.8, "scib_bio_conservation": bio, "scib_total": 0.62},
    }
    points, obs = cells(1, shift=2)
    rng = np.random.default_rng(1)
    tables = {
        f"{name}__score_draws": draws(**values) + 0.005 * rng.standard_normal()
        for name, values in scores.items()
    }
    answer = judge_correction(
        graph(points, obs.index), SimpleNamespace(obs=obs), LABELLED, 0, pd.DataFrame(scores).T,
        {"scvi": {"correct_batch": True}}, **tables,
    )  # fmt: skip
    text = " ".join(answer["sentences"])
    assert answer["mixing"]["model"] == "scvi"
    assert "0.30 on PCA and 0.80 on scvi, which mixes batches better" in text
    assert ("Bio conservation falls" in text) is warned
