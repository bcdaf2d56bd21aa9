from __future__ import annotations

import warnings
from itertools import permutations, product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from scvi_downstream.statistics.association import COLUMNS, associate, within_blocks


def _values(n_cells: int, n_dimensions: int, seed: int = 0) -> pd.DataFrame:
    random = np.random.default_rng(seed)
    return pd.DataFrame(
        random.normal(size=(n_cells, n_dimensions)),
        index=[f"cell{i}" for i in range(n_cells)],
        columns=[f"latent_{k}" for k in range(1, n_dimensions + 1)],
    )


@pytest.mark.thorough
@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n_cells=st.integers(12, 80),
    decimals=st.integers(0, 3),
    missing=st.floats(0, 0.4),
    n_groups=st.integers(2, 5),
)
def test_equals_scipy_with_ties_and_missing_values(
    seed: int, n_cells: int, decimals: int, missing: float, n_groups: int
) -> None:
    from scipy import stats

    random = np.random.default_rng(seed)
    values = _values(n_cells, 2, seed).round(decimals)
    number = pd.Series(random.normal(size=n_cells).round(decimals), index=values.index)
    group = pd.Series(random.integers(0, n_groups, n_cells).astype(str), index=values.index)
    covariates = pd.DataFrame(
        {
            "number": number.where(random.random(n_cells) >= missing),
            "group": group.where(random.random(n_cells) >= missing),
        }
    )
    table = associate(values, covariates).set_index(["dimension", "covariate"])
    for (dimension, covariate), row in table.iterrows():
        known = covariates[covariate].notna()
        x, y = values.loc[known, dimension], covariates.loc[known, covariate]
        assert row["n"] == known.sum()
        if known.sum() <= 8 or x.nunique() < 2:
            continue
        if covariate == "number":
            expected = stats.spearmanr(x, y)
            assert row["rho"] == pytest.approx(expected.statistic, abs=1e-10)
            assert row["r2"] == pytest.approx(stats.pearsonr(x, y).statistic ** 2, abs=1e-10)
        else:
            expected = stats.kruskal(*(x[y == name] for name in y.unique()))
            assert row["statistic"] == pytest.approx(expected.statistic, abs=1e-10, rel=1e-10)
        assert row["p"] == pytest.approx(expected.pvalue, abs=1e-10)


def test_eta2_and_r2_equal_statsmodels() -> None:
    import statsmodels.formula.api as smf

    values = _values(60, 1)
    covariates = pd.DataFrame(
        {"x": values["latent_1"] * 0.5 + np.arange(60) / 60, "g": np.tile(list("abc"), 20)},
        index=values.index,
    )
    table = associate(values, covariates).set_index("covariate")
    data = covariates.assign(y=values["latent_1"])
    assert table.loc["x", "r2"] == pytest.approx(smf.ols("y ~ x", data).fit().rsquared)
    assert table.loc["g", "eta2"] == pytest.approx(smf.ols("y ~ C(g)", data).fit().rsquared)
    assert table.loc["x", "effect"] == pytest.approx(abs(table.loc["x", "rho"]))
    assert table.loc["g", "effect"] == table.loc["g", "eta2"]


def test_null_p_values_are_uniform_on_cells_and_on_samples() -> None:
    from scipy import stats

    random = np.random.default_rng(1)
    values = _values(300, 40)
    samples = pd.Series(np.repeat(np.arange(20), 15), index=values.index, name="donor")
    values += random.normal(size=(20, 40))[samples] * 2
    by_donor = pd.DataFrame(
        {f"age{i}": random.normal(size=20) for i in range(10)}
        | {f"sex{i}": random.permutation(np.tile(["f", "m"], 10)) for i in range(10)}
    )
    by_cell = pd.DataFrame({f"x{i}": random.normal(size=300) for i in range(5)})
    covariates = by_donor.iloc[samples].reset_index(drop=True).join(by_cell).set_axis(values.index)
    table = associate(values, covariates, samples)
    assert table.groupby("unit")["covariate"].nunique().to_dict() == {"cell": 5, "sample": 20}
    assert (table.loc[table["unit"] == "sample", "n"] == 20).all()
    for _, part in table.groupby(["unit", "test"]):
        assert stats.kstest(part["p"], "uniform").pvalue > 0.001
    assert (table["p_adjusted"] > 0.05).all()
    # the same donors, taken for independent cells, would be found to differ
    assert (associate(values, covariates[["age0", "sex0"]])["p_adjusted"] < 0.05).mean() > 0.5


