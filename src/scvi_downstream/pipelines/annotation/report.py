"""The transfer in numbers and sentences."""

from __future__ import annotations

from typing import Any

import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.annotation.consensus import CONSENSUS, PREFIX, SUSPECT_FROM, Consensus
from scvi_downstream.pipelines.annotation.label_split import GIVEN, HELD_OUT, LEFT_OUT, why_not_transferable
from scvi_downstream.pipelines.annotation.options import AnnotationOptions
from scvi_downstream.pipelines.annotation.scores import (
    BY_TYPE_COLUMNS,
    CALIBRATION_COLUMNS,
    CONFUSION_COLUMNS,
    FEWEST_TO_CALIBRATE,
)
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.report.contents import OUTPUT, Item, Section, names
from scvi_downstream.report.words import listed
from scvi_downstream.runtime.options import UNKNOWN

METHOD_NAMES = {"scanvi": "scANVI", "knn": "nearest neighbours", "clusters": "cluster majority"}
FEW_TYPES = 3


def summarize_transfer(
    label_split: pd.DataFrame,
    found: Consensus,
    cell_types: pd.DataFrame,
    p: pd.Series,
    options: AnnotationOptions,
) -> dict[str, Any]:
    """Counts, scores by method, and up to four sentences, the most important first.

    Parameters
    ----------
    label_split
        Label and role of `n_cells` cells.
    found
        The consensus and its scores.
    cell_types
        Of :func:`.cell_type_table`.
    p
        P-values of being farther from labelled cells than these are from one another.
    options
        Thresholds.
    """
    roles = label_split["role"]
    held = label_split["label"].astype(str)[roles == HELD_OUT]
    numbers: dict[str, Any] = {
        "n_given": int((roles == GIVEN).sum()),
        "n_held_out": len(held),
        "n_unknown": int((roles == UNKNOWN).sum()),
        "n_left_out": int((roles == LEFT_OUT).sum()),
        "n_types": found.probabilities[CONSENSUS].shape[1],
        "calibrated": found.calibrated,
        **found.scores,
    }
    if len(held):
        numbers["accuracy_of_the_largest_type"] = float(held.value_counts(normalize=True).iloc[0])
        numbers["held_out_far"] = float((p[roles == HELD_OUT] <= 0.05).mean())
        numbers["n_suspect"] = int(cell_types[f"{PREFIX}suspect"].sum())
    unknown = cell_types[roles == UNKNOWN]
    if len(unknown):
        numbers["unknown_called"] = float((unknown[f"{PREFIX}predicted"].astype(str) != UNKNOWN).mean())
        numbers["n_unknown_unlike"] = int(unknown[f"{PREFIX}unlike"].sum())
    sentences = [
        _accuracy(numbers, options),
        _methods(numbers, found),
        _unknown(numbers, options),
        _remarks(numbers, label_split, found, options),
    ]
    return numbers | {"sentences": [text for text in sentences if text]}


