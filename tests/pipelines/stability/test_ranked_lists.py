from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scvi_downstream.pipelines.stability.genes import jaccard, jaccard_by_chance, rank_biased_overlap

ITEMS = st.lists(st.sampled_from([f"g{i}" for i in range(12)]), min_size=1, max_size=8, unique=True)
P = st.floats(0.1, 0.95)


def rbo_by_definition(a: list[str], b: list[str], p: float) -> float:
    """(1 - p) Σ p^(d-1) A_d, with the agreement beyond the lists' ends as Webber et al. extrapolate it."""
    short, long = sorted((a, b), key=len)
    s, n = len(short), len(long)
    seen = [len(set(short[:d]) & set(long[:d])) for d in range(n + 1)]
    total = 0.0
    for d in range(1, 5000):
        if d <= s:
            agreement = seen[d] / d
        elif d <= n:
            agreement = (seen[d] + seen[s] * (d - s) / s) / d
        else:
            agreement = (seen[n] - seen[s]) / n + seen[s] / s
        total += (1 - p) * p ** (d - 1) * agreement
    return total


@given(ITEMS, ITEMS, P)
def test_rank_biased_overlap_is_the_sum_that_defines_it(a: list[str], b: list[str], p: float) -> None:
    found = rank_biased_overlap(a, b, p)
    assert found == pytest.approx(rbo_by_definition(a, b, p), abs=1e-9)
    assert found == pytest.approx(rank_biased_overlap(b, a, p), abs=1e-12)


@given(ITEMS, P)
def test_equal_lists_agree_and_disjoint_ones_do_not(a: list[str], p: float) -> None:
    assert rank_biased_overlap(a, a, p) == pytest.approx(1)
    assert rank_biased_overlap(a, [f"other {item}" for item in a], p) == 0
    assert jaccard(a, list(reversed(a))) == 1


def test_the_top_counts_most() -> None:
    truth = list("abcdefghij")
    top_swapped, end_swapped = list("bacdefghij"), list("abcdefghji")
    assert rank_biased_overlap(truth, top_swapped) < rank_biased_overlap(truth, end_swapped) < 1


def test_lists_without_items_have_no_overlap_to_speak_of() -> None:
    assert np.isnan(rank_biased_overlap([], ["a"]))
    assert np.isnan(jaccard_by_chance(10, 0))
    assert jaccard([], []) == 1


def test_chance_is_what_random_choices_give() -> None:
    random = np.random.default_rng(0)
    chosen = [[str(i) for i in random.choice(300, 50, replace=False)] for _ in range(40)]
    found = np.mean([jaccard(a, b) for a, b in combinations(chosen, 2)])
    assert found == pytest.approx(jaccard_by_chance(50, 300), abs=0.005)
    assert jaccard_by_chance(50, 50) == 1
