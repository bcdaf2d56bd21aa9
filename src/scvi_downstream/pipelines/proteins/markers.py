"""Proteins that mark groups of cells, by totalVI's posterior and by a rank-sum test, and the genes of their names."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.expression import clr, log_normalize, measured_proteins, symbols_of
from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.fitting import reproducible
from scvi_downstream.models.saved import SavedModel
from scvi_downstream.pipelines.proteins.decoding import attach_totalvi
from scvi_downstream.pipelines.proteins.options import ProteinsOptions
from scvi_downstream.runtime.progress import track
from scvi_downstream.runtime.slow_types import AnnData
from scvi_downstream.runtime.threads import quiet
from scvi_downstream.statistics.bayesian_expression import comparison_seed, expected_fdr, mask_of_enough
from scvi_downstream.statistics.comparisons import Comparison, keep_large, one_vs_rest
from scvi_downstream.statistics.correlation import bootstrap_weights, correlation_with_interval, ranks_within
from scvi_downstream.statistics.testing import benjamini_hochberg

_OF_POSTERIOR = (
    "lfc_mean", "lfc_median", "lfc_std", "lfc_lower", "lfc_upper", "proba_de", "bayes_factor",
)  # fmt: skip
_BOUNDS = {"min": "lower", "max": "upper"}
COLUMNS = (
    "grouping", "group", "protein", *_OF_POSTERIOR, "expected_fdr", "is_de",
    "clr_difference", "auc", "p_value", "p_adjusted", "both", "mean", "mean_rest", "n", "n_rest",
)  # fmt: skip
_LEVEL = 0.95
_SUFFIX = "_protein"  # of scvi-tools, to tell proteins from genes
# Less than half a count of foreground is none; with scvi-tools' 0.1 the ratio of two such numbers is a fold change.
PRIOR_COUNT = 0.5


def find_protein_markers(
    fitted: SavedModel,
    counts: AnnData,
    clusters: pd.DataFrame,
    keys: Keys,
    options: ProteinsOptions,
    seed: int,
    accelerator: str,
) -> pd.DataFrame:
    """Every protein in every cluster and label against the other cells.

    Only cells of batches that measured proteins are compared. Clusters come from the same cells, also by their
    proteins, so that p-values of clusters describe and do not test.

    Parameters
    ----------
    fitted, counts, clusters
        Saved totalVI; counts and proteins that it was fitted on; column ``leiden``.
    keys, options
        Labels and batches; samples, delta, FDR, fewest cells.
    seed, accelerator
        Of the draws; where to decode.

    Returns
    -------
    One row a group and protein, the most probable first. ``lfc_*``: log2 fold change of the denoised protein (0.5
    added), with a 95 % interval of highest density; ``proba_de``, ``bayes_factor`` (natural logarithm) of scvi-tools;
    ``expected_fdr`` of calling this and all that are as probable. ``clr_difference``: of mean centred log-ratios;
    ``auc``: probability that a cell of the group has more; ``p_value``: two-sided rank-sum test of these ratios,
    ``p_adjusted`` over the proteins of a group. ``both``: called by both, in the same direction. ``mean``: of the
    counts.

    References
    ----------
    Gayoso et al. (2021), doi:10.1038/s41592-020-01050-x; Mann & Whitney (1947), doi:10.1214/aoms/1177730491.
    """
    model = attach_totalvi(fitted, counts, accelerator)
    groups = find_groups(counts, clusters, keys, options.min_cells_per_group)
    if not groups:
        return pd.DataFrame(columns=list(COLUMNS))
    proteins, batches, measured = measured_proteins(counts, keys)
    measured = measured[measured.any(axis=1)]
    sources = [str(batch) for batch in measured.index] if batches is not None else []
    everywhere = measured.columns[measured.all()]
    tables = [
        _test_posterior(model, group, sources, options, seed).join(_test_ranks(proteins, everywhere, group))
        for group in track(groups, "markers among proteins", len(groups))
    ]
    table = pd.concat([part.rename_axis("protein").reset_index() for part in tables], ignore_index=True)
    same_sign = np.sign(table["lfc_median"]) == np.sign(table["clr_difference"])
    table["both"] = table["is_de"] & (table["p_adjusted"] <= options.fdr) & same_sign
    return table[list(COLUMNS)]


def find_groups(counts: AnnData, clusters: pd.DataFrame, keys: Keys, min_cells: int) -> list[Comparison]:
    """Clusters and labels with enough cells in and out, of the cells whose batch measured proteins."""
    _, batches, measured = measured_proteins(counts, keys)
    has_proteins = _cells_of_batches(batches, measured.any(axis=1), counts.n_obs)
    groupings = {"clusters": clusters.loc[counts.obs_names, "leiden"]}
    if keys.label_key:
        groupings["labels"] = counts.obs[keys.label_key]
    every = [group for grouping, values in groupings.items() for group in one_vs_rest(grouping, values)]
    measured = [
        replace(each, name=each.group1, cells1=each.cells1 & has_proteins, cells2=each.cells2 & has_proteins)
        for each in every
    ]
    return keep_large(measured, min_cells)[0]


def _cells_of_batches(batches: pd.Series | None, chosen: pd.Series, n_cells: int) -> np.ndarray:
    """Mask of the cells of the chosen batches, ``True`` in their index; of all cells where there are no batches."""
    if batches is None:
        return np.ones(n_cells, dtype=bool)
    return batches.astype(str).isin(chosen.index[chosen].astype(str)).to_numpy()


def _test_posterior(
    model: Any, group: Comparison, sources: list[str], options: ProteinsOptions, seed: int
) -> pd.DataFrame:
    own_seed = comparison_seed(group, seed)
    cells1, cells2 = (
        mask_of_enough(cells, options.de_samples, np.random.default_rng(own_seed))
        for cells in (group.cells1, group.cells2)
    )
    corrected: dict[str, Any] = {}
    if len(sources) > 1:
        corrected = {"batch_correction": True, "batchid1": sources, "batchid2": sources}
    with reproducible(own_seed), quiet():
        posterior = model.differential_expression(
            idx1=cells1,
            idx2=cells2,
            mode="change",
            delta=options.delta,
            fdr_target=options.fdr,
            n_samples_overall=options.de_samples,
            protein_prior_count=PRIOR_COUNT,
            cred_interval_lvls=[_LEVEL],
            use_field=["protein"],
            all_stats=False,
            silent=True,
            **corrected,
        )
    posterior.index = posterior.index.str.removesuffix(_SUFFIX)
    bounds = {f"lfc_confidence_interval_{_LEVEL}_{end}": f"lfc_{name}" for end, name in _BOUNDS.items()}
    table = posterior.rename(columns=bounds)[list(_OF_POSTERIOR)].assign(
        grouping=group.grouping, group=group.name, expected_fdr=expected_fdr(posterior["proba_de"].to_numpy())
    )
    table["is_de"] = table["expected_fdr"] <= options.fdr
    order = np.lexsort((-table["lfc_median"].abs().to_numpy(), -table["proba_de"].to_numpy()))
    return table.iloc[order]


def _test_ranks(proteins: pd.DataFrame, everywhere: pd.Index, group: Comparison) -> pd.DataFrame:
    """Rank-sum test of centred log-ratios of the proteins that every compared batch measured; NaN for others."""
    from scipy.stats import mannwhitneyu

    used = np.concatenate([np.flatnonzero(group.cells1), np.flatnonzero(group.cells2)])
    counts = proteins[everywhere].to_numpy(dtype=np.float64)[used]
    # one protein alone has no ratio to others
    ratios = clr(counts) if len(everywhere) > 1 else np.log1p(counts)
    n = group.n1
    inside, outside = ratios[:n], ratios[n:]
    statistic, p_value = mannwhitneyu(inside, outside, axis=0, method="asymptotic")
    columns = {
        "clr_difference": inside.mean(axis=0) - outside.mean(axis=0),
        "auc": statistic / (n * len(outside)),
        "p_value": p_value,
        "mean": counts[:n].mean(axis=0),
        "mean_rest": counts[n:].mean(axis=0),
        "p_adjusted": benjamini_hochberg(p_value),
    }
    return pd.DataFrame(columns, index=everywhere).reindex(proteins.columns).assign(n=n, n_rest=len(outside))


GENE_COLUMNS = (
    "protein", "gene", "symbol", "n_cells", "spearman", "spearman_lower", "spearman_upper",
    "spearman_denoised", "spearman_denoised_lower", "spearman_denoised_upper", "fraction_rna",
)  # fmt: skip
# What vendors add to the name of the antigen.
_VENDOR = re.compile(r"(^anti[-_ ])|([-_ .](totalseq[-_ ]?[abc]?|prot|protein|adt)$)", re.IGNORECASE)


def gene_of_protein(proteins: pd.Index, symbols: pd.Index) -> dict[str, int]:
    """Position of the gene whose symbol is the protein's name, in any case and without what vendors add.

    Proteins called otherwise than their gene (CD3, CD8, CD16, CD45RA …) have none here: nothing is guessed. A
    symbol that occurs more than once is taken for none of its genes.
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
    keys, options, seed
        Batch; number of bootstrap samples; of these.

    Returns
    -------
    One row a protein that shares its name with a gene: ρ of the counts (log1p) and of the denoised protein with
    log-normalised RNA, 95 % intervals over cells, share of cells with RNA. Ranks are taken within batches: a batch with
    more of both would make any protein go with any gene.
    """
    proteins, batches, measured = measured_proteins(counts, keys)
    strata = np.zeros(counts.n_obs, dtype=np.int64) if batches is None else pd.factorize(batches)[0]
    symbols = pd.Index(symbols_of(counts.var))
    rows = []
    for protein, position in gene_of_protein(proteins.columns, symbols).items():
        cells = _cells_of_batches(batches, measured[protein], counts.n_obs)
        rna = log_normalize(counts, np.array([position])).toarray()[cells, 0]
        row = {
            "protein": protein,
            "gene": counts.var_names[position],
            "symbol": symbols[position],
            "n_cells": int(cells.sum()),
            "fraction_rna": float((rna > 0).mean()),
        }
        weights = bootstrap_weights(len(rna), options.n_bootstrap, seed)
        for name, table in (("spearman", proteins), ("spearman_denoised", protein_expression)):
            values = np.column_stack([table[protein].to_numpy()[cells], rna])
            ranks = ranks_within(values, strata[cells])
            point, lower, upper = correlation_with_interval(ranks[:, :1], ranks[:, 1:], weights)
            row |= {name: point[0], f"{name}_lower": lower[0], f"{name}_upper": upper[0]}
        rows.append(row)
    return pd.DataFrame(rows).reindex(columns=list(GENE_COLUMNS))
