"""How cell types were transferred, scored and named."""

from __future__ import annotations

from scvi_downstream.graph import StudyGraph
from scvi_downstream.parameters import Keys, StudyParameters
from scvi_downstream.pipelines.reporting.methods.text import listed


def describe_annotation(study: StudyParameters, keys: Keys, graph: StudyGraph) -> str:
    """How cell types were transferred, scored and named."""
    return " ".join(filter(None, [_describe_transfer(study, keys, graph)]))


def _describe_transfer(study: StudyParameters, keys: Keys, graph: StudyGraph) -> str:
    if "label_transfer" not in graph.analyses:
        return ""
    options = study.annotation
    primary = graph.models[graph.primary]
    saw_labels = "labels" in primary.needs
    start = "started from the primary model" if primary.family == "SCVI" else "of the primary model's sizes"
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
        f"{options.min_probability:g}, unless they are farther from the labelled cells than these are from one "
        "another (conformal p-value [@bates2023], Benjamini-Hochberg correction [@benjamini1995] at "
        f"{options.unlike_fdr:g}). On the held-out cells, accuracy (interval: [@wilson1927]), F1, the Brier score "
        f"[@brier1950] and the expected calibration error in {options.calibration_bins} bins were computed. "
        "Clusterings were compared with the labels by the adjusted Rand index [@hubert1985], normalised mutual "
        "information, homogeneity and completeness [@rosenberg2007]."
    )
