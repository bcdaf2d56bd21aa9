"""How far samples and conditions lie apart in each group: what the nodes read from the model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.pipelines.samples.design import (
    FEWEST_SAMPLES,
    Contrasts,
    SampleDesign,
    adjusted_over_groups,
    make_contrasts,
    permutation_p,
)
from scvi_downstream.pipelines.samples.distances import (
    effect_of_contrast,
    log_forecast,
    normalized_distances,
    share_of_cells_moved,
    sum_distances,
    tabulate_distances,
)
from scvi_downstream.pipelines.samples.options import SamplesOptions
from scvi_downstream.runtime.progress import track

if TYPE_CHECKING:
    from scvi.external import MRVI


SEPARATION = (
    "group", "condition", "reference", "n_cells", "n_samples", "n_pairs", "within", "between", "above_noise_within",
    "above_noise", "silhouette", "silhouette_p", "silhouette_p_adjusted", "n_permutations", "smallest_p", "reason",
)  # fmt: skip


def distance_matrix(
    distances: pd.DataFrame, group: str, samples: tuple[str, ...], column: str = "distance"
) -> np.ndarray:
    """Symmetric ``(n_samples, n_samples)`` distances of one group, 0 on the diagonal."""
    table = distances[distances["group"] == group]
    position = {name: i for i, name in enumerate(samples)}
    first, second = (
        table[column].astype(str).map(position).to_numpy() for column in ("sample_1", "sample_2")
    )
    matrix = np.zeros((len(samples), len(samples)))
    matrix[first, second] = matrix[second, first] = table[column].to_numpy()
    return matrix


def linkage_of(matrix: np.ndarray) -> np.ndarray:
    """Average linkage with the leaves in their optimal order, as scipy has it.

    References
    ----------
    Bar-Joseph, Gifford & Jaakkola (2001), doi:10.1093/bioinformatics/17.suppl_1.S22.
    """
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    return linkage(squareform(matrix, checks=False), method="average", optimal_ordering=True)


def cluster_samples(distances: pd.DataFrame, design: SampleDesign, options: SamplesOptions) -> pd.DataFrame:
    """Hierarchical clusters of the samples of each group, as many as have the largest silhouette.

    Parameters
    ----------
    distances
        Of :func:`.distances.tabulate_distances`.
    design
        Samples, conditions, pairs.
    options
        Cells from which a sample is compared.

    Returns
    -------
    ``group``, ``sample``, ``condition``, ``block``, ``n_cells``, ``position`` in the tree, ``cluster``; groups of
    fewer than 4 samples are left out.
    """
    from scipy.cluster.hierarchy import fcluster, leaves_list

    rows = []
    for g, group in enumerate(design.groups):
        used = design.supported(g, options)
        if len(used) < FEWEST_SAMPLES:
            continue
        matrix = distance_matrix(distances, group, design.samples)[np.ix_(used, used)]
        tree = linkage_of(matrix)
        cuts = [fcluster(tree, k, "maxclust") for k in range(2, min(len(used), 9))]
        best = max(cuts, key=lambda cut: float(silhouette(matrix, cut[None])[0]))
        position = np.empty(len(used), dtype=np.int64)
        position[leaves_list(tree)] = np.arange(len(used))
        rows.append(
            pd.DataFrame(
                {
                    "group": group,
                    "sample": [design.samples[s] for s in used],
                    "condition": [design.conditions[s] if design.conditions else None for s in used],
                    "block": [design.blocks[s] if design.blocks else None for s in used],
                    "n_cells": design.cells[g][used],
                    "position": position,
                    "cluster": best.astype(np.int64),
                }
            )
        )
    columns = ["group", "sample", "condition", "block", "n_cells", "position", "cluster"]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=columns)


def separate_conditions(
    distances: pd.DataFrame, design: SampleDesign, contrasts: Contrasts, options: SamplesOptions
) -> pd.DataFrame:
    """Silhouette of each condition against the reference on the distances of each group, and its permutation p.

    Conditions are permuted over samples, within pairs where samples pair up.

    Parameters
    ----------
    distances
        Of :func:`.distances.tabulate_distances`.
    design
        Groups and samples.
    contrasts
        Of every group and condition, or why there is none.
    options
        From which normalised distance two samples differ by more than noise.

    Returns
    -------
    One row a group and condition: :data:`SEPARATION`. ``within`` and ``between`` are mean distances of samples of
    one condition and of two; ``above_noise`` is the share of the pairs of two conditions whose normalised distance
    is above ``min_normalized_distance``, ``above_noise_within`` that of one condition; ``reason`` says why a test is
    missing.

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
        }
        if isinstance(contrast, str):
            rows.append(row | {"reason": contrast})
            continue
        chosen = np.ix_(contrast.samples, contrast.samples)
        apart = distance_matrix(distances, group, design.samples)[chosen]
        normalized = distance_matrix(distances, group, design.samples, "normalized_distance")[chosen]
        scores = silhouette(apart, contrast.treated.astype(np.int64))
        same = contrast.treated[0][:, None] == contrast.treated[0][None]
        upper = np.triu(np.ones(same.shape, dtype=bool), k=1)
        noisy = normalized > options.min_normalized_distance
        rows.append(
            row
            | {
                "n_samples": len(contrast.samples),
                "n_pairs": contrast.n_blocks if design.blocks else 0,
                "within": float(apart[same & upper].mean()),
                "between": float(apart[~same & upper].mean()),
                "above_noise_within": float(noisy[same & upper].mean()),
                "above_noise": float(noisy[~same & upper].mean()),
                "silhouette": float(scores[0]),
                "silhouette_p": float(permutation_p(scores)),
                "n_permutations": len(contrast.treated),
                "smallest_p": contrast.smallest_p,
                "reason": None,
            }
        )
    table = pd.DataFrame(rows).reindex(columns=list(SEPARATION))
    return table.assign(silhouette_p_adjusted=adjusted_over_groups(table, "silhouette_p", options.fdr))


