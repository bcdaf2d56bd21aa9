"""Scanorama brings shared types of shifted batches together, whatever the order of the cells."""

import random
from typing import TYPE_CHECKING

import anndata
import numpy as np
import pytest
from scipy import sparse

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.embedding.nodes import compute_scanorama
from scvi_downstream.pipelines.embedding.options import EmbeddingOptions
from scvi_downstream.pipelines.embedding.pipeline import template
from scvi_downstream.runtime.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData

KEYS = Keys(batch_key="batch")
OPTIONS = EmbeddingOptions(n_pcs=12)


@pytest.fixture(scope="module")
def shifted() -> "AnnData":
    """Three types in two batches whose genes are scaled differently."""
    rng = np.random.default_rng(0)
    label, batch = np.arange(240) % 3, (np.arange(240) // 3) % 2
    rates = rng.gamma(0.6, 3, size=(3, 200))[label] * np.where(
        batch[:, None], rng.gamma(3, 1 / 3, size=200), 1
    )
    counts = anndata.AnnData(sparse.csr_matrix(rng.poisson(rates).astype(np.float32)))
    counts.obs["batch"], counts.obs["label"] = np.array(["x", "y"])[batch], np.array(["a", "b", "c"])[label]
    counts.var["highly_variable"] = np.arange(200) < 150
    return counts


def test_the_template_computes_it_from_the_counts() -> None:
    node = next(node for node in template("scanorama").nodes if node.name == "compute_scanorama")
    assert node.inputs == ["counts", "params:embedding", "params:keys", "params:seed"]
    assert node.outputs == ["latent", "training_summary"]


def test_batches_come_together_and_types_stay_apart(shifted: "AnnData") -> None:
    pytest.importorskip("scanorama", reason="scanorama is not installed (it needs a C++ compiler)")
    from sklearn.metrics import silhouette_score

    from scvi_downstream.pipelines.embedding.nodes import compute_pca

    states = np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    latent, summary = compute_scanorama(shifted, OPTIONS, KEYS, 0)
    assert (np.random.get_state()[1] == states[0]).all()  # noqa: NPY002
    assert random.getstate() == states[1]
    assert latent.shape == (240, 12)
    assert list(latent.index) == list(shifted.obs_names)
    assert summary["family"] == "Scanorama"
    assert summary["n_latent"] == 12
    pca, _ = compute_pca(shifted, OPTIONS, 0)
    apart = [silhouette_score(cells, shifted.obs["batch"]) for cells in (pca, latent)]
    assert apart[1] < apart[0] - 0.05
    assert (
        silhouette_score(latent, shifted.obs["label"]) > silhouette_score(latent, shifted.obs["batch"]) + 0.2
    )
    again, _ = compute_scanorama(shifted, OPTIONS, KEYS, 0)
    np.testing.assert_array_equal(latent, again)


def test_small_batches_are_stitched(shifted: "AnnData") -> None:
    pytest.importorskip("scanorama", reason="scanorama is not installed (it needs a C++ compiler)")
    few = shifted[np.flatnonzero((shifted.obs["batch"] == "x") | (np.arange(240) < 16))].copy()
    latent, _ = compute_scanorama(few, OPTIONS, KEYS, 0)
    assert np.isfinite(latent.to_numpy()).all()


def test_one_batch_is_refused(shifted: "AnnData") -> None:
    pytest.importorskip("scanorama", reason="scanorama is not installed (it needs a C++ compiler)")
    alone = shifted[shifted.obs["batch"] == "x"].copy()
    with pytest.raises(InputError, match="at least two batches"):
        compute_scanorama(alone, OPTIONS, KEYS, 0)
