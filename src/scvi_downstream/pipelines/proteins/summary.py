"""What totalVI tells about proteins, in numbers and words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from scvi_downstream.parameters import Keys
from scvi_downstream.parameters.proteins import ProteinsOptions
from scvi_downstream.progress import duration
from scvi_downstream.proteins import PROTEIN_KEY, measured_by_batch

if TYPE_CHECKING:
    from anndata import AnnData

N_NAMED = 4
POOR = 0.3
"""Median correlation of imputed with measured proteins below which the imputation is called poor."""


def summarize(
    counts: AnnData,
    imputation: pd.DataFrame,
    markers: pd.DataFrame,
    genes: pd.DataFrame,
    keys: Keys,
    options: ProteinsOptions,
) -> dict[str, Any]:
    """Verdicts and their numbers.

    Parameters
    ----------
    counts
        With proteins.
    imputation
        Scores of :func:`.imputation.score_imputation`.
    markers
        Of :func:`.markers.find_markers`.
    genes
        Of :func:`.genes.correlate_with_genes`.
    keys, options
        Of the study.

    Returns
    -------
    ``n_proteins``, ``proteins``, ``batches_without_proteins``, ``not_measured`` (batch → proteins),
    ``imputation`` (a row a held-out batch), ``imputation_reason``, ``markers`` (grouping → group → proteins),
    ``genes``, ``sentences``.
    """
    proteins = counts.obsm[PROTEIN_KEY]
    batches = counts.obs[keys.batch_key] if keys.batch_key else None
    measured = measured_by_batch(proteins, batches)
    absent = {
        str(batch): [str(name) for name in measured.columns[~row.to_numpy()]]
        for batch, row in measured.iterrows()
        if not row.all()
    }
    without = [batch for batch, names in absent.items() if len(names) == proteins.shape[1]]
    scores = [_of_batch(name, table) for name, table in imputation.groupby("held_out", sort=False)]
    reason = None if scores else _why_not_scored(options, int(measured.any(axis=1).sum()), keys)
    named = {
        str(grouping): {str(group): _top(rows) for group, rows in table.groupby("group", sort=False)}
        for grouping, table in markers.groupby("grouping", sort=False)
    }
    return {
        "n_proteins": proteins.shape[1],
        "proteins": [str(name) for name in proteins.columns],
        "batches_without_proteins": without,
        "not_measured": absent,
        "imputation": scores,
        "imputation_reason": reason,
        "markers": named,
        "genes": genes.to_dict(orient="records"),
        "sentences": [
            *(_imputation_sentence(score) for score in scores),
            _scope(counts, without, absent),
            *([f"The imputation of proteins was not scored: {reason}."] if reason else []),
            *_marker_sentences(named, markers),
            *_gene_sentences(genes),
        ],
    }


def _of_batch(name: Any, table: pd.DataFrame) -> dict[str, Any]:
    by_method = table.pivot(index="protein", columns="method", values="pearson")
    own = table[table["method"] == "totalvi"]
    return {
        "held_out": str(name),
        "kind": str(table["kind"].iloc[0]),
        "n_cells": int(table["n_cells"].iloc[0]),
        "n_proteins": len(by_method),
        "median_pearson": {str(method): float(values.median()) for method, values in by_method.items()},
        "better_than_knn": int((own["minus_knn_lower"] > 0).sum()),
        "worse_than_knn": int((own["minus_knn_upper"] < 0).sum()),
        "seconds": float(table["seconds"].iloc[0]),
        "peak_memory_mb": float(table["peak_memory_mb"].iloc[0]),
    }


def _why_not_scored(options: ProteinsOptions, n_measured: int, keys: Keys) -> str:
    if options.max_held_out_batches == 0:
        return "proteins.max_held_out_batches is 0"
    if n_measured > 1:
        return "no batch of at least 10 cells shares a protein with the others"
    named = f"batch of '{keys.batch_key}'" if keys.batch_key else "data set without batch_key"
    return f"the only {named} with proteins has too few cells to hide a third of them"


def _top(rows: pd.DataFrame) -> list[str]:
    up = rows[rows["both"] & (rows["lfc_median"] > 0)]
    return up.sort_values("lfc_median", ascending=False, kind="stable")["protein"].head(N_NAMED).tolist()


def _scope(counts: AnnData, without: list[str], absent: dict[str, list[str]]) -> str:
    n_proteins = counts.obsm[PROTEIN_KEY].shape[1]
    start = f"{n_proteins} protein{'s' if n_proteins > 1 else ''} of {counts.n_obs:,} cells were denoised"
    if n_proteins == 1:
        start += "; one protein says little beyond the RNA"
    partly = [batch for batch in absent if batch not in without]
    if without:
        start += f"; those of {_quoted(without)}, which measured none, are imputed"
    if partly:
        start += f"; {_quoted(partly)} measured some of them only, and the others are imputed"
    return start + "."


def _imputation_sentence(score: dict[str, Any]) -> str:
    medians = score["median_pearson"]
    hidden = (
        f"batch '{score['held_out']}'"
        if score["kind"] == "batch"
        else f"a random third of '{score['held_out']}' (no batch effect to bridge, so at best as good elsewhere)"
    )
    text = (
        f"With the proteins of {hidden} hidden ({score['n_cells']:,} cells), totalVI's imputed values follow the "
        f"measured ones with a median Pearson correlation of {medians['totalvi']:.2f} over {score['n_proteins']} "
        f"proteins (nearest neighbours in PCA {medians['knn_pca']:.2f}, in its latent {medians['knn_latent']:.2f}); "
        f"it is better than the neighbours in PCA for {score['better_than_knn']} and worse for "
        f"{score['worse_than_knn']} (95 % intervals), in {duration(score['seconds'])}."
    )
    if medians["totalvi"] < POOR:
        text += " Imputed proteins are not to be relied on."
    elif medians["totalvi"] < max(medians["knn_pca"], medians["knn_latent"]):
        text += " Nearest neighbours would do at least as well."
    return text


def _marker_sentences(named: dict[str, dict[str, list[str]]], markers: pd.DataFrame) -> list[str]:
    sentences = []
    for grouping, groups in named.items():
        found = {group: proteins for group, proteins in groups.items() if proteins}
        if not found:
            sentences.append(f"No protein marks any of the {len(groups)} {grouping} by both tests.")
            continue
        shown = "; ".join(f"{group}: {', '.join(proteins)}" for group, proteins in list(found.items())[:6])
        more = f" and {len(found) - 6} more" if len(found) > 6 else ""
        called = int(markers.loc[markers["grouping"] == grouping, "both"].sum())
        sentences.append(
            f"Proteins that mark {grouping} by the posterior and by the counts ({called} calls, highest fold changes "
            f"first): {shown}{more}."
        )
    if "clusters" in named:
        sentences.append(
            "Clusters were found with the same proteins, so that their p-values describe and do not test."
        )
    return sentences


def _gene_sentences(genes: pd.DataFrame) -> list[str]:
    if genes.empty:
        return ["No protein has the name of a gene, so that none is compared with its RNA."]
    best = genes.sort_values("spearman", ascending=False, kind="stable").iloc[0]
    return [
        f"{len(genes)} protein{'s share' if len(genes) > 1 else ' shares'} the name with a gene; Spearman's ρ of "
        f"counts with its RNA has a median of {genes['spearman'].median():.2f} and is highest for {best['protein']} "
        f"({best['spearman']:.2f})."
    ]


def _quoted(names: list[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)
