"""What a denoised profile has to beat: the gene mean, smoothing over neighbours, the thinned cell itself."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from scipy import sparse

from .scores import expected_counts, poisson_nll

GENE_MEAN, KNN, ITSELF = "gene_mean", "knn_smoothing", "thinned_cell"
_PRIOR_COUNTS = tuple(float(10**exponent) for exponent in np.arange(0.5, 4.51, 0.5))
_SCALE = 1e4
_MOST_COMPONENTS = 50


@dataclass(frozen=True)
class Baselines:
    """Baselines learned from reference cells, none of which is scored.

    Attributes
    ----------
    reference
        ``(n_reference, n_genes)`` counts.
    mean_rate
        ``(n_genes,)`` share of each gene among all molecules of the reference, never zero.
    centre, components
        PCA of the log-normalised reference: ``(n_genes,)`` and ``(n_genes, n_components)``.
    n_neighbors
        Reference cells averaged.
    prior_counts
        Per method, the number of molecules that the gene mean counts for beside the observed ones.
    """

    reference: sparse.csr_matrix
    mean_rate: np.ndarray
    centre: np.ndarray
    components: np.ndarray
    n_neighbors: int
    prior_counts: dict[str, float] = field(default_factory=lambda: {KNN: 100.0, ITSELF: 1000.0})

    @classmethod
    def fit(cls, reference: sparse.csr_matrix, n_neighbors: int, seed: int) -> Baselines:
        """Mean rates and principal components of the reference cells.

        Parameters
        ----------
        reference
            ``(n_reference, n_genes)`` counts.
        n_neighbors
            Reference cells to average; cut to ``n_reference``.
        seed
            Of the randomised PCA.
        """
        from sklearn.decomposition import PCA

        totals = np.asarray(reference.sum(axis=0), dtype=np.float64).ravel() + 0.5
        normalised = _log_normalise(reference)
        n_components = min(_MOST_COMPONENTS, *(side - 1 for side in normalised.shape))
        solver = "covariance_eigh" if normalised.shape[1] <= 2000 else "arpack"
        pca = PCA(max(1, n_components), svd_solver=solver, random_state=seed).fit(normalised)
        return cls(
            reference=reference,
            mean_rate=totals / totals.sum(),
            centre=np.asarray(pca.mean_, dtype=np.float32).ravel(),
            components=np.asarray(pca.components_, dtype=np.float32).T,
            n_neighbors=min(n_neighbors, reference.shape[0]),
        )

    def tuned(self, kept: sparse.csr_matrix, held_out: sparse.csr_matrix, held_out_share: float) -> Baselines:
        """The same with the prior counts that predict the held-out molecules of the tuning cells best.

        Parameters
        ----------
        kept, held_out
            ``(n_tuning, n_genes)`` parts of the counts of cells that are neither reference nor scored.
        held_out_share
            Share of the molecules held out.
        """
        observed = self._observed(kept)
        best = {}
        for method, counts in observed.items():
            loss = {
                prior: poisson_nll(
                    expected_counts(self._shrink(counts, prior), kept, held_out_share), held_out.toarray()
                ).mean()
                for prior in _PRIOR_COUNTS
            }
            best[method] = min(loss, key=lambda prior: loss[prior])
        return replace(self, prior_counts=best)

    def rates(self, kept: sparse.csr_matrix) -> dict[str, np.ndarray]:
        """Rates ``(n_cells, n_genes)`` of each baseline, rows adding to one, from the kept molecules."""
        smoothed = {
            method: self._shrink(counts, self.prior_counts[method])
            for method, counts in self._observed(kept).items()
        }
        return {GENE_MEAN: np.tile(self.mean_rate, (kept.shape[0], 1)), **smoothed}

    def _observed(self, kept: sparse.csr_matrix) -> dict[str, sparse.csr_matrix]:
        from sklearn.neighbors import NearestNeighbors

        search = NearestNeighbors(n_neighbors=self.n_neighbors, algorithm="brute").fit(
            self._project(self.reference)
        )
        nearest = search.kneighbors_graph(self._project(kept), mode="connectivity")
        return {KNN: (nearest.astype(np.float32) @ self.reference).tocsr(), ITSELF: kept}

    def _shrink(self, counts: sparse.csr_matrix, prior: float) -> np.ndarray:
        totals = np.asarray(counts.sum(axis=1), dtype=np.float64).reshape(-1, 1)
        return ((counts.toarray() + prior * self.mean_rate) / (totals + prior)).astype(np.float32)

    def _project(self, counts: sparse.csr_matrix) -> np.ndarray:
        return np.asarray(
            _log_normalise(counts) @ self.components - self.centre @ self.components, dtype=np.float32
        )


def _log_normalise(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    totals = np.maximum(np.asarray(counts.sum(axis=1)).ravel(), 1)
    return (sparse.diags_array(_SCALE / totals) @ counts).tocsr().astype(np.float32).log1p()
