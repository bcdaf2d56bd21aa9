"""Scores against scikit-learn and by hand."""

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.pipelines.annotation.scores import (
    calibration_error,
    calibration_error_interval,
    confusion,
    contingency,
    error_of_exact_probabilities,
    reliability,
    score,
    score_clusterings,
    score_types,
    wilson_interval,
)

from .conftest import draw_exact

TYPES = ["a", "b", "c", "d"]


def test_agreement_of_clusters_and_labels():
    from sklearn.metrics import adjusted_rand_score, completeness_score, homogeneity_score

    rng = np.random.default_rng(0)
    cells = [f"c{i}" for i in range(120)]
    labels = pd.Series(pd.Categorical(rng.choice(["x", "y", "unknown"], 120)), index=cells, name="cell_type")
    clusters = pd.DataFrame(
        {
            "same": pd.Categorical(labels.astype(str)),
            "random": pd.Categorical(rng.choice(list("01234"), 120)),
        },
        index=cells,
    )
    table = score_clusterings(clusters, labels).set_index("clustering")
    known = labels != "unknown"
    assert table["n_cells"].tolist() == [known.sum()] * 2
    assert table.loc["same", ["ari", "nmi", "homogeneity", "completeness", "v_measure"]].tolist() == [1] * 5
    assert abs(table.loc["random", "ari"]) < 0.05
    pair = labels[known].astype(str), clusters.loc[known, "random"].astype(str)
    assert table.loc["random", "ari"] == pytest.approx(adjusted_rand_score(*pair))
    assert table.loc["random", "homogeneity"] == pytest.approx(homogeneity_score(*pair))
    assert table.loc["random", "completeness"] == pytest.approx(completeness_score(*pair))
    counted = contingency(clusters["random"], labels)
    theirs = pd.crosstab(pair[1], pair[0])
    assert counted.set_index(["cluster", "label"])["n"].to_dict() == {
        key: n for key, n in theirs.stack().items() if n
    }
    assert counted.groupby("cluster")["share_of_cluster"].sum().to_numpy() == pytest.approx(1)
    assert counted.groupby("label")["share_of_label"].sum().to_numpy() == pytest.approx(1)


def test_without_labels_the_tables_are_empty():
    labels = pd.Series(pd.Categorical(["unknown"] * 3), index=list("abc"))
    clusters = pd.DataFrame({"leiden": pd.Categorical(["0", "1", "1"])}, index=list("abc"))
    assert score_clusterings(clusters, labels).empty
    assert contingency(clusters["leiden"], labels).empty


@pytest.fixture
def predictions():
    rng = np.random.default_rng(0)
    truth = rng.integers(3, size=300)  # d is never true
    probabilities = rng.dirichlet(np.ones(4), 300)
    probabilities[np.arange(300), truth] += 0.5
    return probabilities / probabilities.sum(axis=1, keepdims=True), truth


def test_scores_are_those_of_scikit_learn(predictions):
    from sklearn.metrics import accuracy_score, brier_score_loss, f1_score, log_loss

    probabilities, truth = predictions
    found = score(probabilities, truth, min_probability=0.5, n_bins=10, seed=0)
    predicted = probabilities.argmax(axis=1)
    called = probabilities.max(axis=1) >= 0.5
    assert found["accuracy"] == pytest.approx(accuracy_score(truth, predicted))
    assert found["macro_f1"] == pytest.approx(f1_score(truth, predicted, labels=[0, 1, 2], average="macro"))
    assert found["log_loss"] == pytest.approx(log_loss(truth, probabilities, labels=range(4)))
    by_scikit_learn = brier_score_loss(truth, probabilities, labels=range(4), scale_by_half=False)
    assert found["brier"] == pytest.approx(by_scikit_learn)
    assert found["coverage"] == pytest.approx(called.mean())
    assert found["accuracy_called"] == pytest.approx(accuracy_score(truth[called], predicted[called]))
    assert found["accuracy_low"] < found["accuracy"] < found["accuracy_high"]


def test_nothing_called_has_no_accuracy(predictions):
    probabilities, truth = predictions
    found = score(probabilities, truth, min_probability=1.0, n_bins=10, seed=0)
    assert found["coverage"] == 0
    assert np.isnan(found["accuracy_called"])


def test_tables_agree_with_scikit_learn(predictions):
    from sklearn.metrics import classification_report, confusion_matrix

    probabilities, truth = predictions
    predicted = probabilities.argmax(axis=1)
    report = classification_report(
        truth, predicted, labels=range(4), target_names=TYPES, output_dict=True, zero_division=0
    )
    by_type = score_types(probabilities, truth, TYPES, 0.5).set_index("type")
    assert list(by_type.index) == ["a", "b", "c"]
    for name, row in by_type.iterrows():
        assert row["f1"] == pytest.approx(report[name]["f1-score"])
        assert row["n_held_out"] == report[name]["support"]
    wide = confusion(probabilities, truth, TYPES).pivot(index="true", columns="predicted", values="n")
    wide = wide.reindex(index=TYPES, columns=TYPES).fillna(0)
    np.testing.assert_array_equal(wide, confusion_matrix(truth, predicted, labels=range(4)))


def test_the_error_is_that_of_the_definition():
    confidence = np.array([0.95, 0.91, 0.55, 0.52, 1.0])
    is_right = np.array([1, 0, 1, 1, 1])
    by_hand = (3 / 5) * abs(2 / 3 - (0.95 + 0.91 + 1.0) / 3) + (2 / 5) * abs(1 - 0.535)
    assert calibration_error(confidence, is_right, 10) == pytest.approx(by_hand)
    table = reliability(confidence, is_right, 10)
    assert table["n"].tolist() == [2, 3]
    assert (np.abs(table["accuracy"] - table["confidence"]) * table["n"]).sum() / 5 == pytest.approx(by_hand)
    assert (table["accuracy_low"] < table["accuracy_high"]).all()


def test_exact_probabilities_have_the_error_that_is_said_for_them():
    errors = []
    for seed in range(40):
        probabilities, truth = draw_exact(150, seed=seed)
        is_right = probabilities.argmax(axis=1) == truth
        errors.append(calibration_error(probabilities.max(axis=1), is_right, 10))
    said = error_of_exact_probabilities(draw_exact(150)[0].max(axis=1), 10, 0)
    assert np.mean(errors) == pytest.approx(said, rel=0.2)
    low, high = calibration_error_interval(probabilities.max(axis=1), is_right, 10, 0)
    assert 0 <= low < high <= 1


@pytest.mark.parametrize(("right", "n"), [(0, 7), (7, 7), (90, 100)])
def test_intervals_are_those_of_scipy(right, n):
    from scipy.stats import binomtest

    theirs = binomtest(right, n).proportion_ci(method="wilson")
    np.testing.assert_allclose(wilson_interval(right, n), (theirs.low, theirs.high), atol=1e-12)
