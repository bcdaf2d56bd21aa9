"""Which cells are measured, and their corrected expression."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.batch_effects.design import choose_cells, correct_expression
from scvi_downstream.pipelines.batch_effects.options import BatchEffectOptions
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.study.defaults import defaults_of

from .conftest import random_latent

OPTIONS = defaults_of(BatchEffectOptions, n_permutations=39, max_cells=250)


@pytest.mark.slow
def test_corrected_expression_is_the_mean_over_batches(pbmc_counts, fitted_scvi, keys):
    pca = random_latent(pbmc_counts, 12)
    expression, components = correct_expression(fitted_scvi, pbmc_counts, pca, keys, OPTIONS, 3, "cpu")
    again, _ = correct_expression(fitted_scvi, pbmc_counts, pca, keys, OPTIONS, 3, "cpu")
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


@pytest.mark.thorough
@pytest.mark.parametrize(("family", "corrected"), [("SCVI", False), ("NoDecoder", True)])
def test_without_a_decoder_or_the_wish_nothing_is_corrected(pbmc_counts, keys, random, family, corrected):
    fitted = SimpleNamespace(family=family)
    options = OPTIONS.model_copy(update={"corrected": corrected})
    found = correct_expression(fitted, pbmc_counts, random[0], keys, options, 0, "cpu")
    assert [table.shape for table in found] == [(0, 0), (0, 0)]


@pytest.mark.slow
def test_a_model_of_another_batch_key_is_refused(pbmc_counts, fitted_scvi, random):
    keys = Keys(batch_key="cell_type")
    with pytest.raises(InputError, match=r"batch_key 'batch', not 'cell_type': run training again"):
        correct_expression(fitted_scvi, pbmc_counts, random[0], keys, OPTIONS, 0, "cpu")


def test_small_batches_keep_a_cell_a_fold():
    batches = np.array(["large"] * 2000 + ["small"] * 20 + ["tiny"] * 3)
    obs = pd.DataFrame({"batch": pd.Categorical(batches)}, index=[f"c{i}" for i in range(2023)])
    counts = SimpleNamespace(obs=obs, n_obs=2023, obs_names=obs.index)
    design = choose_cells(counts, Keys(batch_key="batch"), defaults_of(BatchEffectOptions, max_cells=100), 0)
    assert design.batches.value_counts().to_dict() == {"large": 99, "small": 5, "tiny": 3}


def test_without_a_batch_key_it_says_what_to_set(pbmc_counts):
    with pytest.raises(InputError, match="batch_key is empty"):
        choose_cells(pbmc_counts, Keys(label_key="cell_type"), defaults_of(BatchEffectOptions), 0)
