"""Surface proteins in the report."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.cells.proteins import PROTEIN_KEY, measured_by_batch
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.proteins.options import ProteinsOptions
from scvi_downstream.report.contents import OUTPUT, Item, Section, names
from scvi_downstream.runtime.progress import duration

if TYPE_CHECKING:
    from anndata import AnnData


SECTION = Section(
    "Proteins",
    "Surface proteins of the same cells, by totalVI: the background of unbound antibodies is taken away, and proteins "
    "are imputed where a batch did not measure them. How well is told by hiding proteins that were measured.",
    (
        Item(
            dataset="protein_umap_figure",
            caption="The proteins that differ most between groups on the UMAP of the joint latent: as counted (grey "
            "where not measured), and denoised, that is the expected count without background.",
        ),
        Item(
            dataset="protein_imputation_figure",
            caption="Proteins of a batch hidden, imputed and compared with what was measured: Pearson's r by protein "
            "beside nearest neighbours and the protein's mean, and all values.",
        ),
        Item(
            dataset="protein_markers_figure",
            caption="Denoised proteins by group: colour is the mean, area the probability of the foreground.",
        ),
        Item(
            dataset="protein_markers",
            caption="Proteins of each group against the other cells, by totalVI's posterior and by a rank-sum test of "
            "centred log-ratios; both: called by both in the same direction.",
            file=OUTPUT + "protein_markers.parquet",
            groups=("grouping", "group"),
            columns=names(
                "grouping group protein lfc_median lfc_lower lfc_upper proba_de bayes_factor expected_fdr "
                "clr_difference auc p_adjusted both mean mean_rest n"
            ),
        ),
        Item(
            dataset="protein_distributions_figure",
            caption="Counts, parted by whether they are of the foreground, and denoised values; cells in which nothing "
            "is left stand at zero.",
        ),
        Item(
            dataset="protein_imputation",
            caption="Correlation of imputed with measured proteins, with 95 % intervals over cells; minus_knn is the "
            "difference of Pearson's r to the nearest neighbours in PCA.",
            file=OUTPUT + "protein_imputation.csv",
            groups=("held_out",),
            columns=names(
                "held_out kind protein method n_cells pearson pearson_lower pearson_upper spearman minus_knn "
                "minus_knn_lower minus_knn_upper"
            ),
            folded=True,
        ),
        Item(
            dataset="protein_genes",
            caption="Proteins that have the name of a gene: Spearman's ρ with its RNA.",
            file=OUTPUT + "protein_genes.csv",
            folded=True,
        ),
        Item(
            dataset="protein_summary",
            caption="The verdicts in words and numbers.",
            file=OUTPUT + "protein_summary.json",
            folded=True,
        ),
    ),
)


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


def describe_proteins(options: ProteinsOptions, keys: Keys, graph: Study) -> str:
    """How surface proteins were denoised, imputed and compared; empty where they were not.

    Parameters
    ----------
    options
        Of the analysis.
    keys
        Batch and label.
    graph
        Names the model.
    """
    name = graph.first_with("proteins")
    if "proteins" not in graph.analyses or name is None:
        return ""
    text = [
        f"Surface proteins were modelled together with the RNA by totalVI [@gayoso2021] (`{name}`). Denoised proteins "
        f"are posterior means ({options.n_samples} draws) of the expected count of the foreground, without the "
        "efficiency of the batch; proteins without any count in a batch were taken as not measured there and decoded "
        "as of the batches that measured them.",
        _imputation(options, keys),
        f"Proteins of each cluster{' and label' if keys.label_key else ''} of at least {options.min_cells_per_group} "
        "cells were compared with the other cells by totalVI's posterior (probability that the log2 fold change "
        f"exceeds {options.delta:g}, {options.de_samples:,} samples, averaged over the batches with proteins), called "
        f"at an expected false discovery rate [@newton2004] of {options.fdr:g}, and beside it by rank-sum tests "
        "[@wilcoxon1945] of centred log-ratios of the counts [@stoeckius2017], corrected over the proteins of a group "
        "[@benjamini1995]. Clusters come from the same cells, so that their p-values describe and do not test.",
        "Proteins were compared with RNA where they have the name of a gene, by Spearman's rank correlation "
        "[@spearman1904].",
    ]
    return " ".join(filter(None, text))


def _imputation(options: ProteinsOptions, keys: Keys) -> str:
    if options.max_held_out_batches == 0:
        return ""
    hidden = (
        f"at most {options.max_held_out_batches} batches of `{keys.batch_key}` (those of fewest cells), one training "
        "each; where one batch only has proteins, a random third of its cells"
        if keys.batch_key
        else "a random third of the cells, called a batch of their own"
    )
    return (
        f"Imputation was scored by hiding the proteins of {hidden}, training again, and correlating log1p of the "
        "imputed expected counts with log1p of the measured ones, protein by protein; intervals are those of "
        f"{options.n_bootstrap:,} bootstrap samples of cells [@efron1979], paired between methods. Beside it stand "
        f"means over the {options.n_neighbors} nearest cells with proteins, in the principal components of the RNA and "
        "in the latent of the same model."
    )
