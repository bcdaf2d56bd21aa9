"""Real cells of known identity: five cell lines, told apart by their genotypes."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.specification import TrainingOptions
from scvi_downstream.pipelines.annotation.consensus import agree_on_cell_types
from scvi_downstream.pipelines.annotation.label_split import hold_out_labels
from scvi_downstream.pipelines.annotation.options import AnnotationOptions
from scvi_downstream.pipelines.annotation.transfer import (
    transfer_with_clusters,
    transfer_with_neighbors,
    transfer_with_scanvi,
)
from scvi_downstream.pipelines.preparation.options import PreparationOptions
from scvi_downstream.study.defaults import defaults_of, model_options

if TYPE_CHECKING:
    from anndata import AnnData

DATA = Path(os.environ.get("SCVI_DOWNSTREAM_DATA", Path(__file__).resolve().parents[4] / "shared" / "data"))
FILE = DATA / "cell_lines.h5ad"
KEYS = Keys(batch_key="batch", label_key="cell_line")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FILE.exists(), reason=f"{FILE.name} is not in {DATA} (set SCVI_DOWNSTREAM_DATA)"),
]


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """Counts of single cells, an scVI fitted for a few epochs, its latent and k-means clusters."""
    import anndata
    from sklearn.cluster import KMeans

    from scvi_downstream.datasets.scvi_model_dataset import ScviModelDataset
    from scvi_downstream.pipelines.preparation.nodes import prepare_counts
    from scvi_downstream.pipelines.training.nodes import train_model

    raw = anndata.read_h5ad(FILE)
    raw = raw[raw.obs["demuxlet_cls"] == "SNG"].copy()
    counts, *_ = prepare_counts(raw, None, KEYS, defaults_of(PreparationOptions, n_top_genes=500))
    folder = tmp_path_factory.mktemp("cell_lines")
    spec = model_options(
        {"name": "scvi", "family": "SCVI", "training": {"max_epochs": 40, "n_epochs_kl_warmup": 20}}
    )
    model, *_ = train_model(counts, spec, KEYS, 0, "cpu", CheckpointStore(folder / "checkpoint"))
    dataset = ScviModelDataset(filepath=folder / "scvi")
    dataset.save(model)
    latent = pd.DataFrame(model.get_latent_representation(), index=counts.obs_names)
    clusters = KMeans(8, n_init=3, random_state=0).fit_predict(latent).astype(str)
    return SimpleNamespace(
        counts=counts,
        fitted=dataset.load(),
        latent=latent,
        clusters=pd.DataFrame({"leiden": pd.Categorical(clusters)}, index=counts.obs_names),
        checkpoint=CheckpointStore(folder / "annotation"),
    )


def annotate(
    study: SimpleNamespace, counts: AnnData, options: AnnotationOptions
) -> tuple[pd.DataFrame, dict, pd.DataFrame]:
    split = hold_out_labels(counts, KEYS, options, 0)
    model, scanvi = transfer_with_scanvi(
        counts, study.fitted, split, KEYS, options, defaults_of(TrainingOptions), 0, "cpu", study.checkpoint
    )
    knn, distances = transfer_with_neighbors(counts, study.fitted, model, study.latent, split, options, "cpu")
    majority = transfer_with_clusters(study.fitted, study.clusters, split, options)
    cell_types, scores, *_ = agree_on_cell_types(split, scanvi, knn, majority, distances, options, 0)
    return cell_types, scores, split


def with_labels(counts: AnnData, labels: np.ndarray) -> AnnData:
    from anndata import AnnData

    return AnnData(X=counts.X, obs=counts.obs.assign(cell_line=pd.Categorical(labels)), var=counts.var)


def test_a_fifth_of_the_labels_names_the_rest(study: SimpleNamespace) -> None:
    _, scores, _ = annotate(
        study, study.counts, defaults_of(AnnotationOptions, held_out_share=0.8, training={"max_epochs": 25})
    )
    assert scores["n_held_out"] > 800
    assert scores["consensus"]["accuracy"] >= 0.97
    assert scores["consensus"]["ece"] <= 0.05
    assert scores["scanvi"]["accuracy"] >= 0.95


def test_permuted_labels_are_at_chance_and_known_to_be(study: SimpleNamespace) -> None:
    permuted = np.random.default_rng(0).permutation(study.counts.obs["cell_line"].astype(str))
    options = defaults_of(AnnotationOptions, held_out_share=0.4, training={"max_epochs": 15})
    cell_types, scores, split = annotate(study, with_labels(study.counts, permuted), options)
    assert scores["consensus"]["accuracy_low"] < scores["accuracy_of_the_largest_type"] + 0.01
    held_out = (split["role"] == "held_out").to_numpy()
    assert cell_types.loc[held_out, "cell_type_probability"].mean() < 0.35
    assert scores["consensus"]["ece"] < 0.08
    assert scores["consensus"]["coverage"] < 0.05


def test_a_line_without_labels_is_not_named_after_another(study: SimpleNamespace) -> None:
    labels = study.counts.obs["cell_line"].astype(str).to_numpy()
    hidden = np.where(labels == "H1975", "unknown", labels)
    options = defaults_of(AnnotationOptions, training={"max_epochs": 20})
    cell_types, _, split = annotate(study, with_labels(study.counts, hidden), options)
    new, held_out = (split["role"] == "unknown").to_numpy(), (split["role"] == "held_out").to_numpy()
    is_unknown = (cell_types["cell_type_predicted"] == "unknown").to_numpy()
    assert is_unknown[new].mean() > 0.8
    assert is_unknown[held_out].mean() < 0.05
    probability = cell_types["cell_type_probability"].to_numpy()
    assert np.median(probability[new]) < np.median(probability[held_out]) - 0.2
