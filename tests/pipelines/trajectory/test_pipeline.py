"""The pipeline's nodes on planted trajectories and on real embryos, from the start to the sentences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse
from scipy.stats import spearmanr

from scvi_downstream.cells.keys import Keys
from scvi_downstream.graphs.neighbors import by_falling_size, communities, neighbors_graph, weighted_graph
from scvi_downstream.models.specification import TrainingOptions
from scvi_downstream.pipelines.embedding.options import EmbeddingOptions
from scvi_downstream.pipelines.preparation.options import PreparationOptions
from scvi_downstream.pipelines.trajectory.agreement import (
    compare_orders,
    compare_with_time,
    confounding_sentences,
    join_orders,
)
from scvi_downstream.pipelines.trajectory.diffusion import connect_clusters, order_by_diffusion
from scvi_downstream.pipelines.trajectory.fates import map_fates
from scvi_downstream.pipelines.trajectory.lineages import take_landmarks
from scvi_downstream.pipelines.trajectory.options import TrajectoryOptions
from scvi_downstream.pipelines.trajectory.principal_graph import learn_graph
from scvi_downstream.pipelines.trajectory.slingshot import fit_slingshot
from scvi_downstream.pipelines.trajectory.stability import resample_orders
from scvi_downstream.pipelines.trajectory.start import choose_start, known_time
from scvi_downstream.pipelines.trajectory.trend_tests import fit_trends
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.study.defaults import defaults_of, model_options

OPTIONS = defaults_of(
    TrajectoryOptions, start_cluster="start", stability_replicates=2, slingshot={"bootstraps": 10}
)
KEYS = Keys()
ORDERS = ("dpt_pseudotime", "slingshot_pseudotime", "slingshot_consensus", "graph_pseudotime", "pseudotime")


class Study:
    """The datasets of one representation."""

    def __init__(self, planted: Any, options: TrajectoryOptions = OPTIONS) -> None:
        cells = pd.Index(planted.clusters.index, name="cell")
        starts = np.argsort(np.where(planted.branch == "island", np.inf, planted.time))[:20]
        marked = np.where(np.isin(np.arange(len(cells)), starts), "start", "rest")
        genes = pd.DataFrame(
            {"highly_variable": True}, index=[f"g{i}" for i in range(planted.counts.shape[1])]
        )
        self.counts = AnnData(
            sparse.csr_matrix(planted.counts, dtype=np.float32),
            obs=pd.DataFrame({"marked": pd.Categorical(marked), "time": planted.time * 100}, index=cells),
            var=genes,
        )
        self.latent = pd.DataFrame(planted.latent, index=cells).add_prefix("latent_")
        self.neighbors = neighbors_graph(
            cells, planted.latent, n_neighbors=15, n_search=15, exact_up_to=10_000, seed=0
        )
        self.clusters = pd.DataFrame({"leiden": planted.clusters.to_numpy()}, index=cells)
        keys = Keys(label_key="marked")
        self.start = choose_start(self.counts, self.neighbors, self.clusters, keys, options, 0)
        self.landmarks = take_landmarks(self.clusters, options)
        self.paga = connect_clusters(self.neighbors, self.landmarks)
        self.options = options

    def order(self) -> tuple[pd.DataFrame, dict[str, Any], dict[str, Any], dict[str, Any]]:
        given = (self.landmarks, self.start, self.options, 0)
        diffusion, diffusion_facts = order_by_diffusion(self.neighbors, *given)
        slingshot, self.curves, lineages = fit_slingshot(
            self.latent, self.neighbors, self.landmarks, self.paga, self.start, self.options, 0
        )
        graph, self.nodes, self.edges, graph_facts = learn_graph(self.latent, self.neighbors, *given)
        return join_orders(diffusion, slingshot, graph), diffusion_facts, lineages, graph_facts


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "n_lineages"), [("linear", 1), ("bifurcating", 2), ("three_way", 3)])
def test_planted_trajectories(planted, kind, n_lineages) -> None:
    truth = planted(kind, seed=1)
    study = Study(truth)
    orders, _, lineages, graph = study.order()
    for order in ORDERS:
        assert spearmanr(orders[order], truth.time).statistic > 0.9, order
    assert len(lineages["lineages"]) == n_lineages
    assert graph["n_tips"] == n_lineages + 1
    assert not any(loop["is_loop"] for loop in lineages["loops"])
    fates, _, _ = map_fates(study.counts, study.neighbors, study.landmarks, orders, study.options, 0)
    assert sum(name.startswith("fate_") for name in fates) - 1 == n_lineages
    _, tests, contrasts, _ = fit_trends(study.counts, orders, KEYS, study.options, 0)
    assert tests["dynamic"].any()
    assert contrasts.empty == (n_lineages == 1)
    stability, spread = resample_orders(
        study.latent, study.neighbors, study.landmarks, orders, study.start, study.options, 0
    )
    assert (stability["spearman"] > 0.8).all()
    assert spread.index.equals(orders.index)


@pytest.mark.slow
def test_a_cycle_is_flagged(planted) -> None:
    _, _, lineages, _ = Study(planted("cycle")).order()
    assert any(loop["is_loop"] for loop in lineages["loops"])
    assert "close a ring" in lineages["sentences"][0]


@pytest.mark.thorough
def test_what_is_not_connected_has_no_pseudotime_and_is_said(planted) -> None:
    truth = planted("disconnected")
    orders, facts, _, _ = Study(truth).order()
    island = truth.branch == "island"
    for order in ORDERS:
        assert orders.loc[island, order].isna().all(), order
        assert orders.loc[~island, order].notna().all(), order
    assert any("not connected to the start" in text for text in facts["sentences"])


def test_one_cluster_is_not_a_trajectory(planted) -> None:
    study = Study(planted("linear"))
    study.landmarks["landmark"] = pd.Categorical(["0"] * len(study.landmarks))
    with pytest.raises(InputError, match="at least 2 clusters"):
        study.order()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start_cluster": "strat"}, "'strat' is neither a cluster nor a label.*'start'"),
        ({"start_cell": "cell_9999"}, "'cell_9999' is not a cell"),
        ({"start_gene": "CD34"}, "'CD34' is not a gene"),
        ({"time_key": "tiem"}, "'tiem' is not in obs.*'time'"),
        ({}, "needs exactly one start"),
        ({"start_cell": "cell_1", "start_cluster": "start"}, "exactly one start"),
        ({"start_cluster": "start", "clustering": "louvain"}, "'louvain' is not a clustering"),
    ],
)
def test_a_start_that_does_not_exist_is_named(planted, options, message) -> None:
    with pytest.raises(InputError, match=message):
        Study(planted("linear"), defaults_of(TrajectoryOptions, **options))


def test_known_time_is_the_start_and_is_compared_with(planted) -> None:
    truth = planted("linear")
    study = Study(truth, defaults_of(TrajectoryOptions, time_key="time"))
    assert study.start["how"] == "time"
    orders = pd.DataFrame(
        {"pseudotime": truth.time, "dpt_pseudotime": -truth.time}, index=study.counts.obs_names
    )
    table = compare_with_time(study.counts, KEYS, study.options, 0, scvi=orders, pca=orders)
    assert table.loc[0, "spearman"] == pytest.approx(1)
    assert set(table["representation"]) == {"scvi", "pca", "all representations"}
    assert compare_orders(scvi=orders, pca=orders)["spearman"].abs().min() == pytest.approx(1)


WORM_KEYS = Keys(batch_key="batch", label_key="cell_type")
WORM_OPTIONS = defaults_of(TrajectoryOptions, time_key="embryo_time", slingshot={"bootstraps": 10})


@pytest.fixture(scope="module")
def worm(real_data: Path) -> AnnData:
    import anndata

    from scvi_downstream.pipelines.preparation.nodes import prepare_counts

    file = real_data / "worm_embryo.h5ad"
    if not file.exists():
        pytest.skip(f"{file.name} is not in {real_data} (set SCVI_DOWNSTREAM_DATA)")
    return prepare_counts(anndata.read_h5ad(file), None, WORM_KEYS, defaults_of(PreparationOptions))[0]


def orders_of(counts: AnnData, latent: pd.DataFrame) -> pd.DataFrame:
    """Every order of one representation, on clusters of its own graph at a coarse resolution."""
    neighbors = neighbors_graph(
        latent.index, latent.to_numpy(np.float32), n_neighbors=15, n_search=15, exact_up_to=50_000, seed=0
    )
    found = by_falling_size(communities(weighted_graph(neighbors.connectivities), 0.25, 0))
    clusters = pd.DataFrame({"leiden": found}, index=latent.index)
    start = choose_start(counts, neighbors, clusters, WORM_KEYS, WORM_OPTIONS, 0)
    landmarks = take_landmarks(clusters, WORM_OPTIONS)
    given = (start, WORM_OPTIONS, 0)
    diffusion, _ = order_by_diffusion(neighbors, landmarks, *given)
    paga = connect_clusters(neighbors, landmarks)
    slingshot, _, _ = fit_slingshot(latent, neighbors, landmarks, paga, *given)
    graph, _, _, _ = learn_graph(latent, neighbors, landmarks, *given)
    return join_orders(diffusion, slingshot, graph)


@pytest.mark.slow
def test_pseudotime_follows_measured_time(worm: AnnData, tmp_path: Path) -> None:
    from scvi_downstream.datasets.scvi_model_dataset import CheckpointDataset
    from scvi_downstream.pipelines.embedding.nodes import compute_pca
    from scvi_downstream.pipelines.training.nodes import train_model

    worm = worm[np.sort(np.random.default_rng(0).permutation(worm.n_obs)[:2000])].copy()
    training = defaults_of(TrainingOptions, max_epochs=100).model_dump()
    spec = model_options({"name": "scvi", "family": "SCVI", "training": training})
    store = CheckpointDataset(filepath=str(tmp_path / "checkpoint")).load()
    model, _, _ = train_model(worm, spec, WORM_KEYS, 0, "cpu", store)
    cells = worm.obs_names.rename("cell")
    latent = pd.DataFrame(model.get_latent_representation(), index=cells).add_prefix("latent_")
    pca, _ = compute_pca(worm, defaults_of(EmbeddingOptions), 0)
    orders = {"scvi": orders_of(worm, latent), "pca": orders_of(worm, pca)}
    table = compare_with_time(worm, WORM_KEYS, WORM_OPTIONS, 0, **orders)
    of = table.set_index(["representation", "method"])["spearman"]
    assert of.max() >= 0.85
    # a single Slingshot tree hangs on where the continuum is cut; the mean rank over clusterings does not
    assert of["scvi", "slingshot_consensus"] >= 0.7
    assert of["scvi", "graph_pseudotime"] >= 0.6
    assert of["all representations", "pseudotime"] >= 0.8
    # part of it lies between batches, which are time points; the order must hold inside them, too
    assert table.set_index(["representation", "method"])["within_batch_spearman"].max() >= 0.7


@pytest.mark.thorough
def test_batch_and_time_are_said_to_be_confounded(worm: AnnData) -> None:
    time = known_time(worm.obs, "embryo_time").rename("embryo_time")
    first, second = confounding_sentences(time, worm.obs["batch"], corrected=True)
    assert "batch 'batch' explains 47% of the variance of 'embryo_time'" in first
    assert "correcting for 'batch' fights the signal" in second
