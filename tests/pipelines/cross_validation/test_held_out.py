"""What a model gives unseen cells: scvi-tools' likelihoods, and for an unknown batch a bound that no luck lifts."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from scipy.special import softmax

from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.pipelines.cross_validation.held_out import (
    attached,
    mixture_bound,
    score_cells,
    score_cells_of_unknown_batch,
)
from scvi_downstream.pipelines.cross_validation.refit import fit_on, held_out_cells
from scvi_downstream.scoring.marginal_likelihood import average_weights
from scvi_downstream.study.defaults import model_spec

from .conftest import SMALL, parts, recipe

if TYPE_CHECKING:
    from anndata import AnnData

BOUNDS = arrays(np.float64, (4, 3), elements=st.floats(-800, -1))


@given(BOUNDS, BOUNDS)
def test_any_weights_give_a_bound_and_the_best_reach_it(bounds: np.ndarray, others: np.ndarray) -> None:
    exact = average_weights(bounds)[0]
    assert (mixture_bound(bounds, softmax(others, axis=0)) <= exact + 1e-9).all()
    np.testing.assert_allclose(mixture_bound(bounds, softmax(bounds, axis=0)), exact, rtol=1e-10)


def test_one_batch_and_equal_batches_change_nothing() -> None:
    bounds = np.array([[-5.0, -7.0]])
    np.testing.assert_allclose(mixture_bound(bounds, softmax(bounds, axis=0)), bounds[0])
    same = np.repeat(bounds, 6, axis=0)
    np.testing.assert_allclose(mixture_bound(same, softmax(same, axis=0)), bounds[0])


def test_a_cell_that_one_batch_explains_pays_for_the_choice() -> None:
    bounds = np.array([[-400.0], [-900.0], [-900.0]])
    assert mixture_bound(bounds, softmax(bounds, axis=0))[0] == pytest.approx(-400 - np.log(3))


def test_noise_of_draws_lifts_a_log_mean_but_not_the_bound() -> None:
    rng = np.random.default_rng(0)
    truth = np.full((8, 20_000), -300.0)
    for_weights, bounds = (truth + rng.normal(0, 3, truth.shape) for _ in range(2))
    assert average_weights(bounds)[0].mean() > -300 + 1
    bound = mixture_bound(bounds, softmax(for_weights, axis=0))
    assert bound.mean() < -300 + 3 * bound.std() / np.sqrt(bound.size)


def test_equals_the_density_of_a_normal_mixture() -> None:
    x, means = np.linspace(-4, 9, 50), np.array([[0.0], [2.0], [5.0]])
    log_p = stats.norm(means, 1).logpdf(x)
    exact = np.log(stats.norm(means, 1).pdf(x).mean(axis=0))
    np.testing.assert_allclose(mixture_bound(log_p, softmax(log_p, axis=0)), exact, rtol=1e-9)


def test_scvi_tools_keeps_cells_where_they_can_be_forgotten(small_counts: AnnData) -> None:
    from scvi.model.base import BaseModelClass

    where = "scvi-tools keeps the cells of a model elsewhere: see scvi_internals.forget_cells"
    assert isinstance(getattr(BaseModelClass, "_per_instance_manager_store", None), dict), where
    spec = model_spec({"name": "model", "family": "SCVI", **SMALL})
    model = spec.build(small_counts[:100].copy(), Keys(batch_key="batch"))
    own = model.adata
    before = set(model._per_instance_manager_store.get(model.id, {}))
    with attached(model, small_counts[100:].copy()):
        assert model.adata.n_obs == 140
        assert len(set(model._per_instance_manager_store[model.id]) - before) == 1, where
    assert model.adata is own
    assert set(model._per_instance_manager_store[model.id]) - before <= {model.adata_manager.adata_uuid}, (
        where
    )


@pytest.mark.slow
def test_likelihoods_are_those_of_scvi_tools_and_cells_were_never_seen(
    small_counts: AnnData, tmp_path: Path
) -> None:
    import scvi

    genes = small_counts[:, small_counts.var["highly_variable"]].copy()
    held_out = np.arange(0, 240, 5)
    seen = np.setdiff1d(np.arange(240), held_out)
    how = recipe(**SMALL)
    model = fit_on(genes, seen, how, CheckpointStore(tmp_path)).model
    assert list(model.adata.obs_names) == list(genes.obs_names[seen])
    own = model.adata
    cells = held_out_cells(genes, seen, held_out, how)
    table = score_cells(model, cells, np.ones(len(held_out), dtype=bool), 100, seed=3)
    scvi.settings.seed = 3
    by_hand = model.get_elbo(genes[held_out].copy(), return_mean=False).numpy()
    np.testing.assert_allclose(table["elbo"], by_hand, rtol=1e-5)
    assert table["marginal_ll"].mean() >= table["elbo"].mean()
    assert model.adata is own

    changed = genes.copy()
    changed.X[held_out] = changed.X[held_out] * 7
    other = fit_on(changed, seen, how, CheckpointStore(tmp_path)).model
    for name, weights in model.module.state_dict().items():
        assert np.array_equal(weights.numpy(), other.module.state_dict()[name].numpy()), name


@pytest.mark.slow
def test_a_model_that_ignores_batches_says_the_same_whatever_the_batch(
    small_counts: AnnData, tmp_path: Path
) -> None:
    import torch

    seen, held_out = parts(small_counts, "near1")
    how = recipe(**SMALL)
    model = fit_on(small_counts, seen, how, CheckpointStore(tmp_path)).model
    assert model.summary_stats.n_batch == 3
    with torch.no_grad():
        for layer in model.module.decoder.px_decoder.fc_layers[0]:
            if isinstance(layer, torch.nn.Linear):
                layer.weight[:, 3:] = 0
    everyone = np.ones(len(held_out), dtype=bool)
    cells = held_out_cells(small_counts, seen, held_out, how)
    table, weights = score_cells_of_unknown_batch(model, cells, "batch", everyone, 60, seed=0)
    assert weights.index.tolist() == ["far", "near2", "near3"]
    np.testing.assert_allclose(weights, 1 / 3, rtol=1e-4)
    cells.obs["batch"] = "near2"
    told = score_cells(model, cells, everyone, 20, seed=0)
    np.testing.assert_allclose(table["elbo"], told["elbo"], rtol=1e-5)
    np.testing.assert_allclose(table["marginal_ll"], told["marginal_ll"], rtol=1e-5)
