"""Markers among proteins by the posterior and by the counts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from scvi_downstream.cells.proteins import clr
from scvi_downstream.pipelines.proteins.markers import find_groups, find_markers

from .conftest import KEYS, MARKERS_OF_A, MARKERS_OF_B, OPTIONS, Study, simulate


def test_only_cells_with_proteins_are_compared() -> None:
    counts = simulate(unmeasured=True)
    clusters = pd.DataFrame({"leiden": counts.obs["type"]})
    groups = list(find_groups(counts, clusters, KEYS, 10))
    assert [(group.grouping, group.name) for group in groups] == [
        ("clusters", "A"), ("clusters", "B"), ("labels", "A"), ("labels", "B"),
    ]  # fmt: skip
    in_two = (counts.obs["batch"] == "two").to_numpy()
    for group in groups:
        assert not (group.cells & in_two).any()
        assert not (group.rest & in_two).any()
        assert not (group.cells & group.rest).any()


def test_small_groups_and_unknown_labels_are_left_out() -> None:
    counts = simulate()
    labels = counts.obs["type"].astype(str).to_numpy(copy=True)
    labels[:5], labels[5:60] = "rare", "unknown"
    counts.obs["type"] = pd.Categorical(labels)
    clusters = pd.DataFrame({"leiden": pd.Categorical(["0"] * counts.n_obs)}, index=counts.obs_names)
    names = [(group.grouping, group.name) for group in find_groups(counts, clusters, KEYS, 10)]
    assert names == [("labels", "A"), ("labels", "B")]


@pytest.mark.slow
def test_planted_markers_are_found_by_both_tests(study: Study) -> None:
    model = study.fitted.attach(study.counts)
    table = find_markers(model, study.counts, study.clusters, KEYS, OPTIONS, 0)
    of_a = table[(table["grouping"] == "labels") & (table["group"] == "A")].set_index("protein")
    assert (of_a.loc[list(MARKERS_OF_A), "lfc_median"] > 1).all()
    assert (of_a.loc[list(MARKERS_OF_B), "lfc_median"] < -1).all()
    assert of_a["both"].all()
    proteins = study.counts.obsm["protein_expression"]
    ratios = clr(proteins.to_numpy())[:, 0]
    is_a = (study.counts.obs["type"] == "A").to_numpy()
    expected = stats.mannwhitneyu(ratios[is_a], ratios[~is_a], method="asymptotic")
    assert of_a.loc["CD3", "p_value"] == pytest.approx(expected.pvalue)
    assert of_a.loc["CD3", "auc"] == pytest.approx(expected.statistic / (is_a.sum() * (~is_a).sum()))
    assert of_a.loc["CD3", "mean"] == pytest.approx(proteins["CD3"].to_numpy()[is_a].mean())


@pytest.mark.slow
def test_random_groups_have_no_markers(study: Study) -> None:
    random = np.random.default_rng(5).choice(["0", "1"], study.counts.n_obs)
    clusters = pd.DataFrame({"leiden": pd.Categorical(random)}, index=study.counts.obs_names)
    unlabelled = KEYS.model_copy(update={"label_key": None})
    table = find_markers(study.fitted.attach(study.counts), study.counts, clusters, unlabelled, OPTIONS, 0)
    assert not table["both"].any()
    assert (table["p_adjusted"] > 0.05).all()


def test_clr_is_the_logarithm_of_ratios_to_the_geometric_mean() -> None:
    counts = np.array([[0.0, 3, 7], [1, 1, 1]])
    expected = np.log((counts + 1) / stats.gmean(counts + 1, axis=1)[:, None])
    np.testing.assert_allclose(clr(counts), expected, atol=1e-12)
