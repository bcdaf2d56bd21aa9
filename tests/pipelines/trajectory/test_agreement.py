"""Orders side by side: their consensus, their agreement with each other, and with known time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse, stats

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.trajectory.agreement import (
    ORDERS,
    agreement_matrix,
    compare_with_time,
    confounding_sentences,
    consensus_pseudotime,
    rank_agreement,
    time_agreement,
    time_explained_by_batch,
)
from scvi_downstream.pipelines.trajectory.options import TrajectoryOptions
from scvi_downstream.statistics.correlation import stratified_spearman
from scvi_downstream.study.defaults import defaults_of

N_CELLS = 400
CELLS = pd.Index([f"cell_{i}" for i in range(N_CELLS)])


def test_errors_that_methods_do_not_share_average_out() -> None:
    random = np.random.default_rng(0)
    time = random.random(500)
    orders = pd.DataFrame({i: time + random.normal(0, 0.3, 500) for i in range(4)})
    single = [stats.spearmanr(orders[i], time).statistic for i in orders]
    assert stats.spearmanr(consensus_pseudotime(orders), time).statistic > max(single)


def test_cells_that_most_methods_do_not_place_have_no_place() -> None:
    orders = pd.DataFrame({"a": [0.0, 1, 2, np.nan], "b": [0.0, 5, np.nan, np.nan], "c": [0.0, 1, np.nan, 3]})
    found = consensus_pseudotime(orders)
    assert found.isna().tolist() == [False, False, True, True]
    assert found[0] == 0


@given(st.integers(0, 1000), st.floats(0.1, 10))
def test_only_ranks_matter_to_the_consensus(seed: int, power: float) -> None:
    random = np.random.default_rng(seed)
    orders = pd.DataFrame(random.random((30, 3)))
    bent = orders.assign(**{"1": orders[1]}).drop(columns="1")
    bent[0] = bent[0] ** power * 100
    pd.testing.assert_series_equal(consensus_pseudotime(orders), consensus_pseudotime(bent))


def test_an_order_without_order_says_nothing() -> None:
    orders = pd.DataFrame({"constant": np.ones(5), "real": np.arange(5.0)})
    assert consensus_pseudotime(orders).is_monotonic_increasing


@pytest.fixture
def orderings() -> pd.DataFrame:
    random = np.random.default_rng(0)
    time = random.random(300)
    table = pd.DataFrame(
        {
            "dpt": time,
            "slingshot": np.where(np.arange(300) < 200, time + 0.1 * random.normal(size=300), np.nan),
            "backwards": 5 - 3 * time**2,
            "noise": random.random(300),
            "constant": 1.0,
            "few": np.where(np.arange(300) < 5, time, np.nan),
        }
    )
    return table


def test_agreement_is_spearmans_over_shared_cells(orderings: pd.DataFrame) -> None:
    table = rank_agreement(orderings).set_index(["first", "second"])
    assert len(table) == 15
    row = table.loc[("dpt", "slingshot")]
    expected = stats.spearmanr(orderings["dpt"][:200], orderings["slingshot"][:200]).statistic
    assert row["spearman"] == pytest.approx(expected)
    assert row["n"] == 200
    assert row["low"] < row["spearman"] < row["high"] < 1
    said = table["orientation"]
    assert said["dpt", "slingshot"] == "same"
    assert said["dpt", "backwards"] == "opposite"
    assert table.loc[("dpt", "backwards"), "spearman"] == pytest.approx(-1)
    assert said["dpt", "noise"] == "unrelated"
    assert said["dpt", "constant"] == said["dpt", "few"] == "unknown"
    assert np.isnan(table.loc[("dpt", "few"), "spearman"])
    assert table.loc[("dpt", "few"), "n"] == 5


def test_matrix_holds_the_table(orderings: pd.DataFrame) -> None:
    table = rank_agreement(orderings)
    matrix = agreement_matrix(table)
    assert list(matrix.columns) == list(matrix.index) == list(orderings.columns)
    np.testing.assert_array_equal(matrix.to_numpy(), matrix.to_numpy().T)
    np.testing.assert_array_equal(np.diag(matrix), 1)
    known = orderings[["dpt", "slingshot", "backwards", "noise"]]
    np.testing.assert_allclose(matrix.loc[known.columns, known.columns], known.corr(method="spearman"))
    assert matrix.shape == (6, 6)


@pytest.mark.thorough
def test_intervals_hold_the_truth() -> None:
    """95 % of samples of a normal pair, whose rank correlation is known, hold it."""
    random = np.random.default_rng(1)
    rho = 0.6
    truth = 6 / np.pi * np.arcsin(rho / 2)
    held = []
    for _ in range(400):
        first, second = random.multivariate_normal([0, 0], [[1, rho], [rho, 1]], 80).T
        row = rank_agreement(pd.DataFrame({"a": first, "b": second})).iloc[0]
        held.append(row["low"] <= truth <= row["high"])
    assert 0.92 <= np.mean(held) <= 0.98


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.floats(0.1, 5))
def test_only_ranks_matter_to_agreement(seed: int, power: float) -> None:
    random = np.random.default_rng(seed)
    first, second = random.random(40), random.random(40)
    plain = rank_agreement(pd.DataFrame({"a": first, "b": second})).iloc[0]
    bent = rank_agreement(pd.DataFrame({"a": first**power, "b": -second})).iloc[0]
    assert bent["spearman"] == pytest.approx(-plain["spearman"], abs=1e-9)


def test_one_ordering_agrees_with_nobody(orderings: pd.DataFrame) -> None:
    assert rank_agreement(orderings[["dpt"]]).empty
    assert agreement_matrix(rank_agreement(orderings[["dpt"]])).empty


def study(seed: int = 0) -> tuple[pd.Series, pd.Series]:
    """Times, and batches that are time points: each holds a quarter of the time."""
    time = np.random.default_rng(seed).uniform(0, 12, N_CELLS)
    batches = pd.Categorical([f"day_{int(t // 3)}" for t in time])
    return pd.Series(time, index=CELLS, name="hours"), pd.Series(batches, index=CELLS, name="batch")


def test_an_interval_over_samples_with_one_time_each_does_not_shrink_with_cells() -> None:
    """Nine samples are nine times, however many cells each holds."""
    rng = np.random.default_rng(0)
    place = rng.normal(size=180) + np.repeat(rng.normal(size=9), 20)
    widths = {}
    for times in (1, 10):
        sample = np.repeat(np.arange(9), 20 * times)
        order = pd.DataFrame({"dpt_pseudotime": np.repeat(place, times)})
        time, samples = pd.Series(sample.astype(float)), pd.Series(sample.astype(str))
        for name, drawn in (("samples", samples), ("cells", None)):
            row = time_agreement(order, time, samples=drawn).iloc[0]
            assert row["low"] < row["spearman"] < row["high"]
            widths[name, times] = row["high"] - row["low"]
    assert widths["samples", 10] == pytest.approx(widths["samples", 1], rel=0.02)
    assert widths["cells", 10] < 0.5 * widths["cells", 1] < 0.5 * widths["samples", 1]
    few = time_agreement(order.iloc[:400], time.iloc[:400], samples=samples.iloc[:400]).iloc[0]
    assert np.isfinite(few["spearman"])
    assert np.isnan(few["low"])


def test_batches_that_are_time_points_are_confounded_with_time() -> None:
    time, batches = study()
    share = time_explained_by_batch(time, batches)
    groups = [time[batches == name] for name in batches.cat.categories]
    f = stats.f_oneway(*groups).statistic
    assert share == pytest.approx(f * 3 / (f * 3 + N_CELLS - 4))
    first, second = confounding_sentences(time, batches, corrected=True)
    assert first.startswith(f"batch 'batch' explains {share:.0%} of the variance of 'hours'")
    assert "fights the signal" in second
    assert "without batch_key" in second
    assert "with batch_key" in confounding_sentences(time, batches, corrected=False)[1]


def test_shuffled_batches_and_one_batch_are_not_confounded() -> None:
    time, batches = study()
    shuffled = pd.Series(np.random.default_rng(1).permutation(batches), index=CELLS, name="batch")
    assert confounding_sentences(time, shuffled, corrected=True) == []
    one = pd.Series("a", index=CELLS, name="batch")
    assert np.isnan(time_explained_by_batch(time, one))
    assert confounding_sentences(time, one, corrected=True) == []


def test_batches_of_two_cells_explain_by_chance_and_nothing_is_said() -> None:
    time, _ = study()
    pairs = pd.Series([f"b{i}" for i in np.random.default_rng(2).permutation(N_CELLS) // 2], index=CELLS)
    assert time_explained_by_batch(time, pairs) > 0.3
    assert confounding_sentences(time, pairs.rename("batch"), corrected=True) == []


@pytest.mark.thorough
def test_agreement_is_spearman_with_an_interval_that_holds_it() -> None:
    time, batches = study()
    noise = np.random.default_rng(3).normal(0, 3, N_CELLS)
    pseudotimes = pd.DataFrame({"good": time + noise, "reversed": -time, "noise": noise}, index=CELLS)
    pseudotimes.iloc[:50, 0] = np.nan
    table = time_agreement(pseudotimes, time, batches, seed=0).set_index("method")
    assert table["n"].tolist() == [350, 400, 400]
    expected = stats.spearmanr(pseudotimes["good"][50:], time[50:]).statistic
    assert table.loc["good", "spearman"] == pytest.approx(expected)
    assert (table["low"] <= table["spearman"]).all()
    assert (table["spearman"] <= table["high"]).all()
    assert table.loc["reversed", "spearman"] == pytest.approx(-1)
    assert table.loc["noise", "low"] < 0 < table.loc["noise", "high"]
    assert (table["n_batches"] == 4).all()


def test_an_order_between_batches_alone_does_not_hold_within_them() -> None:
    time, batches = study()
    rng = np.random.default_rng(4)
    of_batch = batches.cat.codes.to_numpy() + rng.normal(0, 0.2, N_CELLS)
    table = time_agreement(pd.DataFrame({"batch": of_batch, "time": time}, index=CELLS), time, batches)
    between, within = table.iloc[0], table.iloc[1]
    assert between["spearman"] > 0.9
    assert between["within_batch_low"] < 0 < between["within_batch_high"]
    assert within["within_batch_spearman"] == pytest.approx(1)


@pytest.mark.thorough
@given(st.integers(0, 10_000))
@settings(max_examples=8, deadline=None)
def test_within_batches_it_is_the_stratified_correlation(seed: int) -> None:
    rng = np.random.default_rng(seed)
    cells = CELLS[:60]
    pseudotime, time = rng.integers(0, 8, 60).astype(float), rng.integers(0, 8, 60).astype(float)
    strata = rng.integers(0, 3, 60)
    batches = pd.Series(strata.astype(str), index=cells)
    table = time_agreement(
        pd.DataFrame({"method": pseudotime}, index=cells), pd.Series(time, index=cells), batches, seed=seed
    )
    reference = stratified_spearman(
        sparse.csr_matrix(pseudotime[:, None]), pd.DataFrame({"time": time}), strata
    )["time"]
    assert table["within_batch_spearman"].iloc[0] == pytest.approx(reference["rho"].iloc[0])


@pytest.mark.slow
def test_the_interval_covers_the_truth() -> None:
    """Of bivariate normal samples with a known rank correlation."""
    rho = 0.6
    truth = 6 / np.pi * np.arcsin(rho / 2)
    covered = 0
    for seed in range(40):
        drawn = np.random.default_rng(seed).multivariate_normal([0, 0], [[1, rho], [rho, 1]], 100)
        cells = CELLS[:100]
        table = time_agreement(
            pd.DataFrame({"m": drawn[:, 0]}, index=cells), pd.Series(drawn[:, 1], index=cells), seed=seed
        )
        covered += int(table["low"].iloc[0] <= truth <= table["high"].iloc[0])
    assert 33 <= covered <= 40


def test_a_consensus_of_all_representations_needs_two_besides_r() -> None:
    time, _ = study()
    counts = AnnData(np.zeros((N_CELLS, 0)), obs=time.to_frame())
    orders = pd.DataFrame(dict.fromkeys(["pseudotime", *ORDERS], time), index=CELLS)
    given = {"scvi": orders, "R": pd.DataFrame({"monocle_r_pseudotime": -time}, index=CELLS)}
    options = defaults_of(TrajectoryOptions, time_key="hours")
    found = compare_with_time(counts, Keys(), options, 0, **given)
    assert found["representation"].tolist() == ["scvi"] * 4 + ["R"]
    found = compare_with_time(counts, Keys(), options, 0, pca=orders, **given)
    assert found["representation"].nunique() == 4


def test_nothing_to_compare_is_nan_and_seeds_repeat() -> None:
    time, batches = study()
    pseudotimes = pd.DataFrame({"constant": 1.0, "missing": np.nan, "good": time**2}, index=CELLS)
    table = time_agreement(pseudotimes, time, seed=1).set_index("method")
    assert table.loc[["constant", "missing"], "spearman"].isna().all()
    assert table.loc["missing", "n"] == 0
    assert table["within_batch_spearman"].isna().all()
    pd.testing.assert_frame_equal(
        time_agreement(pseudotimes, time, batches, seed=1), time_agreement(pseudotimes, time, batches, seed=1)
    )
    with pytest.raises(ValueError, match="same cells"):
        time_agreement(pseudotimes.iloc[1:], time)


@pytest.mark.slow
def test_time_points_of_the_worm_are_its_batches(real_data: Path) -> None:
    file = real_data / "worm_embryo.h5ad"
    if not file.exists():
        pytest.skip(f"{file.name} is not in {real_data} (set SCVI_DOWNSTREAM_DATA)")
    import anndata

    observations = anndata.read_h5ad(file, backed="r").obs
    share = time_explained_by_batch(observations["embryo_time"], observations["batch"])
    assert 0.3 < share < 1
    assert len(confounding_sentences(observations["embryo_time"], observations["batch"], corrected=True)) == 2
