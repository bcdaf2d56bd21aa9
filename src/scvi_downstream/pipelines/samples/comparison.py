"""How far samples and conditions lie apart in each group, and clusters of samples."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Replicates
from scvi_downstream.models.saved import SavedModel
from scvi_downstream.pipelines.samples.design import (
    FEWEST_SAMPLES,
    Contrasts,
    SampleDesign,
    adjusted_over_groups,
    make_contrasts,
    permutation_p,
    sample_design,
)
from scvi_downstream.pipelines.samples.distances import (
    attach_mrvi,
    distance_matrix,
    effect_of_contrast,
    log_forecast,
    normalized_distances,
    share_of_cells_moved,
    sum_distances,
    tabulate_distances,
)
from scvi_downstream.pipelines.samples.options import SamplesOptions
from scvi_downstream.runtime.progress import track
from scvi_downstream.runtime.slow_types import AnnData

SEPARATION = (
    "group", "condition", "reference", "n_cells", "n_samples", "n_pairs", "within", "between", "above_noise_within",
    "above_noise", "silhouette", "silhouette_p", "silhouette_p_adjusted", "n_permutations", "smallest_p",
)  # fmt: skip
EFFECTS = ("effect", "effect_p", "effect_p_adjusted", "share_of_cells")
CLUSTERS = ("group", "sample", "condition", "block", "n_cells", "position", "cluster")
MOST_CLUSTERS = 8


def compare_samples(
    fitted: SavedModel,
    counts: AnnData,
    clusters: pd.DataFrame,
    keys: Replicates,
    options: SamplesOptions,
    seed: int,
    accelerator: str,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Distances between samples in each group of cells, and what conditions do to them.

    Parameters
    ----------
    fitted, counts, clusters
        Saved MrVI; counts that it was fitted on; its clusters, the groups where there are no labels.
    keys, options
        Sample, condition, label; groups, pairs, draws, permutations.
    seed, accelerator
        Of draws, permutations and the choice of cells; where to compute.

    Returns
    -------
    The table of :func:`.distances.tabulate_distances`; and that of :func:`separate_conditions` with
    ``effect`` (how far the condition moves a cell, units of z), ``effect_p`` (share of permutations that move the
    cells of the group as far), ``effect_p_adjusted`` and ``share_of_cells`` (cells that no more than ``fdr`` of the
    permutations move as far; NaN where there are too few permutations to say so).
    """
    design = sample_design(counts, clusters, keys, options)
    model = attach_mrvi(fitted, counts, accelerator)
    log_forecast(model)
    sums = sum_distances(model, design.members)
    chosen = [design.chosen_cells(g, options.max_cells_per_group, seed) for g in range(len(design.groups))]
    tracked = track(chosen, "noise of sample distances", len(chosen))
    noise = [normalized_distances(model, cells, draws=options.noise_draws, seed=seed) for cells in tracked]
    distances = tabulate_distances(sums, np.stack(noise), design, options)
    contrasts = make_contrasts(design, options, seed)
    table = separate_conditions(distances, design, contrasts, options)
    table = table.assign(**dict.fromkeys(EFFECTS, np.nan))
    effects = track(contrasts.items(), "effects of conditions", len(contrasts))
    for row, ((group, _), contrast) in enumerate(effects):
        if isinstance(contrast, str):
            continue
        g = design.groups.index(group)
        table.loc[row, ["effect", "effect_p"]] = effect_of_contrast(sums.products[g], contrast)
        if contrast.smallest_p <= options.fdr:
            table.loc[row, "share_of_cells"] = share_of_cells_moved(model, chosen[g], contrast, options.fdr)
    table["effect_p_adjusted"] = adjusted_over_groups(table, "effect_p", options.fdr)
    return distances, table[[*SEPARATION, *EFFECTS, "reason"]]


