from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from scvi_downstream.pipelines.factors.effects import LatentEffects, linear_effects, order_factors

N_CELLS, N_GENES, N_DIMENSIONS = 80, 30, 4


def _fitted(seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    mixed = random.normal(size=(N_CELLS, N_DIMENSIONS)) @ random.normal(size=(N_DIMENSIONS, N_DIMENSIONS))
    return random.gamma(1, 1, size=(N_GENES, N_DIMENSIONS)) * random.choice([-1, 1], N_DIMENSIONS), mixed


def _ordered(weights: np.ndarray, latent: np.ndarray, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    expression = sparse.random(N_CELLS, N_GENES, 0.4, "csr", np.float32, rng=np.random.default_rng(seed))
    names = [f"latent_{k}" for k in range(1, latent.shape[1] + 1)]
    genes = pd.Index([f"gene{g}" for g in range(N_GENES)])
    table = pd.DataFrame(latent, columns=names)
    return order_factors(linear_effects(weights, latent), table, genes, expression)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 1000),
    order=st.permutations(range(N_DIMENSIONS)),
    signs=st.lists(st.sampled_from([-1.0, 1.0]), min_size=N_DIMENSIONS, max_size=N_DIMENSIONS),
)
def test_order_and_signs_of_the_latent_change_no_bit_of_the_loadings(
    seed: int, order: list[int], signs: list[float]
) -> None:
    weights, latent = _fitted(seed)
    loadings, variance = _ordered(weights, latent)
    turned, turned_variance = _ordered(weights[:, order] * signs, latent[:, order] * signs)
    pd.testing.assert_frame_equal(turned, loadings, check_exact=True)
    shares = ["factor", "sd", "variance_share", "unique_share", "observed_share", "observed_cumulative"]
    pd.testing.assert_frame_equal(turned_variance[shares], variance[shares])
    at = [order.index(int(name.removeprefix("latent_")) - 1) for name in variance["dimension"]]
    assert turned_variance["dimension"].tolist() == [f"latent_{position + 1}" for position in at]
    flips = np.array([signs[position] for position in at])
    assert (turned_variance["sign"] == variance["sign"] * flips).all()


def test_the_heavier_tail_is_positive() -> None:
    loadings, _ = _ordered(*_fitted(3))
    assert ((loadings**3).sum() > 0).all()
    assert (loadings.max() > -loadings.min()).all()


def test_loadings_without_a_heavier_tail_have_a_sign_all_the_same() -> None:
    slopes = np.zeros((N_GENES, 2))
    slopes[[0, 1], 0] = [-2, 2]
    effects = LatentEffects(slopes, np.array([8.0, 0.0]), 8.0)
    latent = pd.DataFrame(
        np.random.default_rng(0).normal(size=(N_CELLS, 2)), columns=["latent_1", "latent_2"]
    )
    expression = sparse.csr_matrix((N_CELLS, N_GENES), dtype=np.float32)
    loadings, variance = order_factors(effects, latent, pd.RangeIndex(N_GENES).astype(str), expression)
    assert loadings["factor_1"].iloc[0] == 2
    assert variance["sign"].tolist() == [-1, 1]
    assert variance["active"].tolist() == [True, False]
    assert variance["observed_share"].tolist() == [0, 0]


def test_shares_of_variance_are_those_of_linear_regression() -> None:
    from sklearn.linear_model import LinearRegression
    from sklearn.metrics import r2_score

    weights, latent = _fitted(5)
    loadings, variance = _ordered(weights, latent)
    values = latent[:, [int(name.split("_")[1]) - 1 for name in variance["dimension"]]]
    decoded = latent @ weights.T
    decoded -= decoded.mean(axis=1, keepdims=True)
    assert variance["variance_share"].is_monotonic_decreasing
    for k, row in variance.iterrows():
        own = np.outer((values[:, k] - values[:, k].mean()) / values[:, k].std(), loadings[row["factor"]])
        assert row["variance_share"] == pytest.approx(own.var(axis=0).sum() / decoded.var(axis=0).sum())
        others = np.delete(values, k, axis=1)
        rest = 1 - LinearRegression().fit(others, values[:, k]).score(others, values[:, k])
        assert row["unique_share"] == pytest.approx(row["variance_share"] * rest)
    # without the mean gene, what a factor explains beyond the others is its unique share
    residual = decoded - LinearRegression().fit(values[:, 1:], decoded).predict(values[:, 1:])
    assert variance["unique_share"].iloc[0] == pytest.approx(
        residual.var(axis=0).sum() / decoded.var(axis=0).sum()
    )

    expression = sparse.random(
        N_CELLS, N_GENES, 0.4, "csr", np.float32, rng=np.random.default_rng(0)
    ).toarray()
    for k in range(N_DIMENSIONS):
        first, alone = values[:, : k + 1], values[:, [k]]
        for column, predictors in (("observed_cumulative", first), ("observed_share", alone)):
            predicted = LinearRegression().fit(predictors, expression).predict(predictors)
            score = r2_score(expression, predicted, multioutput="variance_weighted")
            assert variance[column].iloc[k] == pytest.approx(score, abs=1e-6)


def test_what_the_decoder_does_not_use_predicts_nothing() -> None:
    weights, latent = _fitted(1)
    echo = 1e-3 * latent[:, [0]]
    loadings, variance = _ordered(np.column_stack([weights, weights[:, 0]]), np.column_stack([latent, echo]))
    assert variance["active"].tolist() == [True] * N_DIMENSIONS + [False]
    without = _ordered(weights, latent)[1]
    np.testing.assert_allclose(variance["unique_share"][:-1], without["unique_share"], rtol=0.01)
    assert loadings.shape == (N_GENES, N_DIMENSIONS + 1)
