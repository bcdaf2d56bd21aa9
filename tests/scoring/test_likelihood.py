"""Likelihoods equal scvi-tools by hand, obey theory, and say so when they do not exist."""

import json

import anndata
import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from scipy.special import logsumexp

from scvi_downstream.models.saved import model_class_of
from scvi_downstream.pipelines.evaluation.nodes import evaluate_likelihood
from scvi_downstream.pipelines.evaluation.options import EvaluationOptions
from scvi_downstream.scoring.likelihood import score_likelihood
from scvi_downstream.scoring.marginal_likelihood import estimate_marginal_likelihood, log_weights
from scvi_downstream.study.defaults import defaults_of

FEW = defaults_of(EvaluationOptions, marginal_ll_samples=20)


@pytest.fixture(scope="module")
def small_counts():
    rng = np.random.default_rng(0)
    counts = sparse.csr_matrix(
        rng.poisson(rng.gamma(1, 2, size=(4, 30))[rng.integers(4, size=150)]).astype(np.float32)
    )
    cells = anndata.AnnData(counts)
    cells.obs["batch"] = np.where(np.arange(150) % 2, "a", "b")
    cells.obs["label"] = np.where(np.arange(150) % 3, "x", "unknown")
    cells.obs["label"] = cells.obs["label"].where(np.arange(150) % 7 > 0, "y")
    return cells


def train(family, counts, **arguments):
    import scvi

    cells = counts.copy()
    labels = {"labels_key": "label", "unlabeled_category": "unknown"} if family == "SCANVI" else {}
    model_class = model_class_of(family)
    model_class.setup_anndata(cells, batch_key="batch", **labels)
    scvi.settings.seed = 0
    model = model_class(cells, n_latent=3, n_hidden=16, **arguments)
    model.train(
        max_epochs=8,
        train_size=0.6,
        validation_size=0.2,
        batch_size=29,
        accelerator="cpu",
        enable_progress_bar=False,
    )
    return model


@pytest.mark.slow
def test_elbo_and_reconstruction_equal_scvi_by_hand(fitted_scvi, pbmc_counts):
    import scvi

    scores, by_cell = evaluate_likelihood(fitted_scvi, pbmc_counts, FEW, 5, "cpu")
    model = fitted_scvi.attach(pbmc_counts)
    for share in ("train", "validation", "test"):
        cells = getattr(model, f"{share}_indices")
        scvi.settings.seed = 5
        assert scores[f"elbo_{share}"] == pytest.approx(float(model.get_elbo(indices=cells)), rel=1e-5)
        scvi.settings.seed = 5
        error = model.get_reconstruction_error(indices=cells)["reconstruction_loss"]
        assert scores[f"reconstruction_error_{share}"] == pytest.approx(float(error), rel=1e-5)
        assert scores[f"n_{share}"] == len(cells)
        own = by_cell[by_cell["share"] == share]
        assert list(own.index) == list(pbmc_counts.obs_names[cells])
        assert own["elbo"].mean() == pytest.approx(scores[f"elbo_{share}"], rel=1e-12)
        assert own["reconstruction_error"].mean() == pytest.approx(
            scores[f"reconstruction_error_{share}"], rel=1e-12
        )
        assert own["elbo"].sem() == pytest.approx(scores[f"elbo_{share}_se"], rel=1e-9)
    estimated = by_cell["marginal_ll"].dropna()
    assert set(by_cell["share"][estimated.index]) == {"test"}
    assert len(estimated) == scores["marginal_ll_cells"]
    assert estimated.mean() == pytest.approx(scores["marginal_ll_test"], rel=1e-12)
    assert scores["elbo_test"] < 0
    assert scores["generalisation_gap"] == pytest.approx(scores["elbo_train"] - scores["elbo_test"])
    assert scores["warning"] is None or "poor proposal" in scores["warning"]
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores
    again, cells_again = evaluate_likelihood(fitted_scvi, pbmc_counts, FEW, 5, "cpu")
    assert {**scores, "seconds": 0} == {**again, "seconds": 0}
    pd.testing.assert_frame_equal(by_cell, cells_again)


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [{}, {"use_observed_lib_size": False}])
def test_marginal_likelihood_equals_scvi_on_the_same_draws(small_counts, arguments):
    import scvi

    model = train("SCVI", small_counts, **arguments)
    cells = np.asarray(model.test_indices)
    scvi.settings.seed = 3
    weights = log_weights(model, cells, 50)
    scvi.settings.seed = 3
    by_hand = model.get_marginal_ll(
        indices=cells, n_mc_samples=50, n_mc_samples_per_pass=50, return_mean=False
    )
    np.testing.assert_allclose(logsumexp(weights, axis=0) - np.log(50), by_hand.numpy(), rtol=1e-5)


