from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scvi_downstream.cells.keys import Keys
from scvi_downstream.runtime.options import UNKNOWN
from scvi_downstream.runtime.threads import quiet
from scvi_downstream.study.defaults import model_spec

if TYPE_CHECKING:
    from anndata import AnnData

pytestmark = pytest.mark.slow
KEYS = Keys(
    batch_key="batch", label_key="label", categorical_covariates=("donor",), continuous_covariates=("age",)
)


def counts_of(n_cells: int, n_genes: int, rate: float, seed: int) -> AnnData:
    from anndata import AnnData
    from scipy import sparse

    rng = np.random.default_rng(seed)
    rates = rng.gamma(0.5, rate, (n_cells, n_genes))
    counts = rng.poisson(rates)
    counts[:, 0] += rng.integers(1, 9, n_cells)  # sizes of a batch must differ for scvi-tools to model them
    obs = {
        "batch": rng.choice(["a", "b", "c"], n_cells),
        "donor": rng.choice(["d", "e"], n_cells),
        "label": rng.choice(["f", "g", UNKNOWN], n_cells),
        "age": rng.normal(size=n_cells),
    }
    for name, values in (("batch", "abc"), ("donor", "de"), ("label", ("f", "g", UNKNOWN))):
        obs[name][: 4 * len(values)] = list(values) * 4
    return AnnData(
        sparse.csr_matrix(counts.astype(np.float32)), obs=pd.DataFrame(obs, index=map(str, range(n_cells)))
    )


def loss_and_gradients(model: Any, *, fused: bool) -> tuple[float, dict[str, np.ndarray], np.ndarray]:
    import torch

    from scvi_downstream.models.count_loss import losses_of, why_not_fused
    from scvi_downstream.models.fast_training import Cells

    module = model.module.train()
    module.zero_grad()
    assert why_not_fused(module, "cpu") is None
    torch.manual_seed(3)
    cells = Cells(model.adata_manager, "cpu")
    tensors = cells.take(np.arange(model.adata.n_obs))
    given: dict[str, Any] = {"kl_weight": 0.3}
    if type(module).__name__ == "SCANVAE":
        labelled = np.flatnonzero(model.labels_ != UNKNOWN)
        given |= {"labelled_tensors": cells.take(labelled, "labelled"), "classification_ratio": 50}
    with losses_of(module, "cpu" if fused else "not here") as losses_of_batch:
        losses = losses_of_batch(tensors, **given)
        losses.loss.backward()
    weights = module.named_parameters()
    gradients = {name: weight.grad.numpy().copy() for name, weight in weights if weight.grad is not None}
    sums = (losses.reconstruction_loss_sum, losses.kl_local_sum, losses.kl_global_sum)
    return float(losses.loss.detach()), gradients, np.array([float(each.detach()) for each in sums])


def require_equal(options: dict[str, Any], cells: AnnData) -> None:
    from scvi_downstream.models.fitting import reproducible

    spec = model_spec({"name": "m", "n_hidden": 16, "n_latent": 3, **options})
    with reproducible(0), quiet():
        model = spec.build(cells, KEYS)
    expected, expected_gradients, expected_sums = loss_and_gradients(model, fused=False)
    loss, gradients, sums = loss_and_gradients(model, fused=True)
    assert loss == pytest.approx(expected, rel=1e-5)
    np.testing.assert_allclose(sums, expected_sums, rtol=1e-4)
    assert gradients.keys() == expected_gradients.keys()
    # gradients before a batch normalisation are zero but for rounding
    rounding = 1e-6 * max(np.linalg.norm(known) for known in expected_gradients.values())
    for name, gradient in gradients.items():
        known = expected_gradients[name]
        assert np.linalg.norm(gradient - known) <= 1e-4 * np.linalg.norm(known) + rounding, name


@pytest.mark.parametrize("gene_likelihood", ["zinb", "nb"])
@pytest.mark.parametrize("dispersion", ["gene", "gene-batch", "gene-label", "gene-cell"])
@pytest.mark.parametrize("rate", [0.05, 3.0, 300.0])
def test_loss_and_gradients_of_scvi_are_stocks(gene_likelihood: str, dispersion: str, rate: float) -> None:
    options = {"family": "SCVI", "gene_likelihood": gene_likelihood, "dispersion": dispersion}
    require_equal(options, counts_of(40, 60, rate, 0))


@settings(max_examples=25, deadline=None)
@given(
    family=st.sampled_from(["SCVI", "SCANVI", "LinearSCVI"]),
    gene_likelihood=st.sampled_from(["zinb", "nb"]),
    n_layers=st.integers(1, 2),
    encode_covariates=st.booleans(),
    use_observed_lib_size=st.booleans(),
    n_cells=st.integers(24, 50),
    n_genes=st.integers(5, 70),
    rate=st.sampled_from([0.1, 2.0, 50.0]),
    seed=st.integers(0, 100),
)
def test_loss_and_gradients_are_stocks_whatever_the_model(
    family: str, n_cells: int, n_genes: int, rate: float, seed: int, **options: Any
) -> None:
    if family == "LinearSCVI":
        options.pop("encode_covariates")
    require_equal({"family": family, **options}, counts_of(n_cells, n_genes, rate, seed))


def test_what_cannot_be_fused_says_why() -> None:
    from scvi_downstream.models.count_loss import losses_of, why_not_fused

    cells = counts_of(30, 10, 1.0, 0)
    spec = model_spec({"name": "m", "family": "SCVI", "gene_likelihood": "poisson"})
    module = spec.build(cells, KEYS).module
    assert why_not_fused(module, "cpu") == "its likelihood is poisson"
    assert why_not_fused(module, "cuda:0") == "it is on a GPU"
    generative = module.generative
    with losses_of(module, "cpu"):
        assert module.generative == generative


def test_a_loss_that_is_nan_stays_nan() -> None:
    from scvi_downstream.models.count_kernels import log_likelihood

    counts = np.ones((3, 5), dtype=np.float32)
    for which in range(3):
        logits, dropout, theta = (np.zeros(shape, np.float32) for shape in ((3, 5), (3, 5), (1, 5)))
        theta += 1
        (logits, dropout, theta)[which][0, 2] = np.nan
        out = np.zeros(3, np.float32), np.zeros((1, 5), np.float32)
        for inflated in (dropout, dropout[:0]):
            if which == 1 and not len(inflated):
                continue
            found = log_likelihood(
                counts,
                logits.copy(),
                logits.max(1),
                inflated.copy(),
                np.zeros(3, np.float32),
                theta,
                np.zeros(3, np.int64),
                1.0,
                *out,
            )
            assert np.isnan(found[0])
