import numpy as np
import pandas as pd
import pytest

from scvi_downstream.pipelines.metadata.designs import Design, make_design
from scvi_downstream.statistics.moderated import fit_linear, own_variances, t_tests


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
