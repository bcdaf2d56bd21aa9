"""PCA of log-normalised counts, the baseline without a model."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from scvi_downstream.errors import InputError


def principal_components(expression: sparse.csr_matrix, n_components: int, seed: int) -> np.ndarray:
    """Scores on the leading principal components; genes are centred, not scaled, and the matrix stays sparse.

    Parameters
    ----------
    expression
        ``(n_cells, n_genes)`` log-normalised expression.
    n_components
        Cut to what the data allow: below the number of cells and of genes that vary.
    seed
        Of the starting vector of the solver.

    Returns
    -------
    ``(n_cells, n_components)`` float32, by falling variance.

    Raises
    ------
    InputError
        When fewer than two genes vary.

    References
    ----------
    Lehoucq, Sorensen & Yang (1998), ARPACK Users' Guide, doi:10.1137/1.9780898719628.
    """
    from sklearn.decomposition import PCA
    from sklearn.utils.sparsefuncs import mean_variance_axis

    expression = expression.astype(np.float64)
    varying = np.flatnonzero(mean_variance_axis(expression, axis=0)[1] > 0)
    possible = min(n_components, len(varying) - 1, expression.shape[0] - 1)
    if possible < 1:
        raise InputError(
            f"{len(varying)} of the {expression.shape[1]} highly variable genes vary between cells, "
            "so there is no PCA; raise preparation.n_top_genes or check the counts"
        )
    pca = PCA(possible, svd_solver="arpack", random_state=seed)
    return pca.fit_transform(expression[:, varying]).astype(np.float32)
