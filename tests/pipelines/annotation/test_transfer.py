"""What scANVI sees, and what it starts from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.specification import TrainingOptions
from scvi_downstream.pipelines.annotation.label_split import split_labels
from scvi_downstream.pipelines.annotation.options import AnnotationOptions
from scvi_downstream.pipelines.annotation.transfer import (
    fit_scanvi,
    split_for_labels,
    trained_on_labels,
    transfer_with_neighbors,
    transfer_with_scanvi,
    tuned_spec,
    with_label_column,
)
from scvi_downstream.study.defaults import defaults_of

if TYPE_CHECKING:
    from pathlib import Path

    from anndata import AnnData

    from scvi_downstream.models.saved import SavedModel

BRIEF = defaults_of(AnnotationOptions, training={"max_epochs": 2})


def some_labels(n_cells: int, share: float = 0.2) -> pd.Series:
    rng = np.random.default_rng(0)
    names = rng.choice(["a", "b", "c"], n_cells, p=[0.6, 0.3, 0.1])
    return pd.Series(pd.Categorical(np.where(rng.random(n_cells) < share, names, None)))


def test_all_labels_but_one_are_trained_on() -> None:
    labels = some_labels(500)
    split = split_for_labels(labels, 0)
    together = np.concatenate([split.train, split.validation, split.test])
    assert sorted(together) == list(range(500))
    spared = labels.iloc[split.validation].dropna()
    assert len(spared) == 1
    assert spared.iloc[0] == "a"
    assert len(split.validation) == 51


@pytest.mark.slow
def test_scanvi_never_sees_a_held_out_label_and_counts_stay_as_they_are(
    pbmc_counts: AnnData, fitted_scvi: SavedModel, keys: Keys, tmp_path: Path
) -> None:
    split = split_labels(pbmc_counts.obs["cell_type"], BRIEF, 0)
    seen: list[pd.Series] = []
    columns = list(pbmc_counts.obs)

    def transfer(labels: pd.DataFrame) -> pd.DataFrame:
        model, table = transfer_with_scanvi(
            pbmc_counts,
            fitted_scvi,
            labels,
            keys,
            BRIEF,
            defaults_of(TrainingOptions),
            0,
            "cpu",
            CheckpointStore(tmp_path),
        )
        seen.append(model.adata.obs["given_label"].astype(str))
        return table

    changed = split.copy()
    changed.loc[split["role"] == "held_out", "label"] = "Dendritic"
    first, second = transfer(split), transfer(changed)
    given = split["role"] == "given"
    assert (seen[0][given] == split.loc[given, "label"].astype(str)).all()
    assert (seen[0][~given] == "unknown").all()
    pd.testing.assert_frame_equal(first, second)
    np.testing.assert_allclose(first.sum(axis=1), 1, rtol=1e-5)
    assert list(pbmc_counts.obs) == columns


@pytest.mark.slow
def test_unknown_cells_are_predicted_from_all_labels(
    pbmc_counts: AnnData, fitted_scvi: SavedModel, keys: Keys, tmp_path: Path
) -> None:
    labels = pbmc_counts.obs["cell_type"].astype(str)
    labels[::3] = "unknown"
    split = split_labels(labels.astype("category"), BRIEF, 0)
    changed = split.copy()
    changed.loc[split["role"] == "held_out", "label"] = "Dendritic"
    one, other = (
        transfer_with_scanvi(
            pbmc_counts,
            fitted_scvi,
            roles,
            keys,
            BRIEF,
            defaults_of(TrainingOptions),
            0,
            "cpu",
            CheckpointStore(tmp_path),
        )[1]
        for roles in (split, changed)
    )
    unknown = split["role"] == "unknown"
    pd.testing.assert_frame_equal(one[~unknown], other[~unknown])
    assert not np.allclose(one[unknown], other[unknown])


@pytest.mark.slow
def test_an_interrupted_training_is_not_taken_up_with_other_labels(
    pbmc_counts: AnnData, fitted_scvi: SavedModel, keys: Keys, tmp_path: Path
) -> None:
    asked: list[str] = []

    class Recording(CheckpointStore):
        def find(self, identity: str) -> Path | None:
            asked.append(identity)
            return None

    labels = pbmc_counts.obs["cell_type"].where(np.arange(pbmc_counts.n_obs) % 2 == 0)
    changed = labels.copy()
    changed.iloc[0] = "Dendritic" if labels.iloc[0] != "Dendritic" else "CD34+"
    spec = tuned_spec(
        fitted_scvi,
        defaults_of(TrainingOptions),
        defaults_of(AnnotationOptions, training={"max_epochs": 1}),
        700,
    )
    for given in (labels, labels, changed):
        fit_scanvi(
            pbmc_counts, fitted_scvi, given, spec, keys, seed=0, accelerator="cpu",
            checkpoints=Recording(tmp_path),
        )  # fmt: skip
    assert asked[0] == asked[1] != asked[2]


@pytest.mark.slow
def test_it_starts_from_an_scvi_and_anew_from_models_that_saw_labels(
    pbmc_counts: AnnData, fitted_scvi: SavedModel, keys: Keys, tmp_path: Path
) -> None:
    from scvi_downstream.datasets.scvi_model_dataset import ScviModelDataset

    labels = pbmc_counts.obs["cell_type"].where(np.arange(pbmc_counts.n_obs) % 2 == 0)
    training = defaults_of(TrainingOptions)
    tuned = tuned_spec(fitted_scvi, training, BRIEF, 700)
    assert tuned.init_from == "SCVI"
    assert (tuned.n_latent, tuned.n_hidden) == (5, 32)
    assert tuned_spec(fitted_scvi, training, defaults_of(AnnotationOptions), 700).training.max_epochs == 10
    assert tuned_spec(fitted_scvi, training, defaults_of(AnnotationOptions), 100_000).training.max_epochs == 4
    model = fit_scanvi(
        pbmc_counts, fitted_scvi, labels, tuned, keys, seed=0, accelerator="cpu",
        checkpoints=CheckpointStore(tmp_path),
    )  # fmt: skip
    dataset = ScviModelDataset(filepath=tmp_path / "scanvi")
    dataset.save(model)
    saved = dataset.load()
    assert trained_on_labels(saved)
    assert not trained_on_labels(fitted_scvi)
    fresh = tuned_spec(saved, training, defaults_of(AnnotationOptions), 700)
    assert fresh.init_from is None
    assert fresh.training.early_stopping
    split = split_labels(labels.cat.add_categories(["unknown"]).fillna("unknown"), BRIEF, 0)
    useless = pd.DataFrame(0.0, index=split.index, columns=["z"])
    table, distances = transfer_with_neighbors(pbmc_counts, saved, saved, useless, split, BRIEF, "cpu")
    assert distances["distance"].min() > 0  # of the labelled model's own latent, not of the one given
    assert table.shape[0] == 700


@pytest.mark.slow
def test_a_label_column_is_added_to_a_new_obs_only(pbmc_counts: AnnData) -> None:
    labels = pd.Series(pd.Categorical(["x"] * 699 + [None]), index=pbmc_counts.obs_names)
    labelled = with_label_column(pbmc_counts, labels)
    assert labelled.X is pbmc_counts.X
    assert list(labelled.obs["given_label"].cat.categories) == ["unknown", "x"]
    assert "given_label" not in pbmc_counts.obs
