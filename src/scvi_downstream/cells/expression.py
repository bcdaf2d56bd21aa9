"""Expression of genes and proteins: denoised as a stream and a store, and raw counts normalised."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.cells.keys import PROTEIN_KEY, Keys
from scvi_downstream.runtime.errors import InputError, closest
from scvi_downstream.runtime.slow_types import AnnData

if TYPE_CHECKING:
    from zarr import Group


@dataclass(frozen=True)
class ExpressionStream:
    """Expression of ``n_cells`` cells, decoded only while it is written.

    Attributes
    ----------
    cells, genes
        Names of the ``n_cells`` rows and ``n_genes`` columns.
    blocks
        Consecutive ``(n_block, n_genes)`` float32 blocks of rows; they can be read once.
    chunk_cells
        Rows of one block, the last one excepted.
    attributes
        How the values were made (library size, posterior samples, …): numbers, text and lists of them.
    """

    cells: pd.Index
    genes: pd.Index
    blocks: Iterator[np.ndarray]
    chunk_cells: int
    attributes: dict[str, Any]


@dataclass(frozen=True)
class ExpressionMatrix:
    """Expression in a zarr store; nothing is read before it is asked for.

    Attributes
    ----------
    path
        Folder of the store: arrays ``values`` (cells by genes), ``cells`` and ``genes``.
    """

    path: Path

    @property
    def cells(self) -> pd.Index:
        """Names of the ``n_cells`` rows."""
        return pd.Index(self._group()["cells"][:].tolist(), name="cell")

    @property
    def genes(self) -> pd.Index:
        """Names of the ``n_genes`` columns."""
        return pd.Index(self._group()["genes"][:].tolist(), name="gene")

    @property
    def shape(self) -> tuple[int, int]:
        """``(n_cells, n_genes)``."""
        return self._group()["values"].shape

    @property
    def attributes(self) -> dict[str, Any]:
        """How the values were made."""
        return dict(self._group().attrs)

    def read(self, genes: Iterable[str] | None = None, cells: Iterable[str] | None = None) -> pd.DataFrame:
        """Values of the chosen genes and cells.

        Parameters
        ----------
        genes, cells
            Names, in the order wanted; all of them when left out.

        Returns
        -------
        Cells by genes, float32.

        Raises
        ------
        InputError
            When a name is not in the store; the message suggests the closest.
        """
        all_genes, all_cells = self.genes, self.cells
        at_genes = _positions(all_genes, genes, f"{self.path}: gene")
        at_cells = _positions(all_cells, cells, f"{self.path}: cell")
        columns, rows = all_genes[at_genes], all_cells[at_cells]
        if not len(columns) or not len(rows):
            return pd.DataFrame(index=rows, columns=columns, dtype=np.float32)
        # An orthogonal selection reads each chunk once, and only those that are needed.
        chosen = self._group()["values"].oindex[at_cells, at_genes]
        return pd.DataFrame(chosen, index=rows, columns=columns)

    def _group(self) -> Group:
        import zarr

        return zarr.open_group(self.path, mode="r")


def _positions(names: pd.Index, wanted: Iterable[str] | None, what: str) -> np.ndarray | slice:
    if wanted is None:
        return slice(None)
    chosen = list(wanted)
    positions = names.get_indexer(chosen)
    if (positions < 0).any():
        missing = chosen[int(np.argmax(positions < 0))]
        raise InputError(f"{what} '{missing}' is not there{closest(missing, names)}")
    return positions


TARGET_SUM = 1e4


def log_normalize(counts: AnnData, genes: np.ndarray | slice = slice(None)) -> sparse.csr_matrix:
    """``log(1 + 10,000 x / total)`` of chosen genes; totals are over all genes, ``counts`` stays as it is.

    Parameters
    ----------
    counts
        Raw counts, ``n_cells`` × all genes.
    genes
        Positions of the genes wanted, in the order wanted.

    Returns
    -------
    ``(n_cells, n_chosen)`` CSR float32.
    """
    return log_normalize_counts(counts.X[:, genes], np.asarray(counts.X.sum(axis=1)).ravel())


def log_normalize_counts(counts: sparse.csr_matrix, totals: np.ndarray | None = None) -> sparse.csr_matrix:
    """``log(1 + 10,000 x / total)`` as float32; totals are those of the genes given unless others are given, too.

    ``counts`` are ``(n_cells, n_genes)``, ``totals`` ``(n_cells,)``; cells without counts stay empty.
    """
    totals = np.asarray(counts.sum(axis=1)).ravel() if totals is None else totals
    factors = np.divide(TARGET_SUM, totals, out=np.zeros(len(totals)), where=totals > 0)
    normalized = sparse.csr_matrix(counts, dtype=np.float32, copy=True)
    scaled = normalized.data * np.repeat(factors, np.diff(normalized.indptr))
    normalized.data = np.log1p(scaled).astype(np.float32)
    return normalized


def log_normalize_modelled(counts: AnnData) -> sparse.csr_matrix:
    """:func:`log_normalize` of the highly variable genes, ``(n_cells, n_modelled_genes)``."""
    return log_normalize(counts, np.flatnonzero(counts.var["highly_variable"].to_numpy()))


def symbols_of(genes: pd.DataFrame) -> pd.Series:
    """Symbol of each gene of ``var``, by gene name: what people call it; the name itself where there are no symbols."""
    return genes.get("symbol", genes.index.to_series()).astype(str)


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


def measured_proteins(counts: AnnData, keys: Keys) -> tuple[pd.DataFrame, pd.Series | None, pd.DataFrame]:
    """Counts of proteins, the batch of each cell if the study knows it, and :func:`measured_by_batch` of both."""
    proteins, batches = counts.obsm[PROTEIN_KEY], counts.obs[keys.batch_key] if keys.batch_key else None
    return proteins, batches, measured_by_batch(proteins, batches)


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
