"""Comparisons tested on counts summed by sample."""

import numpy as np
import pandas as pd

from scvi_downstream.pipelines.de.nodes import find_comparisons, rank_pseudobulk
from scvi_downstream.pipelines.de.options import DeOptions
from scvi_downstream.pipelines.de.pseudobulk import PSEUDOBULK_COLUMNS, compare_pseudobulk, two_sides
from scvi_downstream.statistics.comparisons import Comparison
from scvi_downstream.study.defaults import defaults_of, replicates_of


def test_samples_in_both_groups_are_paired(planted_counts, planted_clusters, planted_keys):
    comparison = next(
        each
        for each in find_comparisons(planted_counts, planted_clusters, planted_keys, defaults_of(DeOptions))
        if each.name == "B: stim vs ctrl"
    )
    column = two_sides(comparison, planted_counts.obs["donor"], None, planted_keys)
    assert column.blocks.value_counts().eq(2).all()
    assert column.values.value_counts().to_dict() == {"first": 6, "second": 6}


def test_a_sample_on_both_sides_is_left_out_of_an_unpaired_design():
    samples = pd.Series(list("aaaabbbbccccdddde" * 10), dtype="category")
    first = samples.isin(["a", "b"]).to_numpy() | ((samples == "e").to_numpy() & (np.arange(170) < 85))
    comparison = Comparison("pairs", "x", "1", "2", first, ~first)
    column = two_sides(comparison, samples, None, replicates_of(sample_key="donor"))
    assert column.blocks is None
    units = {"a | first": "first", "b | first": "first", "c | second": "second", "d | second": "second"}
    assert column.values.to_dict() == units
    assert set(column.unit_of_cell.dropna()) == set(units)


def test_planted_condition_genes_lead_and_small_comparisons_are_left_out(
    planted_counts, planted_clusters, planted_keys, caplog
):
    keys = planted_keys.model_copy(update={"min_cells_per_sample": 15})
    with caplog.at_level("INFO"):
        table = rank_pseudobulk(
            planted_counts, planted_clusters, keys, defaults_of(DeOptions, groupings=("labels",))
        )
    assert list(table.columns) == PSEUDOBULK_COLUMNS
    assert set(table["comparison"]) == {"A vs rest", "B vs rest", "stim vs ctrl", "B: stim vs ctrl"}
    assert any("A: stim vs ctrl" in message for message in caplog.messages)
    inside = table[table["comparison"] == "B: stim vs ctrl"].set_index("gene")
    planted = inside.index.intersection(planted_counts.var_names[-12:])
    assert len(planted) >= 10
    assert (inside.loc[planted, "p_adjusted"] < 1e-6).all()
    assert (inside["n_samples1"] == 6).all()


def test_without_samples_the_table_is_empty_and_says_why(planted_counts, planted_clusters, caplog):
    with caplog.at_level("INFO"):
        table = rank_pseudobulk(planted_counts, planted_clusters, replicates_of(), defaults_of(DeOptions))
    assert table.empty
    assert list(table.columns) == PSEUDOBULK_COLUMNS
    assert "sample_key is not set" in caplog.text


def test_one_sample_a_group_is_not_tested(planted_counts):
    cells = planted_counts.obs["donor"] == "d0"
    comparison = Comparison("pairs", "d0 vs rest", "d0", "rest", cells.to_numpy(), ~cells.to_numpy())
    assert compare_pseudobulk(planted_counts, [comparison], replicates_of(sample_key="donor")).empty


def test_found_pairs_give_the_numbers_of_named_ones_in_every_comparison_of_conditions(
    planted_counts, planted_clusters
):
    counts = planted_counts.copy()
    counts.obs["sample"] = counts.obs["donor"].astype(str) + counts.obs["condition"].astype(str)
    options = defaults_of(DeOptions, groupings=(), pairs=(("condition", "stim", "ctrl"),))
    tables = {}
    for block_key in (None, "donor", ""):
        keys = replicates_of(
            label_key="cell_type", sample_key="sample", condition_key="condition", block_key=block_key
        )
        tables[block_key] = rank_pseudobulk(counts, planted_clusters, keys, options)
    pd.testing.assert_frame_equal(tables[None], tables["donor"])
    pair, overall = (tables[None][tables[None]["grouping"] == name] for name in ("pairs", "condition"))
    np.testing.assert_allclose(pair["p_value"], overall["p_value"])
    unpaired = tables[""].set_index(["comparison", "gene"])["p_value"]
    assert (
        unpaired != tables[None].set_index(["comparison", "gene"])["p_value"].reindex(unpaired.index)
    ).all()
