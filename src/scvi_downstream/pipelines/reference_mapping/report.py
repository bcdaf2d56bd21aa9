"""Reference mapping in the report: what is shown, and the mapping in numbers and sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.saved import Reference
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.reference_mapping.options import ReferenceMappingOptions
from scvi_downstream.pipelines.reference_mapping.query import Query, reference_labels
from scvi_downstream.report.sections import Headline, Item, Section, Trust, result
from scvi_downstream.runtime.options import UNKNOWN
from scvi_downstream.runtime.slow_types import AnnData
from scvi_downstream.runtime.words import count

SECTION = Section(
    "Reference mapping",
    "The cells mapped onto a reference model: transferred labels, their uncertainty, and cells unlike the reference.",
    (
        Item(
            dataset="mapping_figure",
            caption="Reference and query in one UMAP: origin, labels, uncertainty, and cells unlike the reference.",
        ),
        result(
            "mapping_summary.json",
            "What was mapped, how sure the labels are, and how far they are true.",
            folded=True,
        ),
        result("mapping_confusion.csv", "The cells' own labels against those transferred.", folded=True),
        result("mapping_history.parquet", "Losses of the surgery's training by epoch.", folded=True),
        result(
            "mapping_batches.csv",
            "How far cells deviate from their nearest reference cells: batches of the reference, each left "
            "out in turn, and of the query.",
            folded=True,
        ),
    ),
)

# Shift of the query, in shifts of the reference's batches, from which it may be biology: twice the largest.
LARGE_SHIFT = 2.0
CONFUSION = ("label", "in_reference", "mapped", "n", "share", "n_unlike")
TRAINING_FACTS = ("n_new_weights", "epochs", "max_epochs", "seconds", "device")


def describe_reference(
    reference: Reference,
    query: Query,
    label_key: str | None,
    unknown_labels: Sequence[str],
    training: Mapping[str, Any],
) -> dict[str, Any]:
    """What was mapped onto what: names, sizes, labels of the reference, notes, and facts of the surgery's training."""
    labels = reference_labels(reference, label_key, unknown_labels)
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
        **{name: training[name] for name in TRAINING_FACTS if name in training},
        "notes": list(query.notes),
    }