def test_certain_tests_on_cells_do_not_lift_chance_ones_on_samples() -> None:
    values = _values(400, 6)
    donor = pd.Series(np.repeat(np.arange(10), 40), index=values.index, name="donor")
    values += np.random.default_rng(3).normal(size=(10, 6))[donor]
    by_cell = (values + 0.1 * np.random.default_rng(4).normal(size=values.shape)).add_prefix("x_")
    ages = pd.DataFrame(np.random.default_rng(5).normal(size=(10, 5))).add_prefix("age")
    by_donor = ages.iloc[donor].set_axis(values.index)
    alone = associate(values, by_donor, donor)
    together = associate(values, by_cell.join(by_donor), donor).query("unit == 'sample'")
    np.testing.assert_array_equal(together["p_adjusted"], alone["p_adjusted"])


def test_what_varies_within_samples_is_tested_on_their_parts() -> None:
    values = _values(240, 2)
    donor = pd.Series(np.repeat(np.arange(6), 40), index=values.index, name="donor")
    treated = np.arange(240) // 20 % 2
    parts = donor.astype(str) + "_" + treated.astype(str)
    covariates = pd.DataFrame(
        {
            "treated": treated.astype(str),
            "age": np.arange(6.0)[donor],
            "depth": values["latent_1"],
            "donor": donor,
        }
    )
    units = associate(values, covariates, donor, parts).drop_duplicates("covariate").set_index("covariate")
    assert units["n"].to_dict() == {"treated": 12, "age": 6, "depth": 240, "donor": 240}
    assert units["unit"].tolist() == ["sample", "sample", "cell", "cell"]


@pytest.mark.parametrize(("n_blocks", "levels"), [(5, "ab"), (7, "abc"), (30, "ab")])
def test_within_blocks_null_p_values_are_uniform_however_much_blocks_differ(
    n_blocks: int, levels: str
) -> None:
    from scipy import stats

    random = np.random.default_rng(n_blocks)
    values = random.normal(size=(n_blocks * len(levels), 2000))
    blocks = np.repeat(np.arange(n_blocks), len(levels))
    values += 10 * random.normal(size=(n_blocks, 2000))[blocks]
    _, p = within_blocks(values, np.tile(list(levels), n_blocks), "categorical", blocks)
    low, high = stats.binom(2000, 0.1).ppf([0.001, 0.999]) / 2000
    assert (p <= 0.1).mean() <= high
    if n_blocks > 5:  # 2 of 32 orders are as extreme as the most extreme one
        assert (p <= 0.1).mean() >= low
        assert stats.kstest(p, "uniform").pvalue > 1e-3
    order = random.permutation(len(blocks))
    _, again = within_blocks(
        values[order], np.tile(list(levels), n_blocks)[order], "categorical", blocks[order]
    )
    np.testing.assert_allclose(again, p)


def test_few_blocks_are_tested_by_all_orders_within_them() -> None:
    values = _values(4 * 3, 3).to_numpy() + 5 * np.repeat(np.arange(4.0), 3)[:, None]
    blocks, dose = np.repeat(np.arange(4), 3), np.tile([0.0, 1.0, 5.0], 4)
    f, p = within_blocks(values, dose, "continuous", blocks)
    f_of_orders = [
        within_blocks(
            values, dose[(3 * np.arange(4)[:, None] + np.array(each)).ravel()], "continuous", blocks
        )[0]
        for each in product(permutations(range(3)), repeat=4)
    ]
    assert len(f_of_orders) == 6**4
    np.testing.assert_allclose(p, (np.array(f_of_orders) >= f * (1 - 1e-9)).mean(axis=0))


def test_a_change_in_every_block_is_found_where_blocks_differ_more() -> None:
    random = np.random.default_rng(0)
    donor = pd.Series(np.repeat(np.arange(8), 20), name="donor")
    treated = np.tile(np.repeat([0, 1], 10), 8)
    values = pd.DataFrame(
        {"changed": treated + 5 * random.normal(size=8)[donor] + random.normal(0, 0.3, 160)}
    )
    values["same"] = random.normal(size=8)[donor] + random.normal(0, 0.3, 160)
    parts = (donor.astype(str) + "_" + treated.astype(str)).rename("sample")
    covariates = pd.DataFrame({"treated": treated.astype(str)})
    within = associate(values, covariates, donor, parts).set_index("dimension")
    unpaired = associate(values, covariates, parts).set_index("dimension")
    assert within.loc["changed", ["test", "n"]].tolist() == ["aligned ranks", 16]
    assert within.loc["changed", "p"] == 2 / 2**8
    assert within.loc["same", "p"] > 0.05
    assert unpaired.loc["changed", "p"] > 0.05
    np.testing.assert_allclose(within["effect"], unpaired["effect"])


