"""Differential expression and markers in the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from scvi_downstream.pipelines.de.options import DeOptions
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.report.sections import Headline, Item, Section, Trust, names, result
from scvi_downstream.report.tables import number
from scvi_downstream.runtime.words import count, up_to

SECTION = Section(
    "Differential expression",
    "A gene is called where the groups' mean expression differs by more than the threshold, as its counts and those of "
    "all genes say; the model's own test, of pairs of cells, and classical tests stand beside it.",
    (
        Item(
            "markers_dotplot_figure",
            "Top markers of each cluster: share of expressing cells and mean expression.",
        ),
        Item("markers_heatmap_figure", "Top markers of each cluster in single cells."),
        result(
            "markers.csv",
            "Markers of each group, the best first.",
            groups=("grouping", "group"),
            columns=names(
                "grouping group rank gene effect "
                "probability expected_fdr fraction1 fraction2 specificity proba_de wilcoxon_p_adjusted"
            ),
        ),
        Item("volcano_figure", "Effect and evidence of each gene, by comparison."),
        Item(
            "de_concordance_figure",
            "How far the calls, the model and the classical tests agree. Wilcoxon's test is not calibrated where "
            "donors or depths differ: 7 to 38 % of its p-values are below 0.05 then although nothing differs.",
        ),
        result("de_concordance.csv", "Concordance of the tests by comparison.", folded=True),
        result(
            "de_results.parquet",
            "Strongest genes of each comparison.",
            groups=("grouping", "comparison"),
            columns=names(
                "grouping comparison gene effect effect_lower effect_upper probability expected_fdr is_de "
                "lfc_median proba_de bayes_factor pairs_is_de wilcoxon_p_adjusted pseudobulk_p_adjusted"
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
# Groupings by what a reader asks first.
_MOST_ASKED = ("condition_by_type", "condition", "labels", "clusters", "pairs")
# Groups whose first marker is named: as many as fit into a sentence.
_MOST_GROUPS = 12


def findings(contents: Mapping[str, Any], study: Study) -> Iterator[str]:
    """How many genes are called by comparison, what else says so, and the first marker of each group."""
    concordance, markers = contents.get("de_concordance"), contents.get("markers")
    if concordance is not None:
        for grouping, table in concordance.groupby("grouping", sort=False, observed=True):
            yield _summarize_calls(str(grouping), table, study.options["de"])
    if markers is not None:
        for grouping, table in markers.groupby("grouping", sort=False, observed=True):
            best = table.groupby("group", sort=False, observed=True)["gene"].first()
            named = up_to([f"{gene} ({group})" for group, gene in best.items()], _MOST_GROUPS)
            yield f"First of each of the {grouping}: {named}."


def headline(contents: Mapping[str, Any], _: Study) -> Headline | None:
    """How many genes differ, between conditions where these are compared; it holds where samples are replicates."""
    concordance = contents.get("de_concordance")
    if concordance is None or concordance.empty:
        return None
    by_grouping = dict(list(concordance.groupby("grouping", sort=False, observed=True)))
    grouping = next(name for name in _MOST_ASKED if name in by_grouping)
    table = by_grouping[grouping]
    units = _units(table)
    text = f"{_GROUPINGS[grouping]}: {_span(table, 'n_called')} genes differ; {units} as replicates"
    return Headline(text, Trust.HOLDS if units == "samples" else Trust.UNCERTAIN)


def _units(table: Any) -> str:
    return " or ".join(sorted(table["unit"].unique()))


def _span(table: Any, column: str) -> str:
    fewest, most = table[column].min(), table[column].max()
    return number(fewest) if fewest == most else f"{number(fewest)} to {number(most)}"


def _summarize_calls(grouping: str, table: Any, options: DeOptions) -> str:
    agree = table["same_direction"].median()
    agreed = f"; the model has the direction of {agree:.0%} of them" if table["n_called"].any() else ""
    descriptive = (
        " Clusters were found by the same counts, so that these calls describe and do not test them: cut out of one "
        "population, 17 to 32 % of clusters get one."
        if grouping == "clusters"
        else ""
    )
    return (
        f"{_GROUPINGS[grouping]} ({count(len(table), 'comparison')}): the means of {_span(table, 'n_called')} of "
        f"{number(table['n_genes'].max())} genes differ by more than {options.least_change:g} log2 at an expected "
        f"FDR of {options.fdr:g}, with {_units(table)} as units{agreed}. Of pairs of cells, "
        f"{_span(table, 'n_bayesian')}.{descriptive}"
    )
