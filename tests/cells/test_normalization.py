import numpy as np
from anndata import AnnData
from scipy import sparse

from scvi_downstream.cells.expression import log_normalize


def test_values_are_scanpys_and_counts_stay():
    import scanpy as sc

    counts = AnnData(sparse.random(30, 20, density=0.4, format="csr", dtype=np.float32, rng=0))
    counts.X.data = np.ceil(counts.X.data * 9)
    before = counts.X.copy()
    expected = counts.copy()
    sc.pp.normalize_total(expected, target_sum=1e4)
    sc.pp.log1p(expected)
    np.testing.assert_allclose(log_normalize(counts).toarray(), expected.X.toarray(), rtol=1e-5)
    chosen = np.array([7, 2])
    np.testing.assert_allclose(
        log_normalize(counts, chosen).toarray(), expected.X[:, chosen].toarray(), rtol=1e-5
    )
    assert (before != counts.X).nnz == 0


def test_a_cell_without_counts_stays_zero():
    counts = AnnData(sparse.csr_matrix(np.array([[0, 0], [1, 3]], dtype=np.float32)))
    assert log_normalize(counts).toarray()[0].tolist() == [0, 0]