def _in_samples(seed: int, n_dimensions: int = 3) -> tuple[pd.DataFrame, pd.DataFrame, pd.Series]:
    """Samples that differ in all dimensions and in all annotations of their cells, for reasons of their own."""
    random = np.random.default_rng(seed)
    of_cell = np.repeat(np.arange(8), random.integers(20, 60, 8))
    values = _values(len(of_cell), n_dimensions, seed)
    values += random.normal(size=(8, n_dimensions))[of_cell]
    number = random.normal(size=len(of_cell)) + random.normal(size=8)[of_cell]
    groups = np.digitize(random.normal(size=len(of_cell)) + random.normal(size=8)[of_cell], [-0.5, 0.7])
    annotations = pd.DataFrame(
        {"number": number.round(1), "group": groups.astype(str), "side": groups > 1}, index=values.index
    )
    return values, annotations, pd.Series(of_cell, index=values.index, name="donor")


def test_cells_are_compared_within_samples() -> None:
    """One sample: the tests of all cells; several: ranks within samples, as of genes and annotations of cells."""
    from scipy import sparse, stats

    from scvi_downstream.statistics.correlation import stratified_spearman

    values, annotations, samples = _in_samples(0)
    one = pd.Series("all", index=values.index, name="donor")
    within, over = (
        associate(values, annotations, each).set_index(["covariate", "dimension"]) for each in (one, None)
    )
    for measure in ("rho", "r2", "eta2", "effect"):
        np.testing.assert_allclose(within[measure], over[measure], atol=1e-12)
    np.testing.assert_allclose(within.loc["group", "p"], over.loc["group", "p"])
    table = associate(values, annotations, samples).set_index(["covariate", "dimension"])
    positive = sparse.csr_matrix((values - values.min() + 1).to_numpy())
    for name in ("number", "side"):
        numbers = annotations[[name]].astype(float)
        found = stratified_spearman(positive, numbers, samples.to_numpy())[name]
        np.testing.assert_allclose(table.loc[name, "p"], found["p"], rtol=1e-10)
    np.testing.assert_allclose(table.loc["side", "statistic"], found["statistic"] ** 2, rtol=1e-10)
    np.testing.assert_allclose(table.loc["number", "rho"].abs(), table.loc["number", "effect"])
    assert table.loc["side", "p"].to_numpy() == pytest.approx(
        stats.chi2.sf(table.loc["side", "statistic"], 1)
    )


def test_samples_that_differ_in_both_do_not_associate_cells() -> None:
    """Over all cells most of these tests would say so."""
    small, naive = [], []
    for seed in range(40):
        values, annotations, samples = _in_samples(seed)
        small.append(associate(values, annotations[["number", "group"]], samples)["p"] <= 0.05)
        naive.append(associate(values, annotations[["number", "group"]])["p"] <= 0.05)
    # 240 tests; dimensions are independent, both annotations are, too
    low, high = binomtest(12, 240).proportion_ci(0.9999)
    assert low < np.mean(small) < high
    assert np.mean(naive) > 0.3


def test_what_varies_with_the_latent_within_samples_is_found() -> None:
    values, _, samples = _in_samples(1)
    within = values - values.groupby(samples.to_numpy()).transform("mean")
    covariates = pd.DataFrame(
        {"number": within["latent_1"], "group": np.where(within["latent_2"] > 0.5, "high", "low")}
    )
    table = associate(values, covariates, samples).set_index(["covariate", "dimension"])
    assert table.loc[("number", "latent_1"), "rho"] > 0.95
    assert table.loc[("group", "latent_2"), "eta2"] > 0.4
    assert table.loc[[("number", "latent_1"), ("group", "latent_2")], "p"].max() < 1e-10


