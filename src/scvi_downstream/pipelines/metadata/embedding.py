"""Which latent dimensions follow which annotation."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scvi_downstream.pipelines.metadata.samples import SampleColumn, Samples
from scvi_downstream.statistics.association import associate


def associate_columns(
    latent: pd.DataFrame,
    annotations: pd.DataFrame,
    samples: Samples | None,
    columns: dict[str, SampleColumn],
) -> pd.DataFrame:
    """Every latent dimension against every annotation, on the units of which the annotation is constant.

    Parameters
    ----------
    latent
        Cells × dimensions.
    annotations
        The same cells × annotations.
    samples
        The replicates, or ``None``.
    columns
        Annotations that are constant within samples; those that are constant within blocks are tested on blocks.

    Returns
    -------
    As of :func:`~scvi_downstream.statistics.association.associate`, ``unit`` being cell, sample or block;
    ``p_adjusted`` is over the tests of one unit.
    """
    by_block = [name for name, column in columns.items() if column.unit == "block"]
    others = [name for name in annotations if name not in by_block]
    tables = [associate(latent, annotations[others], _of_cell(samples))]
    if by_block:
        on_blocks = associate(latent, annotations[by_block], columns[by_block[0]].unit_of_cell.rename(None))
        tables.append(on_blocks.assign(unit="block"))
    table = pd.concat([each for each in tables if len(each)] or tables[:1], ignore_index=True)
    order = {str(name): position for position, name in enumerate(annotations)}
    table = table.iloc[np.argsort(table["covariate"].map(order).to_numpy(), kind="stable")]
    return table.reset_index(drop=True)


def _of_cell(samples: Samples | None) -> pd.Series | None:
    return None if samples is None else samples.of_cell.rename(samples.name)
