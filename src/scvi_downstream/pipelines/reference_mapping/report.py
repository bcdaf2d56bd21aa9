"""How cells were mapped onto the reference."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.saved import Reference
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.reference_mapping.options import ReferenceMappingOptions
from scvi_downstream.pipelines.reference_mapping.query import Query, reference_labels
from scvi_downstream.report.contents import OUTPUT, Item, Section
from scvi_downstream.runtime.options import UNKNOWN


def describe_reference_mapping(study: Any, keys: Keys, graph: Study) -> str:
    """How cells were mapped onto the reference."""
    if "reference_mapping" not in graph.analyses:
        return ""
    options = study.reference_mapping
    epochs = options.max_epochs or "200 (fewer beyond 40,000 cells)"
    return (
        f"Cells were mapped onto the model `{Path(str(study.reference)).name}` by architectural surgery "
        "[@lotfollahi2022]: weights of the query's new batches and covariates, started at the mean of the known "
        "ones, were trained with Adam [@kingma2014] (learning rate 0.001, no weight decay, at most "
        f"{epochs} epochs) while all weights of the reference and the running means of its batch normalisation were "
        f"frozen. Genes of the reference that the query lacks count as zero; at least "
        f"{options.min_shared_genes:.0%} must be there. Labels are those of the {options.n_neighbors} nearest "
        "labelled reference cells in the joint latent space, weighted by a Gaussian kernel of the distance; below a "
        f"probability of {options.min_probability:g} a cell is called unknown. Cells unlike the reference were "
        "sought by expression: counts were thinned into two halves [@neufeld2024]; the deviation of a cell from "
        "the mean of its nearest reference cells, less what is typical of its batch (mean of the half of cells that "
        "deviate least, by concentration steps [@rousseeuw2006]), was multiplied with that of the ten cells most "
        "similar in the other half, and divided by the batch's median. Conformal p-values [@bates2023] compare it "
        "with reference cells whose batch was left out; flags control the false discovery rate "
        f"[@benjamini1995] at {options.unlike_fdr:g} as far as a new batch is like a left-out one."
    )


LARGE_SHIFT = 2.0
CONFUSION = ("label", "in_reference", "mapped", "n", "share", "n_unlike")


def describe_reference(
    reference: Reference, query: Query, label_key: str | None, training: Mapping[str, Any]
) -> dict[str, Any]:
    """What was mapped onto what.

    Parameters
    ----------
    reference, query
        The model with its counts, and the cells mapped.
    label_key
        obs column of the reference's labels.
    training
        Summary of the surgery's training.
    """
    labels = reference_labels(reference, label_key)
    return {
        "reference": reference.name,
        "family": reference.model.family,
        "encodes_batches": bool(reference.model.settings.get("encode_covariates")),
        "n_reference": int(reference.counts.n_obs),
        "n_query": int(query.genes.n_obs),
        "n_genes": len(query.present),
        "n_shared_genes": int(query.present.sum()),
        "label_key": label_key if labels is not None else None,
        "types": [] if labels is None else [str(name) for name in labels.categories],
        **{
            name: training[name]
            for name in ("n_new_weights", "epochs", "max_epochs", "seconds", "device")
            if name in training
        },
        "notes": list(query.notes),
    }


def summarize(
    cells: pd.DataFrame,
    batches: pd.DataFrame,
    facts: Mapping[str, Any],
    labels: pd.Series | None,
    options: ReferenceMappingOptions,
) -> dict[str, Any]:
    """Labels given, cells flagged, and how far both are true where the query has labels of its own.

    Parameters
    ----------
    cells
        ``mapped_…`` of each query cell.
    batches
        Of :func:`.unlike.find_unlike`.
    facts
        Of :func:`describe_reference`.
    labels
        The query's own labels, or ``None``.
    options
        False discovery rate of unlike cells.

    Returns
    -------
    ``facts`` and ``n_unlike``, ``share_unlike``, ``shift_ratio`` (of the query's batches to the reference's,
    the largest of each); with labels of the reference ``n_unknown``, ``median_probability``; with labels of the
    query ``n_compared``, ``accuracy`` (nearest type), ``accuracy_called`` and ``share_called``, flags among
    cells of a type that the reference has and has not (``unlike_known``, ``unlike_absent``); ``sentences``.
    """
    shifts = batches.groupby("origin")["shift"].max()
    unlike = cells["mapped_unlike"].to_numpy(bool)
    summary = dict(facts) | {
        "n_unlike": int(unlike.sum()),
        "share_unlike": float(unlike.mean()),
        "shift_ratio": float(shifts["query"] / max(shifts["reference"], np.finfo(float).tiny)),
        "n_calibration_batches": int((batches["origin"] == "reference").sum()),
    }
    sentences = []
    if facts["types"]:
        unknown = (cells["mapped_cell_type"].astype(str) == UNKNOWN).to_numpy()
        summary |= {
            "n_unknown": int(unknown.sum()),
            "median_probability": float(cells["mapped_probability"].median()),
        }
        if labels is not None:
            summary |= compare(cells, labels.loc[cells.index].astype(str), facts["types"])
    sentences = [_mapped(summary), _accuracy(summary, labels), _flags(summary, options), _surgery(summary)]
    return summary | {"sentences": [text for text in sentences if text]}


def tabulate(cells: pd.DataFrame, labels: pd.Series | None, types: list[str]) -> pd.DataFrame:
    """Own labels of the query against transferred ones.

    Parameters
    ----------
    cells
        ``mapped_…`` of each query cell.
    labels
        The query's own labels, or ``None``.
    types
        Labels of the reference.

    Returns
    -------
    One row a pair that occurs: ``label``, ``in_reference``, ``mapped``, ``n``, ``share`` of the label's cells,
    and ``n_unlike`` of the ``n`` that are flagged; no row where either has no labels.
    """
    if labels is None or not types:
        return pd.DataFrame(columns=list(CONFUSION))
    pairs = pd.DataFrame(
        {
            "label": labels.loc[cells.index].astype(str).to_numpy(),
            "mapped": cells["mapped_cell_type"].astype(str).to_numpy(),
            "unlike": cells["mapped_unlike"].to_numpy(bool),
        }
    )
    counted = pairs.groupby(["label", "mapped"])["unlike"].agg(n="size", n_unlike="sum").reset_index()
    counted["share"] = counted["n"] / counted.groupby("label")["n"].transform("sum")
    counted["in_reference"] = counted["label"].isin(types)
    ordered = counted.sort_values(["label", "n"], ascending=[True, False], kind="stable")
    return ordered[list(CONFUSION)].reset_index(drop=True)


def compare(cells: pd.DataFrame, labels: pd.Series, types: list[str]) -> dict[str, Any]:
    """Transferred against own labels of the query."""
    named = (labels != UNKNOWN).to_numpy()
    known = labels.isin(types).to_numpy()
    called = cells["mapped_cell_type"].astype(str).to_numpy()
    right = cells["mapped_nearest_type"].astype(str).to_numpy() == labels.to_numpy()
    is_called = known & (called != UNKNOWN)
    unlike = cells["mapped_unlike"].to_numpy(bool)
    absent = named & ~known
    return {
        "n_compared": int(known.sum()),
        "n_absent": int(absent.sum()),
        "accuracy": _share(right, known),
        "accuracy_called": _share(right, is_called),
        "share_called": _share(called != UNKNOWN, known),
        "unlike_known": _share(unlike, known),
        "unlike_absent": _share(unlike, absent),
    }


def _cells(n: int) -> str:
    return f"{n:,} cell{'' if n == 1 else 's'}"


def _share(of: np.ndarray, among: np.ndarray) -> float | None:
    return float(of[among].mean()) if among.any() else None


def _mapped(summary: Mapping[str, Any]) -> str:
    cells = f"{summary['n_query']:,} cells were mapped onto {summary['reference']} ({summary['n_reference']:,} cells)"
    if not summary["types"]:
        return f"{cells}; it has no labels to transfer: name their obs column by reference_mapping.label_key."
    called = summary["n_query"] - summary["n_unknown"]
    return (
        f"{cells}: {called:,} ({called / summary['n_query']:.1%}) got one of its {len(summary['types'])} labels in "
        f"'{summary['label_key']}' (median probability {summary['median_probability']:.2f}), "
        f"{summary['n_unknown']:,} stay unknown."
    )


def _accuracy(summary: Mapping[str, Any], labels: pd.Series | None) -> str:
    if labels is None or not summary["types"]:
        return ""
    if not summary["n_compared"]:
        return (
            f"The transferred labels cannot be checked: none of the query's own in '{labels.name}' is named as "
            "in the reference."
        )
    text = (
        f"Of {_cells(summary['n_compared'])} whose own label the reference knows, {summary['accuracy']:.1%} lie "
        f"nearest to it, and {summary['share_called']:.1%} are called at all"
    )
    if summary["n_absent"]:
        text += (
            f"; of {_cells(summary['n_absent'])} whose label it does not know, {summary['unlike_absent']:.1%} are "
            f"flagged, of the known ones {summary['unlike_known']:.1%}"
        )
    return text + "."


def _flags(summary: Mapping[str, Any], options: ReferenceMappingOptions) -> str:
    verb = "is" if summary["n_unlike"] == 1 else "are"
    text = (
        f"{_cells(summary['n_unlike'])} ({summary['share_unlike']:.1%}) {verb} flagged as unlike anything in the "
        f"reference at a nominal false discovery rate of {options.unlike_fdr:g}"
    )
    if summary["n_calibration_batches"] > 1:
        text += (
            f", which rests on {summary['n_calibration_batches']} left-out batches of the reference and is not "
            "guaranteed for another technology"
        )
    else:
        text += "; the reference is one batch, so what a new batch does to cells is not known and flags are a hint"
    if summary["shift_ratio"] > LARGE_SHIFT:
        text += (
            f"; all query cells share a shift {summary['shift_ratio']:.1f} times as large as any in the reference, "
            "taken for technical: if most of the cells are of no type in the reference, the flags are wrong"
        )
    return text + "."


def _surgery(summary: Mapping[str, Any]) -> str:
    genes = f"{summary['n_shared_genes']:,} of the reference's {summary['n_genes']:,} genes are in the query"
    if not summary["n_new_weights"]:
        return f"{genes}; it brings no new batch or covariate category, so the reference's model was used as it is."
    if not summary["encodes_batches"]:
        return (
            f"{genes}; the reference's encoder does not see batches, so surgery trained {summary['n_new_weights']:,} "
            "weights of the decoder and the cells lie where the frozen encoder puts them."
        )
    return f"{genes}; surgery trained {summary['n_new_weights']:,} weights of the query's own categories."


SECTION = Section(
    "Reference mapping",
    "The cells mapped onto a reference model: transferred labels, their uncertainty, and cells unlike the reference.",
    (
        Item(
            dataset="mapping_figure",
            caption="Reference and query in one UMAP: origin, labels, uncertainty, and cells unlike the reference.",
        ),
        Item(
            dataset="mapping_summary",
            caption="What was mapped, how sure the labels are, and how far they are true.",
            file=OUTPUT + "mapping_summary.json",
            folded=True,
        ),
        Item(
            dataset="mapping_confusion",
            caption="The cells' own labels against those transferred.",
            file=OUTPUT + "mapping_confusion.csv",
            folded=True,
        ),
        Item(
            dataset="mapping_batches",
            caption="How far cells deviate from their nearest reference cells: batches of the reference, each left "
            "out in turn, and of the query.",
            file=OUTPUT + "mapping_batches.csv",
            folded=True,
        ),
    ),
)
