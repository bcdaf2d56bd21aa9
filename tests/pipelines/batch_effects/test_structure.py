"""Batch structure of an embedding; over-correction is caught where it is planted, and nowhere else."""

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.batch_effects.design import codes
from scvi_downstream.pipelines.batch_effects.options import BatchEffectOptions
from scvi_downstream.pipelines.batch_effects.structure import (
    SEPARATION_COLUMNS,
    affordable,
    compare_separation,
    fewest_permutations,
    label_by_neighbors,
    measure_batch_structure,
)
from scvi_downstream.study.defaults import defaults_of

BEFORE, AFTER = ("before", "pca"), ("after", "latent")


def test_a_batch_with_fewer_cells_than_folds_is_left_out_of_the_classifiers(pbmc_counts, random):
    counts = pbmc_counts[:200].copy()
    batches = np.array(["a", "b"] * 100, dtype=object)
    batches[:3] = "tiny"
    counts.obs["batch"] = pd.Categorical(batches)
    keys, nothing = Keys(batch_key="batch"), pd.DataFrame()
    options = defaults_of(BatchEffectOptions, n_permutations=39, max_cells=250)
    row = measure_batch_structure(counts, *random, nothing, keys, options, 0).iloc[0]
    assert (row["n_cells"], row["n_classified"], row["n_batches"]) == (200, 197, 3)
    assert np.isfinite(row["linear_auc"])


def test_fewer_permutations_where_they_would_take_minutes():
    options = defaults_of(BatchEffectOptions)
    assert affordable((5000, 50), 8, options) == 100
    assert affordable((5000, 50), 60, options) < 100
    assert affordable((50_000, 50), 200, options) == 39
    strict = defaults_of(BatchEffectOptions, fdr=0.01)
    assert affordable((5000, 50), 8, strict) == affordable((50_000, 50), 200, strict) == 199


@pytest.mark.parametrize("fdr", [0.001, 0.01, 0.03, 0.05, 0.3])
def test_the_level_can_be_met(fdr):
    least = fewest_permutations(fdr)
    assert 1 / (1 + least) <= fdr / 2 < 1 / least


def compare(before, after, design):
    table = compare_separation({BEFORE: before, AFTER: after}, design, seed=0)
    assert list(table.columns) == list(SEPARATION_COLUMNS)
    return table[table["stage"] == "after"].set_index("label")


def test_a_label_moved_into_another_vanishes_and_is_named(simulate):
    points, design = simulate(600)
    rng = np.random.default_rng(1)
    labels = codes(design.labels)
    corrected = points.copy()
    target = np.flatnonzero(labels == 1)
    corrected[labels == 0] = points[rng.choice(target, (labels == 0).sum())] + rng.normal(
        0, 0.5, ((labels == 0).sum(), 6)
    )
    table = compare(points, corrected, design)
    assert table["vanishes"].to_dict() == {"l0": True, "l1": True, "l2": False}
    assert table.loc["l0", "merges_into"] == "l1"
    assert table.loc["l0", "change_high"] < -0.1 < table.loc["l2", "change_low"]
    assert table.loc["l0", "low"] <= table.loc["l0", "recall"] <= table.loc["l0", "high"]


def test_a_label_of_one_batch_that_merges_is_named_with_its_batch(design_of):
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], [150, 150, 40])
    batches = np.where(labels == 2, 1, rng.integers(2, size=340))
    points = rng.normal(size=(340, 4)) + 6 * np.eye(4)[labels]
    merged = points.copy()
    merged[labels == 2] += 6 * (np.eye(4)[0] - np.eye(4)[2])
    row = compare(points, merged, design_of(batches, labels)).loc["l2"]
    assert row["vanishes"]
    assert (row["merges_into"], row["main_batch"], row["main_batch_share"]) == ("l0", "b1", 1.0)


@pytest.mark.parametrize("seed", range(5))
def test_removing_the_batch_alone_is_no_over_correction(simulate, seed):
    shifted, design = simulate(400, batch_shift=6.0, label_shift=3.5, seed=seed)
    noise = np.random.default_rng(seed).normal(0, 0.3, shifted.shape)
    corrected = simulate(400, label_shift=3.5, seed=seed)[0] * 0.2 + 0.2 * noise
    assert not compare(shifted, corrected.astype(np.float32), design)["vanishes"].any()


def test_random_labels_are_told_at_chance_whatever_their_size():
    rng = np.random.default_rng(0)
    labels = rng.choice(3, 1500, p=[0.8, 0.15, 0.05])
    told = label_by_neighbors(rng.normal(size=(1500, 5)), labels)
    recalls = [(told[labels == label] == label).mean() for label in range(3)]
    assert np.mean(recalls) == pytest.approx(1 / 3, abs=0.05)


def test_too_few_cells_are_tabulated_but_not_judged(design_of):
    labels = np.repeat([0, 1, 2], [60, 60, 5])
    rng = np.random.default_rng(0)
    points = rng.normal(size=(125, 3)) + 8 * np.eye(3)[labels]
    merged = np.where((labels == 2)[:, None], points[:125][::-1][labels.argsort()][:125], points)
    merged[labels == 2] = points[:5]
    row = compare(points, merged, design_of(np.arange(125) % 2, labels)).loc["l2"]
    assert row["recall"] < row["recall"] - row["change"]
    assert not row["vanishes"]


def test_without_labels_the_table_is_empty(design_of):
    points = np.zeros((20, 2))
    for labels in (None, np.zeros(20, dtype=int)):
        table = compare_separation(
            {BEFORE: points, AFTER: points}, design_of(np.arange(20) % 2, labels), seed=0
        )
        assert table.empty
        assert list(table.columns) == list(SEPARATION_COLUMNS)
