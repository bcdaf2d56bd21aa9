"""What the next finer clustering would split, and whether expression supports it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.expression import symbols_of
from scvi_downstream.cells.keys import Keys
from scvi_downstream.cells.obs import batch_codes
from scvi_downstream.pipelines.clustering.options import leiden_column
from scvi_downstream.runtime.slow_types import AnnData
from scvi_downstream.runtime.words import count, listed
from scvi_downstream.statistics.bayesian_expression import expected_fdr
from scvi_downstream.statistics.comparisons import Comparison
from scvi_downstream.statistics.group_means import compare_means
from scvi_downstream.statistics.shrinkage import shrink

SPLIT_COLUMNS = [
    "resolution", "cluster", "part", "n_cells", "n_others", "n_genes", "n_tested", "top_genes", "supported",
]  # fmt: skip
FEWEST_CELLS, LEAST_SHARE = 10, 0.05  # of the cells of a cluster, for a part of it to count as one
LEAST_CHANGE = 0.5
"""Log2 fold change of a gene that speaks for a split. Between neighbouring types of the data sets that were tried 19
genes and more exceed it, between halves of one type without known parts at most one (docs/defaults.md)."""
FEWEST_GENES, FDR = 5, 0.05
FEWEST_UNSEEN = 200  # genes that are left to test
_N_NAMED = 5


def find_splits(
    counts: AnnData, clusters: pd.DataFrame, clustering_summary: dict[str, Any], keys: Keys
) -> pd.DataFrame:
    """Clusters that the next finer Leiden resolution divides, and the genes by which their parts differ.

    Clusters of noise differ in the genes that they were made from. So parts are compared in genes that the model has
    not seen: where a division is arbitrary, these do not differ. They are called as in differential expression with
    cells as units.

    Parameters
    ----------
    counts
        Raw counts of all genes; ``var["highly_variable"]`` marks those that the model has seen.
    clusters
        `n_cells` rows, a column ``leiden_<resolution>`` each.
    clustering_summary
        ``recommended_resolution`` and ``n_clusters`` by column.
    keys
        Names the batch, which is divided out.

    Returns
    -------
    One row a part of a divided cluster, compared with its other parts: ``resolution``, the finer one, ``cluster``,
    ``part``, ``n_cells``, ``n_others``, ``n_genes`` that differ by more than a log2 fold change of 0.5 at an expected
    FDR of 0.05, of ``n_tested``; ``top_genes``; ``supported``: whether there are 5 and more, empty where fewer than
    200 genes are left to test. Without rows where no resolution divides a cluster.
    """
    finer = next_finer(clustering_summary)
    if finer is None:
        return pd.DataFrame(columns=SPLIT_COLUMNS)
    coarse = clusters[clustering_summary["recommended_column"]].loc[counts.obs_names].astype(str).to_numpy()
    fine = clusters[leiden_column(finer)].loc[counts.obs_names].astype(str).to_numpy()
    batches = batch_codes(counts.obs, keys)
    totals = np.asarray(counts.X.sum(axis=1), dtype=np.float64).ravel()
    unseen = np.flatnonzero(~counts.var["highly_variable"].to_numpy())
    symbols = symbols_of(counts.var).iloc[unseen].to_numpy()
    rows = []
    for cluster, inside, parts in _divided(coarse, fine):
        own = counts.X[np.flatnonzero(inside)][:, unseen]
        expressed = np.asarray(own.sum(axis=0)).ravel() >= FEWEST_CELLS
        masks = [fine[inside] == part for part in parts]
        comparisons = [
            Comparison("parts", part, part, "others", mask, ~mask)
            for part, mask in zip(parts, masks, strict=True)
        ]
        enough = int(expressed.sum()) >= FEWEST_UNSEEN
        effects = errors = np.zeros((len(parts), 0))
        if enough:
            effects, errors = compare_means(own[:, expressed], totals[inside], comparisons, batches[inside])
        for part, mask, effect, error in zip(parts, masks, effects, errors, strict=True):
            found = shrink(effect, error, LEAST_CHANGE, 0.95)
            called = np.flatnonzero(found.called(expected_fdr(found.probability), FDR))
            first = called[np.argsort(-np.abs(found.mean[called]), kind="stable")][:_N_NAMED]
            rows.append(
                (finer, cluster, part, int(mask.sum()), int((~mask).sum()), len(called), int(expressed.sum()),
                 ", ".join(map(str, symbols[expressed][first])), len(called) >= FEWEST_GENES if enough else None)
            )  # fmt: skip
    return pd.DataFrame(rows, columns=SPLIT_COLUMNS).astype({"supported": "boolean"})


def next_finer(clustering_summary: dict[str, Any]) -> float | None:
    """The lowest resolution above the recommended one that has more clusters; none where there is none."""
    sizes, best = clustering_summary["n_clusters"], clustering_summary["recommended_resolution"]
    finer = [
        float(column.removeprefix("leiden_"))
        for column, n in sizes.items()
        if column.startswith("leiden_") and n > sizes[clustering_summary["recommended_column"]]
    ]
    return min((resolution for resolution in finer if resolution > best), default=None)


def _divided(coarse: np.ndarray, fine: np.ndarray) -> Iterator[tuple[str, np.ndarray, list[str]]]:
    """Each coarse cluster that has several parts, the cells of its parts, and the parts' names by falling size."""
    table = pd.crosstab(coarse, fine)
    for cluster, own in table.iterrows():
        home = table.idxmax(axis=0) == cluster
        parts = own[home & (own >= max(FEWEST_CELLS, LEAST_SHARE * own.sum()))].sort_values(
            ascending=False, kind="stable"
        )
        if len(parts) > 1:
            yield (
                str(cluster),
                (coarse == cluster) & np.isin(fine, parts.index),
                [str(part) for part in parts.index],
            )


def describe_splits(splits: pd.DataFrame) -> str:
    """What the next finer resolution would split, in a sentence; empty where it splits nothing."""
    if splits.empty:
        return ""
    told = []
    for cluster, parts in splits.groupby("cluster", sort=False):
        sizes = " + ".join(f"{n:,}" for n in parts["n_cells"])
        best = parts.sort_values("n_genes", ascending=False, kind="stable").iloc[0]
        found = f"{best['n_genes']} of {count(best['n_tested'], 'gene')} that the model has not seen"
        if parts["supported"].isna().all():
            evidence = "no genes are left that the model has not seen, to test it on"
        elif parts["supported"].any():
            evidence = f"supported by {found}: {best['top_genes']}"
        else:
            evidence = f"not supported, as {found} differ"
        told.append(f"cluster {cluster} into {sizes} cells ({evidence})")
    return f"The next finer resolution, {splits['resolution'].iloc[0]:g}, splits {listed(told)}."
