"""The demonstration data: 700 PBMCs that ship with scanpy."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from scipy import sparse

if TYPE_CHECKING:
    from anndata import AnnData

_KEPT = ["S_score", "G2M_score", "phase", "percent_mito"]
_SCALED_TO = 1e4


def read_pbmc68k() -> AnnData:
    """Raw counts of 700 PBMCs and 765 genes, taken back from the log-normalised values.

    The values are ``log1p(count / total * 10,000)`` and the totals are kept, so the counts come back as
    integers. ``obs`` holds ``batch`` (the GEM well, after the dash of the barcode), ``cell_type`` (the
    published labels), cell-cycle scores and phase, and the mitochondrial share among all genes.

    References
    ----------
    Zheng et al. (2017), doi:10.1038/ncomms14049.
    """
    import anndata
    import scanpy as sc

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        published = sc.datasets.pbmc68k_reduced()
    normalised = sparse.csr_matrix(published.raw.X, dtype=np.float64)
    totals = published.obs["n_counts"].to_numpy(dtype=np.float64)
    counts = sparse.diags(totals / _SCALED_TO) @ normalised.expm1()
    counts.data = np.rint(counts.data)
    counts.eliminate_zeros()

    cells = published.obs_names.rename(None)
    obs = published.obs[_KEPT].set_axis(cells)
    obs.insert(0, "batch", pd.Categorical(cells.str.rsplit("-", n=1).str[-1]))
    obs.insert(1, "cell_type", published.obs["bulk_labels"].array)
    genes = pd.DataFrame(index=published.raw.var_names.rename(None))
    return anndata.AnnData(sparse.csr_matrix(counts, dtype=np.float32), obs=obs, var=genes)