def test_planted_associations_are_found() -> None:
    values = _values(200, 5)
    random = np.random.default_rng(2)
    covariates = pd.DataFrame(
        {
            "follows_2": values["latent_2"] ** 3 + random.normal(size=200),
            "parts_4": pd.cut(values["latent_4"] + random.normal(size=200), 3, labels=list("abc")),
        }
    )
    found = associate(values, covariates).query("p_adjusted < 0.01")
    assert set(zip(found["dimension"], found["covariate"], strict=True)) == {
        ("latent_2", "follows_2"),
        ("latent_4", "parts_4"),
    }


def test_few_samples_are_tested_by_all_permutations() -> None:
    from scipy import stats

    values = _values(70, 3)
    samples = pd.Series(np.repeat(np.arange(7), 10), index=values.index)
    age = np.array([30.0, 41.0, 25.0, 60.0, 55.0, 33.0, 41.0])
    group = np.array(list("aabbbcc"))
    covariates = pd.DataFrame({"age": age[samples], "group": group[samples]}, index=values.index)
    table = associate(values, covariates, samples).set_index(["dimension", "covariate"])
    means = values.groupby(samples).mean()["latent_1"].to_numpy()
    orders = [list(order) for order in permutations(range(7))]
    observed = stats.spearmanr(means, age).statistic
    ranks, age_ranks = stats.rankdata(means), stats.rankdata(age)
    all_rhos = np.array([np.corrcoef(ranks, age_ranks[order])[0, 1] for order in orders])
    assert table.loc[("latent_1", "age"), "p"] == pytest.approx(
        (np.abs(all_rhos) >= abs(observed) - 1e-9).mean()
    )

    def between(labels: np.ndarray) -> float:
        return sum(ranks[labels == name].sum() ** 2 / (labels == name).sum() for name in "abc")

    all_sums = np.array([between(group[order]) for order in orders])
    expected = (all_sums >= between(group) - 1e-9).mean()
    assert table.loc[("latent_1", "group"), "p"] == pytest.approx(expected)


@pytest.mark.parametrize(
    "by_sample", [["ctrl", "stim"], ["a", "b", "c"], ["a", "a", "b", "c"]], ids=["2", "3", "one pair"]
)
def test_conditions_without_replicates_are_not_tested(by_sample: list[str]) -> None:
    values = _values(60, 2)
    samples = pd.Series(np.arange(60) % len(by_sample), index=values.index, name="donor")
    covariates = pd.DataFrame({"condition": np.array(by_sample)[samples]}, index=values.index)
    table = associate(values, covariates, samples)
    assert (table["unit"] == "sample").all()
    assert table[["statistic", "p", "p_adjusted", "effect", "eta2"]].isna().all(axis=None)


def test_samples_themselves_are_compared_on_cells() -> None:
    values = _values(60, 1)
    samples = pd.Series(np.arange(60) % 4, index=values.index, name="donor").astype(str)
    table = associate(values, samples.to_frame(), samples)
    assert table["unit"].tolist() == ["cell"]
    assert table["n"].tolist() == [60]


def test_constant_covariates_are_left_out_and_constant_dimensions_have_no_p() -> None:
    values = _values(30, 2).assign(still=1.0)
    covariates = pd.DataFrame({"x": np.arange(30.0), "same": 1, "none": np.nan, "g": "a"}, index=values.index)
    covariates["infinite"] = [np.inf] * 29 + [1.0]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = associate(values, covariates)
    assert table["covariate"].unique().tolist() == ["x"]
    assert table["p"].isna().tolist() == [False, False, True]
    empty = associate(values, covariates[["same"]])
    assert empty.empty
    assert empty.columns.tolist() == list(COLUMNS)
    assert empty.dtypes.to_dict() == table.dtypes.to_dict()


def test_other_cells_are_refused() -> None:
    values = _values(10, 1)
    with pytest.raises(ValueError, match="same cells"):
        associate(values, pd.DataFrame({"x": np.arange(10.0)}))


@pytest.mark.slow
def test_is_fast_on_100_000_cells() -> None:
    import time

    random = np.random.default_rng(0)
    values = pd.DataFrame(random.normal(size=(100_000, 30)))
    numbers = {f"x{i}": random.normal(size=100_000) for i in range(10)}
    groups = {f"g{i}": pd.Categorical(random.choice(list("abcdefgh"), 100_000)) for i in range(10)}
    start = time.perf_counter()
    table = associate(values, pd.DataFrame(numbers | groups))
    assert len(table) == 600
    assert time.perf_counter() - start < 20