def separate_conditions(
    distances: pd.DataFrame, design: SampleDesign, contrasts: Contrasts, options: SamplesOptions
) -> pd.DataFrame:
    """Silhouette of each condition against the reference on the distances of each group, and its permutation p.

    Conditions are permuted over samples, within pairs where samples pair up. Two samples differ by more than noise
    from a normalised distance of ``min_normalized_distance``.

    Returns
    -------
    One row a group and condition: :data:`SEPARATION` and ``reason``, which says why a test is missing. ``within`` and
    ``between`` are mean distances of samples of one condition and of two; ``above_noise`` is the share of the pairs of
    two conditions that differ by more than noise, ``above_noise_within`` that of one condition.

    References
    ----------
    Rousseeuw (1987), doi:10.1016/0377-0427(87)90125-7.
    """
    rows: list[dict[str, Any]] = []
    for (group, condition), contrast in contrasts.items():
        row: dict[str, Any] = {
            "group": group,
            "condition": condition,
            "reference": design.reference,
            "n_cells": int(design.members[design.groups.index(group)].sum()),
            "reason": contrast if isinstance(contrast, str) else None,
        }
        rows.append(row)
        if isinstance(contrast, str):
            continue
        of_group = distances[distances["group"] == group]
        used = [design.samples[s] for s in contrast.samples]
        apart = distance_matrix(of_group, used)
        noisy = distance_matrix(of_group, used, "normalized_distance") > options.min_normalized_distance
        scores = silhouette(apart, contrast.treated.astype(np.int64))
        same = contrast.treated[0][:, None] == contrast.treated[0][None]
        upper = np.triu(np.ones(same.shape, dtype=bool), k=1)
        row |= {
            "n_samples": len(used),
            "n_pairs": contrast.n_blocks if design.blocks else 0,
            "within": float(apart[same & upper].mean()),
            "between": float(apart[~same & upper].mean()),
            "above_noise_within": float(noisy[same & upper].mean()),
            "above_noise": float(noisy[~same & upper].mean()),
            "silhouette": float(scores[0]),
            "silhouette_p": float(permutation_p(scores)),
            "n_permutations": len(contrast.treated),
            "smallest_p": contrast.smallest_p,
        }
    table = pd.DataFrame(rows).reindex(columns=[*SEPARATION, "reason"])
    return table.assign(silhouette_p_adjusted=adjusted_over_groups(table, "silhouette_p", options.fdr))


def cluster_samples(
    sample_distances: pd.DataFrame,
    counts: AnnData,
    clusters: pd.DataFrame,
    keys: Replicates,
    options: SamplesOptions,
) -> pd.DataFrame:
    """Hierarchical clusters of the samples of each group, as of :func:`cluster_in_groups`.

    Parameters
    ----------
    sample_distances
        Of :func:`compare_samples`.
    counts, clusters
        The cells, and their clusters.
    keys, options
        Sample, condition, label; groups, pairs, least cells.
    """
    return cluster_in_groups(sample_distances, sample_design(counts, clusters, keys, options), options)


def cluster_in_groups(distances: pd.DataFrame, design: SampleDesign, options: SamplesOptions) -> pd.DataFrame:
    """Hierarchical clusters of the samples of each group, as many as have the largest silhouette.

    Average linkage, with the leaves of the tree in their optimal order (Bar-Joseph, Gifford & Jaakkola 2001,
    doi:10.1093/bioinformatics/17.suppl_1.S22).

    Returns
    -------
    ``group``, ``sample``, ``condition``, ``block``, ``n_cells``, ``position`` in the tree, ``cluster``; groups of
    fewer than 4 samples are left out.
    """
    from scipy.cluster.hierarchy import fcluster, leaves_list, linkage
    from scipy.spatial.distance import squareform

    tables = [pd.DataFrame(columns=list(CLUSTERS))]
    for g, group in enumerate(design.groups):
        used = design.supported(g)
        if len(used) < FEWEST_SAMPLES:
            continue
        names = [design.samples[s] for s in used]
        matrix = distance_matrix(distances[distances["group"] == group], names)
        tree = linkage(squareform(matrix, checks=False), method="average", optimal_ordering=True)
        cuts = [fcluster(tree, k, "maxclust") for k in range(2, min(len(used) - 1, MOST_CLUSTERS) + 1)]
        best = max(cuts, key=lambda cut: float(silhouette(matrix, cut[None])[0]))
        columns = {
            "group": group,
            "sample": names,
            "condition": [design.conditions[s] if design.conditions else None for s in used],
            "block": [design.blocks[s] if design.blocks else None for s in used],
            "n_cells": design.cells[g][used],
            "position": np.argsort(leaves_list(tree)),
            "cluster": best.astype(np.int64),
        }
        tables.append(pd.DataFrame(columns))
    return pd.concat(tables[1:] or tables, ignore_index=True)


def silhouette(matrix: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mean silhouette in [-1, 1] of several labellings of the same points; a point alone in its cluster counts 0.

    ``matrix`` holds ``(n, n)`` distances, ``labels`` ``(n_labellings, n)`` integers.
    """
    values = np.unique(labels)
    one_hot = (labels[:, :, None] == values).astype(np.float64)
    sizes = one_hot.sum(axis=1)[:, None]
    sums = matrix @ one_hot
    own_size = (one_hot * sizes).sum(axis=-1)
    own = (one_hot * sums).sum(axis=-1) / np.maximum(own_size - 1, 1)
    others = np.where((one_hot > 0) | (sizes == 0), np.inf, sums / np.maximum(sizes, 1))
    nearest = others.min(axis=-1)
    longest = np.maximum(own, nearest)
    scores = np.divide(nearest - own, longest, out=np.zeros(own.shape), where=longest > 0)
    return np.where(own_size > 1, scores, 0.0).mean(axis=-1)
