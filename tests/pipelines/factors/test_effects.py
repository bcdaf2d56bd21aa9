from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from scvi_downstream.pipelines.factors import effects as effects_module
from scvi_downstream.pipelines.factors.effects import _effects, latent_effects, linear_effects


def _centred(log_expression: np.ndarray) -> np.ndarray:
    return log_expression - log_expression.mean(axis=-1, keepdims=True)


def test_effects_of_a_linear_decoder_are_those_of_its_softmax() -> None:
    from scipy.special import log_softmax

    random = np.random.default_rng(0)
    weights, bias = random.normal(size=(20, 3)), random.normal(size=20)
    latent = random.normal(size=(50, 3)) @ random.normal(size=(3, 3)) + 1
    effects = linear_effects(weights, latent)
    decoded = _centred(log_softmax(latent @ weights.T + bias, axis=1))
    assert effects.total == pytest.approx(decoded.var(axis=0).sum())
    for k in range(3):
        moved = latent.copy()
        moved[:, k] = latent[:, k].mean()
        effect = decoded - _centred(log_softmax(moved @ weights.T + bias, axis=1))
        assert effects.variance[k] == pytest.approx(effect.var(axis=0).sum())
        slopes = np.linalg.lstsq(
            moved[:, [k]] * 0 + latent[:, [k]] - latent[:, k].mean(), effect, rcond=None
        )[0]
        np.testing.assert_allclose(effects.slopes[:, k], slopes[0] * latent[:, k].std(), atol=1e-12)


@pytest.mark.parametrize("aggregation", ["logsumexp", "mean"])
def test_effects_of_splits_are_those_of_decoding_with_one_moved(aggregation: str) -> None:
    import torch

    random = torch.Generator().manual_seed(0)
    here, moved = (3 * torch.randn(6, 4, 9, generator=random, dtype=torch.float64) for _ in range(2))

    def decode(splits: torch.Tensor) -> torch.Tensor:
        whole = splits.logsumexp(dim=1) if aggregation == "logsumexp" else splits.mean(dim=1)
        return whole - whole.mean(dim=-1, keepdim=True)

    each, together = _effects(here, moved, aggregation)
    torch.testing.assert_close(together, decode(here) - decode(moved))
    for k in range(4):
        replaced = here.clone()
        replaced[:, k] = moved[:, k]
        torch.testing.assert_close(each[:, k], decode(here) - decode(replaced))


def _untrained(family: str, counts: AnnData, **options: Any) -> Any:
    import torch
    from scvi.external import DRVI
    from scvi.model import LinearSCVI

    torch.manual_seed(0)
    model_class = {"DRVI": DRVI, "LinearSCVI": LinearSCVI}[family]
    cells = counts[:60, :40].copy()
    cells.obs["age"] = np.linspace(-1, 1, 60)
    cells.obs["sex"] = pd.Categorical(np.tile(["f", "m"], 30))
    covariates = (
        {"continuous_covariate_keys": ["age"], "categorical_covariate_keys": ["sex"]}
        if family == "DRVI"
        else {}
    )
    model_class.setup_anndata(cells, batch_key="batch", **covariates)
    model = model_class(cells, n_latent=4, n_hidden=16, **options)
    for parameter in model.module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.module.eval()
    model.is_trained_ = True
    return model


def _decode(model: Any, latent: np.ndarray) -> np.ndarray:
    """Centred log-expression by scvi-tools' own generative model, each cell with its own batch and covariates."""
    import torch
    from scvi.dataloaders import AnnDataLoader

    (tensors,) = AnnDataLoader(model.adata_manager, batch_size=model.adata.n_obs)
    with torch.inference_mode():
        inference = model.module.inference(**model.module._get_inference_input(tensors))
        inference["z"] = torch.as_tensor(latent, dtype=torch.float32)
        generative = model.module.generative(**model.module._get_generative_input(tensors, inference))
    scale = generative["px"].get_normalized("scale")
    return _centred(np.log(scale.double().numpy()))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("LinearSCVI", {}),
        ("DRVI", {}),
        ("DRVI", {"split_aggregation": "mean", "gene_likelihood": "nb"}),
        ("DRVI", {"decoder_reuse_weights": "nowhere", "deeply_inject_covariates": True}),
    ],
)
def test_effects_are_those_of_the_models_own_decoder(
    pbmc_counts: AnnData, monkeypatch: pytest.MonkeyPatch, family: str, options: dict[str, Any]
) -> None:
    monkeypatch.setattr(effects_module, "CHUNK_VALUES", 17 * 4 * 40)
    model = _untrained(family, pbmc_counts, **options)
    latent = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32).astype(np.float64)
    effects = latent_effects(model, latent)
    decoded = _decode(model, latent)
    at_mean = _decode(model, np.broadcast_to(latent.mean(axis=0), latent.shape))
    assert effects.total == pytest.approx((decoded - at_mean).var(axis=0).sum(), rel=1e-3)
    for k in range(4):
        moved = latent.copy()
        moved[:, k] = latent[:, k].mean()
        effect = decoded - _decode(model, moved)
        assert effects.variance[k] == pytest.approx(effect.var(axis=0).sum(), rel=1e-3)
        direction = (latent[:, k] - latent[:, k].mean()) / latent[:, k].std()
        np.testing.assert_allclose(effects.slopes[:, k], direction @ effect / 60, atol=1e-4)


@pytest.mark.slow
def test_slopes_of_drvi_agree_with_its_own_scores(pbmc_counts: AnnData) -> None:
    from scipy.stats import spearmanr

    model = _untrained("DRVI", pbmc_counts)
    latent = model.get_latent_representation().astype(np.float64)
    up, down = model.get_effect_of_splits_within_distribution(
        aggregations="linear_weighted_mean", skip_threshold=0.0
    )["linear_weighted_mean"]
    slopes = latent_effects(model, latent).slopes
    agreement = [spearmanr(slopes[:, k], up[k] - down[k]).statistic for k in range(4)]
    assert np.mean(agreement) > 0.5
