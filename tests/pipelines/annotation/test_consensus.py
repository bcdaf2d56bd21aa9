"""Calibration, consensus and findings on simulated cells."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.annotation.consensus import (
    agree_on_cell_types,
    calibrate,
    calibrate_mean,
    certainty_p_values,
    find_consensus,
    fit_temperature,
    halves_of,
    temper,
    unlike_labelled,
    unlike_p_values,
)
from scvi_downstream.pipelines.annotation.label_split import labels_seen, split_labels
from scvi_downstream.pipelines.annotation.options import AnnotationOptions
from scvi_downstream.pipelines.annotation.scores import compare_with_labels
from scvi_downstream.pipelines.annotation.transfer import (
    distance_p_values,
    label_frequencies,
    transfer_with_clusters,
    transfer_with_neighbors,
)
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.study.defaults import defaults_of

from .conftest import draw_exact

TYPES = ("a", "b", "c")
OPTIONS = defaults_of(AnnotationOptions)
PRIMARY = SimpleNamespace(setup={})


def with_neighbors(latent, split, options=OPTIONS):
    """Transfer in the latent of a primary model that has seen no labels."""
    return transfer_with_neighbors(None, PRIMARY, None, latent, split, options, "cpu")


def with_clusters(clusters, split, options=OPTIONS):
    return transfer_with_clusters(PRIMARY, clusters, split, options)


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
    knn, distances = with_neighbors(latent, split, options)
    majority = with_clusters(clusters, split, options)
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
        lambda roles: with_neighbors(latent, roles)[0],
        lambda roles: with_clusters(clusters, roles),
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
    knn, distances = with_neighbors(latent, split, defaults_of(AnnotationOptions, n_neighbors=5))
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
    knn, distances = with_neighbors(latent, split)
    majority = with_clusters(clusters, split)
    cell_types, scores, *_ = agree_on_cell_types(split, knn, knn, majority, distances, OPTIONS, 0)
    assert set(cell_types.index[cell_types["cell_type_suspect"]]) == set(wrong)
    assert "3 held-out cells are called as another type" in scores["sentences"][-1]


def test_columns_agree_with_the_probabilities():
    latent, labels, _, _ = simulate(distance=1.5)
    split = split_labels(labels, OPTIONS, 0)
    knn, distances = with_neighbors(latent, split)
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


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_a_planted_temperature_is_found(temperature):
    probabilities, truth = draw_exact(8000, sharpness=0.8)
    off = probabilities ** (1 / temperature)
    off /= off.sum(axis=1, keepdims=True)
    assert fit_temperature(off, truth) == pytest.approx(1 / temperature, rel=0.08)


def test_tempering_keeps_the_order_and_the_sum():
    probabilities, _ = draw_exact(200)
    for temperature in (0.1, 1, 9):
        tempered = temper(probabilities, temperature)
        np.testing.assert_allclose(tempered.sum(axis=1), 1)
        assert (tempered.argmax(axis=1) == probabilities.argmax(axis=1)).all()
    np.testing.assert_allclose(temper(probabilities, 1.0), probabilities, atol=1e-3)
    assert (temper(np.array([[1.0, 0.0]]), 20.0)[0] > 0.2).all()


def test_a_perfect_method_keeps_a_finite_temperature():
    certain = np.eye(3)[np.arange(90) % 3]
    assert 0.05 <= fit_temperature(certain, np.arange(90) % 3) <= 20


def test_no_held_out_cell_is_calibrated_by_its_own_label():
    probabilities, truth = draw_exact(400)
    table = pd.DataFrame(probabilities)
    held_out = np.arange(100, 300)
    halves = halves_of(truth[held_out], 0)
    before, temperature = calibrate(table, held_out, truth[held_out], halves)
    changed = truth[held_out].copy()
    changed[halves == 0] = (changed[halves == 0] + 1) % 4
    after, _ = calibrate(table, held_out, changed, halves)
    rows = held_out[halves == 0]
    pd.testing.assert_frame_equal(before.iloc[rows], after.iloc[rows])
    assert not np.allclose(before.iloc[held_out[halves == 1]], after.iloc[held_out[halves == 1]])
    np.testing.assert_allclose(before.iloc[:100], temper(probabilities[:100], temperature))


def test_halves_share_every_type():
    truth = np.random.default_rng(0).integers(5, size=203)
    halves = halves_of(truth, 1)
    counted = np.array([[np.sum((truth == code) & (halves == half)) for half in (0, 1)] for code in range(5)])
    assert np.abs(np.diff(counted)).max() <= 1


def test_no_probability_of_a_held_out_cell_depends_on_the_truth_of_its_half():
    probabilities, truth = draw_exact(200)
    tables = [pd.DataFrame(temper(probabilities, temperature)) for temperature in (0.5, 2.0)]
    held_out = np.arange(100)
    halves = halves_of(truth[:100], seed=0)
    first, _ = calibrate_mean(tables, held_out, truth[:100], halves)
    changed = np.where(halves == 0, (truth[:100] + 1) % 4, truth[:100])
    second, _ = calibrate_mean(tables, held_out, changed, halves)
    np.testing.assert_array_equal(first.iloc[held_out[halves == 0]], second.iloc[held_out[halves == 0]])
    assert not np.allclose(first.iloc[held_out[halves == 1]], second.iloc[held_out[halves == 1]])


def roles_of(n_given, n_held_out, n_unknown):
    names = ["given"] * n_given + ["held_out"] * n_held_out + ["unknown"] * n_unknown
    return pd.Series(pd.Categorical(names), index=[f"c{i}" for i in range(len(names))])


def test_p_values_by_hand():
    distances = np.array([1.0, 2.0, 3.0, 2.5, 9.0])
    p = distance_p_values(distances, np.array([True, True, True, False, False]))
    assert np.isnan(p[:3]).all()
    np.testing.assert_allclose(p[3:], [2 / 4, 1 / 4])
    certainty = np.array([0.9, 0.8, 0.6, 0.7, 0.1])
    p = certainty_p_values(certainty, roles_of(1, 2, 2))
    assert np.isnan(p[0])
    np.testing.assert_allclose(p[1:], [1.0, 1 / 2, 2 / 3, 1 / 3])


def test_they_are_uniform_when_all_cells_are_alike():
    rng = np.random.default_rng(0)
    roles = roles_of(60, 40, 50)
    far, unsure = [], []
    for _ in range(200):
        values = rng.gamma(2, size=150)
        far.append(distance_p_values(values, (roles == "given").to_numpy())[60:])
        unsure.append(certainty_p_values(1 - values / 100, roles)[60:])
    for p in (np.concatenate(far), np.concatenate(unsure)):
        for level in (0.05, 0.2, 0.5, 0.9):
            assert abs((p <= level).mean() - level) < 0.04
            assert (p <= level).mean() <= level + 0.02


def test_alike_cells_are_rarely_called_unlike_and_others_are():
    rng = np.random.default_rng(1)
    roles = roles_of(200, 100, 200)
    fresh = np.arange(500) >= 400

    def called(shift):
        certainty = np.clip(rng.beta(20, 1, 500) - shift * fresh, 0.4, 1)
        table = pd.DataFrame({"a": certainty, "b": 1 - certainty}, index=roles.index)
        p = pd.Series(np.where(roles == "given", np.nan, rng.random(500)), index=roles.index)
        return unlike_labelled(unlike_p_values([table, table], p, roles), roles, 0.05).to_numpy()

    assert np.mean([called(0).any() for _ in range(40)]) < 0.15
    found = called(0.5)
    assert found[fresh].mean() > 0.95
    assert found[:400].mean() < 0.05
    assert not found[:200].any()


def test_without_held_out_cells_the_distance_decides():
    roles = roles_of(3, 0, 2)
    table = pd.DataFrame({"a": np.linspace(0.1, 1, 5), "b": np.linspace(0.9, 0, 5)}, index=roles.index)
    distance_p = pd.Series([np.nan] * 3 + [0.01, 0.4], index=roles.index)
    p = unlike_p_values([table], distance_p, roles)
    np.testing.assert_allclose(p.iloc[3:], [0.02, 0.8])
