"""Thinning is honest, scores are right, and noise gives no winner."""

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.stats import pearsonr, poisson, spearmanr

from scvi_downstream.pipelines.imputation.options import ImputationOptions
from scvi_downstream.pipelines.imputation.scoring import (
    Baselines,
    assign_roles,
    compare_methods,
    poisson_nll,
    score_imputation,
    thin,
)
from scvi_downstream.study.defaults import defaults_of


class StandInModel:
    """What the scoring needs of a saved scvi-tools model; predicts given rates, whatever it is shown."""

    def __init__(self, counts, rates, n_test=150):
        self.adata = counts
        order = np.random.default_rng(1).permutation(counts.n_obs)
        self.test_indices, self.validation_indices, self.train_indices = (
            order[:n_test],
            order[n_test : n_test + 100],
            order[n_test + 100 :],
        )
        self._rates = rates

    def attach(self, *_):
        return self

    def get_normalized_expression(self, adata, indices, **_):
        return self._rates.loc[adata.obs_names[indices]].to_numpy()


def simulate(profiles, depth=400, n_cells=600, seed=0):
    rng = np.random.default_rng(seed)
    group = rng.integers(len(profiles), size=n_cells)
    library = rng.lognormal(np.log(depth), 0.3, n_cells)
    rates = pd.DataFrame(profiles[group], index=[f"cell{i}" for i in range(n_cells)])
    counts = sparse.csr_matrix(rng.poisson(rates.to_numpy() * library[:, None]).astype(np.float32))
    return anndata.AnnData(counts, obs=pd.DataFrame(index=rates.index)), rates


def random_profiles(n_groups, n_genes=60, seed=0):
    return np.random.default_rng(seed).dirichlet(np.full(n_genes, 0.7), size=n_groups)


def test_parts_add_up_and_hold_out_the_share():
    counts = sparse.random(200, 50, 0.3, format="csr", random_state=0, data_rvs=lambda n: np.full(n, 30.0))
    kept, held_out = thin(counts, 0.2, seed=0)

    np.testing.assert_array_equal((kept + held_out).toarray(), counts.toarray())
    assert held_out.sum() / counts.sum() == pytest.approx(0.2, abs=0.005)
    assert (
        abs(
            np.corrcoef(kept.toarray()[counts.toarray() > 0], held_out.toarray()[counts.toarray() > 0])[0, 1]
            + 1
        )
        < 1e-9
    )


def test_roles_never_overlap_and_few_test_cells_give_way_to_validation_cells():
    train, validation, test = np.arange(80), np.arange(80, 110), np.arange(110, 140)
    roles = assign_roles(train, validation, test, 5000, 0)
    assert roles.share == "test"
    assert set(roles.scored) == set(test)
    assert set(roles.tuning) == set(validation)

    roles = assign_roles(train, validation, test[:19], 5000, 0)
    assert roles.share == "validation"
    assert not set(roles.scored) & set(roles.reference)
    assert not set(roles.tuning) & set(roles.reference)
    assert not set(roles.tuning) & set(roles.scored)


def test_poisson_loss_equals_scipy():
    mean, count = np.array([[0.1, 2.0, 30.0]]), np.array([[0, 3, 25]])
    np.testing.assert_allclose(poisson_nll(mean, count), -poisson.logpmf(count, mean), rtol=1e-10)


def test_correlations_equal_scipy():
    counts, rates = simulate(random_profiles(3))
    kept, held_out = thin(counts.X, 0.2, 0)
    _, scored = compare_methods(
        {"model": rates.to_numpy(), "gene_mean": rates.to_numpy() * 0 + 1 / 60}, kept, held_out, 0.2, seed=0
    )
    library = np.asarray(kept.sum(axis=1)).ravel()
    gene = int(np.argmax(scored["model"].pearson))
    observed = held_out.toarray()[:, gene] / library
    assert scored["model"].pearson[gene] == pytest.approx(pearsonr(rates[gene], observed)[0])
    assert scored["model"].spearman[gene] == pytest.approx(spearmanr(rates[gene], observed)[0])
    assert np.isnan(scored["gene_mean"].pearson).all()


def test_the_true_rates_beat_every_baseline_when_there_are_groups():
    counts, rates = simulate(random_profiles(6), depth=100)
    scores, by_gene = score_imputation(
        StandInModel(counts, rates), counts, defaults_of(ImputationOptions), 0, "cpu"
    )

    losses = {method: values["poisson_nll"]["value"] for method, values in scores["methods"].items()}
    assert min(losses, key=losses.get) == "model"
    assert scores["difference"]["high"] < 0
    assert "better than" in scores["verdict"]
    assert losses["knn_smoothing"] < losses["gene_mean"]
    assert len(by_gene) == counts.n_vars


