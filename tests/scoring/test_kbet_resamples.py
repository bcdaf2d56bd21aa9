"""Resampled kBET keeps mixed cells accepted, follows the batches and is as wide as new samples are."""

import numpy as np
import pytest

from scvi_downstream.graphs.neighbors import find_neighbors
from scvi_downstream.scoring.kbet import Neighborhoods, acceptance, acceptance_in_resamples, acceptance_rate

SIZE = 20


def line(n_cells: int, gradient: float, seed: int) -> Neighborhoods:
    """Cells on a line; the share of the second batch rises along it from ``0.5 - gradient`` to ``0.5 + gradient``."""
    rng = np.random.default_rng(seed)
    places = np.sort(rng.random(n_cells))
    batches = (rng.random(n_cells) < 0.5 + gradient * (2 * places - 1)).astype(int)
    nearest = find_neighbors(places[:, None], 2 * SIZE, exact=True, seed=0)[0]
    return Neighborhoods(np.arange(n_cells), batches, nearest, SIZE)


def resamples(n_cells: int, n_draws: int, seed: int = 0) -> np.ndarray:
    return (
        np.random.default_rng(seed).multinomial(n_cells, np.full(n_cells, 1 / n_cells), n_draws).astype(float)
    )


def test_score_is_the_share_of_neighbourhoods_that_pass() -> None:
    group = line(400, 0.3, seed=1)
    assert group.nearest is not None
    assert acceptance([group]) == acceptance_rate(group.nearest[:, :SIZE], group.batches)
    assert np.isnan(acceptance([]))


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("gradient", "least", "most"), [(0.0, 0.85, 1.0), (0.25, 0.5, 0.95), (0.5, 0.1, 0.45)]
)
def test_resamples_lie_about_the_score_with_the_spread_of_new_samples(
    gradient: float, least: float, most: float
) -> None:
    scores = [acceptance([line(400, gradient, seed)]) for seed in range(150)]
    assert least < np.mean(scores) < most
    draws = [
        acceptance_in_resamples([line(400, gradient, seed)], resamples(400, 60, seed)) for seed in range(10)
    ]
    assert np.mean(draws) == pytest.approx(np.mean(scores), abs=0.08)
    assert 0.6 < np.mean(np.std(draws, axis=1)) / np.std(scores) < 2


def test_a_draw_depends_on_its_own_weights_alone() -> None:
    group, weights = line(200, 0.3, seed=0), resamples(200, 6)
    together = acceptance_in_resamples([group], weights)
    np.testing.assert_array_equal(together[3:4], acceptance_in_resamples([group], weights[3:4]))
    assert together.std() > 0


def test_labels_that_fall_apart_pass_nowhere_and_labels_count_alike() -> None:
    apart = Neighborhoods(np.arange(5), np.zeros(5, dtype=int), None, SIZE)
    group, weights = line(200, 0.3, seed=0), resamples(200, 4)
    alone, beside = (acceptance_in_resamples(groups, weights) for groups in ([group], [group, apart]))
    np.testing.assert_allclose(beside, alone / 2)
    assert np.isnan(acceptance_in_resamples([], weights)).all()


def test_a_batch_that_no_draw_holds_is_no_number_but_no_error() -> None:
    group = line(60, 0.3, seed=0)
    weights = np.where(group.batches == 0, 1.0, 0.0)[None]
    assert 0 <= acceptance_in_resamples([group], weights)[0] <= 1
