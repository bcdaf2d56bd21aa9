"""What is known of the genes: symbols, which of them vary, and what those of the cell cycle say of each cell."""

from __future__ import annotations

import logging
import warnings
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.cells.expression import log_normalize, symbols_of
from scvi_downstream.pipelines.preparation.validation import CHUNK_VALUES
from scvi_downstream.runtime.errors import InputError, closest
from scvi_downstream.runtime.progress import track
from scvi_downstream.runtime.slow_types import AnnData
from scvi_downstream.runtime.words import quoted

logger = logging.getLogger(__name__)

SYMBOL_COLUMNS = (
    "symbol", "symbols", "gene_symbol", "gene_symbols", "gene_name", "gene_names", "gene_short_name",
    "feature_name",
)  # fmt: skip
IDENTIFIER = r"(?:ENS[A-Z]*G\d{6,}(?:\.\d+)?|WBGene\d{8}|FBgn\d{7}|AT[1-5CM]G\d{5}|MGI:\d+|HGNC:\d+)"
"""Gene identifiers of Ensembl, WormBase, FlyBase, TAIR, MGI and HGNC."""


def with_symbols(var: pd.DataFrame, column: str | None) -> pd.DataFrame:
    """Genes with a column ``symbol`` where names and symbols differ; see ``find_symbols``."""
    symbols = find_symbols(var, column)
    return var if symbols is None else var.assign(symbol=symbols)


def find_symbols(var: pd.DataFrame, column: str | None) -> pd.Series | None:
    """Symbols of the genes, where names and symbols differ.

    ``column`` is the one that the user named; ``None``: the gene names, or, where most of those are identifiers of a
    gene database, a column whose name says that it holds symbols. Strings indexed by gene name, the name itself where
    a symbol is missing; ``None`` where only names are known.
    """
    if column is None:
        column = _symbol_column(var)
    elif column not in var:
        raise InputError(
            f"preparation.gene_symbols '{column}' is not a column of var{closest(column, var.columns)}"
        )
    if column is None:
        return None
    names = pd.Series(var.index.astype(str), index=var.index, dtype=object)
    symbols = var[column].astype(object)
    known = symbols.notna() & (symbols.astype(str).str.strip() != "")
    return symbols.where(known, names).astype(str).astype(object).rename("symbol")


def _symbol_column(var: pd.DataFrame) -> str | None:
    if not len(var) or var.index.astype(str).str.fullmatch(IDENTIFIER, case=False).mean() <= 0.5:
        return None
    by_lower = {str(name).lower(): name for name in reversed(var.columns)}
    return next((by_lower[name] for name in SYMBOL_COLUMNS if name in by_lower), None)


SPANS = (0.3, 0.5, 0.8)
"""Shares of the genes in each local fit; scanpy's own first."""


@dataclass(frozen=True)
class HighlyVariable:
    """Highly variable genes and how they were found.

    ``genes`` has one row a gene: ``highly_variable``, ``highly_variable_rank`` (median over batches; NaN beyond the
    chosen number in all batches), ``means``, ``variances``, ``variances_norm`` (mean over batches; NaN where no trend
    could be fitted). ``method`` is one sentence, ``warnings`` what the user should know.
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
    counts, genes, batch
        ``(n_cells, n_genes)``; gene names; batch of each cell, or ``None``.
    n_top_genes
        Cut to the number of genes.

    References
    ----------
    Stuart et al. (2019), doi:10.1016/j.cell.2019.05.031; Wolf, Angerer & Theis (2018),
    doi:10.1186/s13059-017-1382-0.
    """
    n_top = min(n_top_genes, len(genes))
    table = pd.DataFrame(mean_and_variance(counts), index=genes)
    fits, failed = _fit_batches(counts, batch)
    notes: tuple[str, ...] = ()
    if failed:
        notes = (
            f"batch {quoted(failed, len(failed))}: the mean-variance trend could not be fitted, so it has no say in "
            "the choice of highly variable genes",
        )
    if not fits and batch is not None:
        fits, _ = _fit_batches(counts, None)
    if not fits:
        ratio = (table["variances"] / table["means"]).to_numpy()
        return HighlyVariable(
            table.assign(variances_norm=np.nan, **_rank_across_batches(ratio[None], n_top)),
            f"{n_top:,} genes with the highest variance over mean",
            ("the mean-variance trend could not be fitted, so genes are ranked by variance over mean",),
        )
    normalized = np.stack([values for values, _ in fits])
    ranked = _rank_across_batches(normalized, n_top)
    return HighlyVariable(
        table.assign(variances_norm=normalized.mean(axis=0), **ranked),
        _method_sentence(n_top, [span for _, span in fits], len(failed), batch),
        notes,
    )