def without_transfer(
    label_split: pd.DataFrame,
) -> tuple[pd.DataFrame, dict[str, Any], pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Every cell ``unknown``, no scores, and why: no label can be transferred."""
    roles = label_split["role"]
    cell_types = pd.DataFrame(
        {
            f"{PREFIX}predicted": pd.Categorical([UNKNOWN] * len(label_split)),
            f"{PREFIX}probability": float("nan"),
            f"{PREFIX}role": roles.cat.remove_unused_categories(),
        },
        index=label_split.index,
    )
    reason = why_not_transferable(label_split)
    numbers = {"n_given": int((roles == GIVEN).sum()), "n_unknown": int((roles == UNKNOWN).sum())}
    empty = (
        pd.DataFrame(columns=list(names))
        for names in (BY_TYPE_COLUMNS, CONFUSION_COLUMNS, CALIBRATION_COLUMNS)
    )
    return cell_types, numbers | {"sentences": [f"No label was transferred: {reason}."]}, *empty


def _accuracy(numbers: dict[str, Any], options: AnnotationOptions) -> str:
    if CONSENSUS not in numbers:
        return (
            f"No labelled cell could be held out of {numbers['n_given']:,}, so how good the predicted types "
            "are is not known."
        )
    score = numbers[CONSENSUS]
    called = (
        f"at a probability of {options.min_probability:g} it calls {score['coverage']:.1%} of them, "
        f"{score['accuracy_called']:.1%} correctly"
        if score["coverage"]
        else f"none of them reaches a probability of {options.min_probability:g}"
    )
    return (
        f"The consensus gives {score['accuracy']:.1%} of {numbers['n_held_out']:,} held-out cells of "
        f"{numbers['n_types']} types their label (95% interval {score['accuracy_low']:.1%} to "
        f"{score['accuracy_high']:.1%}, macro F1 {score['macro_f1']:.2f}); {called}, and its probabilities are "
        f"off by {score['ece']:.3f} on average (expected calibration error; exact ones would show "
        f"{score['ece_if_exact']:.3f} on as many cells). The held-out cells are of the same samples and batches as the "
        "labelled ones; of cells from elsewhere expect less."
    )


def _methods(numbers: dict[str, Any], found: Consensus) -> str:
    if not found.scores:
        return ""
    each = ", ".join(
        f"{METHOD_NAMES[name]} {score['accuracy']:.1%}"
        for name, score in found.scores.items()
        if name != CONSENSUS
    )
    own = found.by_type[found.by_type["method"] == CONSENSUS].sort_values("f1", kind="stable")
    weak = own[own["f1"] < 0.8].head(FEW_TYPES)
    hard = ", ".join(f"{row.type} {row.f1:.2f} ({row.n_held_out} cells)" for row in weak.itertuples())
    return (
        f"Alone, the methods are right in: {each}; always naming the largest type would be in "
        f"{numbers['accuracy_of_the_largest_type']:.1%}" + (f"; lowest F1: {hard}." if hard else ".")
    )


def _unknown(numbers: dict[str, Any], options: AnnotationOptions) -> str:
    if not numbers["n_unknown"]:
        return ""
    n_unlike = numbers["n_unknown_unlike"]
    called = (
        f"Of {numbers['n_unknown']:,} cells without a label {numbers['unknown_called']:.1%} got a type and the "
        "others stay unknown"
    )
    if not n_unlike:
        return (
            f"{called}; none is unlike the labelled cells, but a type without labels that lies near another one "
            "is easily named like that."
        )
    return (
        f"{called}, {n_unlike:,} of them because they are farther from the labelled cells, or less certainly of "
        f"any of their types, than chance allows (false discovery rate {options.unlike_fdr:g}): they may be of a "
        "type that has no label."
    )


def _remarks(
    numbers: dict[str, Any], label_split: pd.DataFrame, found: Consensus, options: AnnotationOptions
) -> str:
    remarks = []
    if options.calibrate and not found.calibrated:
        remarks.append(
            f"the probabilities are not calibrated, for which {FEWEST_TO_CALIBRATE} held-out cells are needed"
        )
    if "clusters" not in found.probabilities:
        remarks.append(
            "the majority of clusters is left out, since the primary model was trained on the held-out labels "
            "and its clusters are no test of them"
        )
    if numbers["n_left_out"]:
        names = label_split.loc[label_split["role"] == LEFT_OUT, "label"].astype(str).unique()
        remarks.append(
            f"{len(names)} types with fewer than {options.min_cells_per_type} labelled cells are not transferred"
            f" ({', '.join(names[:5])})"
        )
    if numbers.get("n_suspect"):
        remarks.append(
            f"{numbers['n_suspect']:,} held-out cells are called as another type than their label with a "
            f"probability of at least {SUSPECT_FROM:g} (cell_type_suspect): look at their labels"
        )
    text = "; ".join(remarks)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def describe_annotation(study: Any, keys: Keys, graph: Study) -> str:
    """How cell types were transferred, scored and named."""
    return " ".join(filter(None, [_describe_transfer(study, keys, graph), _describe_naming(study, graph)]))


def _describe_transfer(study: Any, keys: Keys, graph: Study) -> str:
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


def _describe_naming(study: Any, graph: Study) -> str:
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


TRANSFER = (
    Item(
        dataset="cell_types_figure",
        caption="The labels that the cells came with, the consensus of the methods, its probability, and where "
        "held-out labels were found again.",
    ),
    Item(
        dataset="annotation_scores",
        caption="Scores of each method and of the consensus on held-out cells.",
        file=OUTPUT + "annotation_scores.json",
        folded=True,
    ),
    Item(
        dataset="confusion_figure",
        caption="True and predicted types of the held-out cells, every one of them called.",
    ),
    Item(
        dataset="calibration_figure",
        caption="How often held-out cells are right, against their probability; on the dotted line probabilities "
        "mean what they say.",
    ),
    Item(
        dataset="annotation_by_type",
        caption="Precision, recall and F1 of each type.",
        file=OUTPUT + "annotation_by_type.csv",
        columns=names("method type n_given n_held_out precision recall f1 share_called"),
        folded=True,
    ),
    Item(
        dataset="annotation_confusion",
        caption="Held-out cells by true and predicted type.",
        file=OUTPUT + "annotation_confusion.csv",
        groups=("method",),
        order="n",
        folded=True,
    ),
    Item(
        dataset="annotation_calibration",
        caption="Accuracy by probability, before and after calibration.",
        file=OUTPUT + "annotation_calibration.csv",
        folded=True,
    ),
    Item(
        dataset="label_contingency_figure",
        caption="Labels of each cluster, and how far clusters and labels agree.",
    ),
    Item(
        dataset="label_agreement",
        caption="Agreement of each clustering with the labels, over the labelled cells.",
        file=OUTPUT + "label_agreement.csv",
        folded=True,
    ),
    Item(
        dataset="label_contingency",
        caption="Labelled cells by cluster and label.",
        file=OUTPUT + "label_contingency.csv",
        order="n",
        folded=True,
    ),
)
NAMING = (
    Item(
        dataset="cluster_names_figure",
        caption="Markers of each type in each cluster, against random genes of the same expression; names are framed.",
    ),
    Item(
        dataset="cluster_names",
        caption="Names of the clusters by the marker table, and how clear they are.",
        file=OUTPUT + "cluster_names.csv",
        columns=names("cluster n_cells name best_type z fdr runner_up margin why_unknown genes"),
    ),
    Item(
        dataset="marker_overlap",
        caption="Genes that differential expression found in a cluster and the marker table lists.",
        file=OUTPUT + "marker_overlap.csv",
        groups=("cluster",),
        folded=True,
    ),
    Item(
        dataset="marker_scores",
        caption="Score of every cluster for every type.",
        file=OUTPUT + "marker_scores.csv",
        groups=("cluster",),
        order="z",
        folded=True,
    ),
    Item(
        dataset="naming_summary",
        caption="What of the marker table was used.",
        file=OUTPUT + "naming_summary.json",
        folded=True,
    ),
)
SECTION = Section(
    "Cell types",
    "Labels transferred by three methods, scored on labelled cells that were held out, and names from marker genes.",
    (*TRANSFER, *NAMING),
)