def test_pure_noise_around_one_profile_has_no_winner():
    counts, rates = simulate(random_profiles(1))
    training_mean = rates * 0 + np.asarray(counts.X[250:].mean(axis=0)) / counts.X[250:].mean(axis=0).sum()
    scores, _ = score_imputation(
        StandInModel(counts, training_mean), counts, defaults_of(ImputationOptions), 0, "cpu"
    )

    mean = scores["methods"]["gene_mean"]["poisson_nll"]["value"]
    assert abs(scores["difference"]["value"]) < 0.003 * mean
    for method in ("knn_smoothing", "thinned_cell"):
        assert scores["methods"][method]["poisson_nll"]["value"] > 0.997 * mean


def test_a_model_that_invents_structure_loses_on_noise():
    counts, rates = simulate(random_profiles(1))
    invented = rates * np.random.default_rng(0).lognormal(0, 0.5, rates.shape)
    invented = invented.div(invented.sum(axis=1), axis=0)
    scores, _ = score_imputation(
        StandInModel(counts, invented), counts, defaults_of(ImputationOptions), 0, "cpu"
    )
    assert scores["difference"]["low"] > 0
    assert "worse than" in scores["verdict"]


@pytest.mark.slow
def test_a_model_fitted_to_noise_is_not_better_than_the_gene_mean():
    import scvi

    counts, _ = simulate(random_profiles(1, n_genes=40), depth=100, n_cells=400)
    scvi.model.SCVI.setup_anndata(counts)
    scvi.settings.seed = 0
    model = scvi.model.SCVI(counts, n_latent=3, n_hidden=32)
    model.train(
        max_epochs=40,
        train_size=0.6,
        validation_size=0.2,
        accelerator="cpu",
        enable_progress_bar=False,
        batch_size=64,
    )
    model.attach = lambda *_: model
    scores, _ = score_imputation(model, counts, defaults_of(ImputationOptions), 0, "cpu")

    losses = {method: values["poisson_nll"]["value"] for method, values in scores["methods"].items()}
    assert losses["model"] > 0.999 * losses["gene_mean"]
    assert "better" not in scores["verdict"]


@pytest.mark.thorough
def test_the_interval_covers_the_true_difference_of_two_fixed_predictors():
    covered = 0
    for seed in range(40):
        counts, rates = simulate(random_profiles(2), depth=60, n_cells=120, seed=seed)
        kept, held_out = thin(counts.X, 0.5, seed)
        flat = np.full(rates.shape, 1 / 60)
        summary, _ = compare_methods(
            {"model": rates.to_numpy(), "gene_mean": flat}, kept, held_out, 0.5, seed=seed
        )
        library = np.asarray(kept.sum(axis=1))
        mean = rates.to_numpy() * library.reshape(-1, 1)
        expected = (mean - mean * np.log(mean)) - (
            flat * library.reshape(-1, 1) - mean * np.log(flat * library.reshape(-1, 1))
        )
        difference = summary["difference"]
        covered += difference["low"] <= expected.mean() <= difference["high"]
    assert covered >= 33


def test_baselines_never_see_the_scored_cells_and_sum_to_one():
    counts, _ = simulate(random_profiles(3))
    kept, held_out = thin(counts.X[:50], 0.2, 0)
    baselines = Baselines.fit(counts.X[100:], 15, 0).tuned(kept, held_out, 0.2)
    for rates in baselines.rates(kept).values():
        np.testing.assert_allclose(rates.sum(axis=1), 1, rtol=1e-5)
        assert (rates > 0).all()


@pytest.mark.slow
def test_scores_of_a_real_model_on_its_test_cells(fitted_scvi, pbmc_counts):
    scores, by_gene = score_imputation(fitted_scvi, pbmc_counts, defaults_of(ImputationOptions), 0, "cpu")
    again, _ = score_imputation(fitted_scvi, pbmc_counts, defaults_of(ImputationOptions), 0, "cpu")
    assert scores == again
    assert scores["cells"] == "test"
    assert scores["n_cells"] == len(fitted_scvi.attach(pbmc_counts).test_indices)
    assert list(by_gene["gene"]) == list(fitted_scvi.genes)
    for method in ("model", "gene_mean", "knn_smoothing", "thinned_cell"):
        interval = scores["methods"][method]["poisson_nll"]
        assert interval["low"] < interval["value"] < interval["high"]
