"""The mapping on real cells: plates as the reference, another technology as the query."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.specification import TrainingOptions
from scvi_downstream.pipelines.embedding.options import EmbeddingOptions
from scvi_downstream.pipelines.preparation.options import PreparationOptions
from scvi_downstream.pipelines.reference_mapping.options import ReferenceMappingOptions
from scvi_downstream.study.defaults import defaults_of, model_options

pytestmark = pytest.mark.slow
SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"
DATA = Path(os.environ.get("SCVI_DOWNSTREAM_DATA", SHARED)) / "cell_lines.h5ad"
KEYS = Keys(batch_key="batch", label_key="cell_line")
OPTIONS = defaults_of(ReferenceMappingOptions, max_epochs=5)
ABSENT = "H2228"


@pytest.fixture(scope="module")
def cell_lines() -> Any:
    import anndata

    if not DATA.exists():
        pytest.skip(f"{DATA} is not there; set SCVI_DOWNSTREAM_DATA to the folder that holds it")
    cells = anndata.read_h5ad(DATA)
    return cells[cells.obs["demuxlet_cls"] == "SNG"].copy()


def prepare(cells: Any) -> Any:
    from scvi_downstream.pipelines.preparation.nodes import prepare_counts

    return prepare_counts(cells.copy(), None, KEYS, defaults_of(PreparationOptions, n_top_genes=500))[0]


def fitted(counts: Any, folder: Path, **options: Any) -> Any:
    """A reference of this project, fitted briefly."""
    from scvi_downstream.datasets.anndata_dataset import AnnDataDataset
    from scvi_downstream.datasets.reference_dataset import ReferenceDataset
    from scvi_downstream.datasets.scvi_model_dataset import CheckpointDataset, ScviModelDataset
    from scvi_downstream.pipelines.training.nodes import train_model

    model_folder = folder / "06_models" / "plates" / "scvi" / "fitted"
    store = CheckpointDataset(filepath=str(folder / "checkpoint")).load()
    spec = {"name": "scvi", "training": {"max_epochs": 40}} | options
    ScviModelDataset(filepath=str(model_folder)).save(
        train_model(counts, model_options(spec), KEYS, 0, "cpu", store)[0]
    )
    AnnDataDataset(filepath=str(folder / "03_primary" / "plates" / "counts.h5ad")).save(counts)
    return ReferenceDataset(model=str(model_folder)).load()


def mapped(reference: Any, counts: Any, folder: Path) -> dict[str, Any]:
    """Everything that the pipeline makes, without Kedro."""
    from scvi_downstream.datasets.scvi_model_dataset import CheckpointDataset, ScviModelDataset
    from scvi_downstream.pipelines.reference_mapping import mapping
    from scvi_downstream.pipelines.reference_mapping.report import summarize_mapping

    store = CheckpointDataset(filepath=str(folder / "checkpoint")).load()
    model, latent, history, facts = mapping.map_onto_reference(
        reference,
        counts,
        KEYS,
        OPTIONS,
        defaults_of(PreparationOptions),
        defaults_of(TrainingOptions),
        "dropseq",
        0,
        "cpu",
        store,
    )
    dataset = ScviModelDataset(filepath=str(folder / "mapped"))
    dataset.save(model)
    cells, batches = mapping.transfer_reference_labels(
        reference,
        counts,
        dataset.load(),
        latent,
        KEYS,
        OPTIONS,
        defaults_of(PreparationOptions),
        "dropseq",
        0,
        "cpu",
    )
    summary, _ = summarize_mapping(counts, cells, batches, facts, KEYS, OPTIONS)
    return {"latent": latent, "history": history, "cells": cells, "summary": summary, "batches": batches}


def test_drop_seq_on_plates(cell_lines: Any, tmp_path: Path) -> None:
    import anndata

    from scvi_downstream.datasets.anndata_dataset import AnnDataDataset
    from scvi_downstream.pipelines.reference_mapping.mapping import join_mapped
    from scvi_downstream.pipelines.reference_mapping.plots import plot_mapping

    is_query = (cell_lines.obs["batch"] == "sc_dropseq").to_numpy()
    reference = fitted(prepare(cell_lines[~is_query]), tmp_path, family="SCVI")
    query = cell_lines[is_query].copy()
    query.var_names = query.var["symbol"].astype(str).to_numpy()
    query.var_names_make_unique()
    counts = prepare(query)
    made = mapped(reference, counts, tmp_path)
    summary, latent = made["summary"], made["latent"]
    assert summary["accuracy"] >= 0.95
    assert summary["unlike_known"] < 0.05
    assert any("var column" in note for note in summary["notes"])
    own = reference.model.attach(reference.counts).get_latent_representation()
    kept = latent[(latent["origin"] == "reference").to_numpy()].drop(columns="origin")
    np.testing.assert_allclose(kept.to_numpy(), own, atol=1e-5)
    assert len(made["history"]) == 5

    umap = latent[["latent_1", "latent_2", "origin"]].set_axis(["UMAP1", "UMAP2", "origin"], axis=1)
    joined = join_mapped(counts, latent, umap, made["cells"], summary)
    AnnDataDataset(filepath=str(tmp_path / "mapped.h5ad")).save(joined)
    read = anndata.read_h5ad(tmp_path / "mapped.h5ad")
    assert read.obsm["X_mapped"].shape == (counts.n_obs, 10)
    assert read.obsm["X_umap"].shape == (counts.n_obs, 2)
    assert (read.X != counts.X).nnz == 0
    assert {"mapped_cell_type", "mapped_uncertainty", "mapped_unlike"} <= set(read.obs)
    figure = plot_mapping(reference, umap, made["cells"], summary, OPTIONS, defaults_of(PreparationOptions))
    assert len([axes for axes in figure.axes if axes.get_title()]) == 4


def test_joint_umap_keeps_near_cells_near() -> None:
    from scvi_downstream.pipelines.reference_mapping.mapping import embed_jointly

    rng = np.random.default_rng(0)
    group = np.arange(120) % 2
    latent = pd.DataFrame(rng.normal(size=(120, 4)) + 8 * group[:, None]).add_prefix("latent_")
    latent["origin"] = pd.Categorical(np.repeat(["reference", "query"], 60))
    umap = embed_jointly(latent, defaults_of(EmbeddingOptions, umap_epochs=50), 0)
    places = umap[["UMAP1", "UMAP2"]].to_numpy()
    assert np.linalg.norm(places[group == 0].mean(axis=0) - places[group == 1].mean(axis=0)) > 2
    assert umap["origin"].equals(latent["origin"])


def test_a_line_that_scanvi_has_never_seen_is_flagged(cell_lines: Any, tmp_path: Path) -> None:
    obs = cell_lines.obs
    is_query = (obs["batch"] == "sc_dropseq").to_numpy()
    known = cell_lines[~is_query & (obs["cell_line"] != ABSENT).to_numpy()]
    reference = fitted(prepare(known), tmp_path, family="SCANVI", encode_covariates=True)
    counts = prepare(cell_lines[is_query])
    made = mapped(reference, counts, tmp_path)
    summary, cells = made["summary"], made["cells"]
    assert summary["unlike_absent"] > 0.9
    assert summary["unlike_known"] < 0.05
    assert summary["accuracy"] > 0.9
    is_absent = (counts.obs["cell_line"] == ABSENT).to_numpy()
    assert (cells["mapped_cell_type"][is_absent] == "unknown").mean() > 0.9
    right = cells["mapped_scanvi_type"].astype(str) == counts.obs["cell_line"].astype(str)
    assert right[~is_absent].mean() > 0.9
    pd.testing.assert_frame_equal(mapped(reference, counts, tmp_path)["cells"], cells)
