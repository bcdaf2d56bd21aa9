"""Surface proteins of cells: where they are kept, where they were measured, and on which scale they are compared."""

from __future__ import annotations

import numpy as np
import pandas as pd

PROTEIN_KEY = "protein_expression"


def measured_by_batch(proteins: pd.DataFrame, batches: pd.Series | None) -> pd.DataFrame:
    """Whether a protein has any count in a batch; one without was not measured there, as totalVI takes it.

    Parameters
    ----------
    proteins
        ``n_cells`` × ``n_proteins`` counts.
    batches
        Batch of each cell; ``None``: all cells are one batch, named ``all cells``.

    Returns
    -------
    Batches × proteins, boolean, in the order of the categories.
    """
    counted = pd.DataFrame(proteins.to_numpy() > 0, columns=proteins.columns)
    if batches is None:
        return counted.any().to_frame("all cells").T
    names = batches.astype("category").cat.remove_unused_categories().reset_index(drop=True)
    return counted.groupby(names, observed=True).any()


def clr(counts: np.ndarray) -> np.ndarray:
    """Centred log-ratio of each cell's proteins: ``log1p(x) - mean over proteins of log1p(x)``.

    Parameters
    ----------
    counts
        ``(n_cells, n_proteins)``, non-negative. A protein that is not measured must be left out beforehand.

    Returns
    -------
    ``(n_cells, n_proteins)`` float64; rows have mean 0, so that one protein alone is 0 everywhere.

    References
    ----------
    Stoeckius et al. (2017), doi:10.1038/nmeth.4380, with one added to every count.
    """
    logged = np.log1p(np.asarray(counts, dtype=np.float64))
    return logged - logged.mean(axis=1, keepdims=True)
