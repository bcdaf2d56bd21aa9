"""Names of clusters by the scores of their markers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.parameters import UNKNOWN, MarkerNamingOptions

from .marker_scores import ClusterMeans
from .marker_table import KnownMarkers

COLUMNS = (
    "cluster", "n_cells", "name", "best_type", "score", "z", "fdr", "runner_up", "margin", "why_unknown", "genes",
)  # fmt: skip
_SHOWN = 5


def choose_names(
    scores: pd.DataFrame, means: ClusterMeans, known: KnownMarkers, options: MarkerNamingOptions
) -> pd.DataFrame:
    """The best type of each cluster, where it is significant and clear of the next one.

    Parameters
    ----------
    scores
        Of :func:`.marker_scores.score_types`.
    means
        Mean expression by cluster.
    known
        Markers of each type.
    options
        ``fdr``, and ``min_margin`` to the runner-up in standard deviations of random sets of genes.

    Returns
    -------
    One row a cluster: ``name`` (``unknown`` where ``why_unknown`` says so), ``best_type``, its ``score``, ``z``
    and ``fdr``, ``runner_up`` and ``margin``, and the positive markers of the best type that are highest
    here.
    """
    rows = []
    for cluster, size in zip(means.clusters, means.sizes, strict=True):
        ranked = scores[scores["cluster"] == cluster].sort_values("z", ascending=False, kind="stable")
        best, second = ranked.iloc[0], ranked.iloc[1] if len(ranked) > 1 else None
        margin = float(best["z"] - (second["z"] if second is not None else 0))
        why = ""
        if best["fdr"] >= options.fdr:
            why = "no type is significant"
        elif margin < options.min_margin:
            why = "two types are equally likely"
        rows.append(
            {
                "cluster": cluster,
                "n_cells": int(size),
                "name": UNKNOWN if why else best["type"],
                "best_type": best["type"],
                "score": best["score"],
                "z": best["z"],
                "fdr": best["fdr"],
                "runner_up": second["type"] if second is not None else "",
                "margin": margin,
                "why_unknown": why,
                "genes": ", ".join(_highest(best["type"], cluster, means, known)),
            }
        )
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _highest(name: str, cluster: str, means: ClusterMeans, known: KnownMarkers) -> list[str]:
    positive = known.genes[(known.genes["type"] == name) & (known.genes["sign"] > 0)]
    z = means.z[means.clusters.index(cluster), positive["position"]]
    order = np.argsort(-z, kind="stable")
    return [str(positive["gene"].iloc[i]) for i in order[:_SHOWN] if z[i] > 0]


def cells_by_name(clusters: pd.Series, names: pd.DataFrame) -> pd.DataFrame:
    """The name of each cell's cluster: categorical ``cell_type_markers``, ``unknown`` last."""
    by_cluster = names.set_index("cluster")["name"].to_dict()
    categories = sorted(set(by_cluster.values()) - {UNKNOWN})
    categories += [UNKNOWN] if UNKNOWN in by_cluster.values() else []
    values = pd.Categorical(clusters.astype(str).map(by_cluster), categories=categories)
    return pd.DataFrame({"cell_type_markers": values}, index=clusters.index.rename("cell"))


def summarize_names(
    names: pd.DataFrame, cells: pd.DataFrame, known: KnownMarkers, labels: pd.Series | None
) -> dict[str, Any]:
    """Numbers and sentences of the naming.

    Parameters
    ----------
    names, cells
        Of :func:`choose_names` and :func:`cells_by_name`.
    known
        Markers that the counts hold.
    labels
        The study's own labels of the same cells, or ``None``.
    """
    named = names["name"] != UNKNOWN
    n_named = int(names.loc[named, "n_cells"].sum())
    summary: dict[str, Any] = {
        "n_types": len(known.types),
        "n_listed": known.n_listed,
        "n_genes": int(known.genes["name"].nunique()),
        "n_missing_genes": len(known.missing),
        "n_left_out_types": len(known.left_out),
        "n_clusters": len(names),
        "n_named": int(named.sum()),
        "n_types_named": int(names.loc[named, "name"].nunique()),
        "share_cells_named": float(n_named / names["n_cells"].sum()),
        "missing_genes": list(known.missing),
        "left_out_types": [{"type": name, "n_genes": n} for name, n in known.left_out.items()],
    }
    if labels is not None:
        summary |= _agreement(cells["cell_type_markers"].astype(str), labels.loc[cells.index].astype(str))
    return summary | {
        "sentences": [_named(summary, names), *_table(summary, known), *_labels(summary, labels)]
    }


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


def _named(summary: dict[str, Any], names: pd.DataFrame) -> str:
    unknown = names[names["name"] == UNKNOWN]
    text = (
        f"{summary['n_named']} of {summary['n_clusters']} clusters ({summary['share_cells_named']:.0%} of the cells) "
        f"were named by the markers of {summary['n_types']} types"
    )
    if len(unknown):
        reasons = unknown.groupby("why_unknown", sort=False)["cluster"].agg(list)
        text += "; unknown stay " + ", ".join(
            f"{', '.join(clusters)} ({reason})" for reason, clusters in reasons.items()
        )
    return text + "."


def _table(summary: dict[str, Any], known: KnownMarkers) -> list[str]:
    if not known.missing and not known.left_out:
        return []
    parts = []
    if known.missing:
        shown = ", ".join(known.missing[:_SHOWN]) + (", …" if len(known.missing) > _SHOWN else "")
        are = "gene of the marker table is" if len(known.missing) == 1 else "genes of the marker table are"
        parts.append(f"{len(known.missing)} {are} not in the counts ({shown})")
    if known.left_out:
        named = ", ".join(known.left_out)
        parts.append(f"left out for too few genes: {named}")
    return ["; ".join(parts) + "."]


def _labels(summary: dict[str, Any], labels: pd.Series | None) -> list[str]:
    if labels is None or "ari_labels" not in summary:
        return []
    text = (
        f"Names agree with the labels in '{labels.name}' to an adjusted Rand index of {summary['ari_labels']:.2f} "
        f"over {summary['n_cells_compared']:,} cells"
    )
    if summary["share_equal"] is not None:
        text += (
            f"; where the name is also a label ({summary['n_cells_same_vocabulary']:,} cells), "
            f"{summary['share_equal']:.0%} have that label"
        )
    return [text + "."]
