"""Latent, PCA, Harmony, Scanorama and UMAP nodes."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import anndata
import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.embedding.nodes import (
    build_neighbors,
    compute_harmony,
    compute_latent,
    compute_pca,
    compute_scanorama,
    compute_umap,
    compute_umap_3d,
)
from scvi_downstream.pipelines.embedding.options import EmbeddingOptions
from scvi_downstream.pipelines.embedding.pipeline import template
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.study.defaults import defaults_of

if TYPE_CHECKING:
    from anndata import AnnData


OPTIONS = defaults_of(EmbeddingOptions, n_pcs=10, n_neighbors_metrics=30)


def poisson_counts(n_cells: int, n_genes: int, n_variable: int, seed: int = 0) -> ad.AnnData:
    generator = np.random.default_rng(seed)
    rates = generator.gamma(2.0, 1.0, size=(3, n_genes))[generator.integers(0, 3, n_cells)]
    counts = ad.AnnData(sparse.csr_matrix(generator.poisson(rates).astype(np.float32)))
    counts.obs_names = [f"cell{i}" for i in range(n_cells)]
    counts.var["highly_variable"] = np.arange(n_genes) < n_variable
    counts.obs["batch"] = pd.Categorical(generator.choice(["a", "b"], n_cells))
    return counts


def latent_of(points: np.ndarray) -> pd.DataFrame:
    cells = pd.Index([f"cell{i}" for i in range(len(points))], name="cell")
    return pd.DataFrame(points.astype(np.float32), index=cells).add_prefix("latent_")


@pytest.mark.slow
def test_latent_is_what_scvi_tools_gives(fitted_scvi, pbmc_counts) -> None:
    from scvi.model import SCVI

    latent = compute_latent(fitted_scvi, pbmc_counts, "cpu")
    by_hand = SCVI.load(
        str(fitted_scvi.save_dir), adata=pbmc_counts[:, fitted_scvi.genes].copy(), accelerator="cpu"
    )
    np.testing.assert_array_equal(latent.to_numpy(), by_hand.get_latent_representation())
    assert latent.index.equals(pbmc_counts.obs_names)
    assert list(latent.columns) == [f"latent_{i + 1}" for i in range(5)]


@pytest.mark.slow
def test_pca_equals_scanpy_on_the_same_genes() -> None:
    import scanpy as sc

    counts = poisson_counts(120, 80, 50)
    before = counts.X.copy()
    latent, summary = compute_pca(counts, OPTIONS, 0)
    reference = counts.copy()
    sc.pp.normalize_total(reference, target_sum=1e4)
    sc.pp.log1p(reference)
    expected = sc.pp.pca(reference[:, :50].X.toarray(), n_comps=10, svd_solver="full")
    np.testing.assert_allclose(np.abs(latent), np.abs(expected), atol=2e-3)
    assert (before != counts.X).nnz == 0
    assert list(latent.columns[:2]) == ["PC_1", "PC_2"]
    assert summary | {"seconds": 0, "peak_memory_mb": 0} == {
        "model": "pca", "family": "PCA", "seconds": 0, "peak_memory_mb": 0, "n_latent": 10,
    }  # fmt: skip
    assert summary["seconds"] > 0
    assert summary["peak_memory_mb"] > 0
    pd.testing.assert_frame_equal(latent, compute_pca(counts, OPTIONS, 0)[0])


@pytest.mark.parametrize(("n_cells", "n_variable", "expected"), [(8, 50, 7), (60, 5, 4)])
def test_pca_is_cut_to_what_the_data_allow(n_cells: int, n_variable: int, expected: int) -> None:
    latent, summary = compute_pca(poisson_counts(n_cells, 60, n_variable), OPTIONS, 0)
    assert latent.shape[1] == summary["n_latent"] == expected


def test_pca_of_constant_genes_is_refused() -> None:
    counts = poisson_counts(20, 10, 3)
    counts.X = sparse.csr_matrix(np.ones((20, 10), dtype=np.float32))
    with pytest.raises(InputError, match="0 of the 3 highly variable genes vary"):
        compute_pca(counts, OPTIONS, 0)


def test_harmony_mixes_batches_that_differ_by_a_shift_and_repeats() -> None:
    from sklearn.neighbors import NearestNeighbors

    counts = poisson_counts(600, 5, 5)
    batch = counts.obs["batch"].cat.codes.to_numpy()
    points = np.random.default_rng(1).normal(size=(600, 8))
    points[:, 0] += 3 * batch
    pca = latent_of(points)
    keys = Keys(batch_key="batch")
    latent, summary = compute_harmony(counts, pca, keys, 0)

    def same_batch(values: np.ndarray) -> float:
        found = NearestNeighbors(n_neighbors=16).fit(values).kneighbors(return_distance=False)
        return float((batch[found] == batch[:, None]).mean())

    assert same_batch(points) > 0.85
    assert same_batch(latent.to_numpy()) < 0.7
    assert summary["family"] == "Harmony"
    pd.testing.assert_frame_equal(latent, compute_harmony(counts, pca, keys, 0)[0])


def test_harmony_with_one_batch_leaves_the_pca_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    counts = poisson_counts(50, 5, 5)
    counts.obs["batch"] = pd.Categorical(["a"] * 50)
    pca = latent_of(np.random.default_rng(1).normal(size=(50, 4)))
    latent, _ = compute_harmony(counts, pca, Keys(batch_key="batch"), 0)
    np.testing.assert_array_equal(latent, pca)
    assert "fewer than two batches" in caplog.text


def three_groups() -> np.ndarray:
    generator = np.random.default_rng(0)
    return np.repeat(np.eye(3, 6) * 12, 80, axis=0) + generator.normal(size=(240, 6))


SHAPES = {
    "one blob": np.random.default_rng(0).normal(size=(60, 5)),
    "a graph in three pieces": three_groups(),
    "one dimension": np.random.default_rng(0).normal(size=(100, 1)),
    "duplicates": np.repeat(np.random.default_rng(0).normal(size=(8, 4)), 20, axis=0),
    "a collapsed latent": np.zeros((60, 4)),
}


@pytest.mark.thorough
@pytest.mark.parametrize("name", SHAPES)
def test_umap_is_finite_and_repeats_bit_by_bit(name: str) -> None:
    latent = latent_of(SHAPES[name])
    neighbors = build_neighbors(latent, OPTIONS, 0)
    for compute, columns in (
        (compute_umap, ["UMAP1", "UMAP2"]),
        (compute_umap_3d, ["UMAP1", "UMAP2", "UMAP3"]),
    ):
        umap = compute(latent, neighbors, OPTIONS, 0)
        assert list(umap.columns) == columns
        assert umap.index.equals(latent.index)
        assert np.isfinite(umap.to_numpy()).all()
        pd.testing.assert_frame_equal(umap, compute(latent, neighbors, OPTIONS, 0), check_exact=True)


@pytest.mark.thorough
def test_umap_keeps_planted_groups_apart_and_leaves_the_graph_alone() -> None:
    from sklearn.metrics import silhouette_score

    latent = latent_of(three_groups())
    neighbors = build_neighbors(latent, OPTIONS, 0)
    before = neighbors.connectivities.copy()
    umap = compute_umap(latent, neighbors, OPTIONS, 0)
    assert silhouette_score(umap, np.repeat(range(3), 80)) > 0.6
    assert (before != neighbors.connectivities).nnz == 0
    assert not np.array_equal(umap, compute_umap(latent, neighbors, OPTIONS, 1))


KEYS = Keys(batch_key="batch")
SCANORAMA = defaults_of(EmbeddingOptions, n_pcs=12)


@pytest.fixture(scope="module")
def shifted() -> AnnData:
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


def test_batches_come_together_and_types_stay_apart(shifted: AnnData) -> None:
    pytest.importorskip("scanorama", reason="scanorama is not installed (it needs a C++ compiler)")
    from sklearn.metrics import silhouette_score

    from scvi_downstream.pipelines.embedding.nodes import compute_pca

    states = np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    latent, summary = compute_scanorama(shifted, SCANORAMA, KEYS, 0)
    assert (np.random.get_state()[1] == states[0]).all()  # noqa: NPY002
    assert random.getstate() == states[1]
    assert latent.shape == (240, 12)
    assert list(latent.index) == list(shifted.obs_names)
    assert summary["family"] == "Scanorama"
    assert summary["n_latent"] == 12
    pca, _ = compute_pca(shifted, SCANORAMA, 0)
    apart = [silhouette_score(cells, shifted.obs["batch"]) for cells in (pca, latent)]
    assert apart[1] < apart[0] - 0.05
    assert (
        silhouette_score(latent, shifted.obs["label"]) > silhouette_score(latent, shifted.obs["batch"]) + 0.2
    )
    again, _ = compute_scanorama(shifted, SCANORAMA, KEYS, 0)
    np.testing.assert_array_equal(latent, again)


def test_small_batches_are_stitched(shifted: AnnData) -> None:
    pytest.importorskip("scanorama", reason="scanorama is not installed (it needs a C++ compiler)")
    few = shifted[np.flatnonzero((shifted.obs["batch"] == "x") | (np.arange(240) < 16))].copy()
    latent, _ = compute_scanorama(few, SCANORAMA, KEYS, 0)
    assert np.isfinite(latent.to_numpy()).all()


def test_one_batch_is_refused(shifted: AnnData) -> None:
    pytest.importorskip("scanorama", reason="scanorama is not installed (it needs a C++ compiler)")
    alone = shifted[shifted.obs["batch"] == "x"].copy()
    with pytest.raises(InputError, match="at least two batches"):
        compute_scanorama(alone, SCANORAMA, KEYS, 0)
