"""Cell types in the report: what is shown, and transfer and naming in numbers and sentences."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from scvi_downstream.pipelines.annotation.label_split import HELD_OUT, LEFT_OUT, ROLES, why_not_transferable
from scvi_downstream.pipelines.annotation.options import AnnotationOptions
from scvi_downstream.pipelines.annotation.scores import CONSENSUS, FEWEST_TO_CALIBRATE, PREFIX, SUSPECT_FROM
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.report.sections import Headline, Item, Section, Trust, names, result
from scvi_downstream.runtime.options import UNKNOWN
from scvi_downstream.runtime.words import first_names, sentence

if TYPE_CHECKING:
    from scvi_downstream.pipelines.annotation.consensus import Consensus
    from scvi_downstream.pipelines.annotation.marker_table import KnownMarkers

TRANSFER = (
    Item(
        dataset="cell_types_figure",
        caption="The labels that the cells came with, the consensus of the methods, its probability, and where "
        "held-out labels were found again.",
    ),
    result(
        "annotation_scores.json", "Scores of each method and of the consensus on held-out cells.", folded=True
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
    result(
        "annotation_by_type.csv",
        "Precision, recall and F1 of each type.",
        columns=names("method type n_given n_held_out precision recall f1 share_called"),
        folded=True,
    ),
    result(
        "annotation_confusion.csv",
        "Held-out cells by true and predicted type.",
        groups=("method",),
        order="n",
        folded=True,
    ),
    result(
        "annotation_calibration.csv", "Accuracy by probability, before and after calibration.", folded=True
    ),
    Item(
        dataset="label_contingency_figure",
        caption="Labels of each cluster, and how far clusters and labels agree.",
    ),
    result(
        "label_agreement.csv",
        "Agreement of each clustering with the labels, over the labelled cells.",
        folded=True,
    ),
    result("label_contingency.csv", "Labelled cells by cluster and label.", order="n", folded=True),
)
NAMING = (
    Item(
        dataset="cluster_names_figure",
        caption="Markers of each type in each cluster, against random genes of the same expression; names are framed.",
    ),
    result(
        "cluster_names.csv",
        "Names of the clusters by the marker table, and how clear they are.",
        columns=names("cluster n_cells name best_type z fdr runner_up margin why_unknown genes"),
    ),
    result(
        "marker_overlap.csv",
        "Genes that differential expression found in a cluster and the marker table lists.",
        groups=("cluster",),
        folded=True,
    ),
    result(
        "marker_scores.csv",
        "Score of every cluster for every type.",
        groups=("cluster",),
        order="z",
        folded=True,
    ),
    result("naming_summary.json", "What of the marker table was used.", folded=True),
)
SECTION = Section(
    "Cell types",
    "Labels transferred by three methods, scored on labelled cells that were held out, and names from marker genes.",
    (*TRANSFER, *NAMING),
)

METHOD_NAMES = {"scanvi": "scANVI", "knn": "nearest neighbours", "clusters": "cluster majority"}
# Types that are named as hard to tell: those with the lowest F1, when it is below this.
FEW_TYPES, WEAK_F1 = 3, 0.8
RELIABLE = 0.8  # Lower end of the accuracy on held-out cells from which labels are called reliable.
FAR = 0.05  # Level of the single test, for the share of held-out cells that look far from the labelled ones.


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
    found, cell_types
        The consensus with its scores, and its :func:`.cell_type_table`.
    p
        P-values of being farther from labelled cells than these are from one another.
    options
        Thresholds.
    """
    roles = label_split["role"]
    held_out = label_split["label"].astype(str)[roles == HELD_OUT]
    facts = {"n_types": found.probabilities[CONSENSUS].shape[1], "calibrated": found.calibrated}
    numbers: dict[str, Any] = {**_count_roles(roles), **facts, **found.scores}
    if len(held_out):
        numbers["accuracy_of_the_largest_type"] = float(held_out.value_counts(normalize=True).iloc[0])
        numbers["held_out_far"] = float((p[roles == HELD_OUT] <= FAR).mean())
        numbers["n_suspect"] = int(cell_types[f"{PREFIX}suspect"].sum())
    unknown = cell_types[roles == UNKNOWN]
    if len(unknown):
        numbers["unknown_called"] = float((unknown[f"{PREFIX}predicted"].astype(str) != UNKNOWN).mean())
        numbers["n_unknown_unlike"] = int(unknown[f"{PREFIX}unlike"].sum())
    sentences = [
        _accuracy_sentence(numbers, options),
        _methods_sentence(numbers, found),
        _unknown_sentence(numbers, options),
        sentence("; ".join(_remarks(numbers, label_split, found, options))),
    ]
    return numbers | {"sentences": [text for text in sentences if text]}


