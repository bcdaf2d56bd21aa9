"""Clusters, expression tests and imputation in the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.report.contents import OUTPUT, Item, Section, names
from scvi_downstream.report.tables import number
from scvi_downstream.report.versions import named
from scvi_downstream.report.words import Finding, count, listed, sentence

SECTION = Section(
    "Differential expression and markers",
    "The Bayesian test gives the probability that a gene's change is larger than the threshold; "
    "classical tests on the counts stand beside it.",
    (
        Item(
            dataset="dotplot_figure",
            caption="Top markers of each cluster: share of expressing cells and mean expression.",
        ),
        Item(dataset="heatmap_figure", caption="Top markers of each cluster in single cells."),
        Item(
            dataset="markers",
            caption="Markers of each group, the best first.",
            file=OUTPUT + "markers.csv",
            groups=("grouping", "group"),
            columns=names(
                "grouping group rank gene lfc_median "
                "proba_de expected_fdr fraction1 fraction2 specificity wilcoxon_p_adjusted"
            ),
        ),
        Item(dataset="volcano_figure", caption="Effect and evidence of each gene, by comparison."),
        Item(dataset="concordance_figure", caption="How far the Bayesian and the classical tests agree."),
        Item(
            dataset="de_concordance",
            caption="Concordance of the tests by comparison.",
            file=OUTPUT + "de_concordance.csv",
            folded=True,
        ),
        Item(
            dataset="de_results",
            caption="Strongest genes of each comparison.",
            file=OUTPUT + "de_results.parquet",
            groups=("grouping", "comparison"),
            columns=names(
                "grouping comparison gene lfc_median lfc_lower lfc_upper "
                "proba_de bayes_factor expected_fdr is_de wilcoxon_p_adjusted pseudobulk_p_adjusted"
            ),
            folded=True,
        ),
    ),
)


def describe_expression_tests(study: Any, keys: Keys) -> str:
    """The Bayesian test and the classical ones."""
    options = study.de
    groups = ["each cluster against the rest"] if "clusters" in options.groupings else []
    if "labels" in options.groupings and keys.label_key:
        groups.append(f"each `{keys.label_key}` against the rest")
    groups += [f"{first} against {second} of `{column}`" for column, first, second in options.pairs]
    if options.conditions and keys.condition_key:
        within = "cell type" if keys.label_key else "cluster"
        groups.append(f"`{keys.condition_key}` within each {within}")
    if not groups:
        return ""
    size = (
        f"an absolute log2 fold change above {options.delta:g}"
        if options.delta
        else "a log2 fold change above a data-driven threshold"
    )
    hypothesis = size if options.mode == "change" else "a higher expression"
    sampling = "" if options.weights == "uniform" else " with importance weights"
    sampling += ", averaged over batches" if options.batch_correction else ""
    text = [
        f"Differential expression was tested for {listed(groups)} with the posterior of the model "
        f"[@boyeau2023], as the probability of {hypothesis} in {options.n_samples:,} posterior "
        f"samples{sampling}, at an expected false discovery rate [@newton2004] of {options.fdr:g}."
    ]
    if options.wilcoxon:
        text.append(
            "Beside it, log-normalised counts were compared by the Wilcoxon rank-sum test [@wilcoxon1945] "
            "with Benjamini-Hochberg correction [@benjamini1995]."
        )
    if options.pseudobulk and keys.sample_key:
        text.append(
            f"Counts summed by `{keys.sample_key}` (pseudobulk [@squair2021]; at least "
            f"{options.min_samples_per_group} samples a group) were tested with "
            f"{named('pydeseq2', 'PyDESeq2')} [@muzellec2023], an implementation of DESeq2 [@love2014]."
        )
    return " ".join(text)


_GROUPINGS = {
    "clusters": "each cluster against the rest",
    "labels": "each label against the rest",
    "pairs": "chosen pairs",
    "condition": "between conditions",
    "condition_by_type": "between conditions within a cell type",
}
_MOST_GROUPS = 12


def findings(contents: Mapping[str, Any], study: Study) -> Iterator[Finding]:
    """How many genes differ by comparison, how far the tests agree, and the first marker of each group."""
    yield from _expression(contents.get("de_concordance"), study.options["de"].fdr)
    yield from _markers(contents.get("markers"))


def _expression(concordance: Any, fdr: float) -> Iterator[Finding]:
    if not isinstance(concordance, pd.DataFrame):
        return
    for grouping, table in concordance.groupby("grouping", sort=False, observed=True):
        called = table["n_bayesian"]
        span = (
            number(called.min())
            if called.min() == called.max()
            else f"{number(called.min())} to {number(called.max())}"
        )
        text = (
            f"{sentence(_GROUPINGS.get(str(grouping), str(grouping))).rstrip('.')}: {span} of "
            f"{number(table['n_genes'].max())} genes differ at an expected FDR of {fdr:g} "
            f"({count(len(table), 'comparison')})"
        )
        confirmed = [
            f"{test} confirms {table[column].median():.0%}"
            for test, column in (("Wilcoxon", "confirmed_wilcoxon"), ("pseudobulk", "confirmed_pseudobulk"))
            if column in table and table[column].notna().any()
        ]
        more = f"; in the median comparison {' and '.join(confirmed)} of them" if confirmed else ""
        yield Finding("Expression", f"{text}{more}.")


def _markers(markers: Any) -> Iterator[Finding]:
    if not isinstance(markers, pd.DataFrame) or markers.empty:
        return
    for grouping, table in markers.groupby("grouping", sort=False, observed=True):
        best = table.groupby("group", sort=False, observed=True)["gene"].first()
        shown = ", ".join(f"{gene} ({group})" for group, gene in best.head(_MOST_GROUPS).items())
        more = f" and {len(best) - _MOST_GROUPS} more" if len(best) > _MOST_GROUPS else ""
        yield Finding("Markers", f"First of each of the {grouping}: {shown}{more}.")
