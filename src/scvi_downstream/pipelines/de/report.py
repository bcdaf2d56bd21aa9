"""Clusters, expression tests and imputation in the report."""

from __future__ import annotations

from scvi_downstream.cells.keys import Keys
from scvi_downstream.report.contents import OUTPUT, Item, Section, names
from scvi_downstream.report.versions import named
from scvi_downstream.report.words import listed
from scvi_downstream.study.parameters import StudyParameters

EXPRESSION = Section(
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


def describe_expression_tests(study: StudyParameters, keys: Keys) -> str:
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
