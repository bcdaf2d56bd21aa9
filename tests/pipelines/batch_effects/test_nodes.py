"""The pipeline's nodes on real cells and on what a study may lack."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.batch_effects import nodes
from scvi_downstream.pipelines.batch_effects.design import choose_cells
from scvi_downstream.pipelines.batch_effects.options import BatchEffectOptions
from scvi_downstream.pipelines.batch_effects.plots import (
    plot_batch_effects,
    plot_batch_genes,
    plot_batch_variance,
)
from scvi_downstream.pipelines.batch_effects.structure import COLUMNS, affordable
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.options import UNKNOWN

OPTIONS = BatchEffectOptions(n_permutations=39, max_cells=250)
NOTHING = pd.DataFrame()


def random_latent(counts, n_dims, seed=0):
    values = np.random.default_rng(seed).normal(size=(counts.n_obs, n_dims)).astype(np.float32)
    return pd.DataFrame(values, index=counts.obs_names, columns=[f"d{i}" for i in range(n_dims)])


@pytest.fixture
def random(pbmc_counts):
    return random_latent(pbmc_counts, 6), random_latent(pbmc_counts, 4, 1)


@pytest.mark.slow
def test_corrected_expression_is_the_mean_over_batches(pbmc_counts, fitted_scvi, keys):
    pca = random_latent(pbmc_counts, 12)
    expression, components = nodes.correct_expression(fitted_scvi, pbmc_counts, pca, keys, OPTIONS, 3, "cpu")
    again, _ = nodes.correct_expression(fitted_scvi, pbmc_counts, pca, keys, OPTIONS, 3, "cpu")
    assert expression.equals(again)
    assert components.shape == (len(expression), 12)
    assert list(expression.columns) == list(fitted_scvi.genes)
    assert (expression.dtypes == np.float32).all()

    from scvi_downstream.models.fitting import reproducible

    model = fitted_scvi.attach(pbmc_counts)
    rows = pbmc_counts.obs_names.get_indexer(expression.index)
    total = np.zeros(expression.shape)
    batches = pbmc_counts.obs["batch"].cat.categories
    for batch in batches:
        with reproducible(3):
            total += model.get_normalized_expression(
                indices=rows, transform_batch=batch, library_size=1e4, return_numpy=True
            )
    # one posterior sample: the same for every batch, so the means agree up to the order of the draws
    decoded = np.expm1(expression.to_numpy())
    assert np.corrcoef(decoded.mean(axis=0), total.mean(axis=0) / len(batches))[0, 1] > 0.999
    np.testing.assert_allclose(decoded.sum(axis=1), 1e4, rtol=1e-3)


@pytest.mark.parametrize(("family", "corrected"), [("SCVI", False), ("NoDecoder", True)])
def test_without_a_decoder_or_the_wish_nothing_is_corrected(pbmc_counts, keys, random, family, corrected):
    fitted = SimpleNamespace(family=family)
    options = OPTIONS.model_copy(update={"corrected": corrected})
    found = nodes.correct_expression(fitted, pbmc_counts, random[0], keys, options, 0, "cpu")
    assert [table.shape for table in found] == [(0, 0), (0, 0)]


@pytest.mark.slow
def test_a_model_of_another_batch_key_is_refused(pbmc_counts, fitted_scvi, random):
    keys = Keys(batch_key="cell_type")
    with pytest.raises(InputError, match=r"batch_key 'batch', not 'cell_type': run training again"):
        nodes.correct_expression(fitted_scvi, pbmc_counts, random[0], keys, OPTIONS, 0, "cpu")


@pytest.mark.slow
def test_random_embeddings_hold_no_batch_structure(pbmc_counts, keys, random):
    pca, latent = random
    structure = nodes.measure_batch_structure(pbmc_counts, pca, latent, NOTHING, keys, OPTIONS, 0)
    assert list(structure.columns) == list(COLUMNS)
    assert structure["stage"].tolist() == ["before", "after"]
    assert (structure[["linear_p", "neighbor_p"]] > 0.025).all(axis=None)
    shares = nodes.partition_variance(pbmc_counts, pca, latent, NOTHING, keys, OPTIONS, 0)
    assert shares["representation"].unique().tolist() == ["expression", "pca", "latent"]
    genes = nodes.partition_gene_variance(pbmc_counts, NOTHING, keys, OPTIONS, 0)
    assert set(genes["gene"]) == set(pbmc_counts.var_names[pbmc_counts.var["highly_variable"]])
    labels = nodes.compare_label_separation(pbmc_counts, pca, latent, NOTHING, keys, OPTIONS, 0)
    summary = nodes.summarize_batch_effects(structure, shares, genes, labels, {}, keys, OPTIONS)
    assert summary["verdict"] == "none"
    assert "no correction is needed" in summary["sentences"][0]
    again = nodes.measure_batch_structure(pbmc_counts, pca, latent, NOTHING, keys, OPTIONS, 0)
    assert structure.equals(again)


def test_without_labels_what_needs_them_is_missing(pbmc_counts, random):
    keys = Keys(batch_key="batch")
    row = nodes.measure_batch_structure(pbmc_counts, *random, NOTHING, keys, OPTIONS, 0).iloc[0]
    assert row[["kbet_within_labels", "batch_asw", "bras"]].isna().all()
    assert np.isfinite(row[["kbet", "ilisi", "pcr", "linear_auc", "neighbor_p"]].astype(float)).all()
    assert nodes.compare_label_separation(pbmc_counts, *random, NOTHING, keys, OPTIONS, 0).empty
    shares = nodes.partition_variance(pbmc_counts, *random, NOTHING, keys, OPTIONS, 0)
    assert shares.loc[shares["source"] == "biology", "share"].isna().all()


def test_one_batch_is_said_and_drawn_as_such(pbmc_counts, random):
    counts = pbmc_counts[:120].copy()
    counts.obs["one"] = pd.Categorical(["only"] * 120)
    keys = Keys(batch_key="one", label_key="cell_type")
    tables = [
        nodes.measure_batch_structure(counts, *random, NOTHING, keys, OPTIONS, 0),
        nodes.partition_variance(counts, *random, NOTHING, keys, OPTIONS, 0),
        nodes.partition_gene_variance(counts, NOTHING, keys, OPTIONS, 0),
        nodes.compare_label_separation(counts, *random, NOTHING, keys, OPTIONS, 0),
    ]
    summary = nodes.summarize_batch_effects(*tables, {}, keys, OPTIONS)
    assert summary["sentences"][0].startswith("obs['one'] holds one batch")
    for figure in (
        plot_batch_effects(tables[0], summary),
        plot_batch_variance(tables[1], summary),
        plot_batch_genes(tables[2], OPTIONS),
    ):
        assert figure.texts


def test_a_batch_with_fewer_cells_than_folds_is_left_out_of_the_classifiers(pbmc_counts, random):
    counts = pbmc_counts[:200].copy()
    batches = np.array(["a", "b"] * 100, dtype=object)
    batches[:3] = "tiny"
    counts.obs["batch"] = pd.Categorical(batches)
    row = nodes.measure_batch_structure(counts, *random, NOTHING, Keys(batch_key="batch"), OPTIONS, 0).iloc[0]
    assert (row["n_cells"], row["n_classified"], row["n_batches"]) == (200, 197, 3)
    assert np.isfinite(row["linear_auc"])


def test_fewer_permutations_where_they_would_take_minutes():
    options = BatchEffectOptions()
    assert affordable((5000, 50), 8, options) == 100
    assert affordable((5000, 50), 60, options) < 100
    assert affordable((50_000, 50), 200, options) == 39
    strict = BatchEffectOptions(fdr=0.01)
    assert affordable((5000, 50), 8, strict) == affordable((50_000, 50), 200, strict) == 199


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
        nodes.measure_batch_structure(counts, *random, NOTHING, keys, OPTIONS, 0),
        nodes.partition_variance(counts, *random, NOTHING, keys, OPTIONS, 0),
        nodes.partition_gene_variance(counts, NOTHING, keys, OPTIONS, 0),
        nodes.compare_label_separation(counts, *random, NOTHING, keys, OPTIONS, 0),
    ]
    said = nodes.summarize_batch_effects(*tables, {}, keys, OPTIONS)["sentences"]
    assert ("permuted within" in said[0]) == (biology is not None)
    assert biology is None or f"permuted within {biology};" in said[0]


def test_small_batches_keep_a_cell_a_fold():
    batches = np.array(["large"] * 2000 + ["small"] * 20 + ["tiny"] * 3)
    obs = pd.DataFrame({"batch": pd.Categorical(batches)}, index=[f"c{i}" for i in range(2023)])
    counts = SimpleNamespace(obs=obs, n_obs=2023, obs_names=obs.index)
    design = choose_cells(counts, Keys(batch_key="batch"), BatchEffectOptions(max_cells=100), 0)
    assert design.batches.value_counts().to_dict() == {"large": 99, "small": 5, "tiny": 3}


def test_without_a_batch_key_it_says_what_to_set(pbmc_counts):
    with pytest.raises(InputError, match="batch_key is empty"):
        choose_cells(pbmc_counts, Keys(label_key="cell_type"), BatchEffectOptions(), 0)
