"""The section on clusters: which Leiden resolution to work with and why, and what k-means found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from scvi_downstream.pipelines.clustering.options import leiden_column
from scvi_downstream.pipelines.clustering.splits import describe_splits
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.report.sections import OUTPUT, Headline, Item, Section, Trust
from scvi_downstream.runtime.words import sentence

SECTION = Section(
    "Clusters",
    "Leiden communities of the neighbours graph, k-means and Ward's method on the latent of the primary "
    "model.",
    (
        Item(dataset="{primary}.clusters_figure", caption="Clusters on the UMAP of {primary}."),
        Item(
            dataset="{primary}.clustering_figure",
            caption="How stable the clusterings are when cells are left out, and how far they agree.",
        ),
        Item(dataset="{primary}.dendrogram_figure", caption="Ward's dendrogram."),
        Item(
            dataset="{primary}.clustering_summary",
            caption="The recommended clustering, and why.",
            file=OUTPUT + "{model}/clustering_summary.json",
            folded=True,
        ),
        Item(
            dataset="{primary}.leiden_stability",
            caption="Stability of each Leiden resolution.",
            file=OUTPUT + "{model}/leiden_stability.csv",
            folded=True,
        ),
        Item(
            dataset="{primary}.leiden_splits",
            caption="What the next finer resolution would split, and by how many genes that the model has not seen the "
            "parts differ.",
            file=OUTPUT + "{model}/leiden_splits.csv",
            folded=True,
        ),
        Item(
            dataset="{primary}.cluster_agreement",
            caption="Agreement of the clusterings with one another and with what is known.",
            file=OUTPUT + "{model}/cluster_agreement.csv",
            folded=True,
        ),
    ),
)

# Mean silhouette widths, after Kaufman & Rousseeuw, and what they say of k-means clusters.
STRENGTHS = (
    (0.7, "a strong structure"),
    (0.5, "a reasonable structure"),
    (0.25, "a weak structure"),
    (-float("inf"), "no substantial structure"),
)


@dataclass(frozen=True)
class Recommendation:
    """The recommended Leiden resolution.

    ``n_clusters`` are those of all cells; ``stable`` says whether their mean adjusted Rand index reaches the
    threshold with at least two clusters; ``reason`` is one plain sentence.
    """

    resolution: float
    column: str
    n_clusters: int
    stable: bool
    reason: str


def recommend(leiden: pd.DataFrame, stability: pd.DataFrame, min_stability: float) -> Recommendation:
    """The finest stable resolution; else the most stable with two clusters or more; else the finest.

    ``leiden`` has the clusters of all cells, one column a resolution, ``stability`` one row a resolution and replicate,
    column ``ari``, whose mean makes a resolution stable from ``min_stability`` on.
    """
    mean = stability.groupby("resolution")["ari"].mean().sort_index()
    n_clusters = {resolution: int(leiden[leiden_column(resolution)].nunique()) for resolution in mean.index}
    split = mean[[n_clusters[resolution] >= 2 for resolution in mean.index]]
    stable = split[split >= min_stability]
    if len(stable):
        chosen = float(stable.index[-1])
        reason = (
            f"Resolution {chosen:g} ({n_clusters[chosen]} clusters) is the finest on which "
            f"random halves of the cells agree: mean ARI {mean[chosen]:.2f}, at least {min_stability:g}."
        )
    elif len(split):
        chosen = float(split.idxmax())
        reason = (
            f"No clustering is stable: the best, resolution {chosen:g} ({n_clusters[chosen]} clusters), "
            f"reaches a mean ARI of {mean[chosen]:.2f} between random halves of the cells, "
            f"below {min_stability:g}; its borders are arbitrary."
        )
    else:
        chosen = float(mean.index[-1])
        reason = (
            f"No clustering is stable: no resolution up to {chosen:g} finds two clusters, "
            "the cells form one group."
        )
    return Recommendation(chosen, leiden_column(chosen), n_clusters[chosen], bool(len(stable)), reason)


def describe_kmeans(tried: pd.DataFrame, k: int) -> dict[str, float | int | str | None]:
    """The chosen ``k``, its silhouette and what that means.

    Kaufman & Rousseeuw (1990), doi:10.1002/9780470316801.
    """
    width = tried.loc[tried["k"] == k, "silhouette"].dropna()
    silhouette = None if width.empty else float(width.iloc[0])
    reason = f"k-means with {k} clusters; its silhouette was not measured."
    if silhouette is not None:
        strength = next(word for least, word in STRENGTHS if silhouette > least)
        reason = f"k-means with {k} clusters: mean silhouette {silhouette:.2f}, {strength}."
    return {"k": k, "silhouette": silhouette, "reason": reason}


def findings(contents: Mapping[str, Any], study: Study) -> Iterator[str]:
    """The recommended clustering, what a finer one would split, and whether k-means found one."""
    summary = contents.get(f"{study.primary}.clustering_summary") or {}
    if "reason" in summary:
        yield sentence(summary["reason"])
    splits = contents.get(f"{study.primary}.leiden_splits")
    if splits is not None and len(splits):
        yield sentence(describe_splits(splits))
    if summary.get("kmeans"):
        yield sentence(summary["kmeans"]["reason"])


def headline(contents: Mapping[str, Any], study: Study) -> Headline | None:
    """How many clusters, and whether halves of the cells agree on them."""
    summary = contents.get(f"{study.primary}.clustering_summary")
    if not summary:
        return None
    column = summary["recommended_column"]
    ari = summary["stability"].get(column)
    agreement = "" if ari is None else f"; random halves of the cells agree by ARI {ari:.2f}"
    found = f"{summary['n_clusters'][column]} Leiden clusters{agreement}"
    if summary["stable"]:
        return Headline(found, Trust.HOLDS)
    return Headline(f"No stable clusters: {found}", Trust.FAILS)
