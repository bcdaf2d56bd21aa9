"""Simulated counts hold what was planted, and nothing else."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2_contingency
from simulation import (
    LATENT_KEY,
    LOADINGS_KEY,
    Cohort,
    Course,
    Planted,
    simulate,
    simulate_cohort,
    simulate_course,
    simulate_from,
)

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


DEEP = Planted(n_genes=60, n_types=2, median_counts=20_000, dispersion=50.0)


@pytest.mark.parametrize(("conditions", "n_samples"), [("donors", 8), ("samples", 8), ("cells", 4)])
def test_a_cohort_has_the_planted_samples(conditions: str, n_samples: int) -> None:
    cohort = Cohort(DEEP, conditions=conditions, n_donors=4, cells_per_sample=(20, 30))
    counts = simulate_cohort(cohort, seed=0)
    sizes = counts.obs["sample"].value_counts()
    assert len(sizes) == n_samples
    assert sizes.between(20, 30).all()
    assert counts.obs["donor"].nunique() == (8 if conditions == "donors" else 4)
    per_sample = counts.obs.groupby("sample", observed=True)["condition"].nunique()
    assert (per_sample == (2 if conditions == "cells" else 1)).all()
    per_donor = counts.obs.groupby("donor", observed=True)["condition"].nunique()
    assert (per_donor == (1 if conditions == "donors" else 2)).all()
    assert counts.varm[LOADINGS_KEY].shape == (60, 5)
    assert not counts.var["changes"].any()


def shares_of(counts: AnnData, mask: np.ndarray) -> np.ndarray:
    """Mean share of each gene in some cells, on the scale of log2."""
    part = counts.X[mask].toarray()
    return np.log2((part / part.sum(axis=1, keepdims=True)).mean(axis=0))


def test_a_condition_changes_the_planted_genes_and_no_others() -> None:
    cells = Cohort(
        DEEP, conditions="cells", n_donors=2, cells_per_sample=(900, 1000), donor_sd=0, composition_sd=0
    )
    changed = replace(cells, change=2.0, share_changed=0.2, depth=(0.5, 0.0))
    counts = simulate_cohort(changed, seed=1)
    in_b = (counts.obs["condition"] == "b").to_numpy()
    change = shares_of(counts, in_b) - shares_of(counts, ~in_b)
    planted = counts.var["changes"].to_numpy()
    assert planted.sum() == 12
    # half of the genes of pairs are a quarter, their partners take what these lose
    assert (change[planted] < -1.7).sum() == 6
    assert np.abs(change[~planted]).max() < 0.3
    depth = np.asarray(counts.X.sum(axis=1)).ravel()
    assert np.median(depth[in_b]) / np.median(depth[~in_b]) == pytest.approx(0.5, rel=0.15)
    frequent = simulate_cohort(replace(cells, abundance=1.5), seed=1).obs
    odds = pd.crosstab(frequent["condition"], frequent["cell_type"]).to_numpy()
    assert np.log(odds[1, 0] * odds[0, 1] / odds[1, 1] / odds[0, 0]) == pytest.approx(1.5, abs=0.5)


def test_donors_of_a_cohort_differ_by_as_much_as_planted() -> None:
    many = Cohort(replace(DEEP, n_types=1, signal=0.0), n_donors=10, cells_per_sample=(60, 70), donor_sd=0.3)
    counts = simulate_cohort(many, seed=0)
    of_sample = counts.obs["sample"].to_numpy()
    logs = np.array([shares_of(counts, of_sample == name) for name in np.unique(of_sample)]) * np.log(2)
    assert np.median(logs.std(axis=0, ddof=1)) == pytest.approx(0.3, rel=0.3)


def test_a_course_changes_genes_along_it_and_between_its_lineages() -> None:
    course = Course(replace(DEEP, n_cells=3000), change=2.0, parting=2.0, share_changed=0.2)
    counts = simulate_course(course, seed=0)
    time, lineage = counts.obs["time"].to_numpy(), counts.obs["lineage"].to_numpy()
    along = shares_of(counts, time > 0.9) - shares_of(counts, time < 0.1)
    ends = [shares_of(counts, (time > 0.9) & (lineage == name)) for name in ("0", "1")]
    changes, parts = counts.var["changes"].to_numpy(), counts.var["parts"].to_numpy()
    assert not (changes & parts).any()
    assert (changes.sum(), parts.sum()) == (12, 12)
    assert (along[changes] < -1.2).sum() == 6
    apart = np.abs(ends[0] - ends[1])
    assert (apart[parts] > 0.4).mean() > 0.7
    assert np.abs(along[~changes & ~parts]).max() < 0.3
    assert apart[~parts].max() < 0.4
    still = simulate_course(replace(course, change=0.0, parting=0.0), seed=0)
    assert not (still.var["changes"] | still.var["parts"]).any()


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
