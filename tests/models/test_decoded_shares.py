"""Draws of cells' expression: what they are drawn from, and that they do not hang on their neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from scvi_downstream.cells.keys import Keys
from scvi_downstream.study.defaults import model_spec

if TYPE_CHECKING:
    from anndata import AnnData

CELLS = np.array([5, 600, 17, 18, 300])
COVARIATES = {"categorical_covariates": ("donor",), "continuous_covariates": ("age",)}


def test_noise_is_standard_normal_and_independent_in_every_direction() -> None:
    from scvi_downstream.models.decoded_shares import normal_noise

    cells, draws = (each.ravel() for each in np.meshgrid(np.arange(200), np.arange(50), indexing="ij"))
    noise = normal_noise(cells, draws, 7, 6)
    assert noise.dtype == np.float32
    assert stats.kstest(noise.ravel(), "norm").pvalue > 1e-4
    other = normal_noise(cells, draws, 8, 6)
    cube = noise.reshape(200, 50, 6)
    neighbours = [
        (noise, other),
        (cube[1:], cube[:-1]),
        (cube[:, 1:], cube[:, :-1]),
        (cube[..., 1:], cube[..., :-1]),
        (cube[1:, :-1], cube[:-1, 1:]),
    ]
    for a, b in neighbours:
        # 6 standard errors of a correlation, of the numbers and of their squares
        for power in (1, 2):
            assert abs(np.corrcoef(a.ravel() ** power, b.ravel() ** power)[0, 1]) < 6 / np.sqrt(a.size)


@given(seed=st.integers(0, 2**32), n=st.integers(1, 40))
def test_noise_is_a_function_of_cell_draw_and_key(seed: int, n: int) -> None:
    from scvi_downstream.models.decoded_shares import normal_noise

    rng = np.random.default_rng(seed)
    cells, draws, key = rng.integers(0, 9, n), rng.integers(0, 9, n), int(rng.integers(2**63))
    order = rng.permutation(n)
    noise = normal_noise(cells, draws, key, 3)
    np.testing.assert_array_equal(normal_noise(cells[order], draws[order], key, 3), noise[order])
    np.testing.assert_array_equal(normal_noise(cells, draws, key, 2), noise[:, :2])


def model_of(counts: AnnData, family: str, keys: Keys, **options: Any) -> Any:
    """A model with random weights: what it decodes differs by cell, batch and covariates."""
    import torch

    cells, rng = counts.copy(), np.random.default_rng(0)
    cells.obs["donor"] = rng.choice(["d1", "d2", "d3"], cells.n_obs)
    cells.obs["age"] = rng.normal(size=cells.n_obs)
    torch.manual_seed(0)
    model = model_spec({"name": "m", "family": family, "n_latent": 5, **options}).build(cells, keys)
    model.module.z_encoder.mean_encoder.weight.data *= 10  # cells apart by more than their noise
    model.is_trained_ = True
    return model


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "more", "options"),
    [
        ("SCVI", COVARIATES, {"gene_likelihood": "zinb"}),
        ("SCVI", COVARIATES, {"latent_distribution": "ln", "dispersion": "gene-batch"}),
        ("SCVI", {}, {"use_observed_lib_size": False, "dispersion": "gene-cell"}),
        ("SCANVI", COVARIATES, {}),
        ("LinearSCVI", {}, {}),
        ("DRVI", COVARIATES, {}),
        ("DRVI", {}, {"gene_likelihood": "zinb"}),
    ],
)
@pytest.mark.parametrize("batch", [None, 1])
def test_draws_are_those_that_scvi_tools_takes(
    pbmc_counts: AnnData,
    keys: Keys,
    family: str,
    more: dict[str, Any],
    options: dict[str, Any],
    batch: int | None,
) -> None:
    import torch

    from scvi_downstream.models.decoded_shares import decode_draws, encode_cells

    model = model_of(pbmc_counts, family, keys.model_copy(update=more), **options)
    n = 400
    cells, draws = np.repeat(CELLS, n), np.tile(np.arange(n), len(CELLS))
    before = torch.get_rng_state()
    posterior = encode_cells(model, np.sort(np.append(CELLS, [1, 699])))
    assert torch.equal(before, torch.get_rng_state())
    out = np.empty((model.adata.n_vars, len(cells)), np.float32)
    batches = None if batch is None else np.full(len(cells), batch)
    decode_draws(model, posterior, cells, draws, 3, batches, out)
    np.testing.assert_allclose(out.sum(0), 1, rtol=1e-4)
    ours = np.log(out).reshape(-1, len(CELLS), n)
    names = model.adata_manager.get_state_registry("batch").categorical_mapping
    asked: dict[str, Any] = {"indices": CELLS, "transform_batch": None if batch is None else names[batch]}
    torch.manual_seed(1)
    asked |= {"n_samples": n, "return_mean": False, "return_numpy": True}
    theirs = np.log(model.get_normalized_expression(**asked)).transpose(2, 1, 0)
    standard_error = np.sqrt((ours.var(-1) + theirs.var(-1)) / n)
    assert np.abs((ours.mean(-1) - theirs.mean(-1)) / standard_error).max() < 6
    ratio = ours.std(-1) / theirs.std(-1)
    assert 0.6 < ratio.min() < ratio.max() < 1.7
    assert abs(np.log(ratio).mean()) < 0.05
    of_other_cells = np.roll(ours, 1, axis=1)
    assert np.abs((of_other_cells.mean(-1) - theirs.mean(-1)) / standard_error).max() > 8


@pytest.mark.slow
def test_a_draw_is_the_same_whatever_is_decoded_beside_it(pbmc_counts: AnnData, keys: Keys) -> None:
    from scvi_downstream.models.decoded_shares import decode_draws, encode_cells

    model = model_of(pbmc_counts, "SCVI", keys)
    layer = model.module.decoder.px_dropout_decoder
    together = np.empty((model.adata.n_vars, 3000), np.float32)
    rng = np.random.default_rng(0)
    cells, draws = rng.integers(0, 700, 3000), rng.integers(0, 9, 3000)
    decode_draws(model, encode_cells(model, np.arange(700)), cells, draws, 3, None, together)
    some = rng.permutation(3000)[:20]
    alone = np.empty((model.adata.n_vars, 20), np.float32)
    decode_draws(model, encode_cells(model, np.unique(cells[some])), cells[some], draws[some], 3, None, alone)
    np.testing.assert_allclose(alone, together[:, some], rtol=1e-5)
    assert not np.allclose(alone, together[:, :20], rtol=1e-3)
    assert model.module.decoder.px_dropout_decoder is layer
