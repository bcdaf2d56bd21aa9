"""Gene symbols, wherever the file keeps them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_downstream.cells.expression import log_normalize
from scvi_downstream.runtime.errors import InputError, closest

if TYPE_CHECKING:
    from anndata import AnnData

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


def gene_labels(var: pd.DataFrame) -> pd.Index:
    """How people call the genes: their symbols where known, else their names."""
    return pd.Index(var.get("symbol", var.index), dtype=str)


def find_symbols(var: pd.DataFrame, column: str | None) -> pd.Series | None:
    """Symbols of the genes, where names and symbols differ.

    Parameters
    ----------
    var
        Genes of the input, indexed by gene name.
    column
        Column that the user named; ``None``: the gene names, or, where most of those are identifiers of a
        gene database, a column whose name says that it holds symbols.

    Returns
    -------
    Strings indexed by gene name, the name itself where a symbol is missing; ``None`` where only names are
    known.
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


COLUMNS = ("S_score", "G2M_score", "phase")
PHASES = ("G1", "S", "G2M")
MIN_GENES = 10
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


def score_phases(counts: AnnData, seed: int) -> pd.DataFrame:
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
    given = [name for name in COLUMNS if name in counts.obs]
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
    return _score(counts, s_genes, g2m_genes, seed)


def find_genes(var: pd.DataFrame, wanted: tuple[str, ...]) -> np.ndarray:
    """Positions of the genes with these symbols, old or current, in the order of ``wanted``; no case."""
    symbols = pd.Series(np.arange(len(var)), index=gene_labels(var).str.upper())
    positions = symbols[~symbols.index.duplicated()]
    chosen = [
        next((name for name in (symbol, RENAMED.get(symbol)) if name in positions.index), None)
        for symbol in wanted
    ]
    return positions.loc[[name for name in chosen if name]].to_numpy(dtype=np.intp)


def _score(counts: AnnData, s_genes: np.ndarray, g2m_genes: np.ndarray, seed: int) -> pd.DataFrame:
    import scanpy as sc
    from anndata import AnnData

    cells = AnnData(
        log_normalize(counts),
        obs=pd.DataFrame(index=counts.obs_names),
        var=pd.DataFrame(index=counts.var_names),
    )
    state = np.random.get_state()  # noqa: NPY002
    try:
        sc.tl.score_genes_cell_cycle(
            cells,
            s_genes=list(cells.var_names[s_genes]),
            g2m_genes=list(cells.var_names[g2m_genes]),
            random_state=seed,
        )
    finally:
        np.random.set_state(state)  # noqa: NPY002
    return cells.obs[list(COLUMNS)].assign(phase=pd.Categorical(cells.obs["phase"], categories=PHASES))
