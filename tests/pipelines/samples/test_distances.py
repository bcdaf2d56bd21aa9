from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.models.fitting import ResourceMeter, reproducible
from scvi_downstream.pipelines.samples.design import make_contrasts, sample_design
from scvi_downstream.pipelines.samples.distances import (
    batch_size_for,
    effect_of_contrast,
    log_forecast,
    normalized_distances,
    sum_distances,
)
from scvi_downstream.runtime.threads import quiet
from scvi_downstream.study.defaults import model_spec, replicates_of

pytestmark = pytest.mark.slow


def test_streamed_distances_are_those_of_scvi_tools(study: Any) -> None:
    design = sample_design(study.counts, study.clusters, study.keys, study.options)
    mine = sum_distances(study.model, design.members)
    with quiet():
        theirs = study.model.get_local_sample_distances(groupby="cell_type", keep_cell=False)["cell_type"]
    for name in ("A", "B"):
        reference = theirs.sel(cell_type_name=name).loc[list(design.samples), list(design.samples)]
        assert np.allclose(mine.distances[design.groups.index(name)], reference.values, rtol=1e-4, atol=1e-5)
    everything = (mine.distances[1] + mine.distances[2]) / 2
    assert np.allclose(mine.distances[0], everything)


def test_normalized_distances_are_those_of_scvi_tools(study: Any) -> None:
    cells = np.flatnonzero((study.counts.obs["cell_type"] == "A").to_numpy())
    mine = normalized_distances(study.model, cells, draws=40, seed=0)
    with quiet(), reproducible(1):
        theirs = study.model.get_local_sample_distances(
            study.model.adata[cells].copy(),
            groupby="cell_type",
            keep_cell=False,
            use_mean=False,
            normalize_distances=True,
            mc_samples=40,
        )["cell_type"].values[0]
    upper = np.triu_indices(len(mine), k=1)
    assert np.abs(mine[upper] - theirs[upper]).max() < 0.15 * theirs[upper].max()
    assert np.corrcoef(mine[upper], theirs[upper])[0, 1] > 0.99


def test_the_effect_is_the_length_of_the_mean_difference_of_shifts(study: Any) -> None:
    design = sample_design(study.counts, study.clusters, study.keys, study.options)
    sums = sum_distances(study.model, design.members)
    contrast = make_contrasts(design, study.options, 0)["A", "stim"]
    with quiet():
        z = study.model.get_local_sample_representation()
    stim = [
        name for name, condition in zip(design.samples, design.conditions, strict=True) if condition == "stim"
    ]
    ctrl = [name for name in design.samples if name not in stim]
    difference = (z.sel(sample=stim).mean("sample") - z.sel(sample=ctrl).mean("sample")).values[
        design.members[1]
    ]
    effect, p = effect_of_contrast(sums.products[1], contrast)
    assert effect == pytest.approx(np.sqrt((difference**2).sum(axis=1).mean()), rel=1e-4)
    assert p == 2 / 64


def test_memory_does_not_grow_with_the_number_of_cells() -> None:
    """All distances of 2,400 cells × 200² samples would be 384 MB; of 600 cells 96 MB."""
    from anndata import AnnData
    from scipy import sparse

    n_samples, growth = 200, []
    for n_cells in (600, 2_400):
        random = np.random.default_rng(0)
        counts = sparse.random(n_cells, 12, density=0.5, format="csr", dtype=np.float32, random_state=random)
        counts.data = np.ceil(5 * counts.data)
        obs = pd.DataFrame(
            {"library": pd.Categorical([f"s{i % n_samples}" for i in range(n_cells)])},
            index=[f"cell{i}" for i in range(n_cells)],
        )
        spec = model_spec(
            {"name": "m", "family": "MRVI", "n_latent": 4, "n_latent_u": 2, "encoder_n_hidden": 4}
        )
        with quiet():
            model = spec.build(AnnData(counts, obs=obs), replicates_of(sample_key="library"))
        members = np.arange(n_cells)[None] % 3 == np.arange(3)[:, None]
        sum_distances(model, members & (np.arange(n_cells) < 110))  # buffers of one mini-batch
        with ResourceMeter() as before:
            pass
        with ResourceMeter() as meter:
            sums = sum_distances(model, members)
        growth.append(meter.peak_memory_mb - before.peak_memory_mb)
        assert sums.distances.shape == (3, n_samples, n_samples)
        assert log_forecast(model) > 0
    assert max(growth) < 250, growth
    assert growth[1] - growth[0] < 150, growth


def test_mini_batches_shrink_with_the_number_of_samples() -> None:
    sizes = [batch_size_for(n) for n in (8, 200, 1_000, 10_000)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] == 256
    assert sizes[-1] == 1
