"""Scores against scikit-learn."""

import numpy as np
import pytest

from scvi_downstream.pipelines.annotation.scores import confusion, score, score_types

TYPES = ["a", "b", "c", "d"]


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
