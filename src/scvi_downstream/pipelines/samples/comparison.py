"""How far samples and conditions lie apart in each group: what the nodes read from the model."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_downstream.parameters.samples import SamplesOptions
from scvi_downstream.progress import track

from .contrasts import make_contrasts
from .design import SampleDesign, adjusted_over_groups
from .distances import (
    effect_of_contrast,
    log_forecast,
    normalized_distances,
    share_of_cells_moved,
    sum_distances,
    tabulate_distances,
)
from .separation import separate_conditions

if TYPE_CHECKING:
    from scvi.external import MRVI

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
