from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.saved import SavedModel
from scvi_downstream.pipelines.de.options import DeOptions
from scvi_downstream.pipelines.stability.genes import top_genes
from scvi_downstream.pipelines.stability.nodes import (
    cluster_again,
    compare_seeds,
    rank_genes_of_clusters,
    rank_genes_of_labels,
)
from scvi_downstream.pipelines.stability.options import StabilityOptions
from scvi_downstream.pipelines.stability.pipeline import template, trial_template
from scvi_downstream.runtime.errors import InputError

from .conftest import nearest_graph

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

pytestmark = pytest.mark.filterwarnings("ignore:One or more dataset names contain")  # as in settings.py
OPTIONS = StabilityOptions(top_genes=20)
DE = DeOptions(n_samples=300)


def test_clusters_are_repeated_with_the_same_seeds_on_every_graph() -> None:
    random = np.random.default_rng(0)
    cells = pd.Index([f"cell{i}" for i in range(200)])
    latent = np.repeat(np.eye(4) * 20, 50, axis=0) + random.normal(size=(200, 4))
    graph = nearest_graph(cells, latent)
    clusters = cluster_again(graph, OPTIONS, 7)
    assert list(clusters) == ["leiden", "leiden_2", "leiden_3"]
    assert (pd.crosstab(clusters["leiden"], np.repeat(range(4), 50)) > 0).to_numpy().sum() >= 4
    pd.testing.assert_frame_equal(clusters, cluster_again(graph, OPTIONS, 7))
    finer = cluster_again(graph, OPTIONS.model_copy(update={"resolution": 4.0}), 7)
    assert finer["leiden"].nunique() > clusters["leiden"].nunique()


def test_genes_of_labels_need_labels(pbmc_counts: AnnData, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="label_key, which is empty"):
        rank_genes_of_labels(SavedModel(tmp_path), pbmc_counts, Keys(), DE, OPTIONS, 0, "cpu")


def test_templates_ask_for_what_the_model_and_the_study_have() -> None:
    labelled = trial_template(labels=True, genes=True)
    assert labelled.all_outputs() == {"seed_clusters", "seed_markers"}
    assert "reference_clusters" not in labelled.inputs()
    assert "reference_clusters" in trial_template(labels=False, genes=True).inputs()
    assert trial_template(labels=True, genes=False).all_outputs() == {"seed_clusters"}
    gathered = template({"scvi": ["scvi", "scvi_seed1"], "mrvi": ["mrvi", "mrvi_seed1"]}, ["mrvi"])
    assert {"scvi.seed_figure", "mrvi.seed_summary", "stability_summary"} <= gathered.all_outputs()
    assert "scvi_seed1.seed_markers" in gathered.inputs()
    assert "mrvi.seed_markers" not in gathered.inputs()


@pytest.fixture(scope="module")
def fits(pbmc_counts: AnnData, keys: Keys, tmp_path_factory: pytest.TempPathFactory) -> dict[str, SavedModel]:
    """The model of the study and two fits with other seeds, all briefly."""
    from scvi_downstream.datasets.scvi_model_dataset import CheckpointDataset, ScviModelDataset
    from scvi_downstream.pipelines.training.nodes import train_model

    folder: Path = tmp_path_factory.mktemp("seeds")
    saved = {}
    for name, seed in (("scvi", None), ("scvi_seed1", 1), ("scvi_seed2", 2)):
        spec = {"name": name, "family": "SCVI", "n_latent": 5, "n_hidden": 32, "training": {"max_epochs": 60}}
        store = CheckpointDataset(filepath=str(folder / f"{name} checkpoint")).load()
        model, _, _ = train_model(
            pbmc_counts, spec | ({} if seed is None else {"seed": seed}), keys, 0, "cpu", store
        )
        dataset = ScviModelDataset(filepath=str(folder / name))
        dataset.save(model)
        saved[name] = dataset.load()
    return saved


@pytest.mark.slow
def test_fits_with_other_seeds_are_compared_from_end_to_end(
    fits: dict[str, SavedModel], pbmc_counts: AnnData, keys: Keys
) -> None:
    tables: dict[str, Any] = {}
    test_cells = []
    for name, fitted in fits.items():
        model = fitted.attach(pbmc_counts)
        test_cells.append(np.sort(model.test_indices))
        latent = pd.DataFrame(model.get_latent_representation(), index=pbmc_counts.obs_names)
        graph = nearest_graph(pbmc_counts.obs_names, latent.to_numpy())
        tables |= {
            f"{name}__scores": {
                "model": name,
                "elbo_test": float(model.get_elbo(indices=model.test_indices)),
            },
            f"{name}__score_draws": pd.DataFrame(),
            f"{name}__latent": latent,
            f"{name}__seed_clusters": cluster_again(graph, OPTIONS, 0),
            f"{name}__seed_markers": rank_genes_of_labels(fitted, pbmc_counts, keys, DE, OPTIONS, 0, "cpu"),
        }
    np.testing.assert_array_equal(test_cells[0], test_cells[1])
    scores, agreement, genes, summary = compare_seeds({"name": "scvi"}, OPTIONS, 0, **tables)
    assert scores["metric"].tolist() == ["elbo_test"]
    assert 0 < scores["sd"].iloc[0] < 50
    between = agreement[agreement["kind"] == "between"].groupby("measure")[["value", "chance"]].mean()
    assert 0.1 < between.loc["leiden_ari", "value"] < 1
    assert between.loc["neighbor_overlap", "value"] > 3 * between.loc["neighbor_overlap", "chance"]
    assert between.loc["gene_jaccard", "value"] > 3 * between.loc["gene_jaccard", "chance"]
    b_cells = genes[(genes["group"] == "CD19+ B") & (genes["n_fits_in_top"] == 3)]
    assert {"CD79A", "MS4A1", "CD79B"} & set(b_cells["symbol"])
    assert summary["sentences"][0].startswith("With 3 seeds, Leiden clusters of scvi agree at an ARI of 0.")


@pytest.mark.slow
def test_one_fit_ranks_genes_alike_and_by_clusters_as_by_labels(
    fits: dict[str, SavedModel], pbmc_counts: AnnData, keys: Keys
) -> None:
    labels = pbmc_counts.obs[[keys.label_key]].set_axis(["leiden"], axis=1)
    of_labels = rank_genes_of_labels(fits["scvi"], pbmc_counts, keys, DE, OPTIONS, 3, "cpu")
    of_clusters = rank_genes_of_clusters(fits["scvi"], pbmc_counts, labels, DE, OPTIONS, 3, "cpu")
    pd.testing.assert_frame_equal(of_labels, of_clusters)
    sizes = pbmc_counts.obs[keys.label_key].value_counts()
    assert set(of_labels["group"]) == set(sizes.index[sizes >= DE.min_cells_per_group])
    assert of_labels.groupby(["draw", "group"])["rank"].max().max() == OPTIONS.top_genes
    assert (of_labels["lfc_median"] > 0).all()
    assert (of_labels.groupby(["draw", "group"])["score"].diff().dropna() <= 0).all()
    first, again = (of_labels[of_labels["draw"] == draw].reset_index(drop=True) for draw in (0, 1))
    assert not first["lfc_median"].equals(again["lfc_median"])


def test_without_groups_large_enough_there_are_no_genes() -> None:
    no_model: Any = None
    found = top_genes(no_model, [], pd.Series(dtype=str), DE, OPTIONS, 0)
    assert found.empty
    assert {"group", "gene", "symbol", "rank", "draw"} <= set(found)
