"""Cells unlike the reference: the deviation that is tested, and the test."""

import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scvi_downstream.cells.expression import log_normalize_counts
from scvi_downstream.pipelines.reference_mapping.unlike import (
    MappedCells,
    find_unlike,
    nearest,
    shared_deviation,
    thin,
)

TYPES, N_GENES = 4, 120


def simulate(types: np.ndarray, batch: np.ndarray, rng: np.random.Generator, shift: float) -> MappedCells:
    """Cells of given types in batches of different technologies; the encoder knows types 0 to 2 alone."""
    profiles = np.random.default_rng(7).gamma(1.0, 2.0, (TYPES, N_GENES))
    names = sorted(set(batch))
    technology = {name: np.exp(rng.normal(0, shift, N_GENES)) for name in names}
    counts = rng.poisson(profiles[types] * np.array([technology[name] for name in batch]))
    places = np.eye(3)[np.where(types < 3, types, 0)] * 5
    latent = places + rng.normal(0, 0.3, (len(types), 3))
    return MappedCells(sparse.csr_matrix(counts.astype(np.float32)), latent, batch)


def flagged(query_types: np.ndarray, seed: int, shift: float = 0.15) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    types = rng.integers(0, 3, 360)
    reference = simulate(types, np.array(["a", "b", "c", "d"])[np.arange(360) % 4], rng, shift)
    query = simulate(query_types, np.full(len(query_types), "new"), rng, shift)
    cells, _ = find_unlike(
        reference, query, labels=pd.Categorical(types), n_neighbors=15, fdr=0.05, seed=seed
    )
    return cells


def test_a_planted_type_is_flagged_and_the_known_ones_are_not() -> None:
    types = np.r_[np.repeat([0, 1, 2], 30), np.repeat(3, 40)]
    unlike = flagged(types, seed=0)["unlike"].to_numpy()
    assert unlike[types == 3].mean() > 0.9
    assert unlike[types < 3].mean() < 0.05


@pytest.mark.thorough
def test_known_cells_of_a_new_batch_are_rarely_flagged() -> None:
    shares = [
        flagged(np.random.default_rng(seed).integers(0, 3, 100), seed)["unlike"].mean() for seed in range(6)
    ]
    assert np.mean(shares) < 0.02


def test_batches_are_reported_and_a_batch_of_an_absent_type_shows_by_its_shift() -> None:
    rng = np.random.default_rng(3)
    types = rng.integers(0, 3, 300)
    reference = simulate(types, np.array(["a", "b", "c"])[np.arange(300) % 3], rng, 0.1)
    known = simulate(rng.integers(0, 3, 80), np.full(80, "new"), rng, 0.1)
    absent = simulate(np.full(80, 3), np.full(80, "new"), rng, 0.1)
    tables = [
        find_unlike(reference, query, labels=None, n_neighbors=15, fdr=0.05, seed=0)[1]
        for query in (known, absent)
    ]
    ratios = [table.groupby("origin")["shift"].max() for table in tables]
    assert tables[0]["batch"].tolist() == ["a", "b", "c", "new"]
    assert ratios[0]["query"] < 2 * ratios[0]["reference"]
    assert ratios[1]["query"] > 5 * ratios[1]["reference"]


@pytest.mark.parametrize("batch", [["only"] * 90, ["big"] * 85 + ["tiny"] * 5])
def test_a_reference_of_one_batch_still_gives_p_values(batch: list[str]) -> None:
    rng = np.random.default_rng(0)
    reference = simulate(rng.integers(0, 3, 90), np.array(batch), rng, 0.0)
    query = simulate(rng.integers(0, 3, 30), np.array(["q1"] * 25 + ["q2"] * 5), rng, 0.0)
    cells, batches = find_unlike(reference, query, labels=None, n_neighbors=15, fdr=0.05, seed=0)
    assert cells["p"].between(1 / 91, 1).all()
    assert len(cells) == 30
    assert batches.loc[batches["origin"] == "query", "n_cells"].sum() == 30


def test_neighbours_are_the_nearest_and_never_the_cell_itself() -> None:
    rng = np.random.default_rng(0)
    latent = rng.normal(size=(50, 3))
    among = np.arange(10, 50)
    own = np.array([3, 20, 40])
    found, distances = nearest(latent, latent[own], 6, among, own)
    for row, cell in enumerate(own):
        candidates = among[among != cell]
        expected = np.linalg.norm(latent[candidates] - latent[cell], axis=1)
        np.testing.assert_array_equal(found[row], candidates[np.argsort(expected)[:6]])
        np.testing.assert_allclose(distances[row], np.sort(expected)[:6])


def test_halves_add_up_and_are_independent_given_the_mean() -> None:
    rng = np.random.default_rng(0)
    counts = sparse.csr_matrix(rng.poisson(4.0, (4000, 5)).astype(np.float32))
    first, second = thin(counts, rng)
    assert (first + second != counts).nnz == 0
    assert first.data.min() >= 0
    halves = first.toarray(), second.toarray()
    correlation = [np.corrcoef(halves[0][:, i], halves[1][:, i])[0, 1] for i in range(5)]
    assert np.abs(correlation).max() < 4 / np.sqrt(4000)
    assert halves[0].mean() == pytest.approx(2.0, abs=0.05)


@pytest.mark.parametrize("depth", [0.3, 1.0])
def test_noise_has_no_part_in_it_and_a_new_type_has(depth: float) -> None:
    """Query cells of one known and one new type, all shifted by the same technology."""
    rng = np.random.default_rng(1)
    n_genes, known, new = 150, 120, 60
    rates = rng.gamma(2.0, 1.0, n_genes)
    changed = rates * np.where(np.arange(n_genes) < 40, np.exp(rng.normal(0, 1, n_genes)), 1)
    technology = np.exp(rng.normal(0, 0.3, n_genes))
    reference = log_normalize_counts(sparse.csr_matrix(rng.poisson(rates, (200, n_genes)).astype(np.float32)))
    means = np.r_[np.tile(rates, (known, 1)), np.tile(changed, (new, 1))] * technology * depth
    counts = sparse.csr_matrix(rng.poisson(means).astype(np.float32))
    neighbors = np.array([rng.choice(200, 15, replace=False) for _ in range(known + new)])
    deviation, shift = shared_deviation(counts, neighbors, reference, rng)
    of_known, of_new = deviation[:known], deviation[known:]
    assert abs(of_known.mean()) < 0.15 * of_new.mean()
    larger = of_new[:, None] > of_known[None]
    assert larger.mean() > (0.95 if depth == 1 else 0.8)
    assert shift > 0


def test_the_same_seed_gives_the_same_numbers() -> None:
    counts = sparse.csr_matrix(np.random.default_rng(0).poisson(1, (40, 30)).astype(np.float32))
    neighbors = np.tile(np.arange(5), (40, 1))
    runs = [
        shared_deviation(counts, neighbors, log_normalize_counts(counts), np.random.default_rng(3))[0]
        for _ in range(2)
    ]
    np.testing.assert_array_equal(*runs)