@pytest.mark.slow
def test_marginal_likelihood_is_above_the_elbo_and_owns_up_to_a_poor_proposal(small_counts):
    model = train("SCVI", small_counts)
    scores, _ = score_likelihood(
        model, defaults_of(EvaluationOptions, marginal_ll_samples=300).sampling, seed=0
    )
    assert scores["elbo_test"] < scores["marginal_ll_test"] < scores["elbo_test"] + 30
    assert 1 < scores["marginal_ll_effective_samples"] <= 300
    model = train("SCVI", small_counts, use_observed_lib_size=False)
    poor, _ = score_likelihood(
        model, defaults_of(EvaluationOptions, marginal_ll_samples=300).sampling, seed=0
    )
    assert poor["marginal_ll_effective_samples"] < 2
    assert "poor proposal" in poor["warning"]


@pytest.mark.slow
def test_marginal_likelihood_of_scanvi_is_exact_when_the_decoder_ignores_z(small_counts):
    """Then p(x) = p(x | z) for any z, whatever the prior; the estimate of scvi-tools misses it."""
    import scvi
    import torch

    model = train("SCANVI", small_counts)
    with torch.no_grad():
        for layer in model.module.decoder.px_decoder.fc_layers[0]:
            if isinstance(layer, torch.nn.Linear):
                layer.weight[:, :3] = 0
    cells = np.asarray(model.test_indices)[:12]
    estimate = logsumexp(log_weights(model, cells, 1500), axis=0) - np.log(1500)
    (tensors,) = scvi.dataloaders.AnnDataLoader(model.adata_manager, indices=cells, batch_size=len(cells))
    with torch.inference_mode():
        _, generative = model.module.forward(tensors, compute_loss=False)
        exact = generative["px"].log_prob(tensors["X"]).sum(-1).numpy()

    np.testing.assert_allclose(estimate.mean(), exact.mean(), atol=0.1)
    theirs = model.get_marginal_ll(
        indices=cells, n_mc_samples=300, n_mc_samples_per_pass=300, return_mean=False
    )
    assert abs(float(theirs.mean()) - exact.mean()) > 0.2


@pytest.mark.slow
@pytest.mark.parametrize("family", ["SCANVI", "LinearSCVI", "DRVI"])
def test_other_families_have_all_scores(small_counts, family):
    scores, _ = score_likelihood(
        train(family, small_counts), defaults_of(EvaluationOptions, marginal_ll_samples=100).sampling, seed=0
    )
    assert scores["n_test"] == scores["marginal_ll_cells"]
    assert scores["elbo_test"] < scores["marginal_ll_test"] < 0
    assert 0 < scores["reconstruction_error_test"] < -scores["elbo_test"] + 5


@pytest.mark.slow
def test_time_bound_reduces_samples_then_cells_and_records_both(small_counts):
    model = train("SCVI", small_counts)
    hurried = defaults_of(
        EvaluationOptions, marginal_ll_samples=100_000, marginal_ll_max_seconds=0.5
    ).sampling
    scores, _ = estimate_marginal_likelihood(model, np.arange(150), hurried, seed=0)
    assert 10 <= scores["marginal_ll_samples"] < 100_000
    stopped, _ = estimate_marginal_likelihood(
        model,
        np.arange(150),
        defaults_of(EvaluationOptions, marginal_ll_samples=100, marginal_ll_max_seconds=1e-4).sampling,
        seed=0,
    )
    assert stopped["marginal_ll_samples"] == 10
    assert stopped["marginal_ll_cells"] == 2
    sampled, by_cell = estimate_marginal_likelihood(
        model, np.arange(150), defaults_of(EvaluationOptions, marginal_ll_max_cells=40).sampling, seed=0
    )
    assert sampled["marginal_ll_cells"] == 40
    assert len(by_cell) == by_cell.index.nunique() == 40
    assert by_cell.mean() == pytest.approx(sampled["marginal_ll_test"])


@pytest.mark.slow
def test_missing_test_cells_one_cell_and_diverged_models_do_not_crash(small_counts):
    import torch

    model = train("SCVI", small_counts)
    model.test_indices = np.array([], dtype=int)
    scores, by_cell = score_likelihood(model, FEW.sampling, seed=0)
    assert set(by_cell["share"]) == {"train", "validation"}
    assert by_cell["marginal_ll"].isna().all()
    assert scores["elbo_test"] is None
    assert scores["marginal_ll_test"] is None
    assert scores["generalisation_gap"] is None
    assert "test set is empty" in scores["warning"]
    assert scores["elbo_train"] < 0

    model.test_indices = np.array([3])
    scores, _ = score_likelihood(model, FEW.sampling, seed=0)
    assert scores["elbo_test"] < 0
    assert scores["elbo_test_se"] is None
    assert scores["marginal_ll_cells"] == 1

    with torch.no_grad():
        next(model.module.parameters()).fill_(float("nan"))
    scores, by_cell = score_likelihood(model, FEW.sampling, seed=0)
    assert by_cell.empty
    assert by_cell.index.name == "cell"
    assert list(by_cell) == ["share", "elbo", "reconstruction_error", "marginal_ll"]
    assert scores["elbo_train"] is None
    assert "diverged" in scores["warning"]
    json.dumps(scores, allow_nan=False)
