"""The nodes of the pipeline, one after the other, on cells without batch structure and on what a study may lack."""

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.batch_effects.design import choose_cells
from scvi_downstream.pipelines.batch_effects.options import BatchEffectOptions
from scvi_downstream.pipelines.batch_effects.plots import (
    plot_batch_effects,
    plot_batch_genes,
    plot_batch_variance,
)
from scvi_downstream.pipelines.batch_effects.report import summarize_batch_effects
from scvi_downstream.pipelines.batch_effects.structure import (
    COLUMNS,
    compare_label_separation,
    measure_batch_structure,
)
from scvi_downstream.pipelines.batch_effects.variance import partition_gene_variance, partition_variance
from scvi_downstream.runtime.options import UNKNOWN
from scvi_downstream.study.defaults import defaults_of

OPTIONS = defaults_of(BatchEffectOptions, n_permutations=39, max_cells=250)
NOTHING = pd.DataFrame()


@pytest.mark.slow
def test_random_embeddings_hold_no_batch_structure(pbmc_counts, keys, random):
    pca, latent = random
    structure = measure_batch_structure(pbmc_counts, pca, latent, NOTHING, keys, OPTIONS, 0)
    assert list(structure.columns) == list(COLUMNS)
    assert structure["stage"].tolist() == ["before", "after"]
    assert (structure[["linear_p", "neighbor_p"]] > 0.025).all(axis=None)
    shares = partition_variance(pbmc_counts, pca, latent, NOTHING, keys, OPTIONS, 0)
    assert shares["representation"].unique().tolist() == ["expression", "pca", "latent"]
    genes = partition_gene_variance(pbmc_counts, NOTHING, keys, OPTIONS, 0)
    assert set(genes["gene"]) == set(pbmc_counts.var_names[pbmc_counts.var["highly_variable"]])
    labels = compare_label_separation(pbmc_counts, pca, latent, NOTHING, keys, OPTIONS, 0)
    summary = summarize_batch_effects(structure, shares, genes, labels, pbmc_counts, keys, OPTIONS)
    assert summary["verdict"] == "none"
    assert "no correction is needed" in summary["sentences"][0]
    again = measure_batch_structure(pbmc_counts, pca, latent, NOTHING, keys, OPTIONS, 0)
    assert structure.equals(again)


def test_without_labels_what_needs_them_is_missing(pbmc_counts, random):
    keys = Keys(batch_key="batch")
    row = measure_batch_structure(pbmc_counts, *random, NOTHING, keys, OPTIONS, 0).iloc[0]
    assert row[["kbet_within_labels", "batch_asw", "bras"]].isna().all()
    assert np.isfinite(row[["kbet", "ilisi", "pcr", "linear_auc", "neighbor_p"]].astype(float)).all()
    assert compare_label_separation(pbmc_counts, *random, NOTHING, keys, OPTIONS, 0).empty
    shares = partition_variance(pbmc_counts, *random, NOTHING, keys, OPTIONS, 0)
    assert shares.loc[shares["source"] == "biology", "share"].isna().all()


def test_one_batch_is_said_and_drawn_as_such(pbmc_counts, random):
    counts = pbmc_counts[:120].copy()
    counts.obs["one"] = pd.Categorical(["only"] * 120)
    keys = Keys(batch_key="one", label_key="cell_type")
    tables = [
        measure_batch_structure(counts, *random, NOTHING, keys, OPTIONS, 0),
        partition_variance(counts, *random, NOTHING, keys, OPTIONS, 0),
        partition_gene_variance(counts, NOTHING, keys, OPTIONS, 0),
        compare_label_separation(counts, *random, NOTHING, keys, OPTIONS, 0),
    ]
    summary = summarize_batch_effects(*tables, counts, keys, OPTIONS)
    assert summary["sentences"][0].startswith("obs['one'] holds one batch")
    for figure in (
        plot_batch_effects(tables[0], summary),
        plot_batch_variance(tables[1], summary),
        plot_batch_genes(tables[2], OPTIONS),
    ):
        assert figure.texts


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("unknown", "biology"), [("cell_type", "side"), ("side", "cell_type"), ("both", None)]
)
def test_columns_that_are_all_unknown_are_left_out(pbmc_counts, random, unknown, biology):
    counts = pbmc_counts[:150].copy()
    counts.obs["side"] = pd.Categorical(["left", "right", "right"] * 50)
    for name in ("cell_type", "side"):
        if unknown in (name, "both"):
            counts.obs[name] = pd.Categorical([UNKNOWN] * 150)
    keys = Keys(batch_key="batch", label_key="cell_type", condition_key="side")
    design = choose_cells(counts, keys, OPTIONS, 0)
    assert design.known.any()
    assert (design.biology is None) == (biology is None)
    assert (design.labels is None) == (unknown != "side")
    tables = [
        measure_batch_structure(counts, *random, NOTHING, keys, OPTIONS, 0),
        partition_variance(counts, *random, NOTHING, keys, OPTIONS, 0),
        partition_gene_variance(counts, NOTHING, keys, OPTIONS, 0),
        compare_label_separation(counts, *random, NOTHING, keys, OPTIONS, 0),
    ]
    said = summarize_batch_effects(*tables, counts, keys, OPTIONS)["sentences"]
    assert ("permuted within" in said[0]) == (biology is not None)
    assert biology is None or f"permuted within {biology};" in said[0]
