"""Kernels against NumPy, over shapes, ties and what a diverged model decodes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.slow


def narrowest(values: np.ndarray, n_outside: int) -> float:
    ordered = np.sort(values)
    return float((ordered[len(values) - n_outside :] - ordered[:n_outside]).min())


@settings(max_examples=60)
@given(
    n_pairs=st.integers(2, 400),
    n_genes=st.integers(1, 5),
    spread=st.sampled_from([0.0, 1e-4, 1.0, 6.0]),
    tail=st.sampled_from([1.0, 3.0, 30.0]),
    level=st.sampled_from([0.05, 0.5, 0.9, 0.95, 0.999]),
    delta=st.sampled_from([0.0, 0.25, 2.0]),
    seed=st.integers(0, 1000),
)
def test_values_are_those_of_numpy(
    n_pairs: int, n_genes: int, spread: float, tail: float, level: float, delta: float, seed: int
) -> None:
    from scvi_downstream.statistics.fold_changes import CHANGE_COLUMNS, describe_changes

    rng = np.random.default_rng(seed)
    logs = rng.normal(-8, 1, (n_genes, 1)) + spread * rng.standard_t(tail, (n_genes, 90))
    shares = np.exp(np.clip(logs, -60, 0)).astype(np.float32)
    first, second = rng.integers(0, 90, (2, 3, n_pairs))
    pseudocounts, offsets, n_outside = np.array([1e-10, 1e-6, 1e-3]), np.array([1e-13, 1e-9, 1e-6]), 0
    n_outside = n_pairs - int(level * n_pairs)
    found = np.empty((3, n_genes, len(CHANGE_COLUMNS)))
    describe_changes(shares, first, second, pseudocounts, offsets, np.full(3, 2.0**delta), n_outside, found)
    for which in range(3):
        a, b = (shares[:, side[which]].astype(np.float64) for side in (first, second))
        shrunken = np.log2(a + pseudocounts[which]) - np.log2(b + pseudocounts[which])
        changes = np.log2(a + offsets[which]) - np.log2(b + offsets[which])
        values = dict(zip(CHANGE_COLUMNS, found[which].T, strict=True))
        unsure = (np.abs(np.abs(shrunken) - delta) < 1e-4).mean(1)  # within float32's rounding of the limit
        assert (np.abs(values["up"] - (shrunken >= delta).mean(1)) <= unsure + 1e-12).all()
        assert (np.abs(values["down"] - (shrunken < -delta).mean(1)) <= unsure + 1e-12).all()
        np.testing.assert_allclose(values["higher"], (a > b).mean(1))
        close = {"rtol": 1e-4, "atol": 2e-5}
        np.testing.assert_allclose(values["lfc_mean"], changes.mean(1), **close)
        np.testing.assert_allclose(values["lfc_median"], np.median(changes, axis=1), **close)
        np.testing.assert_allclose(values["lfc_std"], changes.std(1), **close)
        width = [narrowest(each, n_outside) for each in changes]
        np.testing.assert_allclose(values["lfc_upper"] - values["lfc_lower"], width, **close)
        for gene in range(n_genes):
            inside = (changes[gene] >= values["lfc_lower"][gene] - 1e-4) & (
                changes[gene] <= values["lfc_upper"][gene] + 1e-4
            )
            assert inside.sum() >= min(n_pairs - n_outside + 1, n_pairs)


def test_a_share_that_is_not_a_number_spoils_its_gene_alone() -> None:
    from scvi_downstream.statistics.fold_changes import describe_changes

    shares = np.full((3, 4), 1e-4, np.float32)
    shares[1, 2] = np.nan
    rows, one = np.arange(4)[None], np.ones(1)
    found = np.empty((1, 3, 8))
    describe_changes(shares, rows, rows[:, ::-1].copy(), one * 1e-9, one * 1e-12, one, 1, found)
    assert np.isnan(found[0, 1, 3:]).all()
    assert np.isfinite(found[0, [0, 2]]).all()


@settings(max_examples=20)
@given(n_cells=st.integers(1, 30), n_genes=st.integers(1, 20), seed=st.integers(0, 1000))
def test_rows_are_added(n_cells: int, n_genes: int, seed: int) -> None:
    from scipy import sparse

    from scvi_downstream.statistics.fold_changes import add_rows

    rng = np.random.default_rng(seed)
    dense = rng.poisson(0.7, (n_cells, n_genes)).astype(np.float32)
    counts, factors = sparse.csr_array(dense), rng.random(n_cells)
    rows, sums = np.flatnonzero(rng.random(n_cells) < 0.5), np.zeros((n_genes, 3))
    add_rows(counts.indptr, counts.indices, counts.data, rows, factors, sums)
    expected = [factors[rows] @ dense[rows], (dense[rows] > 0).sum(0), dense[rows].sum(0)]
    np.testing.assert_allclose(sums.T, expected, rtol=1e-6)