def summarize_without_transfer(label_split: pd.DataFrame) -> dict[str, Any]:
    """Numbers of cells, and why no label can be transferred."""
    n_cells = _count_roles(label_split["role"])
    sentences = [f"No label was transferred: {why_not_transferable(label_split)}."]
    return {"n_given": n_cells["n_given"], "n_unknown": n_cells["n_unknown"], "sentences": sentences}


def _count_roles(roles: pd.Series) -> dict[str, int]:
    """``n_given``, ``n_held_out``, ``n_unknown`` and ``n_left_out`` cells."""
    return {f"n_{role}": int((roles == role).sum()) for role in ROLES}


def _accuracy_sentence(numbers: dict[str, Any], options: AnnotationOptions) -> str:
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


def _methods_sentence(numbers: dict[str, Any], found: Consensus) -> str:
    if not found.scores:
        return ""
    alone = {name: found.scores[key]["accuracy"] for key, name in METHOD_NAMES.items() if key in found.scores}
    each = ", ".join(f"{name} {accuracy:.1%}" for name, accuracy in alone.items())
    own = found.by_type[found.by_type["method"] == CONSENSUS].sort_values("f1", kind="stable")
    weak = own[own["f1"] < WEAK_F1].head(FEW_TYPES)
    hard = ", ".join(f"{row.type} {row.f1:.2f} ({row.n_held_out} cells)" for row in weak.itertuples())
    return (
        f"Alone, the methods are right in: {each}; always naming the largest type would be in "
        f"{numbers['accuracy_of_the_largest_type']:.1%}" + (f"; lowest F1: {hard}." if hard else ".")
    )


def _unknown_sentence(numbers: dict[str, Any], options: AnnotationOptions) -> str:
    if not numbers["n_unknown"]:
        return ""
    called = (
        f"Of {numbers['n_unknown']:,} cells without a label {numbers['unknown_called']:.1%} got a type and the "
        "others stay unknown"
    )
    if not numbers["n_unknown_unlike"]:
        return (
            f"{called}; none is unlike the labelled cells, but a type without labels that lies near another one "
            "is easily named like that."
        )
    return (
        f"{called}, {numbers['n_unknown_unlike']:,} of them because they are farther from the labelled cells, or less "
        f"certainly of any of their types, than chance allows (false discovery rate {options.unlike_fdr:g}): they may "
        "be of a type that has no label."
    )


def _remarks(
    numbers: dict[str, Any], label_split: pd.DataFrame, found: Consensus, options: AnnotationOptions
) -> list[str]:
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
        types = label_split.loc[label_split["role"] == LEFT_OUT, "label"].astype(str).unique()
        remarks.append(
            f"{len(types)} types with fewer than {options.min_cells_per_type} labelled cells are not transferred"
            f" ({', '.join(types[:5])})"
        )
    if numbers.get("n_suspect"):
        remarks.append(
            f"{numbers['n_suspect']:,} held-out cells are called as another type than their label with a "
            f"probability of at least {SUSPECT_FROM:g} (cell_type_suspect): look at their labels"
        )
    return remarks


