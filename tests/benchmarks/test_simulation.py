"""Simulated counts hold what was planted, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2_contingency
from simulation import LATENT_KEY, Planted, simulate, simulate_from

from scvi_downstream.runtime.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData

    from scvi_downstream.models.saved import SavedModel


def test_counts_are_whole_numbers_with_the_planted_shape() -> None:
    planted = Planted(n_cells=300, n_genes=40, n_latent=4, n_types=3, n_batches=2)
    counts = simulate(planted, seed=5)
    assert counts.shape == (300, 40)
    assert (counts.X.data == np.rint(counts.X.data)).all()
    assert counts.X.min() == 0
    assert counts.obsm[LATENT_KEY].shape == (300, 4)
    assert (counts.obs["cell_type"].nunique(), counts.obs["batch"].nunique()) == (3, 2)
    again, other = simulate(planted, seed=5), simulate(planted, seed=6)
    assert (counts.X != again.X).nnz == 0
    assert (counts.X != other.X).nnz > 0


def test_every_latent_dimension_matters_alike() -> None:
    """Nearest neighbours in the planted latent predict log counts; without one dimension they do so equally worse."""
    from scvi_downstream.cells.expression import log_normalize

    counts = simulate(Planted(n_cells=3000, n_genes=80, n_latent=3, median_counts=20_000), seed=2)
    expression = log_normalize(counts).toarray()
    latent = counts.obsm[LATENT_KEY]

    def explained(dimensions: list[int]) -> float:
        from sklearn.neighbors import KNeighborsRegressor

        model = KNeighborsRegressor(10).fit(latent[:2000, dimensions], expression[:2000])
        residual = expression[2000:] - model.predict(latent[2000:, dimensions])
        return float(1 - residual.var(axis=0).sum() / expression[2000:].var(axis=0).sum())

    everything = explained([0, 1, 2])
    lost = [everything - explained([j for j in range(3) if j != i]) for i in range(3)]
    assert min(lost) > 0.1
    assert max(lost) < 2.5 * min(lost)


def test_batches_without_effect_are_independent_of_counts() -> None:
    counts = simulate(Planted(n_cells=2000, n_genes=60, n_types=4, n_batches=2), seed=3)
    obs = counts.obs
    assert chi2_contingency(pd.crosstab(obs["cell_type"], obs["batch"])).pvalue > 0.01
    assert batch_shift(counts) < 0.1
    shifted = simulate(Planted(n_cells=2000, n_genes=60, n_types=4, n_batches=2, batch_effect=0.5), seed=3)
    # the difference of two shifts with a standard deviation of 0.5 each
    assert batch_shift(shifted) == pytest.approx(0.5 * np.sqrt(2), rel=0.35)


def batch_shift(counts: AnnData) -> float:
    """Standard deviation over genes of the log ratio of mean counts."""
    first = (counts.obs["batch"] == "0").to_numpy()
    means = [np.asarray(counts.X[mask].mean(axis=0)).ravel() for mask in (first, ~first)]
    return float(np.std(np.log(means[0] / means[1])))


def test_imbalance_goes_from_equal_to_separate_compositions() -> None:
    alone = simulate(Planted(n_cells=400, n_genes=20, n_types=2, n_batches=2, imbalance=1.0), seed=0).obs
    assert (alone["cell_type"].astype(str) == alone["batch"].astype(str)).all()


def test_counts_vary_more_than_poisson_by_the_dispersion() -> None:
    """At signal 0 every cell has the same expected shares, so that variance / mean² − 1 / mean is about 1 / θ."""
    planted = Planted(n_cells=20_000, n_genes=30, signal=0.0, counts_sd=0.0, dispersion=2.0)
    counts = simulate(planted, seed=1).X.toarray()
    mean, variance = counts.mean(axis=0), counts.var(axis=0)
    overdispersion = (variance - mean) / mean**2
    assert np.median(overdispersion[mean > 1]) == pytest.approx(0.5, rel=0.3)
    dropped = simulate(Planted(n_cells=5000, n_genes=30, dropout=0.4), seed=1).X
    kept = simulate(Planted(n_cells=5000, n_genes=30), seed=1).X
    assert dropped.nnz / kept.nnz == pytest.approx(0.6, abs=0.02)


@pytest.mark.thorough
def test_a_fitted_model_generates_counts_like_its_own(fitted_scvi: SavedModel, pbmc_counts: AnnData) -> None:
    model = fitted_scvi.attach(pbmc_counts)
    counts = simulate_from(model, 500, seed=0)
    assert (counts.var_names == model.adata.var_names).all()
    assert counts.obsm[LATENT_KEY].shape == (500, model.module.n_latent)
    real, drawn = (np.log1p(np.asarray(x.mean(axis=0)).ravel()) for x in (model.adata.X, counts.X))
    assert np.corrcoef(real, drawn)[0, 1] > 0.8
    assert (counts.X != simulate_from(model, 500, seed=0).X).nnz == 0
    model.module.use_observed_lib_size = False
    with pytest.raises(InputError, match="use_observed_lib_size"):
        simulate_from(model, 10, seed=0)
