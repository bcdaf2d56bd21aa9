"""One pass over cells: everything that the checks need to know of what was observed and generated."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import sparse

from scvi_downstream.progress import Progress

from .correlation import Correlations, most_variable_genes
from .gene_moments import GeneMoments
from .model_draws import Draw
from .ranks import Ranks, gene_strata

_ENTRIES_AT_ONCE = 4_000_000
_MOST_CELLS_AT_ONCE = 512


@dataclass(frozen=True, eq=False)
class GeneReference:
    """What training cells say of the genes, fixed before anything is drawn.

    Attributes
    ----------
    mean, log_mean
        ``(n_genes,)`` mean count, and mean of log(1 + count).
    strata
        ``(n_genes,)`` of :func:`.ranks.gene_strata`.
    correlated
        Positions of the genes whose correlations are compared.
    n_cells
        Number of training cells.
    """

    mean: np.ndarray
    log_mean: np.ndarray
    strata: np.ndarray
    correlated: np.ndarray
    n_cells: int


def gene_reference(training: sparse.csr_matrix, n_correlated: int) -> GeneReference:
    """Means, strata and most variable genes of ``(n_cells, n_genes)`` counts of training cells."""
    logs = training.astype(np.float64)
    mean = np.asarray(logs.mean(axis=0)).ravel()
    logs.data = np.log1p(logs.data)
    return GeneReference(
        mean=mean,
        log_mean=np.asarray(logs.mean(axis=0)).ravel(),
        strata=gene_strata(mean),
        correlated=most_variable_genes(training, n_correlated),
        n_cells=training.shape[0],
    )


@dataclass(eq=False)
class Evidence:
    """What one source generated for some cells, beside what was observed.

    Attributes
    ----------
    source
        ``model``, ``population``, ``nb`` or ``poisson``.
    cells
        ``held-out`` or ``training``.
    genes, ranks, correlations
        By gene; by cell and stratum; by pair of genes.
    totals, cell_zeros
        ``(1 + n_samples, n_cells)`` counts and zeros of each cell, observed first.
    """

    source: str
    cells: str
    genes: GeneMoments
    ranks: Ranks
    correlations: Correlations
    totals: np.ndarray = field(init=False)
    cell_zeros: np.ndarray = field(init=False)

    @property
    def n_cells(self) -> int:
        """Cells compared."""
        return self.genes.n_cells


def gather(
    draw: Draw,
    counts: sparse.csr_matrix,
    positions: np.ndarray,
    reference: GeneReference,
    *,
    source: str,
    cells: str,
    n_samples: int,
    seed: int,
) -> Evidence:
    """Draw counts of some cells and add up what the checks need; no more than a block of draws is ever held.

    Parameters
    ----------
    draw
        Generates counts.
    counts
        ``(n_cells, n_genes)`` observed counts of all cells.
    positions
        Of the cells to compare.
    reference
        Of training cells.
    source, cells
        Names of what generates, and of which cells these are.
    n_samples
        Draws of each cell.
    seed
        Of the ties between draws and observed counts.
    """
    n_genes = counts.shape[1]
    evidence = Evidence(
        source,
        cells,
        GeneMoments(reference.log_mean, n_samples),
        Ranks(reference.strata, np.random.default_rng(seed)),
        Correlations(reference.correlated, n_samples),
    )
    at_once = int(np.clip(_ENTRIES_AT_ONCE // (n_samples * n_genes), 1, _MOST_CELLS_AT_ONCE))
    totals, zeros = [], []
    progress = Progress(f"generating counts of {cells} cells ({source})", len(positions))
    for start in range(0, len(positions), at_once):
        block = positions[start : start + at_once]
        observed = counts[block].toarray().astype(np.float32)
        both = np.concatenate([observed[None], draw(block)])
        logs = np.log1p(both)
        totals.append(both.sum(axis=2))
        zeros.append(np.count_nonzero(both == 0, axis=2))
        evidence.genes.add(both, logs)
        evidence.ranks.add(both, logs)
        evidence.correlations.add(both, totals[-1])
        progress.advance(len(block))
    evidence.totals, evidence.cell_zeros = np.concatenate(totals, axis=1), np.concatenate(zeros, axis=1)
    return evidence