def summarize_mapping(
    counts: AnnData,
    mapped_cell_types: pd.DataFrame,
    mapping_batches: pd.DataFrame,
    mapping_facts: dict[str, Any],
    keys: Keys,
    options: ReferenceMappingOptions,
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Labels given, cells flagged, and how far both are true where the query has labels of its own.

    Parameters
    ----------
    counts, keys
        obs holds the query's own labels, ``label_key``.
    mapped_cell_types
        ``mapped_…`` of each query cell.
    mapping_batches, mapping_facts
        Of :func:`.unlike.find_unlike` and of :func:`describe_reference`.
    options
        False discovery rate of unlike cells.

    Returns
    -------
    ``mapping_facts`` and ``n_unlike``, ``share_unlike``, ``shift_ratio`` (of the query's batches to the
    reference's, the largest of each); with labels of the reference ``n_unknown``, ``median_probability``; with
    labels of the query ``n_compared``, ``accuracy`` (nearest type), ``accuracy_called`` and ``share_called``,
    flags among cells of a type that the reference has and has not (``unlike_known``, ``unlike_absent``);
    ``sentences``. And own against transferred labels, see :func:`tabulate`.
    """
    cells, types = mapped_cell_types, mapping_facts["types"]
    labels = counts.obs.loc[cells.index, keys.label_key].astype(str) if keys.label_key else None
    shifts = mapping_batches.groupby("origin")["shift"].max()
    summary = mapping_facts | {
        "n_unlike": int(cells["mapped_unlike"].sum()),
        "share_unlike": float(cells["mapped_unlike"].mean()),
        "shift_ratio": float(shifts["query"] / max(shifts["reference"], np.finfo(float).tiny)),
        "n_calibration_batches": int((mapping_batches["origin"] == "reference").sum()),
    }
    sentences = []
    if types:
        summary["n_unknown"] = int((cells["mapped_cell_type"].astype(str) == UNKNOWN).sum())
        summary["median_probability"] = float(cells["mapped_probability"].median())
    if types and labels is not None:
        summary |= compare(cells, labels, types)
        sentences = [_accuracy_sentence(summary, keys)]
    sentences = [_mapped_sentence(summary), *sentences, _flags_sentence(summary, options)]
    return summary | {"sentences": [*sentences, _surgery_sentence(summary)]}, tabulate(cells, labels, types)


def tabulate(cells: pd.DataFrame, labels: pd.Series | None, types: list[str]) -> pd.DataFrame:
    """Own labels of the query, as text in the order of its cells, against transferred ones.

    Returns
    -------
    One row a pair that occurs: ``label``, ``in_reference``, ``mapped``, ``n``, ``share`` of the label's cells,
    and ``n_unlike`` of the ``n`` that are flagged; no row where either has no labels.
    """
    if labels is None or not types:
        return pd.DataFrame(columns=list(CONFUSION))
    pairs = pd.DataFrame(
        {
            "label": labels.to_numpy(),
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


def _share(chosen: np.ndarray, among: np.ndarray) -> float | None:
    return float(chosen[among].mean()) if among.any() else None


def _mapped_sentence(summary: Mapping[str, Any]) -> str:
    cells = f"{summary['n_query']:,} cells were mapped onto {summary['reference']} ({summary['n_reference']:,} cells)"
    if not summary["types"]:
        return f"{cells}; it has no labels to transfer: name their obs column by reference_mapping.label_key."
    called = summary["n_query"] - summary["n_unknown"]
    return (
        f"{cells}: {called:,} ({called / summary['n_query']:.1%}) got one of its {len(summary['types'])} labels in "
        f"'{summary['label_key']}' (median probability {summary['median_probability']:.2f}), "
        f"{summary['n_unknown']:,} stay unknown."
    )


def _accuracy_sentence(summary: Mapping[str, Any], keys: Keys) -> str:
    if not summary["n_compared"]:
        return (
            f"The transferred labels cannot be checked: none of the query's own in '{keys.label_key}' is named as "
            "in the reference."
        )
    text = (
        f"Of {count(summary['n_compared'], 'cell')} whose own label the reference knows, {summary['accuracy']:.1%} lie "
        f"nearest to it, and {summary['share_called']:.1%} are called at all"
    )
    if summary["n_absent"]:
        text += (
            f"; of {count(summary['n_absent'], 'cell')} whose label it does not know, "
            f"{summary['unlike_absent']:.1%} are flagged, of the known ones {summary['unlike_known']:.1%}"
        )
    return text + "."


def _flags_sentence(summary: Mapping[str, Any], options: ReferenceMappingOptions) -> str:
    verb = "is" if summary["n_unlike"] == 1 else "are"
    text = (
        f"{count(summary['n_unlike'], 'cell')} ({summary['share_unlike']:.1%}) {verb} flagged as unlike anything in "
        f"the reference at a nominal false discovery rate of {options.unlike_fdr:g}"
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


def _surgery_sentence(summary: Mapping[str, Any]) -> str:
    genes = f"{summary['n_shared_genes']:,} of the reference's {summary['n_genes']:,} genes are in the query"
    if not summary["n_new_weights"]:
        return f"{genes}; it brings no new batch or covariate category, so the reference's model was used as it is."
    if not summary["encodes_batches"]:
        return (
            f"{genes}; the reference's encoder does not see batches, so surgery trained {summary['n_new_weights']:,} "
            "weights of the decoder and the cells lie where the frozen encoder puts them."
        )
    return f"{genes}; surgery trained {summary['n_new_weights']:,} weights of the query's own categories."


def headline(contents: Mapping[str, Any], _: Study) -> Headline | None:
    """How many cells got a label of the reference, how many are unlike it, and whether the query is shifted."""
    summary = contents.get("mapping_summary")
    if not summary:
        return None
    text = f"{count(summary['n_query'], 'cell')} mapped"
    if summary["types"]:
        called = 1 - summary["n_unknown"] / summary["n_query"]
        text += f"; {called:.0%} get one of {len(summary['types'])} labels"
    if summary.get("n_compared"):
        text += f", {summary['accuracy']:.0%} of known ones lie nearest to their own"
    text += f"; {summary['share_unlike']:.0%} unlike the reference"
    calibrated = summary["n_calibration_batches"] > 1 and summary["shift_ratio"] <= LARGE_SHIFT
    return Headline(text, Trust.HOLDS if calibrated else Trust.UNCERTAIN)
