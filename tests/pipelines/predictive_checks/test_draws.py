"""Counts that models and laws generate, and of which cells."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import optimize, sparse, stats

from scvi_downstream.models.scvi_internals import decode, encode
from scvi_downstream.pipelines.predictive_checks.counting import AS_GOOD_AS_POISSON, draw_counts
from scvi_downstream.pipelines.predictive_checks.draws import (
    StatePool,
    choose_cells,
    fit_dispersions,
    fit_rates,
    negative_binomial_draws,
    other_cells,
    own_draws,
    poisson_draws,
    pool_states,
    population_draws,
)
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.threads import quiet

from .conftest import fit


class Split:
    """What of a model decides on the cells."""

    def __init__(self, train: int, validation: int, test: int) -> None:
        ends = np.cumsum([train, validation, test])
        self.train_indices = np.arange(ends[0])
        self.validation_indices = np.arange(ends[0], ends[1])
        self.test_indices = np.arange(ends[1], ends[2])


def test_cells_are_test_cells_where_there_are_enough() -> None:
    labels = pd.Series(pd.Categorical(np.where(np.arange(200) % 4, "x", "y")))
    cells = choose_cells(Split(140, 20, 40), [labels, None], 20, 0)  # type: ignore[arg-type]
    assert cells.share == "test"
    assert set(cells.held_out) <= set(range(160, 200))
    assert len(cells.held_out) == 20
    assert labels.iloc[cells.held_out].eq("y").sum() == 5
    assert set(cells.training) <= set(range(140))
    few = choose_cells(Split(140, 20, 5), [], 100, 0)  # type: ignore[arg-type]
    assert few.share == "test and validation"
    assert len(few.held_out) == 25
    with pytest.raises(InputError, match=r"leaves 4; lower training\.train_size"):
        choose_cells(Split(140, 2, 2), [], 100, 0)  # type: ignore[arg-type]


def test_other_cells_are_of_the_batch_and_about_the_size() -> None:
    import torch

    rng = np.random.default_rng(0)
    batch = np.repeat([0, 2], [200, 30])
    library = np.concatenate([np.sort(rng.lognormal(7, 1, 200)), np.sort(rng.lognormal(7, 1, 30))])
    pool = StatePool(torch.zeros((230, 2)), batch, library)
    chosen = other_cells(pool, np.array([0, 2, 1]), np.array([library[100], 1e9, 10.0]), 500, rng)
    assert chosen.shape == (500, 3)
    assert set(chosen[:, 0]) == set(range(75, 125))
    assert set(chosen[:, 1]) == set(range(200, 230))
    assert chosen[:, 2].min() >= 0
    assert chosen[:, 2].max() < 230


def test_scvi_tools_encodes_and_decodes_as_its_forward_pass_does(unstructured: AnnData) -> None:
    import torch
    from scvi.dataloaders import AnnDataLoader
    from scvi.model import SCVI

    cells = unstructured.copy()
    with quiet():
        SCVI.setup_anndata(cells, batch_key="batch")
        model = SCVI(cells, gene_likelihood="nb")
    (tensors,) = AnnDataLoader(model.adata_manager, indices=np.arange(9), batch_size=9)
    torch.manual_seed(0)
    ours = decode(model, tensors, encode(model, tensors, 3))["px"].mean
    torch.manual_seed(0)
    with torch.inference_mode():
        _, theirs = model.module.forward(tensors, inference_kwargs={"n_samples": 3}, compute_loss=False)
    np.testing.assert_array_equal(ours.numpy(), theirs["px"].mean.numpy())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "arguments"),
    [
        ("SCVI", {"gene_likelihood": "nb"}),
        ("SCVI", {"gene_likelihood": "poisson", "use_observed_lib_size": False}),
        ("LinearSCVI", {}),
        ("SCANVI", {"gene_likelihood": "nb"}),
        ("DRVI", {"gene_likelihood": "pnb"}),
        ("TOTALVI", {}),
        ("MRVI", {}),
    ],
)
def test_every_family_draws_counts(unstructured: AnnData, family: str, arguments: dict[str, object]) -> None:
    model = fit(family, unstructured, epochs=2, **arguments)
    cells = np.arange(12)
    pool = pool_states(model, np.arange(100))
    for draw in (own_draws(model, 20, 0), population_draws(model, pool, 20, 0)):
        counts = draw(cells)
        assert counts.shape == (20, 12, 60)
        assert counts.dtype == np.float32
        assert (counts >= 0).all()
        np.testing.assert_array_equal(counts, np.rint(counts))
    if getattr(model.module, "use_observed_lib_size", True):  # two epochs teach no encoder of library sizes
        assert counts.sum(axis=2).mean() == pytest.approx(unstructured.X[:12].sum(axis=1).mean(), rel=0.3)


@pytest.mark.slow
def test_a_likelihood_without_counts_is_refused(unstructured: AnnData) -> None:
    model = fit("SCVI", unstructured, epochs=1, gene_likelihood="normal")
    with pytest.raises(InputError, match="generates no counts"):
        own_draws(model, 20, 0)(np.arange(3))


@pytest.mark.parametrize("mean", [1e-7, 0.01, 0.4, 5.0, 29.0, 31.0, 400.0])
@pytest.mark.parametrize("theta", [0.05, 1.0, 30.0, AS_GOOD_AS_POISSON])
@pytest.mark.parametrize("dropout", [None, -2.0, 3.0])
def test_counts_are_of_their_law(mean: float, theta: float, dropout: float | None) -> None:
    n = 40_000
    means, thetas = np.full((2, 1), mean, np.float32), np.full((1, 1), theta, np.float32)
    logits = None if dropout is None else np.full((2, 1), dropout, np.float32)
    counts = draw_counts(means, thetas, logits, n // 2, np.random.default_rng(0)).ravel()
    law = stats.poisson(mean) if theta == AS_GOOD_AS_POISSON else stats.nbinom(theta, theta / (theta + mean))
    never = 0.0 if dropout is None else 1 / (1 + np.exp(-dropout))
    edges = np.unique(law.ppf(np.linspace(0.01, 0.999, 12)))
    bounds = np.concatenate([[-1], edges, [np.inf]])
    expected = n * ((1 - never) * np.diff(law.cdf(bounds)) + never * (bounds[:-1] < 0))
    observed = np.histogram(counts, bounds + 0.5)[0]
    enough = expected > 5
    excess = np.square(observed - expected)[enough] / expected[enough]
    assert excess.sum() < stats.chi2.isf(1e-6, enough.sum())
    assert observed[~enough].sum() <= 40


def test_planted_dispersions_are_found(overdispersed) -> None:
    known = overdispersed.reference.mean > 0.5
    ratio = np.log(overdispersed.fitted_theta / overdispersed.theta)[known]
    assert np.abs(np.median(ratio)) < 0.05
    assert np.quantile(np.abs(ratio), 0.9) < 0.35
    np.testing.assert_allclose(overdispersed.rates.shares[0], overdispersed.shares, rtol=0.5, atol=1e-4)


def test_dispersions_are_where_scipy_finds_the_maximum(overdispersed) -> None:
    fitted, rates = overdispersed.fitted, overdispersed.rates
    for gene in np.flatnonzero(overdispersed.reference.mean > 1)[:3]:
        observed = overdispersed.counts[fitted, gene].toarray().ravel()
        expected = rates.expected(fitted)[:, gene]

        def loss(log_theta: float, observed=observed, expected=expected) -> float:
            theta = np.exp(log_theta)
            return -stats.nbinom.logpmf(observed, theta, theta / (theta + expected)).sum()

        best = optimize.minimize_scalar(loss, bounds=(-7, 9), method="bounded", options={"xatol": 1e-6}).x
        assert np.log(overdispersed.fitted_theta[gene]) == pytest.approx(best, abs=2e-3)


def test_poisson_counts_have_dispersions_without_effect(equidispersed) -> None:
    expressed = equidispersed.reference.mean > 1
    extra = equidispersed.reference.mean[expressed] / equidispersed.fitted_theta[expressed]
    assert np.median(extra) < 0.03


def test_batches_have_shares_of_their_own_and_none_is_zero() -> None:
    rng = np.random.default_rng(0)
    batch = np.repeat([0, 1], 300)
    mean = np.array([[2.0, 1.0, 7.0, 0.0], [4.0, 1.0, 5.0, 0.0]])
    counts = sparse.csr_matrix(rng.poisson(mean[batch]).astype(np.float32))
    fitted = np.flatnonzero(np.arange(600) % 10)
    rates = fit_rates(counts, batch, fitted)
    np.testing.assert_allclose(rates.shares[:, :3], mean[:, :3] / 10, rtol=0.15)
    assert (rates.shares[:, 3] > 0).all()
    assert rates.expected(np.array([0, 599])).shape == (2, 4)
    assert np.isfinite(fit_dispersions(counts, rates, fitted)).all()


def test_draws_have_the_moments_of_their_law(overdispersed) -> None:
    cells = np.arange(5)
    mean = overdispersed.rates.expected(cells)
    theta = np.full(200, 2.0)
    counts = negative_binomial_draws(overdispersed.rates, theta, 4000, 0)(cells)
    assert counts.shape == (4000, 5, 200)
    assert counts.dtype == np.float32
    np.testing.assert_allclose(counts.mean(axis=(0, 1)), mean.mean(axis=0), rtol=0.15)
    ratio = counts.var(axis=0) / (mean + mean**2 / 2)
    assert np.median(ratio) == pytest.approx(1, abs=0.02)
    equal = poisson_draws(overdispersed.rates, 4000, 0)(cells)
    assert np.median(equal.var(axis=0) / mean) == pytest.approx(1, abs=0.02)
