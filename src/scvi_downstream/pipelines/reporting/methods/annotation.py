"""How cell types were transferred, scored and named."""

from __future__ import annotations

from scvi_downstream.graph import StudyGraph
from scvi_downstream.parameters import Keys, StudyParameters
from scvi_downstream.pipelines.reporting.methods.text import listed


def describe_annotation(study: StudyParameters, keys: Keys, graph: StudyGraph) -> str:
    """How cell types were transferred, scored and named."""
    return " ".join(filter(None, [_describe_transfer(study, keys, graph), _describe_naming(study, graph)]))


def _describe_transfer(study: StudyParameters, keys: Keys, graph: StudyGraph) -> str:
    if "label_transfer" not in graph.analyses:
        return ""
    options = study.annotation
    primary = graph.models[graph.primary]
    saw_labels = "labels" in primary.needs or getattr(primary, "dispersion", "") == "gene-label"
    starts = primary.family == "SCVI" and not saw_labels
    start = "started from the primary model" if starts else "of the primary model's sizes"
    tuned = ", ".join(f"`{name}` = {value}" for name, value in options.training.items())
    methods = [
        f"scANVI [@xu2021] {start}{f' ({tuned})' if tuned else ''}",
        f"the {options.n_neighbors} nearest labelled cells in the latent space of "
        f"{'that model' if saw_labels else 'the primary model'}, weighted by a Gaussian kernel of the distance "
        "[@lotfollahi2022]",
    ]
    if not saw_labels:
        methods.append(f"the label frequencies in each cell's cluster (`{options.clustering}`)")
    calibration = (
        "Each method's probabilities and their mean, the consensus, were calibrated by temperature scaling "
        "[@guo2017], those of held-out cells by a temperature fitted to the other half of them. "
        if options.calibrate
        else "The consensus is the mean of the methods' probabilities. "
    )
    return (
        f"Labels (`{keys.label_key}`) were transferred by {listed(methods)}. Of the labelled cells of each type "
        f"{options.held_out_share:.0%} were held out at random and predicted without their labels; types with "
        f"fewer than {options.min_cells_per_type} labelled cells were left out; cells without a label were "
        f"predicted from all labels. {calibration}Cells are called above a probability of "
        f"{options.min_probability:g}, unless they are farther from labelled cells than these are from one "
        "another, or less certain than held-out cells (conformal p-values [@bates2023], Bonferroni correction for "
        f"the two and Benjamini-Hochberg correction [@benjamini1995] for the cells at {options.unlike_fdr:g}). "
        "On the held-out cells, accuracy (interval: [@wilson1927]), F1, the Brier score "
        f"[@brier1950] and the expected calibration error in {options.calibration_bins} bins were computed. "
        "Clusterings were compared with the labels by the adjusted Rand index [@hubert1985], normalised mutual "
        "information, homogeneity and completeness [@rosenberg2007]."
    )


def _describe_naming(study: StudyParameters, graph: StudyGraph) -> str:
    if "marker_naming" not in graph.analyses:
        return ""
    options = study.annotation.markers
    return (
        f"Clusters (`{study.annotation.clustering}`) were named by a table of marker genes: the score of a type is the "
        "mean z-scored log-normalised expression of its positive markers less that of its negative ones. It was "
        f"compared with {options.n_random_sets:,} sets of random genes of the same expression [@tirosh2016] "
        "(p-values with a pseudo-count [@phipson2010]) and with random cells (Pearson III approximation "
        "[@larson2015]); the larger p-value was corrected by Benjamini-Hochberg [@benjamini1995]. A cluster has the "
        f"name of its best type below an FDR of {options.fdr:g}, when that exceeds the next one by "
        f"{options.min_margin:g} standard deviations of random genes; types with fewer than "
        f"{options.min_genes} genes in the data were left out. Markers found by differential expression were "
        "compared with the table by the hypergeometric test."
    )
