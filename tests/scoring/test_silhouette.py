"""Silhouettes equal scikit-learn, and their influence is the derivative by a cell's weight."""

import numpy as np
import pytest

from scvi_downstream.scoring.silhouette import against_nearest, against_others, cosine, euclidean


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    rng = np.random.default_rng(0)
    return rng.normal(size=(60, 3)) + 1.5 * np.eye(4, 3)[np.arange(60) % 4]


@pytest.fixture(scope="module")
def groups() -> np.ndarray:
    codes = np.arange(60) % 4
    codes[codes == 3] = 2
    codes[3] = 3  # a group of one cell
    return codes


def widths_under(weights: np.ndarray, apart: np.ndarray, groups: np.ndarray, *, nearest: bool) -> np.ndarray:
    """Silhouettes by their definition, every mean distance weighted."""
    widths = np.zeros(len(groups))
    for cell, group in enumerate(groups):
        own = groups == group
        others = own & (np.arange(len(groups)) != cell)
        if not others.any():
            continue
        within = np.average(apart[cell][others], weights=weights[others])
        members = [groups == other for other in np.unique(groups) if other != group] if nearest else [~own]
        between = min(np.average(apart[cell][m], weights=weights[m]) for m in members)
        widths[cell] = (between - within) / max(between, within)
    return widths


def test_equals_scikit_learn(points: np.ndarray, groups: np.ndarray) -> None:
    from sklearn.metrics import silhouette_samples
    from sklearn.metrics.pairwise import cosine_distances

    np.testing.assert_allclose(
        against_nearest(euclidean(points), groups).widths, silhouette_samples(points, groups), atol=1e-12
    )
    many = np.random.default_rng(2).normal(size=(700, 3)) + np.eye(3)[np.arange(700) % 3]
    thirds = np.arange(700) % 3
    np.testing.assert_allclose(
        against_nearest(euclidean(many), thirds).widths, silhouette_samples(many, thirds), atol=1e-10
    )
    far = (points + 1e4).astype(np.float32)
    np.testing.assert_allclose(
        against_nearest(euclidean(far), groups).widths, silhouette_samples(far, groups), atol=1e-5
    )
    np.testing.assert_allclose(cosine(points)(slice(None), slice(None)), cosine_distances(points), atol=1e-12)


@pytest.mark.parametrize("nearest", [True, False])
def test_influence_is_the_derivative_by_the_weight_of_a_cell(
    points: np.ndarray, groups: np.ndarray, nearest: bool
) -> None:
    distances = euclidean(points) if nearest else cosine(points)
    silhouettes = (against_nearest if nearest else against_others)(distances, groups)
    everyone, apart = np.ones(60), distances(slice(None), slice(None))
    np.testing.assert_allclose(
        silhouettes.widths, widths_under(everyone, apart, groups, nearest=nearest), atol=1e-12
    )
    shares = np.random.default_rng(1).random((60, 2))
    influence = silhouettes.influence(shares)
    np.testing.assert_allclose(influence.sum(axis=0), 0, atol=1e-12)
    for cell in (0, 3, 17, 58):
        step = 1e-6 * (np.arange(60) == cell)
        more, less = (
            widths_under(everyone + side * step, apart, groups, nearest=nearest) for side in (1, -1)
        )
        np.testing.assert_allclose(shares.T @ (more - less) / 2e-6, influence[cell], atol=1e-7)


def test_equal_points_have_no_width() -> None:
    silhouettes = against_nearest(euclidean(np.ones((6, 2))), np.arange(6) % 2)
    assert (silhouettes.widths == 0).all()
    assert np.isfinite(silhouettes.influence(np.ones((6, 1)))).all()
