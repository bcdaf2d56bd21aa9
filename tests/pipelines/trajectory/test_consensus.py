from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from scvi_downstream.pipelines.trajectory.orders import consensus_pseudotime


def test_errors_that_methods_do_not_share_average_out() -> None:
    random = np.random.default_rng(0)
    time = random.random(500)
    orders = pd.DataFrame({i: time + random.normal(0, 0.3, 500) for i in range(4)})
    single = [spearmanr(orders[i], time).statistic for i in orders]
    assert spearmanr(consensus_pseudotime(orders), time).statistic > max(single)


def test_cells_that_most_methods_do_not_place_have_no_place() -> None:
    orders = pd.DataFrame({"a": [0.0, 1, 2, np.nan], "b": [0.0, 5, np.nan, np.nan], "c": [0.0, 1, np.nan, 3]})
    found = consensus_pseudotime(orders)
    assert found.isna().tolist() == [False, False, True, True]
    assert found[0] == 0


@given(st.integers(0, 1000), st.floats(0.1, 10))
def test_only_ranks_count(seed: int, power: float) -> None:
    random = np.random.default_rng(seed)
    orders = pd.DataFrame(random.random((30, 3)))
    bent = orders.assign(**{"1": orders[1]}).drop(columns="1")
    bent[0] = bent[0] ** power * 100
    pd.testing.assert_series_equal(consensus_pseudotime(orders), consensus_pseudotime(bent))


def test_an_order_without_order_says_nothing() -> None:
    orders = pd.DataFrame({"constant": np.ones(5), "real": np.arange(5.0)})
    assert consensus_pseudotime(orders).is_monotonic_increasing
