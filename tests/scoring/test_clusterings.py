"""Agreement from contingency tables equals scikit-learn on the repeated cells."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scvi_downstream.scoring.clusterings import (
    adjusted_rand_index,
    contingency,
    normalised_mutual_information,
)


@settings(max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 6))
def test_equals_scikit_learn_on_repeated_cells(seed: int, n_rows: int, n_columns: int) -> None:
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    rng = np.random.default_rng(seed)
    rows, columns = rng.integers(n_rows, size=40), rng.integers(n_columns, size=40)
    columns[:20] = rows[:20] % n_columns
    weights = np.concatenate([np.ones((1, 40)), rng.multinomial(40, np.full(40, 1 / 40), size=3)])
    tables = contingency(rows, columns, weights)
    for draw, nmi, ari in zip(
        weights, normalised_mutual_information(tables), adjusted_rand_index(tables), strict=True
    ):
        repeated = np.repeat(np.arange(40), draw.astype(int))
        assert nmi == pytest.approx(normalized_mutual_info_score(rows[repeated], columns[repeated]), abs=1e-9)
        assert ari == pytest.approx(adjusted_rand_score(rows[repeated], columns[repeated]), abs=1e-12)


def test_equal_partitions_agree_whatever_their_names_and_single_groups_are_told_apart() -> None:
    codes = np.arange(12) % 3
    everyone = np.ones((1, 12))
    renamed, single = (codes + 1) % 3, np.zeros(12, dtype=int)
    assert adjusted_rand_index(contingency(codes, renamed, everyone))[0] == 1
    assert normalised_mutual_information(contingency(codes, renamed, everyone))[0] == pytest.approx(1)
    assert adjusted_rand_index(contingency(codes, single, everyone))[0] == 0
    assert normalised_mutual_information(contingency(codes, single, everyone))[0] == 0
    assert normalised_mutual_information(contingency(single, single, everyone))[0] == 1
