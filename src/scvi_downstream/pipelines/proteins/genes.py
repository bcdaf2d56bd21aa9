"""Each protein beside the gene of the same name."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_downstream.normalization import log_normalize
from scvi_downstream.parameters import Keys
from scvi_downstream.parameters.proteins import ProteinsOptions
from scvi_downstream.proteins import PROTEIN_KEY, measured_by_batch
from scvi_downstream.statistics.bootstrap_correlation import bootstrap_weights, correlation_with_interval

if TYPE_CHECKING:
    from anndata import AnnData

COLUMNS = (
    "protein", "gene", "symbol", "n_cells", "spearman", "spearman_lower", "spearman_upper",
    "spearman_denoised", "spearman_denoised_lower", "spearman_denoised_upper", "fraction_rna",
)  # fmt: skip
# What vendors add to the name of the antigen.
_VENDOR = re.compile(r"(^anti[-_ ])|([-_ .](totalseq[-_ ]?[abc]?|prot|protein|adt)$)", re.IGNORECASE)


def gene_of_protein(proteins: pd.Index, symbols: pd.Index) -> dict[str, int]:
    """Position of the gene whose symbol is the protein's name, in any case and without what vendors add.

    Proteins called otherwise than their gene (CD3, CD8, CD16, CD45RA …) have none here: nothing is guessed.

    Parameters
    ----------
    proteins, symbols
        Names. A symbol that occurs more than once is taken for none of its genes.
    """
    upper = pd.Index([str(symbol).upper() for symbol in symbols])
    unique = ~upper.duplicated(keep=False)
    positions = {symbol: i for i, symbol in enumerate(upper) if unique[i]}
    names = {str(protein): _VENDOR.sub("", str(protein)).strip().upper() for protein in proteins}
    return {protein: positions[name] for protein, name in names.items() if name in positions}


def correlate_with_genes(
    counts: AnnData, protein_expression: pd.DataFrame, keys: Keys, options: ProteinsOptions, seed: int
) -> pd.DataFrame:
    """Spearman's ρ of each protein with the RNA of the gene of the same name, over cells that measured it.

    Parameters
    ----------
    counts
        With proteins.
    protein_expression
        Denoised proteins; of the same latent state as the denoised RNA, so that their ρ with RNA leans upwards.
    keys
        Batch.
    options
        Number of bootstrap samples.
    seed
        Of these.

    Returns
    -------
    One row a protein that shares its name with a gene: ρ of the counts (log1p) and of the denoised protein with
    log-normalised RNA, 95 % intervals over cells, share of cells with RNA. Batches are pooled.
    """
    proteins = counts.obsm[PROTEIN_KEY]
    symbols = pd.Index(counts.var.get("symbol", counts.var_names).astype(str))
    batches = counts.obs[keys.batch_key] if keys.batch_key else None
    measured = measured_by_batch(proteins, batches)
    rows = []
    for protein, position in gene_of_protein(proteins.columns, symbols).items():
        cells = np.ones(counts.n_obs, dtype=bool)
        if batches is not None:
            where = measured.index[measured[protein]].astype(str)
            cells = batches.astype(str).isin(where).to_numpy()
        rna = log_normalize(counts, np.array([position])).toarray()[cells, 0]
        raw, denoised = proteins[protein].to_numpy()[cells], protein_expression[protein].to_numpy()[cells]
        row = {
            "protein": protein,
            "gene": counts.var_names[position],
            "symbol": symbols[position],
            "n_cells": int(cells.sum()),
            "fraction_rna": float((rna > 0).mean()),
        }
        rows.append(row | _correlations(rna, raw, denoised, options.n_bootstrap, seed))
    return pd.DataFrame(rows).reindex(columns=list(COLUMNS))


def _correlations(
    rna: np.ndarray, raw: np.ndarray, denoised: np.ndarray, n_bootstrap: int, seed: int
) -> dict[str, float]:
    from scipy.stats import rankdata

    weights = bootstrap_weights(len(rna), n_bootstrap, seed)
    found: dict[str, float] = {}
    for name, values in (("spearman", raw), ("spearman_denoised", denoised)):
        ranks = rankdata(values)[:, None], rankdata(rna)[:, None]
        point, lower, upper = correlation_with_interval(*ranks, weights)
        found |= {name: point[0], f"{name}_lower": lower[0], f"{name}_upper": upper[0]}
    return found
