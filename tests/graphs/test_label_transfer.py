"""Labels of the nearest neighbours: against scikit-learn, and honest about the cell itself."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scvi_downstream.graphs.label_transfer import gaussian_weights, transfer_labels
from scvi_downstream.runtime.errors import InputError


def cells(n_cells, n_types, seed, n_dims=3):
    rng = np.random.default_rng(seed)
    labels = pd.Series(rng.choice([f"t{i}" for i in range(n_types)], n_cells)).astype("category")
    return rng.normal(size=(n_cells, n_dims)) + labels.cat.codes.to_numpy()[:, None], labels


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 999), n_cells=st.integers(12, 60), k=st.integers(1, 11))
def test_probabilities_are_those_of_scikit_learn_with_the_same_weights(seed, n_cells, k):
    from sklearn.neighbors import KNeighborsClassifier

    reference, labels = cells(n_cells, 3, seed)
    query = np.random.default_rng(seed + 1).normal(size=(9, 3))
    theirs = KNeighborsClassifier(k, weights=gaussian_weights, algorithm="brute").fit(reference, labels)
    probabilities, distances = transfer_labels(reference, labels, query, k)
    assert list(probabilities.columns) == list(theirs.classes_)
    np.testing.assert_allclose(probabilities, theirs.predict_proba(query), atol=1e-9)
    np.testing.assert_allclose(distances, theirs.kneighbors(query)[0])


def test_a_cell_is_no_neighbour_of_itself_and_unlabelled_ones_are_of_none():
    points = np.array([[0.0], [0.1], [5.0], [5.1], [0.05]])
    labels = pd.Series(pd.Categorical(["a", "b", "b", "a", None]))
    probabilities, distances = transfer_labels(
        pd.DataFrame(points, index=list("vwxyz")), labels, pd.DataFrame(points, index=list("vwxyz")), 1,
        exclude_self=True,
    )  # fmt: skip
    assert probabilities.idxmax(axis=1).to_dict() | {"z": "either"} == dict(
        zip("vwxyz", ["b", "a", "a", "b", "either"], strict=True)
    )
    np.testing.assert_allclose(distances.ravel(), [0.1, 0.1, 0.1, 0.1, 0.05])


def test_duplicates_beyond_the_number_of_neighbours_do_not_bring_the_cell_back():
    points = np.zeros((8, 2))
    labels = pd.Series(["a"] + ["b"] * 7).astype("category")
    probabilities, _ = transfer_labels(points, labels, points, 7, exclude_self=True)
    assert probabilities.loc[0, "a"] == 0


@given(scale=st.floats(1e-3, 1e3))
def test_weights_do_not_depend_on_the_units(scale):
    distances = np.array([[1.0, 2.0, 3.0]])
    np.testing.assert_allclose(gaussian_weights(scale * distances), gaussian_weights(distances))
    assert gaussian_weights(np.zeros((1, 4))).tolist() == [[0.25] * 4]


def test_labels_that_say_nothing_about_the_latent_give_their_frequencies():
    rng = np.random.default_rng(0)
    labels = pd.Series(rng.choice(["a", "b"], 1500, p=[0.7, 0.3])).astype("category")
    points = rng.normal(size=(1500, 4))
    probabilities, _ = transfer_labels(points, labels, points, 15, exclude_self=True)
    assert abs(probabilities["a"].mean() - 0.7) < 0.02
    assert abs((probabilities.idxmax(axis=1) == labels).mean() - 0.7) < 0.05


def test_what_cannot_be_transferred_says_so():
    points = np.zeros((3, 2))
    nothing = pd.Series(pd.Categorical([None] * 3, categories=["a"]))
    with pytest.raises(InputError, match="0 of 3 reference cells have one"):
        transfer_labels(points, nothing, points, 5)
    with pytest.raises(InputError, match="did not converge"):
        transfer_labels(points * np.nan, pd.Series(list("aab")).astype("category"), points, 5)