def _fit_batches(
    counts: sparse.csr_matrix, batch: pd.Series | None
) -> tuple[list[tuple[np.ndarray, float]], list[str]]:
    """Normalised variances and span of each batch that could be fitted, and the names of the others."""
    names = [None] if batch is None else sorted(batch.astype(str).unique())
    logger.info("choosing highly variable genes (%d %s)", len(names), "fits" if len(names) > 1 else "fit")
    fits, failed = [], []
    for name in track(names, "highly variable genes", len(names)):
        rows = counts if batch is None or len(names) == 1 else counts[(batch.astype(str) == name).to_numpy()]
        for span in SPANS:
            values = normalized_variances(rows, name, span)
            if values is not None:
                fits.append((values, span))
                break
        else:
            failed.append(str(name))
    return fits, failed


def normalized_variances(counts: sparse.csr_matrix, batch: str | None, span: float) -> np.ndarray | None:
    """Variance of each gene over its loess trend, counts clipped as in Seurat; ``None`` without a fit.

    ``counts`` are ``(n_cells, n_genes)``; ``batch=None`` for all cells together: scanpy sums in another order then.
    ``span`` is the share of the genes in each local fit.
    """
    from skmisc.loess import loess

    n_cells = counts.shape[0]
    if n_cells < 2:
        return None
    if batch is None:
        means, variances = mean_and_variance(counts).values()
    else:
        from scvi_downstream.pipelines.preparation.moments import running_moments

        means, variances = running_moments(counts.indices, counts.data, *counts.shape)
        variances *= n_cells / (n_cells - 1)
    varies = variances > 0
    trend = np.zeros(len(means))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            if varies.any():  # or else the loess library takes the process down
                fit = loess(np.log10(means[varies]), np.log10(variances[varies]), span=span, degree=2)
                fit.fit()
                trend[varies] = fit.outputs.fitted_values
        except ValueError:
            # It reports singular fits of nearly constant genes this way.
            return None
        deviations = np.sqrt(10**trend)
        sums, squares = _moments(counts, deviations * np.sqrt(n_cells) + means)
        about_mean = n_cells * np.square(means) + squares - 2 * sums * means
        values = 1 / ((n_cells - 1) * np.square(deviations)) * about_mean
    return values if np.isfinite(values).all() else None


def _rank_across_batches(variances_norm: np.ndarray, n_top: int) -> dict[str, np.ndarray]:
    """Median rank over the batches in which a gene is among the first; ties go to genes of more batches.

    ``variances_norm`` is ``(n_batches, n_genes)``; ``n_top`` genes are chosen.
    """
    ranks = np.argsort(np.argsort(-variances_norm, axis=1), axis=1).astype(np.float32)
    n_batches = (ranks < n_top).sum(axis=0)
    ranks[ranks >= n_top] = np.nan
    median = np.ma.median(np.ma.masked_invalid(ranks), axis=0).filled(np.nan)
    found = pd.DataFrame({"rank": median, "n_batches": n_batches})
    order = found.sort_values(list(found), ascending=[True, False], na_position="last").index
    chosen = np.zeros(ranks.shape[1], dtype=bool)
    chosen[order[:n_top]] = True
    return {"highly_variable": chosen, "highly_variable_rank": median}


