import numpy as np
import pytest
from scipy import sparse

from scvi_downstream.pipelines.reference_mapping.unlike import log_normalize_counts, shared_deviation, thin


def test_log_normalisation_is_that_of_the_project() -> None:
    import anndata

    from scvi_downstream.cells.expression import log_normalize

    counts = sparse.csr_matrix(np.random.default_rng(0).poisson(0.7, (30, 12)).astype(np.float32))
    np.testing.assert_allclose(
        log_normalize_counts(counts).toarray(), log_normalize(anndata.AnnData(counts)).toarray(), rtol=1e-6
    )


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
