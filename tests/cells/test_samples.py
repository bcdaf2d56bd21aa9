"""Which columns pair samples up, and that tests within them find what is there and keep their level."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given
from hypothesis import strategies as st
from scipy import sparse, stats

from scvi_downstream.cells.samples import find_block, find_samples
from scvi_downstream.statistics.designs import condition_column
from scvi_downstream.statistics.pseudobulk import test_cells
from scvi_downstream.study.defaults import replicates_of

test_cells.__test__ = False  # a test of statistics, not of pytest
KEYS = replicates_of(sample_key="sample", condition_key="condition", label_key="cell_type")
N_CELLS, N_GENES, N_PLANTED = 20, 300, 60


def cells_of(samples: pd.DataFrame, n: int = 4) -> pd.DataFrame:
    """``n`` cells of each row, which is a sample; the cell type divides them."""
    obs = samples.assign(sample=[f"s{i}" for i in range(len(samples))])
    obs = obs.loc[obs.index.repeat(n)].reset_index(drop=True)
    obs["cell_type"] = np.resize(["A", "B"], len(obs))
    return obs.set_axis([f"cell{i}" for i in range(len(obs))])


def pairs(n_donors: int, conditions: str = "ab") -> pd.DataFrame:
    donors = np.repeat([f"d{i}" for i in range(n_donors)], len(conditions))
    return pd.DataFrame({"donor": donors, "condition": list(conditions) * n_donors})


@given(st.integers(3, 9), st.sampled_from(["ab", "abc"]), st.randoms(use_true_random=False))
def test_complete_blocks_are_found_in_any_order_of_samples(n_donors, conditions, random):
    samples = pairs(n_donors, conditions)
    order = list(range(len(samples)))
    random.shuffle(order)
    obs = cells_of(samples.iloc[order].reset_index(drop=True))
    found = find_samples(obs, KEYS)
    assert (found.block_name, found.is_found) == ("donor", True)
    assert found.block.nunique() == n_donors
    assert found.block.equals(find_samples(obs, KEYS.model_copy(update={"block_key": "donor"})).block)
    assert find_samples(obs, KEYS.model_copy(update={"block_key": ""})).block is None


@given(st.integers(3, 7), st.integers(0, 10_000))
def test_permuted_conditions_are_pairs_only_where_each_block_has_one_of_each(n_donors, seed):
    samples = pairs(n_donors)
    samples["condition"] = np.random.default_rng(seed).permutation(samples["condition"])
    one_of_each = (pd.crosstab(samples["donor"], samples["condition"]) == 1).to_numpy().all(axis=1)
    is_pairing = one_of_each.sum() >= 3 and one_of_each.mean() >= 0.8
    assert find_block(cells_of(samples), KEYS) == ("donor" if is_pairing else None)


def test_columns_that_cross_conditions_otherwise_are_left_alone():
    samples = pairs(6).assign(sample_sex=np.tile(["f", "f", "m", "m"], 3))
    alone = samples.drop(columns="donor")
    renamed = alone.assign(treatment=alone["condition"].map({"a": "none", "b": "drug"}))
    measured = alone.assign(dose=np.repeat(np.arange(6) + 0.5, 2))
    counted = alone.assign(replicate=np.repeat(np.arange(6), 2), bio_rep=samples["donor"])
    of_cells = cells_of(alone)
    of_cells["phase"] = np.resize(["G1", "S", "G2"], len(of_cells))
    for obs in (*map(cells_of, (alone, renamed, measured, counted)), of_cells):
        assert find_block(obs, KEYS) is None
    assert find_block(cells_of(pairs(2)), KEYS) is None


def test_a_lost_sample_leaves_pairs_and_many_do_not():
    samples = pairs(6)
    assert find_block(cells_of(samples.drop(index=3)), KEYS) == "donor"
    assert (
        find_block(cells_of(samples.assign(donor=samples["donor"].mask(samples.index == 3))), KEYS) == "donor"
    )
    assert find_block(cells_of(samples.drop(index=[1, 3, 5])), KEYS) is None


def test_the_batch_comes_first_and_may_hold_several_samples_of_each_condition():
    samples = pairs(6).assign(batch=np.repeat(["x", "y"], 6))
    with_batch = KEYS.model_copy(update={"batch_key": "batch"})
    assert find_block(cells_of(samples), with_batch) == "donor"  # within batches
    assert find_block(cells_of(samples.drop(columns="donor")), with_batch) == "batch"
    nested = samples.assign(batch=samples["condition"] + samples["batch"]).drop(columns="donor")
    assert find_block(cells_of(nested), with_batch) is None
    other = samples.assign(chip=np.roll(samples["donor"], 1))
    assert find_block(cells_of(other), KEYS) is None  # they pair samples up differently
    assert find_block(cells_of(other), KEYS.model_copy(update={"batch_key": "chip"})) == "chip"
    assert find_block(cells_of(samples.assign(patient=samples["donor"].str.upper())), KEYS) == "donor"


def study(rng: np.random.Generator, n_donors: int, effect: float) -> AnnData:
    """Cells of donors in both conditions, where the first genes change, half of them down; donors differ more."""
    obs = cells_of(pairs(n_donors), N_CELLS)
    donor, treated = pd.factorize(obs["donor"])[0], (obs["condition"] == "b").to_numpy()
    mean = rng.lognormal(1, 0.5, N_GENES) * np.exp(rng.normal(0, 0.8, (n_donors, N_GENES)))[donor]
    mean[np.ix_(treated, np.arange(N_PLANTED))] *= np.exp(np.resize([effect, -effect], N_PLANTED))
    sample = pd.factorize(obs["sample"])[0]
    mean *= np.exp(rng.normal(0, 0.1, (sample.max() + 1, N_GENES)))[sample]
    var = pd.DataFrame(index=[f"g{i}" for i in range(N_GENES)])
    return AnnData(sparse.csr_matrix(rng.poisson(mean).astype(np.float32)), obs=obs, var=var)


def changes_in(counts: AnnData, block_key: str | None) -> pd.DataFrame:
    keys = KEYS.model_copy(update={"block_key": block_key})
    column = condition_column(counts.obs, find_samples(counts.obs, keys), keys)
    return test_cells(counts, column, np.ones(counts.n_obs, dtype=bool))["b vs a"].set_index("gene")


def test_five_found_pairs_find_what_unpaired_tests_do_not():
    counts = study(np.random.default_rng(0), 5, effect=0.5)
    found, unpaired = changes_in(counts, None), changes_in(counts, "")
    planted = counts.var_names[:N_PLANTED].intersection(found.index)
    called = found.index[found["p_adjusted"] <= 0.05]
    assert len(called.intersection(planted)) > 0.8 * len(planted)
    assert len(called.difference(planted)) <= 0.1 * len(called)
    assert (unpaired["p_adjusted"] <= 0.05).sum() == 0
    pd.testing.assert_frame_equal(found, changes_in(counts, "donor"))


@pytest.mark.parametrize("n_donors", [3, 6])
def test_conditions_permuted_within_donors_keep_the_level(n_donors):
    rng = np.random.default_rng(n_donors)
    p = []
    for _ in range(10):
        counts = study(rng, n_donors, effect=0)
        turned = counts.obs["donor"].isin([f"d{i}" for i in range(n_donors) if rng.random() < 0.5])
        counts.obs["condition"] = counts.obs["condition"].where(
            ~turned, counts.obs["condition"].map({"a": "b", "b": "a"})
        )
        assert find_block(counts.obs, KEYS) == "donor"
        p.append(changes_in(counts, None)["p"])
    values = np.concatenate(p)
    low, high = stats.binom(len(values), 0.05).ppf([0.001, 0.999]) / len(values)
    assert low <= (values <= 0.05).mean() <= high
    assert stats.kstest(values, "uniform").pvalue > 1e-3