def silhouette(matrix: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Mean silhouette of several labellings of the same points; a point alone in its cluster counts 0.

    Parameters
    ----------
    matrix
        ``(n, n)`` distances.
    labels
        ``(n_labellings, n)`` integers.

    Returns
    -------
    ``(n_labellings,)`` in [-1, 1].
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


EFFECTS = ("effect", "effect_p", "effect_p_adjusted", "share_of_cells")


def measure_distances(
    model: MRVI, design: SampleDesign, options: SamplesOptions, seed: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Distances of samples, and what conditions do to them, in each group.

    Parameters
    ----------
    model
        Fitted ``MRVI`` with its cells.
    design
        Samples, conditions, groups.
    options
        Draws, permutations, least cells.
    seed
        Of draws, permutations and the choice of cells.

    Returns
    -------
    The table of :func:`.distances.tabulate_distances`; and that of :func:`.separation.separate_conditions` with
    ``effect`` (how far the condition moves a cell, units of z), ``effect_p`` (share of permutations that move the
    cells of the group as far), ``effect_p_adjusted`` and ``share_of_cells`` (cells that no more than ``fdr`` of the
    permutations move as far; NaN where there are too few permutations to say so).
    """
    log_forecast(model)
    sums = sum_distances(model, design.members)
    normalized = np.stack(
        [
            normalized_distances(
                model,
                design.chosen_cells(g, options.max_cells_per_group, seed),
                draws=options.noise_draws,
                seed=seed,
            )
            for g in track(range(len(design.groups)), "noise of sample distances", len(design.groups))
        ]
    )
    distances = tabulate_distances(sums, normalized, design, options)
    contrasts = make_contrasts(design, options, seed)
    table = separate_conditions(distances, design, contrasts, options)
    rows = []
    for (group, _), contrast in track(contrasts.items(), "effects of conditions", len(contrasts)):
        if isinstance(contrast, str):
            rows.append((np.nan, np.nan, np.nan))
            continue
        g = design.groups.index(group)
        cells = design.chosen_cells(g, options.max_cells_per_group, seed)
        tellable = contrast.smallest_p <= options.fdr
        rows.append(
            (
                *effect_of_contrast(sums.products[g], contrast),
                share_of_cells_moved(model, cells, contrast, options.fdr) if tellable else np.nan,
            )
        )
    effects = pd.DataFrame(rows, columns=["effect", "effect_p", "share_of_cells"], dtype=np.float64)
    table = pd.concat([table, effects], axis=1)
    table["effect_p_adjusted"] = adjusted_over_groups(table, "effect_p", options.fdr)
    order = [name for name in table.columns if name not in (*EFFECTS, "reason")]
    return distances, table[[*order, *EFFECTS, "reason"]]