def summarize_names(
    names: pd.DataFrame, cells: pd.DataFrame, known: KnownMarkers, labels: pd.Series | None
) -> dict[str, Any]:
    """Numbers and sentences of the naming.

    Parameters
    ----------
    names, cells
        Of :func:`.choose_names` and :func:`.cells_by_name`.
    known, labels
        Markers that the counts hold; the study's own labels of the same cells, or ``None``.
    """
    named = names[names["name"] != UNKNOWN]
    summary: dict[str, Any] = {
        "n_types": len(known.types),
        "n_listed": known.n_listed,
        "n_genes": int(known.genes["name"].nunique()),
        "n_missing_genes": len(known.missing),
        "n_left_out_types": len(known.left_out),
        "n_clusters": len(names),
        "n_named": len(named),
        "n_types_named": int(named["name"].nunique()),
        "share_cells_named": float(named["n_cells"].sum() / names["n_cells"].sum()),
        "missing_genes": list(known.missing),
        "left_out_types": [{"type": name, "n_genes": n} for name, n in known.left_out.items()],
    }
    if labels is not None:
        summary |= _agreement(cells["cell_type_markers"].astype(str), labels.loc[cells.index].astype(str))
    sentences = [_naming_sentence(summary, names), _table_sentence(known)]
    if labels is not None and "ari_labels" in summary:
        text = (
            f"Names agree with the labels in '{labels.name}' to an adjusted Rand index of "
            f"{summary['ari_labels']:.2f} over {summary['n_cells_compared']:,} cells"
        )
        if summary["share_equal"] is not None:
            text += (
                f"; where the name is also a label ({summary['n_cells_same_vocabulary']:,} cells), "
                f"{summary['share_equal']:.0%} have that label"
            )
        sentences.append(f"{text}.")
    return summary | {"sentences": [text for text in sentences if text]}


def _agreement(names: pd.Series, labels: pd.Series) -> dict[str, Any]:
    """Adjusted Rand index of names and labels over the cells that have both."""
    from sklearn.metrics import adjusted_rand_score

    both = ((names != UNKNOWN) & (labels != UNKNOWN)).to_numpy()
    if not both.any():
        return {}
    shared = both & names.isin(set(labels)).to_numpy()
    equal = float((names[shared] == labels[shared]).mean()) if shared.any() else None
    return {
        "ari_labels": float(adjusted_rand_score(labels[both], names[both])),
        "n_cells_compared": int(both.sum()),
        "n_cells_same_vocabulary": int(shared.sum()),
        "share_equal": equal,
    }


def _naming_sentence(summary: dict[str, Any], names: pd.DataFrame) -> str:
    unknown = names[names["name"] == UNKNOWN]
    text = (
        f"{summary['n_named']} of {summary['n_clusters']} clusters ({summary['share_cells_named']:.0%} of the cells) "
        f"were named by the markers of {summary['n_types']} types"
    )
    if len(unknown):
        clusters = unknown.groupby("why_unknown", sort=False)["cluster"].agg(", ".join)
        text += "; unknown stay " + ", ".join(f"{who} ({reason})" for reason, who in clusters.items())
    return text + "."


def _table_sentence(known: KnownMarkers) -> str:
    parts = []
    if known.missing:
        are = "gene of the marker table is" if len(known.missing) == 1 else "genes of the marker table are"
        parts.append(f"{len(known.missing)} {are} not in the counts ({first_names(known.missing)})")
    if known.left_out:
        parts.append(f"left out for too few genes: {', '.join(known.left_out)}")
    return f"{'; '.join(parts)}." if parts else ""


def headline(contents: Mapping[str, Any], _: Study) -> Headline | None:
    """How many types, and how many held-out cells get their label; without labels, how many clusters have a name."""
    summary, naming = contents.get("annotation_scores") or {}, contents.get("naming_summary")
    if CONSENSUS in summary:
        score = summary[CONSENSUS]
        low, high = score["accuracy_low"], score["accuracy_high"]
        trust = Trust.HOLDS if low >= RELIABLE else Trust.UNCERTAIN
        if low <= summary["accuracy_of_the_largest_type"]:
            trust = Trust.FAILS
        return Headline(
            f"{summary['n_types']} types; {score['accuracy']:.0%} of held-out cells get their label "
            f"({low:.0%} to {high:.0%})",
            trust,
        )
    if naming:
        named = f"{naming['n_named']} of {naming['n_clusters']} clusters are named by marker genes"
        return Headline(named, Trust.UNCERTAIN if naming["n_named"] else Trust.FAILS)
    return Headline("Labels could not be transferred or tested", Trust.UNCERTAIN) if summary else None
