"""Pseudotime against the measured time of real embryos, whose batches are time points."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.cells.keys import Keys
from scvi_downstream.graphs.neighbors import by_falling_size, communities, neighbors_graph, weighted_graph
from scvi_downstream.models.specification import TrainingOptions
from scvi_downstream.pipelines.embedding.options import EmbeddingOptions
from scvi_downstream.pipelines.preparation.options import PreparationOptions
from scvi_downstream.pipelines.trajectory import nodes
from scvi_downstream.pipelines.trajectory.agreement import compare_with_time, confounding_sentences
from scvi_downstream.pipelines.trajectory.options import TrajectoryOptions
from scvi_downstream.pipelines.trajectory.orders import (
    connect_clusters,
    fit_slingshot,
    learn_graph,
    order_by_diffusion,
    take_landmarks,
)
from scvi_downstream.pipelines.trajectory.start import known_time

if TYPE_CHECKING:
    from anndata import AnnData

KEYS = Keys(batch_key="batch", label_key="cell_type")
OPTIONS = TrajectoryOptions.model_validate({"time_key": "embryo_time", "slingshot": {"bootstraps": 10}})


@pytest.fixture(scope="module")
def worm(real_data: Path) -> AnnData:
    import anndata

    from scvi_downstream.pipelines.preparation.nodes import prepare_counts

    file = real_data / "worm_embryo.h5ad"
    if not file.exists():
        pytest.skip(f"{file.name} is not in {real_data} (set SCVI_DOWNSTREAM_DATA)")
    return prepare_counts(anndata.read_h5ad(file), None, KEYS, PreparationOptions())[0]


def orders_of(counts: AnnData, latent: pd.DataFrame) -> pd.DataFrame:
    """Every order of one representation, on clusters of its own graph at a coarse resolution."""
    neighbors = neighbors_graph(
        latent.index, latent.to_numpy(np.float32), n_neighbors=15, n_search=15, exact_up_to=50_000, seed=0
    )
    found = by_falling_size(communities(weighted_graph(neighbors.connectivities), 0.25, 0))
    clusters = pd.DataFrame({"leiden": found}, index=latent.index)
    start = nodes.choose_start(counts, neighbors, clusters, KEYS, OPTIONS, 0)
    landmarks = take_landmarks(clusters, OPTIONS)
    given = (start, OPTIONS, 0)
    diffusion, _ = order_by_diffusion(neighbors, landmarks, *given)
    paga = connect_clusters(neighbors, landmarks)
    slingshot, _, _ = fit_slingshot(latent, neighbors, landmarks, paga, *given)
    graph, _, _, _ = learn_graph(latent, neighbors, landmarks, *given)
    return nodes.join_orders(diffusion, slingshot, graph)


@pytest.mark.slow
def test_pseudotime_follows_measured_time(worm: AnnData, tmp_path: Path) -> None:
    from scvi_downstream.datasets.scvi_model_dataset import CheckpointDataset
    from scvi_downstream.pipelines.embedding.nodes import compute_pca
    from scvi_downstream.pipelines.training.nodes import train_model

    spec = {"name": "scvi", "family": "SCVI", "training": TrainingOptions().model_dump()}
    store = CheckpointDataset(filepath=str(tmp_path / "checkpoint")).load()
    model, _, _ = train_model(worm, spec, KEYS, 0, "cpu", store)
    cells = worm.obs_names.rename("cell")
    latent = pd.DataFrame(model.get_latent_representation(), index=cells).add_prefix("latent_")
    pca, _ = compute_pca(worm, EmbeddingOptions(), 0)
    orders = {"scvi": orders_of(worm, latent), "pca": orders_of(worm, pca)}
    table = compare_with_time(worm, KEYS, OPTIONS, 0, **orders)
    of = table.set_index(["representation", "method"])["spearman"]
    assert of.max() >= 0.85
    assert of["scvi", "slingshot_pseudotime"] >= 0.7
    assert of["scvi", "slingshot_consensus"] >= 0.7
    assert of["scvi", "graph_pseudotime"] >= 0.7
    assert of["all representations", "pseudotime"] >= 0.8
    # part of it lies between batches, which are time points; the order must hold inside them, too
    assert table.set_index(["representation", "method"])["within_batch_spearman"].max() >= 0.7


def test_batch_and_time_are_said_to_be_confounded(worm: AnnData) -> None:
    time = known_time(worm.obs, "embryo_time").rename("embryo_time")
    first, second = confounding_sentences(time, worm.obs["batch"], corrected=True)
    assert "batch 'batch' explains 47% of the variance of 'embryo_time'" in first
    assert "correcting for 'batch' fights the signal" in second
