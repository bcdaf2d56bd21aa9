"""Methods, consensus and findings on simulated cells."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.annotation.consensus import find_consensus
from scvi_downstream.pipelines.annotation.label_split import labels_seen, split_labels
from scvi_downstream.pipelines.annotation.nodes import agree_on_cell_types, compare_with_labels
from scvi_downstream.pipelines.annotation.options import AnnotationOptions
from scvi_downstream.pipelines.annotation.transfer import (
    label_frequencies,
    predict_with_clusters,
    predict_with_neighbors,
)
from scvi_downstream.runtime.errors import InputError

TYPES = ("a", "b", "c")
OPTIONS = AnnotationOptions()


def simulate(n_cells=600, seed=0, distance=8.0, unlabelled=0.2):
    """Cells of types apart in a latent space, some without a label, and clusters that are the types."""
    rng = np.random.default_rng(seed)
    cells = pd.Index([f"c{i}" for i in range(n_cells)], name="cell")
    truth = rng.integers(len(TYPES), size=n_cells)
    latent = pd.DataFrame(rng.normal(size=(n_cells, 4)) + distance * np.eye(4)[truth], index=cells)
    names = np.array(TYPES, dtype=object)[truth]
    names[rng.random(n_cells) < unlabelled] = "unknown"
    labels = pd.Series(pd.Categorical(names), index=cells, name="cell_type")
    clusters = pd.DataFrame({"leiden": pd.Categorical(truth.astype(str))}, index=cells)
    return latent, labels, clusters, pd.Series(np.array(TYPES, dtype=object)[truth], index=cells)


def annotate(latent, labels, clusters, options=OPTIONS, scanvi=None):
    split = split_labels(labels, options, 0)
    knn, distances = predict_with_neighbors(latent, split, options.n_neighbors)
    majority = predict_with_clusters(clusters, split, options.clustering)
    scanvi = knn if scanvi is None else scanvi
    return split, *agree_on_cell_types(split, scanvi, knn, majority, distances, options, 0)


def test_separate_types_are_found_again_with_probabilities_that_mean_it():
    latent, labels, clusters, truth = simulate()
    split, cell_types, scores, by_type, confusion, calibration = annotate(latent, labels, clusters)
    assert scores["consensus"]["accuracy"] == 1
    assert scores["consensus"]["ece"] < 0.02
    unknown = split["role"] == "unknown"
    assert (cell_types["cell_type_predicted"].astype(str) == truth)[unknown].mean() > 0.95
    assert scores["unknown_called"] > 0.95
    assert set(by_type["method"]) == {"scanvi", "knn", "clusters", "consensus"}
    assert confusion["n"].sum() == 4 * scores["n_held_out"]
    assert set(calibration["probabilities"]) == {"raw", "calibrated"}
    assert 1 <= len(scores["sentences"]) <= 4
    assert scores["sentences"][0].startswith("The consensus gives 100.0% of")


def test_permuted_labels_are_at_chance_and_known_to_be():
    latent, labels, clusters, _ = simulate(900, unlabelled=0)
    permuted = pd.Series(np.random.default_rng(1).permutation(labels), index=labels.index).astype("category")
    _, cell_types, scores, *_ = annotate(latent, permuted, clusters)
    chance = scores["accuracy_of_the_largest_type"]
    consensus = scores["consensus"]
    assert consensus["accuracy_low"] < chance + 0.02
    held_out = cell_types["cell_type_role"] == "held_out"
    assert abs(cell_types.loc[held_out, "cell_type_probability"].mean() - 1 / 3) < 0.1
    assert consensus["coverage"] < 0.1
    assert consensus["ece"] < 0.1
    assert scores["n_suspect"] == 0


def test_cells_of_a_type_without_labels_stay_unknown():
    latent, labels, clusters, truth = simulate()
    hidden = labels.astype(str).where(truth != "c", "unknown").astype("category")
    split, cell_types, scores, *_ = annotate(latent, hidden, clusters)
    new = (truth == "c") & (split["role"] == "unknown")
    other = (truth != "c") & (split["role"] == "unknown")
    is_unknown = cell_types["cell_type_predicted"].astype(str) == "unknown"
    assert is_unknown[new].mean() > 0.95
    assert is_unknown[other].mean() < 0.15
    assert "they may be of a type that has no label" in " ".join(scores["sentences"])


def test_no_held_out_label_is_seen_by_any_method():
    latent, labels, clusters, _ = simulate(unlabelled=0.1)
    split = split_labels(labels, OPTIONS, 0)
    changed = split.copy()
    held_out = split["role"] == "held_out"
    changed.loc[held_out, "label"] = "a"
    rows = split["role"] != "unknown"
    for predict in (
        lambda roles: predict_with_neighbors(latent, roles, 15)[0],
        lambda roles: predict_with_clusters(clusters, roles, "leiden"),
    ):
        before, after = predict(split), predict(changed)
        pd.testing.assert_frame_equal(before[rows], after[rows])
        assert not before[~rows].equals(after[~rows])


def test_cluster_frequencies_leave_the_cell_out_and_fall_back_to_all():
    labels = pd.Series(pd.Categorical(["a", "a", "b", None, None]))
    clusters = pd.Series(pd.Categorical(["0", "0", "0", "0", "1"]))
    table = label_frequencies(clusters, labels)
    np.testing.assert_allclose(table.loc[2], [(2 + 2 / 3) / 3, (1 / 3) / 3])
    np.testing.assert_allclose(table.loc[3], [(2 + 2 / 3) / 4, (1 + 1 / 3) / 4])
    np.testing.assert_allclose(table.loc[4], [2 / 3, 1 / 3])


def test_few_held_out_cells_and_left_out_clusters_are_said():
    latent, labels, _, _ = simulate(60, unlabelled=0)
    split = split_labels(labels, OPTIONS, 0)
    knn, distances = predict_with_neighbors(latent, split, 5)
    nothing = pd.DataFrame(index=split.index)
    cell_types, scores, *_ = agree_on_cell_types(split, knn, knn, nothing, distances, OPTIONS, 0)
    last = scores["sentences"][-1]
    assert "not calibrated, for which 30 held-out cells are needed" in last
    assert "the majority of clusters is left out" in last
    assert "temperature" not in scores["knn"]
    assert "cell_type_clusters" not in cell_types


def test_contradicted_labels_are_suspect():
    latent, labels, clusters, _ = simulate(unlabelled=0)
    split = split_labels(labels, OPTIONS, 0)
    wrong = split.index[(split["role"] == "held_out") & (split["label"] == "a")][:3]
    split.loc[wrong, "label"] = "b"
    knn, distances = predict_with_neighbors(latent, split, 15)
    majority = predict_with_clusters(clusters, split, "leiden")
    cell_types, scores, *_ = agree_on_cell_types(split, knn, knn, majority, distances, OPTIONS, 0)
    assert set(cell_types.index[cell_types["cell_type_suspect"]]) == set(wrong)
    assert "3 held-out cells are called as another type" in scores["sentences"][-1]


def test_columns_agree_with_the_probabilities():
    latent, labels, _, _ = simulate(distance=1.5)
    split = split_labels(labels, OPTIONS, 0)
    knn, distances = predict_with_neighbors(latent, split, 15)
    flat = pd.DataFrame(1 / 3, index=split.index, columns=list(TYPES))
    found = find_consensus(split, {"scanvi": flat, "knn": knn}, OPTIONS, 0)
    cell_types, *_ = agree_on_cell_types(
        split, flat, knn, pd.DataFrame(index=split.index), distances, OPTIONS, 0
    )
    consensus = found.probabilities["consensus"]
    np.testing.assert_allclose(consensus.sum(axis=1), 1)
    np.testing.assert_allclose(cell_types["cell_type_probability"], consensus.max(axis=1))
    votes = (cell_types["cell_type_scanvi"].astype(str) == consensus.idxmax(axis=1)).astype(int)
    votes += cell_types["cell_type_knn"].astype(str) == consensus.idxmax(axis=1)
    np.testing.assert_allclose(cell_types["cell_type_agreement"], votes / 2)
    from scipy.stats import entropy

    np.testing.assert_allclose(cell_types["cell_type_entropy"], entropy(consensus, axis=1))


def test_one_type_cannot_be_transferred_and_says_why():
    _, labels, _, _ = simulate()
    one = labels.astype(str).where(labels == "a", "unknown").astype("category")
    split = split_labels(one, OPTIONS, 0)
    assert list(labels_seen(split, held_out_too=False).cat.categories) == ["a"]
    empty = pd.DataFrame(index=split.index)
    cell_types, scores, by_type, *_ = agree_on_cell_types(split, empty, empty, empty, empty, OPTIONS, 0)
    assert (cell_types["cell_type_predicted"] == "unknown").all()
    assert by_type.empty
    assert scores["sentences"] == [
        f"No label was transferred: of the types of the {(one == 'a').sum()} labelled cells only 'a' has enough "
        "cells, and at least 2 types must."
    ]


def test_a_clustering_that_does_not_exist_is_named():
    _, labels, clusters, _ = simulate(20)
    counts = SimpleNamespace(obs=labels.to_frame())
    renamed = clusters.rename(columns={"leiden": "leiden_0.5"})
    with pytest.raises(
        InputError, match=r"'leiden' is not among the clusterings; the closest is 'leiden_0\.5'"
    ):
        compare_with_labels(renamed, counts, Keys(label_key="cell_type"), OPTIONS)
