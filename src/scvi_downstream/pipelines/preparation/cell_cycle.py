"""Scores of S and G2/M phase, from genes that are expressed in them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_downstream.normalization import log_normalize

from .genes import gene_labels

if TYPE_CHECKING:
    from anndata import AnnData

logger = logging.getLogger(__name__)
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
