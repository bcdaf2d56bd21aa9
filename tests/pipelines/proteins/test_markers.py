from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control, ranksums

from scvi_downstream.parameters import UNKNOWN
from scvi_downstream.pipelines.proteins.markers import COLUMNS, find_groups, find_markers
from scvi_downstream.proteins import clr

from .conftest import KEYS, MARKERS_OF_A, MARKERS_OF_B, OPTIONS, SAME, Study, simulate


def test_groups_are_clusters_and_labels_with_enough_cells_in_and_out() -> None:
    counts = simulate(60)
    labels = counts.obs["cell_type"].cat.add_categories([UNKNOWN, "rare"])
    labels.iloc[:3], labels.iloc[3:9] = "rare", UNKNOWN
    counts.obs["cell_type"] = labels
    clusters = pd.DataFrame({"leiden": "0"}, index=counts.obs_names)
    groups = list(find_groups(counts, clusters, KEYS, 10))
    assert [(group.grouping, group.name) for group in groups] == [("labels", "A"), ("labels", "B")]
    assert not groups[0].cells[3:9].any()
    assert not groups[0].rest[3:9].any()  # not known to be of another type


def test_cells_of_batches_without_proteins_are_not_compared() -> None:
    counts = simulate(120, unmeasured=True)
    clusters = pd.DataFrame({"leiden": counts.obs["cell_type"].astype(str)}, index=counts.obs_names)
    for group in find_groups(counts, clusters, KEYS, 5):
        assert set(counts.obs["batch"][group.cells | group.rest]) == {"one"}


@pytest.mark.slow
def test_planted_markers_are_found_and_nothing_else(study: Study) -> None:
    table = find_markers(study.model, study.counts, study.clusters, KEYS, OPTIONS, 0)
    assert list(table.columns) == list(COLUMNS)
    labels = table[table["grouping"] == "labels"].set_index(["group", "protein"])
    for group, markers in (("A", MARKERS_OF_A), ("B", MARKERS_OF_B)):
        up = labels.loc[group]
        assert up.loc[list(markers), "both"].all()
        assert (up.loc[list(markers), "lfc_median"] > 1).all()
        assert (up.loc[list(markers), "auc"] > 0.9).all()
        assert not (up.loc[list(SAME), "lfc_median"].abs() > 1).any()
    assert table["expected_fdr"].between(0, 1).all()
    assert (table["lfc_lower"] <= table["lfc_median"]).all()


@pytest.mark.slow
def test_the_rank_sum_test_is_scipys(study: Study) -> None:
    table = find_markers(study.model, study.counts, study.clusters, KEYS, OPTIONS, 0)
    rows = table[(table["grouping"] == "labels") & (table["group"] == "A")].set_index("protein")
    proteins = study.counts.obsm["protein_expression"]
    ratios = pd.DataFrame(clr(proteins.to_numpy()), columns=proteins.columns)
    inside = (study.counts.obs["cell_type"] == "A").to_numpy()
    # scipy's ranksums knows neither ties nor continuity, which move p a little
    expected = ranksums(ratios[inside], ratios[~inside]).pvalue
    found = rows.loc[list(proteins.columns)]
    np.testing.assert_allclose(np.log10(found["p_value"]), np.log10(expected), rtol=0.02, atol=0.01)
    np.testing.assert_allclose(found["p_adjusted"], false_discovery_control(found["p_value"].to_numpy()))
    difference = ratios[inside].mean() - ratios[~inside].mean()
    np.testing.assert_allclose(found["clr_difference"], difference)


@pytest.mark.slow
def test_groups_drawn_at_random_have_no_markers(study: Study) -> None:
    counts = study.counts.copy()
    drawn = np.random.default_rng(3).permutation(counts.obs["cell_type"].to_numpy())
    counts.obs["cell_type"] = pd.Categorical(drawn)
    clusters = pd.DataFrame({"leiden": drawn.astype(str)}, index=counts.obs_names)
    table = find_markers(study.model, counts, clusters, KEYS, OPTIONS, 0)
    assert not table["both"].any()
    assert (table["p_adjusted"] > 0.01).all()
