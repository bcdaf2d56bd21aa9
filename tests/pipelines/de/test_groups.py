import logging

import numpy as np
import pytest

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.de.groups import find_comparisons, log_left_out
from scvi_downstream.pipelines.de.options import DeOptions
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.statistics.comparisons import keep_large


def test_every_grouping_is_compared_and_unknown_cells_are_in_no_label_group(
    planted_counts, planted_clusters, planted_keys
):
    found = find_comparisons(planted_counts, planted_clusters, planted_keys, DeOptions())
    assert [(each.grouping, each.name) for each in found] == [
        ("clusters", "0 vs rest"),
        ("clusters", "1 vs rest"),
        ("labels", "A vs rest"),
        ("labels", "B vs rest"),
        ("condition", "stim vs ctrl"),
        ("condition_by_type", "A: stim vs ctrl"),
        ("condition_by_type", "B: stim vs ctrl"),
    ]
    unknown = (planted_counts.obs["cell_type"] == "unknown").to_numpy()
    for each in found:
        assert not (each.cells1 & each.cells2).any()
        if each.grouping in ("labels", "condition_by_type"):
            assert not ((each.cells1 | each.cells2) & unknown).any()
    assert found[0].n1 + found[0].n2 == planted_counts.n_obs


def test_conditions_are_compared_inside_clusters_without_labels(planted_counts, planted_clusters):
    found = find_comparisons(
        planted_counts, planted_clusters, Keys(condition_key="condition"), DeOptions(groupings=())
    )
    assert [each.name for each in found] == ["stim vs ctrl", "0: stim vs ctrl", "1: stim vs ctrl"]


def test_pairs_come_from_clusterings_and_from_obs(planted_counts, planted_clusters):
    options = DeOptions(groupings=(), pairs=(("leiden_1.0", "1", "0"), ("donor", "d0", "d5")))
    found = find_comparisons(planted_counts, planted_clusters, Keys(), options)
    assert [each.name for each in found] == ["leiden_1.0: 1 vs 0", "donor: d0 vs d5"]
    np.testing.assert_array_equal(found[1].cells1, planted_counts.obs["donor"] == "d0")


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (("donr", "d0", "d1"), "'donr'.*closest is 'donor'"),
        (("donor", "d0", "d77"), "'d77' of 'donor'; there are 'd0'"),
        (("donor", "d0", "d0"), "with itself"),
    ],
)
def test_wrong_pairs_are_named(planted_counts, planted_clusters, pair, message):
    with pytest.raises(InputError, match=message):
        find_comparisons(planted_counts, planted_clusters, Keys(), DeOptions(pairs=(pair,)))


def test_small_groups_are_left_out_with_one_line(planted_counts, planted_clusters, planted_keys, caplog):
    found = find_comparisons(planted_counts, planted_clusters, planted_keys, DeOptions())
    kept, left_out = keep_large(found, 100)
    assert [each.name for each in left_out] == ["A: stim vs ctrl"]
    assert len(kept) + len(left_out) == len(found)
    with caplog.at_level(logging.INFO):
        log_left_out(left_out, 100)
        log_left_out([], 100)
    assert len(caplog.messages) == 1
    assert "A: stim vs ctrl (60 and 60 cells)" in caplog.messages[0]
