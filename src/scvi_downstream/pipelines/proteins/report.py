"""Surface proteins in the report: its section, and the verdicts in sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from scvi_downstream.cells.expression import measured_proteins
from scvi_downstream.cells.keys import PROTEIN_KEY, Keys
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.proteins.neighbors import (
    IN_LATENT,
    IN_PCA,
    TOTALVI_ITSELF,
    choose_imputation,
    score_candidates,
)
from scvi_downstream.pipelines.proteins.options import ProteinsOptions
from scvi_downstream.report.sections import Headline, Item, Section, Trust, names, result
from scvi_downstream.runtime.progress import duration
from scvi_downstream.runtime.slow_types import AnnData
from scvi_downstream.runtime.words import count, quoted, up_to

SECTION = Section(
    "Proteins",
    "Surface proteins of the same cells, by totalVI: the background of unbound antibodies is taken away, and proteins "
    "are imputed where a batch did not measure them, by totalVI or by nearest neighbours: by what follows proteins "
    "best that were measured and hidden.",
    (
        Item(
            "protein_umap_figure",
            "The proteins that differ most between groups on the UMAP of the joint latent: as counted (grey "
            "where not measured), and denoised, that is the expected count without background.",
        ),
        Item(
            "protein_imputation_figure",
            "Proteins of a batch hidden, imputed and compared with what was measured: Pearson's r by protein "
            "beside nearest neighbours and the protein's mean, and all values.",
        ),
        Item(
            "protein_markers_figure",
            "Denoised proteins by group: colour is the mean, area the probability of the foreground.",
        ),
        result(
            "protein_markers.parquet",
            "Proteins of each group against the other cells, by totalVI's posterior and by a rank-sum test of "
            "centred log-ratios; both: called by both in the same direction.",
            groups=("grouping", "group"),
            columns=names(
                "grouping group protein lfc_median lfc_lower lfc_upper proba_de bayes_factor expected_fdr "
                "clr_difference auc p_adjusted both mean mean_rest n"
            ),
        ),
        Item(
            "protein_distributions_figure",
            "Counts, parted by whether they are of the foreground, and denoised values; cells in which nothing "
            "is left stand at zero.",
        ),
        result(
            "protein_imputation.csv",
            "Correlation of imputed with measured proteins, with 95 % intervals over cells; minus_knn is the "
            "difference of Pearson's r to the nearest neighbours in PCA.",
            groups=("held_out",),
            columns=names(
                "held_out kind protein method n_cells pearson pearson_lower pearson_upper spearman minus_knn "
                "minus_knn_lower minus_knn_upper"
            ),
            folded=True,
        ),
        result(
            "protein_genes.csv",
            "Proteins that have the name of a gene: Spearman's ρ with its RNA.",
            folded=True,
        ),
        result("protein_summary.json", "The verdicts in words and numbers.", folded=True),
    ),
)


NAMES = {
    TOTALVI_ITSELF: "totalVI",
    IN_PCA: "nearest neighbours in PCA of RNA",
    IN_LATENT: "nearest neighbours in totalVI's latent",
}
N_NAMED, N_GROUPS_NAMED = 4, 6
POOR = 0.3
"""Median correlation of imputed with measured proteins below which the imputation is called poor."""
CLOSE = 0.7
"""From which it explains half of their variance."""


def summarize_proteins(
    counts: AnnData,
    protein_imputation: pd.DataFrame,
    protein_markers: pd.DataFrame,
    protein_genes: pd.DataFrame,
    keys: Keys,
    options: ProteinsOptions,
) -> dict[str, Any]:
    """Verdicts and their numbers.

    Parameters
    ----------
    counts, protein_imputation
        With proteins; scores of :func:`.imputation.score_protein_imputation`.
    protein_markers, protein_genes
        Of :func:`.markers.find_protein_markers`; of :func:`.markers.correlate_with_genes`.
    keys, options
        Batch; whether imputation was asked for.

    Returns
    -------
    ``n_proteins``, ``proteins``, ``batches_without_proteins``, ``not_measured`` (batch → proteins),
    ``imputation`` (a row a held-out batch), ``imputation_reason``, ``imputed_by`` (method), ``markers`` (grouping →
    group → proteins), ``genes``, ``sentences``.
    """
    proteins, _, measured = measured_proteins(counts, keys)
    absent = {
        str(batch): [str(name) for name in measured.columns[~row.to_numpy()]]
        for batch, row in measured.iterrows()
        if not row.all()
    }
    without = [batch for batch, names in absent.items() if len(names) == proteins.shape[1]]
    by_batch = protein_imputation.groupby("held_out", sort=False)
    scores = [_score_of_batch(name, table) for name, table in by_batch]
    reason = None if scores else _why_not_scored(options, int(measured.any(axis=1).sum()), keys)
    markers = {
        str(grouping): {
            str(group): _strongest_markers(rows) for group, rows in table.groupby("group", sort=False)
        }
        for grouping, table in protein_markers.groupby("grouping", sort=False)
    }
    return {
        "n_proteins": proteins.shape[1],
        "proteins": [str(name) for name in proteins.columns],
        "batches_without_proteins": without,
        "not_measured": absent,
        "imputation": scores,
        "imputation_reason": reason,
        "imputed_by": choose_imputation(protein_imputation),
        "markers": markers,
        "genes": protein_genes.to_dict(orient="records"),
        "sentences": [
            *([_about_choice(score_candidates(protein_imputation))] if scores else []),
            *map(_about_imputation, scores),
            _about_measured(counts, without, absent),
            *([f"The imputation of proteins was not scored: {reason}."] if reason else []),
            *_about_markers(markers, protein_markers),
            _about_genes(protein_genes),
        ],
    }


def _score_of_batch(name: Any, table: pd.DataFrame) -> dict[str, Any]:
    by_method = table.pivot(index="protein", columns="method", values="pearson")
    own = table[table["method"] == "totalvi"]
    first = table.iloc[0]
    return {
        "held_out": str(name),
        "kind": str(first["kind"]),
        "n_cells": int(first["n_cells"]),
        "n_proteins": len(by_method),
        "median_pearson": {str(method): float(values.median()) for method, values in by_method.items()},
        "better_than_knn": int((own["minus_knn_lower"] > 0).sum()),
        "worse_than_knn": int((own["minus_knn_upper"] < 0).sum()),
        "seconds": float(first["seconds"]),
        "peak_memory_mb": float(first["peak_memory_mb"]),
    }


def _why_not_scored(options: ProteinsOptions, n_measured: int, keys: Keys) -> str:
    if options.max_held_out_batches == 0:
        return "proteins.max_held_out_batches is 0"
    if n_measured > 1:
        return "no batch of at least 10 cells shares a protein with the others"
    what = f"batch of '{keys.batch_key}'" if keys.batch_key else "data set without batch_key"
    return f"the only {what} with proteins has too few cells to hide a third of them"


def _strongest_markers(rows: pd.DataFrame) -> list[str]:
    up = rows[rows["both"] & (rows["lfc_median"] > 0)]
    return up.sort_values("lfc_median", ascending=False, kind="stable")["protein"].head(N_NAMED).tolist()


def _about_measured(counts: AnnData, without: list[str], absent: dict[str, list[str]]) -> str:
    n_proteins = counts.obsm[PROTEIN_KEY].shape[1]
    text = f"{count(n_proteins, 'protein')} of {counts.n_obs:,} cells were denoised"
    if n_proteins == 1:
        text += "; one protein says little beyond the RNA"
    if without:
        text += f"; those of {quoted(without, None)}, which measured none, are imputed"
    if partly := [batch for batch in absent if batch not in without]:
        text += f"; {quoted(partly, None)} measured some of them only, and the others are imputed"
    return f"{text}."


def _about_imputation(score: dict[str, Any]) -> str:
    medians, batch = score["median_pearson"], score["held_out"]
    hidden = f"batch '{batch}'"
    if score["kind"] != "batch":
        hidden = f"a random third of '{batch}' (no batch effect to bridge, so at best as good elsewhere)"
    return (
        f"With the proteins of {hidden} hidden ({score['n_cells']:,} cells), totalVI's imputed values follow the "
        f"measured ones with a median Pearson correlation of {medians['totalvi']:.2f} over {score['n_proteins']} "
        f"proteins (nearest neighbours in PCA {medians['knn_pca']:.2f}, in its latent {medians['knn_latent']:.2f}); "
        f"it is better than the neighbours in PCA for {score['better_than_knn']} and worse for "
        f"{score['worse_than_knn']} (95 % intervals), in {duration(score['seconds'])}."
    )


def _about_choice(scores: pd.Series) -> str:
    """What imputes and why."""
    best, *others = scores.sort_values(ascending=False, kind="stable").index
    listed = ", ".join(f"{NAMES[name]} {scores[name]:.2f}" for name in others)
    text = (
        f"Proteins that a batch did not measure are imputed by {NAMES[best]}, chosen by the median r with hidden "
        f"proteins: {scores[best]:.2f} (as the best of {len(scores)} a little too high), {listed}."
    )
    return f"{text} Imputed proteins are not to be relied on." if scores[best] < POOR else text


def _about_markers(by_grouping: dict[str, dict[str, list[str]]], markers: pd.DataFrame) -> list[str]:
    sentences = []
    for grouping, groups in by_grouping.items():
        found = [f"{group}: {', '.join(proteins)}" for group, proteins in groups.items() if proteins]
        if not found:
            sentences.append(f"No protein marks any of the {len(groups)} {grouping} by both tests.")
            continue
        called = int(markers.loc[markers["grouping"] == grouping, "both"].sum())
        sentences.append(
            f"Proteins that mark {grouping} by the posterior and by the counts ({called} calls, highest fold changes "
            f"first): {up_to(found, N_GROUPS_NAMED, '; ')}."
        )
    if "clusters" in by_grouping:
        sentences.append(
            "Clusters were found with the same proteins, so that their p-values describe and do not test."
        )
    return sentences


def _about_genes(genes: pd.DataFrame) -> str:
    if genes.empty:
        return "No protein has the name of a gene, so that none is compared with its RNA."
    best = genes.sort_values("spearman", ascending=False, kind="stable").iloc[0]
    return (
        f"{len(genes)} protein{'s share' if len(genes) > 1 else ' shares'} the name with a gene; Spearman's ρ of "
        f"counts with its RNA has a median of {genes['spearman'].median():.2f} and is highest for {best['protein']} "
        f"({best['spearman']:.2f})."
    )


def headline(contents: Mapping[str, Any], _: Study) -> Headline | None:
    """How many proteins were denoised, and how well hidden ones come back."""
    summary = contents.get("protein_summary")
    if not summary:
        return None
    text = f"{count(summary['n_proteins'], 'protein')} denoised"
    medians = [score["median_pearson"] for score in summary["imputation"]]
    if not medians:
        return Headline(f"{text}; their imputation was not scored", Trust.UNCERTAIN)
    by = summary["imputed_by"]
    r = min(median[by] for median in medians)
    return Headline(
        f"{text}; hidden ones come back with r = {r:.2f}, by {NAMES[by]}",
        Trust.FAILS if r < POOR else Trust.HOLDS if r >= CLOSE else Trust.UNCERTAIN,
    )
