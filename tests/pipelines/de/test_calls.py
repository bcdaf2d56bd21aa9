"""The rule of the calls on planted differences: which unit, which genes, and none where nothing differs."""

import numpy as np
import pandas as pd

from scvi_downstream.pipelines.de.calls import CALL_COLUMNS
from scvi_downstream.pipelines.de.nodes import call_genes, rank_pseudobulk
from scvi_downstream.pipelines.de.options import DeOptions
from scvi_downstream.pipelines.de.pseudobulk import PSEUDOBULK_COLUMNS
from scvi_downstream.study.defaults import defaults_of, replicates_of

N_PLANTED = 12


def _called(counts, clusters, keys, options, pseudobulk=None):
    modelled = pd.DataFrame({"gene": counts.var_names})
    tested = pd.DataFrame(columns=PSEUDOBULK_COLUMNS) if pseudobulk is None else pseudobulk
    return call_genes(counts, clusters, modelled, tested, keys, options)


def test_planted_genes_are_called_with_their_sign_and_the_others_are_not(planted_counts, planted_clusters):
    keys, options = replicates_of(label_key="cell_type"), defaults_of(DeOptions)
    table = _called(planted_counts, planted_clusters, keys, options)
    assert list(table.columns) == CALL_COLUMNS
    assert (table["unit"] == "cells").all()
    of_b = table[table["comparison"] == "B vs rest"].set_index("gene")
    planted = [f"g{i}" for i in range(N_PLANTED)]
    assert of_b.loc[planted, "is_de"].all()
    assert (of_b.loc[planted, "effect"] > 1).all()
    assert (of_b["effect_lower"] <= of_b["effect_upper"]).all()
    # the planted genes take their share of the counts from all others alike
    np.testing.assert_array_less(of_b["effect"].drop(planted), 0.2)


def test_samples_are_the_units_where_they_are_tested(planted_counts, planted_clusters, planted_keys):
    options = defaults_of(DeOptions)
    tested = rank_pseudobulk(planted_counts, planted_clusters, planted_keys, options)
    table = _called(planted_counts, planted_clusters, planted_keys, options, tested)
    units = table.groupby(["grouping", "comparison"])["unit"].first()
    with_samples = tested.groupby(["grouping", "comparison"]).size().index
    assert (units[with_samples] == "samples").all()
    assert (units.drop(with_samples) == "cells").all()
    stimulated = table[table["grouping"] == "condition"].set_index("gene")
    assert stimulated.loc[[f"g{i}" for i in range(108, 120)], "is_de"].all()


def test_conditions_that_do_not_differ_give_no_calls(planted_counts, planted_clusters):
    rng = np.random.default_rng(0)
    null = planted_counts[planted_counts.obs["cell_type"] == "A"].copy()
    null = null[null.obs["condition"] == "ctrl"].copy()
    keys, options = replicates_of(condition_key="condition"), defaults_of(DeOptions, groupings=())
    called = 0
    for _ in range(20):
        null.obs["condition"] = pd.Categorical(rng.permutation(np.resize(["ctrl", "stim"], null.n_obs)))
        called += _called(null, planted_clusters.loc[null.obs_names], keys, options)["is_de"].any()
    assert called <= 6


def test_without_comparisons_there_are_no_calls(planted_counts, planted_clusters):
    options = defaults_of(DeOptions, groupings=())
    empty = _called(planted_counts, planted_clusters, replicates_of(), options)
    assert empty.empty
