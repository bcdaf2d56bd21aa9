import numpy as np
import pandas as pd
import pytest

from scvi_downstream.cells.samples import find_samples
from scvi_downstream.pipelines.metadata.annotations import how_tested
from scvi_downstream.pipelines.metadata.composition import compare_composition, tabulate_composition
from scvi_downstream.pipelines.metadata.expression import compare_expression
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.statistics.designs import Design, make_design, sample_columns
from scvi_downstream.statistics.moderated import fit_linear, own_variances, t_tests
from scvi_downstream.study.defaults import replicates_of


def _values(levels, index=None):
    names = index or [f"s{i}" for i in range(len(levels))]
    return pd.Series(pd.Categorical(list(levels)), index=names)


def test_pairs_give_the_paired_t_test_of_scipy():
    from scipy import stats

    values = _values("ab" * 7)
    blocks = pd.Series(np.repeat([f"d{i}" for i in range(7)], 2), index=values.index)
    design = make_design(values, blocks, 2)
    assert design.n_blocks == 7
    responses = np.random.default_rng(0).normal(size=(14, 5))
    fit = fit_linear(responses, design.matrix)
    found = t_tests(fit, own_variances(fit), design.contrasts[0].coefficients[0])
    reference = stats.ttest_rel(responses[1::2], responses[::2])
    np.testing.assert_allclose(found["p"], reference.pvalue, rtol=1e-8)
    np.testing.assert_allclose(found["statistic"], reference.statistic, rtol=1e-8)


def test_three_categories_have_an_omnibus_question_and_the_control_as_reference():
    design = make_design(_values(["x", "ctrl", "y"] * 3), None, 2)
    assert [each.name for each in design.contrasts] == ["any difference", "x vs ctrl", "y vs ctrl"]
    assert design.contrasts[0].coefficients == (1, 2)
    assert design.smallest == 3


def test_small_categories_and_lonely_samples_are_left_out():
    values = _values("aabbc")
    assert make_design(values, None, 2).units.tolist() == ["s0", "s1", "s2", "s3"]
    blocks = pd.Series(["d0", "d1", "d0", "d1", "d2"], index=values.index)
    assert make_design(values, blocks, 2).units.tolist() == ["s0", "s1", "s2", "s3"]


@pytest.mark.parametrize(
    ("levels", "blocks", "reason"),
    [
        ("aab", None, "fewer than 2 categories have 2 samples"),
        ("aabb", "xxyy", "cannot be told apart from the blocks"),
        ("ab", "xx", "fewer than 2 categories"),
        ("abab", "wxyz", "fewer than 2 categories"),
    ],
)
def test_what_cannot_be_tested_has_a_reason(levels, blocks, reason):
    values = _values(levels)
    of_sample = None if blocks is None else pd.Series(list(blocks), index=values.index)
    assert reason in make_design(values, of_sample, 2)


def test_numbers_need_samples_enough():
    index = [f"s{i}" for i in range(5)]
    assert isinstance(make_design(pd.Series([1.0, 2, 3, 4, 9], index=index), None, 2), Design)
    assert "fewer than 6 samples" in make_design(pd.Series([1.0, 2, 3, 4, 9], index=index), None, 3)
    assert "of 1 values" in make_design(pd.Series(2.0, index=index), None, 2)


def test_blocks_and_units(paired_counts, paired_keys):
    obs = paired_counts.obs
    samples = find_samples(obs, paired_keys)
    assert samples.block["d3_treated"] == "d3"
    columns = sample_columns(obs[["condition", "age", "score", "donor"]], samples, paired_keys)
    assert list(columns) == ["condition", "age"]
    assert columns["condition"].unit == "sample"
    assert columns["age"].unit == "block"
    assert columns["age"].values.to_dict()["d1"] == 51
    assert columns["age"].unit_of_cell["cell0"] == "d0"


def test_a_sample_of_several_conditions_is_divided_and_becomes_the_block(paired_counts):
    keys = replicates_of(sample_key="donor", condition_key="condition")
    samples = find_samples(paired_counts.obs, keys)
    assert samples.name == "donor × condition"
    assert samples.block_name == "donor"
    assert samples.of_cell.nunique() == 12
    column = sample_columns(paired_counts.obs[["condition"]], samples, keys)["condition"]
    assert column.unit == "sample"
    assert column.blocks.nunique() == 6


def test_without_sample_key_there_are_no_samples(paired_counts, paired_keys):
    assert find_samples(paired_counts.obs, replicates_of(condition_key="condition")) is None
    assert sample_columns(paired_counts.obs[["condition"]], None, paired_keys) == {}


def test_found_pairs_are_used_as_given_ones_and_said(paired_counts, paired_keys):
    keys = paired_keys.model_copy(update={"block_key": None})
    obs, usable = paired_counts.obs, paired_counts.obs[["condition", "age"]]
    found, given = find_samples(obs, keys), find_samples(obs, paired_keys)
    assert found.block_name == "donor"
    assert found.block.equals(given.block)
    notes = how_tested(usable, found, sample_columns(usable, found, keys), keys)
    assert notes["condition"] == (
        "tested on 12 samples, within 6 blocks of 'donor' (found in the data; block_key: \"\" switches it off)"
    )
    unpaired = find_samples(obs, paired_keys.model_copy(update={"block_key": ""}))
    assert unpaired.block is None
    assert (
        find_samples(obs, replicates_of(sample_key="donor", condition_key="condition", block_key="")).block
        is None
    )


def test_annotations_that_divide_the_samples_alike_are_named(paired_counts, paired_keys):
    obs = paired_counts.obs.assign(
        plate=(paired_counts.obs["condition"] == "treated").map({True: "p1", False: "p2"}).astype("category")
    )
    samples = find_samples(obs, paired_keys)
    usable = obs[["condition", "plate", "donor"]]
    columns = sample_columns(usable, samples, paired_keys)
    notes = how_tested(usable, samples, columns, paired_keys)
    assert "divides the samples exactly as 'condition' does" in notes["plate"]
    assert notes["donor"] == "not tested: it names the samples or their blocks"


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("dnor", "block_key 'dnor' is not a column of obs; the closest is 'donor'"),
        ("cell_type", "block_key 'cell_type' has several values within one sample"),
    ],
)
def test_wrong_blocks_are_refused(paired_counts, paired_keys, block, message):
    with pytest.raises(InputError, match=message):
        find_samples(paired_counts.obs, paired_keys.model_copy(update={"block_key": block}))


def test_missing_values_are_left_out(paired_counts, paired_keys):
    values = paired_counts.obs["condition"].copy()
    values[paired_counts.obs["sample"] == "d0_control"] = None
    samples = find_samples(paired_counts.obs, paired_keys)
    column = sample_columns(pd.DataFrame({"condition": values}), samples, paired_keys)["condition"]
    assert "d0_control" not in column.values.index
    assert len(column.values) == 11


def test_found_pairs_give_the_numbers_of_named_ones(
    paired_counts, paired_clusters, paired_keys, paired_options
):
    annotations = paired_counts.obs[["condition", "age", "score"]]
    tables = []
    for keys in (paired_keys, paired_keys.model_copy(update={"block_key": None})):
        composition = tabulate_composition(paired_counts, paired_clusters, keys, paired_options)
        tables.append(
            (
                composition,
                compare_composition(composition, annotations, paired_counts, keys, paired_options),
                compare_expression(paired_counts, paired_clusters, annotations, keys, paired_options),
            )
        )
    for given, found in zip(*tables, strict=True):
        pd.testing.assert_frame_equal(given, found)
