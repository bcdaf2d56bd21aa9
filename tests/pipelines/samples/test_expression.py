from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.cells.samples import find_samples
from scvi_downstream.pipelines.de.nodes import rank_pseudobulk
from scvi_downstream.pipelines.de.options import DeOptions
from scvi_downstream.pipelines.metadata.expression import compare_expression
from scvi_downstream.pipelines.metadata.options import MetadataAnalysisOptions
from scvi_downstream.pipelines.prediction.design import change_of_samples
from scvi_downstream.pipelines.samples.design import make_contrasts, sample_design
from scvi_downstream.pipelines.samples.expression import change_of_expression, compare_sample_expression
from scvi_downstream.runtime.threads import quiet
from scvi_downstream.statistics.designs import condition_column
from scvi_downstream.study.defaults import defaults_of


@pytest.mark.slow
def test_a_contrast_has_one_p_value_wherever_it_is_shown(study: Any) -> None:
    """Of differential expression, metadata, samples and prediction, for all cells and for each type."""
    counts, clusters, keys = study.counts, study.clusters, study.keys
    expected = rank_pseudobulk(counts, clusters, keys, defaults_of(DeOptions))
    expected = expected[expected["grouping"].isin(["condition", "condition_by_type"])]
    assert set(expected["comparison"]) == {"stim vs ctrl", "A: stim vs ctrl", "B: stim vs ctrl"}
    annotations = counts.obs[["condition"]]
    metadata = compare_expression(counts, clusters, annotations, keys, defaults_of(MetadataAnalysisOptions))
    samples = compare_sample_expression(study.fitted, counts, clusters, keys, study.options, 0, "cpu")
    every_gene, column = (
        np.arange(counts.n_vars),
        condition_column(counts.obs, find_samples(counts.obs, keys), keys),
    )
    n_tested = 0
    for comparison, table in expected.groupby("comparison"):
        group = "all" if comparison == "stim vs ctrl" else comparison[0]
        of_metadata = metadata[metadata["group"] == group].set_index("gene")
        of_samples = samples[samples["group"] == group.replace("all", "all cells")].set_index("gene")
        p = table.set_index("gene")[["p_value", "p_adjusted", "lfc"]]
        pd.testing.assert_index_equal(
            p.index.sort_values(), of_metadata.index.sort_values(), check_names=False
        )
        np.testing.assert_array_equal(p, of_metadata.loc[p.index, ["p", "p_adjusted", "effect"]])
        shown = ["pseudobulk_p", "pseudobulk_p_adjusted", "pseudobulk_lfc"]
        np.testing.assert_array_equal(p, of_samples.loc[p.index, shown])
        cells = (
            np.ones(counts.n_obs, bool) if group == "all" else (counts.obs["cell_type"] == group).to_numpy()
        )
        for conditions in (("ctrl", "stim"), ("stim", "ctrl")):
            predicted = pd.Series(
                change_of_samples(counts, cells, conditions, every_gene, column), counts.var_names
            )
            np.testing.assert_array_equal(p["p_adjusted"], predicted[p.index])
        n_tested += len(p)
    assert n_tested > 100


@pytest.mark.slow
def test_the_contrast_is_twice_that_of_scvi_tools_without_a_constant(study: Any) -> None:
    """Conditions are balanced here: half of the difference lies on each side of the mean that scvi-tools leaves out."""
    design = sample_design(study.counts, study.clusters, study.keys, study.options)
    contrast = make_contrasts(design, study.options, 0)["A", "stim"]
    cells = np.flatnonzero(design.members[1])[:60]
    mine = change_of_expression(study.model, cells, contrast, 0.5)
    with quiet():
        z = study.model.get_local_sample_representation(indices=cells)
        some = study.model.adata[cells].copy()
        theirs = study.model.differential_expression(
            some, sample_cov_keys=["condition"], mc_samples=60, store_lfc=True
        )
    stim = [
        name for name, condition in zip(design.samples, design.conditions, strict=True) if condition == "stim"
    ]
    ctrl = [name for name in design.samples if name not in stim]
    difference = (z.sel(sample=stim).mean("sample") - z.sel(sample=ctrl).mean("sample")).values
    beta = theirs["beta"].values[:, 0]
    slope = (beta * difference).sum() / (difference**2).sum()
    assert slope == pytest.approx(0.5, abs=0.05)
    assert np.corrcoef(beta.ravel(), difference.ravel())[0, 1] > 0.95
    lfc = theirs["lfc"].values[:, 0].mean(axis=0)
    assert np.corrcoef(lfc, mine["lfc"])[0, 1] > 0.95
    assert np.abs(mine["lfc"]).max() > 1.3 * np.abs(lfc).max()
