"""Highly variable genes of each batch, by the variance that the mean does not explain."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass
from itertools import chain

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.runtime.progress import track

logger = logging.getLogger(__name__)
SPANS = (0.3, 0.5, 0.8)
"""Shares of the genes in each local fit; scanpy's own first."""


@dataclass(frozen=True)
class HighlyVariable:
    """Highly variable genes and how they were found.

    Attributes
    ----------
    genes
        One row a gene: ``highly_variable``, ``highly_variable_rank`` (median over batches; NaN beyond the
        chosen number in all batches), ``means``, ``variances``, ``variances_norm`` (mean over batches; NaN
        where no trend could be fitted).
    method
        One sentence.
    warnings
        What the user should know.
    """

    genes: pd.DataFrame
    method: str
    warnings: tuple[str, ...] = ()


def find_highly_variable(
    counts: sparse.csr_matrix, genes: pd.Index, batch: pd.Series | None, n_top_genes: int
) -> HighlyVariable:
    """Seurat v3's highly variable genes, ranked within batches; equal to scanpy's where its loess fit works.

    Where the fit of a batch fails, wider spans are tried; a batch without any fit has no say; without any
    batch left, all cells are ranked together; where that fails too, genes are ranked by variance over mean.

    Parameters
    ----------
    counts
        ``(n_cells, n_genes)``.
    genes
        Gene names.
    batch
        Batch of each cell, or ``None``.
    n_top_genes
        Cut to the number of genes.

    References
    ----------
    Stuart et al. (2019), doi:10.1016/j.cell.2019.05.031; Wolf, Angerer & Theis (2018),
    doi:10.1186/s13059-017-1382-0.
    """
    n_top = min(n_top_genes, len(genes))
    table = pd.DataFrame(mean_and_variance(counts), index=genes)
    by_batch, spans, failed = _fit_batches(counts, batch)
    notes: list[str] = []
    if failed:
        names = ", ".join(f"'{name}'" for name in failed)
        notes.append(
            f"batch {names}: the mean-variance trend could not be fitted, so it has no say in the choice of "
            "highly variable genes"
        )
    if not by_batch and batch is not None:
        by_batch, spans, _ = _fit_batches(counts, None)
    if not by_batch:
        ratio = table["variances"] / table["means"]
        chosen = _rank_across_batches(ratio.to_numpy()[None], n_top)
        notes = ["the mean-variance trend could not be fitted, so genes are ranked by variance over mean"]
        return HighlyVariable(
            table.assign(variances_norm=np.nan, **chosen),
            f"{n_top:,} genes with the highest variance over mean",
            tuple(notes),
        )
    variances_norm = np.stack(by_batch)
    return HighlyVariable(
        table.assign(
            variances_norm=variances_norm.mean(axis=0), **_rank_across_batches(variances_norm, n_top)
        ),
        _sentence(n_top, len(by_batch), spans, failed, batch),
        tuple(notes),
    )


def _fit_batches(
    counts: sparse.csr_matrix, batch: pd.Series | None
) -> tuple[list[np.ndarray], list[float], list[str]]:
    """Normalised variances and span of each batch that could be fitted, and the names of the others."""
    names = [None] if batch is None else sorted(batch.astype(str).unique())
    logger.info("choosing highly variable genes (%d %s)", len(names), "fits" if len(names) > 1 else "fit")
    # The first fit also imports and compiles, so it is no measure of the others.
    rest = track(names[1:], "highly variable genes", len(names) - 1)
    by_batch, spans, failed = [], [], []
    for name in chain(names[:1], rest):
        rows = counts if batch is None or len(names) == 1 else counts[(batch.astype(str) == name).to_numpy()]
        values, span = _fit_with_widening_span(rows, name)
        if values is None:
            failed.append(str(name))
        else:
            by_batch.append(values)
            spans.append(span)
    return by_batch, spans, failed


def _fit_with_widening_span(counts: sparse.csr_matrix, batch: str | None) -> tuple[np.ndarray | None, float]:
    for span in SPANS:
        values = normalized_variances(counts, batch, span)
        if values is not None:
            return values, span
    return None, SPANS[-1]


def normalized_variances(counts: sparse.csr_matrix, batch: str | None, span: float) -> np.ndarray | None:
    """Variance of each gene over its loess trend, counts clipped as in Seurat; ``None`` without a fit.

    Parameters
    ----------
    counts
        ``(n_cells, n_genes)``.
    batch
        Name of the batch, ``None`` for all cells together: scanpy sums in another order then.
    span
        Share of the genes in each local fit.
    """
    import scanpy as sc
    from anndata import AnnData

    names = pd.RangeIndex(counts.shape[0]).astype(str)
    cells = pd.DataFrame({"batch": pd.Categorical([str(batch)] * len(names))}, index=names)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = sc.pp.highly_variable_genes(
                AnnData(counts, obs=cells),
                flavor="seurat_v3",
                n_top_genes=counts.shape[1],
                batch_key="batch" if batch else None,
                span=span,
                check_values=False,
                inplace=False,
            )
        except (ValueError, ZeroDivisionError):
            # The loess library reports singular fits of nearly constant genes this way.
            return None
    values = found["variances_norm"].to_numpy(dtype=np.float64)
    return values if np.isfinite(values).all() else None


def _rank_across_batches(variances_norm: np.ndarray, n_top: int) -> dict[str, np.ndarray]:
    """Median rank over the batches in which a gene is among the first; ties go to genes of more batches.

    Parameters
    ----------
    variances_norm
        ``(n_batches, n_genes)``.
    n_top
        Number of genes to choose.
    """
    ranks = np.argsort(np.argsort(-variances_norm, axis=1), axis=1).astype(np.float32)
    n_batches = (ranks < n_top).sum(axis=0)
    ranks[ranks >= n_top] = np.nan
    median = np.ma.median(np.ma.masked_invalid(ranks), axis=0).filled(np.nan)
    order = pd.DataFrame({"rank": median, "n_batches": n_batches}).sort_values(
        ["rank", "n_batches"], ascending=[True, False], na_position="last"
    )
    chosen = np.zeros(ranks.shape[1], dtype=bool)
    chosen[order.index[:n_top]] = True
    return {"highly_variable": chosen, "highly_variable_rank": median}


def mean_and_variance(counts: sparse.csr_matrix) -> dict[str, np.ndarray]:
    """Mean and unbiased variance of each gene, ``(n_genes,)`` each, without a copy of the counts."""
    from sklearn.utils.sparsefuncs import mean_variance_axis

    means, variances = mean_variance_axis(counts, axis=0)
    n_cells = counts.shape[0]
    return {
        "means": means.astype(np.float64),
        "variances": variances.astype(np.float64) * n_cells / max(n_cells - 1, 1),
    }


def _sentence(
    n_top: int, n_fitted: int, spans: list[float], failed: list[str], batch: pd.Series | None
) -> str:
    sentence = f"{n_top:,} genes by Seurat v3's normalised variance"
    if n_fitted > 1:
        sentence += f", median rank over {n_fitted} batches"
    elif batch is not None and len(failed) == batch.nunique():
        sentence += ", over all cells together because no batch alone could be fitted"
    if max(spans) > SPANS[0]:
        used = ", ".join(
            f"{span:g} ({spans.count(span)} of {len(spans)} fits)" for span in sorted(set(spans))
        )
        sentence += f"; loess span {used}"
    if failed:
        sentence += f"; without {len(failed)} batch{'es' if len(failed) > 1 else ''} that could not be fitted"
    return sentence