def mean_and_variance(counts: sparse.csr_matrix) -> dict[str, np.ndarray]:
    """Mean and unbiased variance of each gene, float64 ``(n_genes,)`` each, without a copy of the counts."""
    n_cells = counts.shape[0]
    sums, squares = _moments(counts)
    means = sums / n_cells
    variances = (squares / n_cells - np.square(means)) * (n_cells / max(n_cells - 1, 1))
    return {"means": means, "variances": variances}


def _moments(values: sparse.csr_matrix, highest: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Sums of each gene's values and of their squares, exact for counts; a gene's are clipped to ``highest``."""
    sums, squares = np.zeros((2, values.shape[1]))
    for start in range(0, values.nnz, CHUNK_VALUES):
        genes = values.indices[start : start + CHUNK_VALUES]
        of_chunk = values.data[start : start + CHUNK_VALUES].astype(np.float64)
        if highest is not None:
            of_chunk = np.minimum(of_chunk, highest[genes])
        sums += np.bincount(genes, of_chunk, len(sums))
        squares += np.bincount(genes, np.square(of_chunk), len(sums))
    return sums, squares


def _method_sentence(n_top: int, spans: list[float], n_failed: int, batch: pd.Series | None) -> str:
    sentence = f"{n_top:,} genes by Seurat v3's normalised variance"
    if len(spans) > 1:
        sentence += f", median rank over {len(spans)} batches"
    elif batch is not None and n_failed == batch.nunique():
        sentence += ", over all cells together because no batch alone could be fitted"
    if max(spans) > SPANS[0]:
        used = [f"{span:g} ({spans.count(span)} of {len(spans)} fits)" for span in sorted(set(spans))]
        sentence += f"; loess span {', '.join(used)}"
    if n_failed:
        sentence += f"; without {n_failed} batch{'es' if n_failed > 1 else ''} that could not be fitted"
    return sentence


CELL_CYCLE = ("S_score", "G2M_score", "phase")
PHASES = ("G1", "S", "G2M")
MIN_GENES = 10
"""Genes of each phase below which a mean says little of a cell."""
EXPRESSION_BINS = 25
"""Of genes by mean expression, among which control genes are drawn, as in scanpy."""
S_GENES = (
    "MCM5", "PCNA", "TYMS", "FEN1", "MCM2", "MCM4", "RRM1", "UNG", "GINS2", "MCM6", "CDCA7", "DTL", "PRIM1",
    "UHRF1", "MLF1IP", "HELLS", "RFC2", "RPA2", "NASP", "RAD51AP1", "GMNN", "WDR76", "SLBP", "CCNE2", "UBR7",
    "POLD3", "MSH2", "ATAD2", "RAD51", "RRM2", "CDC45", "CDC6", "EXO1", "TIPIN", "DSCC1", "BLM", "CASP8AP2",
    "USP1", "CLSPN", "POLA1", "CHAF1B", "BRIP1", "E2F8",
)  # fmt: skip
G2M_GENES = (
    "HMGB2", "CDK1", "NUSAP1", "UBE2C", "BIRC5", "TPX2", "TOP2A", "NDC80", "CKS2", "NUF2", "CKS1B", "MKI67",
    "TMPO", "CENPF", "TACC3", "FAM64A", "SMC4", "CCNB2", "CKAP2L", "CKAP2", "AURKB", "BUB1", "KIF11", "ANP32E",
    "TUBB4B", "GTSE1", "KIF20B", "HJURP", "CDCA3", "HN1", "CDC20", "TTK", "CDC25C", "KIF2C", "RANGAP1",
    "NCAPD2", "DLGAP5", "CDCA2", "CDCA8", "ECT2", "KIF23", "HMMR", "AURKA", "PSRC1", "ANLN", "LBR", "CKAP5",
    "CENPE", "CTCF", "NEK2", "G2E3", "GAS2L3", "CBX5", "CENPA",
)  # fmt: skip
RENAMED = {"MLF1IP": "CENPU", "FAM64A": "PIMREG", "HN1": "JPT1"}
"""Symbols of the lists that HGNC has changed since."""


def score_cell_cycle(counts: AnnData, seed: int) -> pd.DataFrame:
    """S and G2/M scores and the phase of every cell, where the data allow it and do not bring their own.

    A score is the mean log-normalised expression of the phase's genes less that of genes of similar expression;
    a cell is in G1 when both scores are negative, else in the phase of the higher score. Symbols are compared
    without case, so mouse genes are found.

    Parameters
    ----------
    counts
        Prepared counts, all genes; with the symbols where the names are identifiers.
    seed
        Of the choice of control genes.

    Returns
    -------
    One row a cell: ``S_score``, ``G2M_score`` (float), ``phase`` (categories G1, S, G2M); without columns when
    obs has one of them already, or when fewer than 10 genes of a phase are there.

    References
    ----------
    Tirosh et al. (2016), doi:10.1126/science.aad0501.
    """
    nothing = pd.DataFrame(index=counts.obs_names)
    given = [name for name in CELL_CYCLE if name in counts.obs]
    if given:
        logger.info("cell cycle: %s of obs used, nothing computed", ", ".join(given))
        return nothing
    s_genes, g2m_genes = find_genes(counts.var, S_GENES), find_genes(counts.var, G2M_GENES)
    found = (
        f"{len(s_genes)} of {len(S_GENES)} S genes and {len(g2m_genes)} of {len(G2M_GENES)} G2/M genes found"
    )
    if min(len(s_genes), len(g2m_genes)) < MIN_GENES:
        logger.info("cell cycle: not scored, %s (at least %d of each needed)", found, MIN_GENES)
        return nothing
    logger.info("cell cycle: %s", found)
    expression, n_control = log_normalize(counts), min(len(s_genes), len(g2m_genes))
    s, g2m = (_scores(expression, genes, n_control, seed) for genes in (s_genes, g2m_genes))
    phase = np.where((s < 0) & (g2m < 0), "G1", np.where(g2m > s, "G2M", "S"))
    values = (s, g2m, pd.Categorical(phase, categories=PHASES))
    return nothing.assign(**dict(zip(CELL_CYCLE, values, strict=True)))


def find_genes(var: pd.DataFrame, wanted: tuple[str, ...]) -> np.ndarray:
    """Positions of the genes with these symbols, old or current, in the order of ``wanted``; no case."""
    symbols = pd.Series(np.arange(len(var)), index=symbols_of(var).str.upper())
    positions = symbols[~symbols.index.duplicated()]
    found = (
        next((name for name in (symbol, RENAMED.get(symbol)) if name in positions.index), None)
        for symbol in wanted
    )
    return positions.loc[list(filter(None, found))].to_numpy(dtype=np.intp)


def _scores(expression: sparse.csr_matrix, genes: np.ndarray, n_control: int, seed: int) -> np.ndarray:
    """Mean of the genes in each cell less that of control genes, which are drawn from each 25th that holds some.

    ``expression`` is ``(n_cells, n_all_genes)``; ``n_control`` the number of genes drawn from each. scanpy's
    ``tl.score_genes``, whose draws are by name.
    """
    state = np.random.RandomState(seed)
    means = pd.Series(_moments(expression)[0] / expression.shape[0])
    bins = means.rank(method="min") // round(len(means) / (EXPRESSION_BINS - 1))
    control: set[int] = set()
    for own in np.unique(bins[genes]):
        drawn = bins.index[bins == own].to_series()
        control.update(drawn if len(drawn) <= n_control else drawn.sample(n_control, random_state=state))
    others = sorted(control.difference(genes))
    return _mean_of(expression, genes) - _mean_of(expression, others)


def _mean_of(expression: sparse.csr_matrix, genes: np.ndarray | list[int]) -> np.ndarray:
    return expression[:, genes].sum(axis=1, dtype=np.float64).A1 / max(len(genes), 1)
