import numpy as np
import pandas as pd
import pytest

from scvi_downstream.pipelines.metadata.composition import (
    COLUMNS,
    compare_composition,
    compare_shares,
    find_groups,
    log_odds,
    tabulate,
    tabulate_composition,
)
from scvi_downstream.pipelines.metadata.options import MetadataAnalysisOptions
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.options import UNKNOWN
from scvi_downstream.statistics.designs import SampleColumn, Samples
from scvi_downstream.study.defaults import defaults_of, replicates_of


def _table(cells):
    """The composition table of ``(n_samples, n_groups)`` cells."""
    n_samples, n_groups = cells.shape
    total = np.repeat(cells.sum(axis=1), n_groups)
    return pd.DataFrame(
        {
            "by": "sample",
            "sample": np.repeat([f"s{i}" for i in range(n_samples)], n_groups),
            "group": np.tile([f"g{i}" for i in range(n_groups)], n_samples),
            "n": cells.ravel(),
            "total": total,
            "proportion": cells.ravel() / total,
        }
    )


def _dirichlet_multinomial(rng, n_groups, n_samples, *, paired, changed=1.0):
    """Overdispersed samples, alternately of two conditions; in the second the first group's odds are changed."""
    base = rng.dirichlet(np.full(n_groups, 3.0))
    shares = np.tile(base, (n_samples, 1))
    if paired:
        shares = np.repeat(rng.dirichlet(base * 30 + 0.05, n_samples // 2), 2, axis=0)
    shares[1::2, 0] *= changed
    shares = np.array([rng.dirichlet(share / share.sum() * 100 + 0.01) for share in shares])
    return np.array([rng.multinomial(rng.integers(200, 2000), share) for share in shares])


def _p_values(cells, *, paired):
    index = [f"s{i}" for i in range(len(cells))]
    values = pd.Series(pd.Categorical(["a", "b"] * (len(cells) // 2)), index=index)
    blocks = pd.Series([f"d{i // 2}" for i in range(len(cells))], index=index) if paired else None
    column = SampleColumn("condition", "sample", values, pd.Series(dtype=object), blocks, 10, 3)
    samples = Samples("sample", pd.Series(dtype=object), "donor" if paired else None, blocks)
    return compare_shares(_table(cells), [column], samples)


@pytest.mark.slow
@pytest.mark.parametrize(("n_groups", "n_samples"), [(2, 12), (4, 12), (8, 6), (20, 12)])
@pytest.mark.parametrize("paired", [True, False])
def test_type_one_error_on_overdispersed_samples(n_groups, n_samples, paired):
    rng = np.random.default_rng(n_groups)
    n_studies = max(400 // n_groups, 60)
    p = np.concatenate(
        [
            _p_values(_dirichlet_multinomial(rng, n_groups, n_samples, paired=paired), paired=paired)["p"]
            for _ in range(n_studies)
        ]
    )
    standard_error = np.sqrt(0.05 * 0.95 / len(p)) * 1.3  # groups of a study are correlated
    assert (p < 0.05).mean() < 0.05 + 3 * standard_error + 0.01
    assert (p < 0.05).mean() > 0.05 - 3 * standard_error - 0.015


def test_a_planted_change_leads_with_its_size():
    rng = np.random.default_rng(1)
    first, effect = [], []
    for _ in range(20):
        table = _p_values(_dirichlet_multinomial(rng, 8, 16, paired=True, changed=4), paired=True)
        first.append(table["group"].iloc[0] == "g0")
        effect.append(table.set_index("group").loc["g0", "effect"])
    assert np.mean(first) > 0.9
    np.testing.assert_allclose(np.median(effect), np.log(4), atol=0.35)


def test_two_groups_give_the_paired_t_test_of_scipy():
    from scipy import stats

    cells = _dirichlet_multinomial(np.random.default_rng(2), 2, 12, paired=True)
    table = _p_values(cells, paired=True)
    odds = log_odds(cells)
    reference = stats.ttest_rel(odds[1::2], odds[::2])
    np.testing.assert_allclose(table["p"], reference.pvalue, rtol=1e-8)
    np.testing.assert_allclose(table["effect"].iloc[0], -table["effect"].iloc[1], rtol=1e-8)


def test_every_sample_and_group_has_its_row(paired_counts, paired_clusters, paired_keys, paired_options):
    table = tabulate_composition(paired_counts, paired_clusters, paired_keys, paired_options)
    assert list(table.columns) == COLUMNS
    assert len(table) == 12 * 3
    assert table["n"].sum() == paired_counts.n_obs
    np.testing.assert_allclose(table.groupby("sample")["proportion"].sum(), 1)


def test_without_samples_there_is_a_table_by_condition_and_no_test(
    paired_counts, paired_clusters, paired_options
):
    keys = replicates_of(condition_key="condition", label_key="cell_type")
    table = tabulate_composition(paired_counts, paired_clusters, keys, paired_options)
    assert set(table["sample"]) == {"control", "treated"}
    annotations = paired_counts.obs[["condition"]]
    assert compare_composition(table, annotations, paired_counts, keys, paired_options).empty


def test_planted_type_changes_between_pairs(paired_counts, paired_clusters, paired_keys, paired_options):
    table = tabulate_composition(paired_counts, paired_clusters, paired_keys, paired_options)
    annotations = paired_counts.obs[["condition", "age"]]
    tests = compare_composition(table, annotations, paired_counts, paired_keys, paired_options)
    condition = tests[tests["column"] == "condition"]
    assert condition["group"].iloc[0] == "B"
    assert condition["p_adjusted"].iloc[0] < 0.01
    assert condition["proportion"].iloc[0] > 1.5 * condition["proportion_reference"].iloc[0]
    age = tests[tests["column"] == "age"]
    assert set(age["unit"]) == {"block"}
    assert set(age["n_samples"]) == {6}


def test_unknown_cells_have_no_group(paired_counts, paired_clusters):
    counts = paired_counts.copy()
    counts.obs["cell_type"] = counts.obs["cell_type"].cat.rename_categories({"A": UNKNOWN})
    groups = find_groups(
        counts, paired_clusters, replicates_of(label_key="cell_type"), defaults_of(MetadataAnalysisOptions)
    )
    assert list(groups.cat.categories) == ["B", "C"]
    assert tabulate(groups, None)["total"].iloc[0] == groups.notna().sum() < counts.n_obs


def test_misspelt_groups_get_the_closest(paired_counts, paired_clusters):
    with pytest.raises(
        InputError, match="groups 'leidn' is neither a clustering nor in obs; the closest is 'leiden'"
    ):
        find_groups(
            paired_counts,
            paired_clusters,
            replicates_of(),
            defaults_of(MetadataAnalysisOptions, groups="leidn"),
        )
