"""Streamed expression equals scvi-tools by hand, and choices that cannot be met are refused."""

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.imputation.nodes import decode_counterfactual, denoise_expression
from scvi_downstream.pipelines.imputation.options import ImputationOptions
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.study.defaults import defaults_of

NO_MARKERS = pd.DataFrame({"group": [], "gene": []})


@pytest.mark.slow
def test_blocks_equal_scvi_by_hand_and_come_one_by_one(fitted_scvi, pbmc_counts, keys):
    import scvi

    options = defaults_of(ImputationOptions, chunk_cells=300, n_samples=2)
    stream = denoise_expression(fitted_scvi, pbmc_counts, NO_MARKERS, keys, options, 7, "cpu")
    blocks = list(stream.blocks)

    assert [len(block) for block in blocks] == [150] * 4 + [100]
    assert stream.chunk_cells == 150
    assert list(stream.cells) == list(pbmc_counts.obs_names)
    model = fitted_scvi.attach(pbmc_counts)
    scvi.settings.seed = 7 + 2
    by_hand = model.get_normalized_expression(
        indices=np.arange(300, 450), library_size=1e4, n_samples=2, return_mean=True, batch_size=512
    )
    np.testing.assert_array_equal(blocks[2], by_hand.to_numpy())
    assert list(stream.genes) == list(by_hand.columns)


@pytest.mark.slow
def test_same_seed_gives_the_same_bits_and_another_seed_others(fitted_scvi, pbmc_counts, keys):
    options = defaults_of(ImputationOptions, genes=tuple(fitted_scvi.genes[[5, 2]]))
    one, again, other = (
        next(denoise_expression(fitted_scvi, pbmc_counts, NO_MARKERS, keys, options, seed, "cpu").blocks)
        for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


@pytest.mark.slow
def test_chosen_genes_come_in_the_order_of_the_model_with_their_own_values(fitted_scvi, pbmc_counts, keys):
    wanted = tuple(fitted_scvi.genes[[9, 3]])
    chosen = denoise_expression(
        fitted_scvi, pbmc_counts, NO_MARKERS, keys, defaults_of(ImputationOptions, genes=wanted), 0, "cpu"
    )
    everything = denoise_expression(
        fitted_scvi, pbmc_counts, NO_MARKERS, keys, defaults_of(ImputationOptions), 0, "cpu"
    )

    assert list(chosen.genes) == [wanted[1], wanted[0]]
    np.testing.assert_array_equal(next(chosen.blocks), next(everything.blocks)[:, [3, 9]])


@pytest.mark.slow
def test_counterfactual_is_the_mean_over_its_batches(fitted_scvi, pbmc_counts, keys):
    import scvi

    batches = tuple(pbmc_counts.obs["batch"].cat.categories[:2])
    stream = decode_counterfactual(
        fitted_scvi,
        pbmc_counts,
        NO_MARKERS,
        keys,
        defaults_of(ImputationOptions, transform_batch=batches),
        3,
        "cpu",
    )
    model = fitted_scvi.attach(pbmc_counts)
    scvi.settings.seed = 3
    by_hand = model.get_normalized_expression(
        transform_batch=list(batches), library_size=1e4, batch_size=1024
    )

    np.testing.assert_array_equal(next(stream.blocks), by_hand.to_numpy())
    assert stream.attributes["transform_batch"] == list(batches)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "keys_used", "message"),
    [
        ({"transform_batch": ("99",)}, Keys(batch_key="batch"), "'99' is not in obs\\['batch'\\]"),
        ({"transform_batch": ("1",)}, Keys(), "needs batch_key"),
        ({"transform_batch": ()}, Keys(batch_key="batch"), "is empty"),
    ],
)
def test_impossible_counterfactuals_are_refused(fitted_scvi, pbmc_counts, options, keys_used, message):
    with pytest.raises(InputError, match=message):
        decode_counterfactual(
            fitted_scvi,
            pbmc_counts,
            NO_MARKERS,
            keys_used,
            defaults_of(ImputationOptions, **options),
            0,
            "cpu",
        )


@pytest.mark.slow
def test_genes_that_are_not_modelled_are_told_apart(fitted_scvi, pbmc_counts, keys):
    absent = f"{fitted_scvi.genes[0]}x"
    with pytest.raises(
        InputError, match=f"'{absent}' is not in the counts; the closest is '{fitted_scvi.genes[0]}'"
    ):
        denoise_expression(
            fitted_scvi,
            pbmc_counts,
            NO_MARKERS,
            keys,
            defaults_of(ImputationOptions, genes=(absent,)),
            0,
            "cpu",
        )
    flat = pbmc_counts.var_names.difference(fitted_scvi.genes)[0]
    with pytest.raises(InputError, match=f"'{flat}' is in the counts but not highly variable"):
        denoise_expression(
            fitted_scvi,
            pbmc_counts,
            NO_MARKERS,
            keys,
            defaults_of(ImputationOptions, genes=(flat,)),
            0,
            "cpu",
        )
    with pytest.raises(InputError, match="none of the 0 rows"):
        denoise_expression(
            fitted_scvi,
            pbmc_counts,
            NO_MARKERS,
            keys,
            defaults_of(ImputationOptions, genes="markers"),
            0,
            "cpu",
        )
