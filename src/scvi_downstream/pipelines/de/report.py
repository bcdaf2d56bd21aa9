"""Differential expression and markers in the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.report.sections import Item, Section, names, result
from scvi_downstream.report.tables import number
from scvi_downstream.runtime.words import Finding, count, up_to

SECTION = Section(
    "Differential expression and markers",
    "The Bayesian test gives the probability that a gene's change is larger than the threshold; "
    "classical tests on the counts stand beside it.",
    (
        Item("dotplot_figure", "Top markers of each cluster: share of expressing cells and mean expression."),
        Item("heatmap_figure", "Top markers of each cluster in single cells."),
        result(
            "markers.csv",
            "Markers of each group, the best first.",
            groups=("grouping", "group"),
            columns=names(
                "grouping group rank gene lfc_median "
                "proba_de expected_fdr fraction1 fraction2 specificity wilcoxon_p_adjusted"
            ),
        ),
        Item("volcano_figure", "Effect and evidence of each gene, by comparison."),
        Item("concordance_figure", "How far the Bayesian and the classical tests agree."),
        result("de_concordance.csv", "Concordance of the tests by comparison.", folded=True),
        result(
            "de_results.parquet",
            "Strongest genes of each comparison.",
            groups=("grouping", "comparison"),
            columns=names(
                "grouping comparison gene lfc_median lfc_lower lfc_upper "
                "proba_de bayes_factor expected_fdr is_de wilcoxon_p_adjusted pseudobulk_p_adjusted"
            ),
            folded=True,
        ),
    ),
)
_GROUPINGS = {
    "clusters": "Each cluster against the rest",
    "labels": "Each label against the rest",
    "pairs": "Chosen pairs",
    "condition": "Between conditions",
    "condition_by_type": "Between conditions within a cell type",
}
# Groups whose first marker is named: as many as fit into a sentence.
_MOST_GROUPS = 12


def findings(contents: Mapping[str, Any], study: Study) -> Iterator[Finding]:
    """How many genes differ by comparison, how far the tests agree, and the first marker of each group."""
    concordance, markers = contents.get("de_concordance"), contents.get("markers")
    if concordance is not None:
        for grouping, table in concordance.groupby("grouping", sort=False, observed=True):
            yield Finding("Expression", _summarize_calls(grouping, table, study.options["de"].fdr))
    if markers is not None:
        for grouping, table in markers.groupby("grouping", sort=False, observed=True):
            best = table.groupby("group", sort=False, observed=True)["gene"].first()
            named = up_to([f"{gene} ({group})" for group, gene in best.items()], _MOST_GROUPS)
            yield Finding("Markers", f"First of each of the {grouping}: {named}.")


def _summarize_calls(grouping: str, table: Any, fdr: float) -> str:
    fewest, most = table["n_bayesian"].min(), table["n_bayesian"].max()
    span = number(fewest) if fewest == most else f"{number(fewest)} to {number(most)}"
    confirmed = [
        f"{test} confirms {table[column].median():.0%}"
        for test, column in (("Wilcoxon", "confirmed_wilcoxon"), ("pseudobulk", "confirmed_pseudobulk"))
        if table[column].notna().any()
    ]
    more = f"; in the median comparison {' and '.join(confirmed)} of them" if confirmed else ""
    return (
        f"{_GROUPINGS[grouping]}: {span} of {number(table['n_genes'].max())} genes differ at an expected FDR of "
        f"{fdr:g} ({count(len(table), 'comparison')}){more}."
    )
