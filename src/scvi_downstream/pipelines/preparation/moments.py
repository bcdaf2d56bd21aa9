"""Mean and variance of each gene in the cells of a batch, with the roundings of scanpy.

Where genes' means are tied, the local fit of their variances hangs on the last bit of both.
"""

from __future__ import annotations

import numpy as np

from scvi_downstream.runtime.compiled import compiled_as_written


@compiled_as_written
def running_moments(
    genes: np.ndarray, values: np.ndarray, n_cells: int, n_genes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and biased variance of each gene by Welford's running sums, float64 ``(n_genes,)`` each.

    ``genes`` and ``values`` are the columns and data of a CSR matrix of ``n_cells`` cells. Zeros are merged in at the
    end: ``scanpy.get.aggregate``. Chan, Golub & LeVeque (1983), doi:10.1080/00031305.1983.10483115.
    """
    means, variances = np.zeros(n_genes), np.zeros(n_genes)
    n_seen = np.zeros(n_genes, np.int64)
    for k in range(len(genes)):
        gene, value = genes[k], np.float64(values[k])
        n_seen[gene] += 1
        change = value - means[gene]
        means[gene] += change / n_seen[gene]
        variances[gene] += change * (value - means[gene])
    for gene in range(n_genes):
        mean, seen = means[gene], n_seen[gene]
        unseen = n_cells - seen
        if seen > 0 and unseen > 0:
            means[gene] = mean * seen / n_cells
            variances[gene] += mean * mean * seen * unseen / n_cells
        variances[gene] /= n_cells
    return means, variances
