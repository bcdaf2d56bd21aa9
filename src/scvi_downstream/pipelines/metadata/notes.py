"""How each annotation can be tested, in words."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scvi_downstream.parameters import Keys, MetadataAnalysisOptions
from scvi_downstream.pipelines.metadata.designs import Design, make_design
from scvi_downstream.pipelines.metadata.samples import (
    SampleColumn,
    Samples,
    pairing_column,
)
from scvi_downstream.samples import constant_within


def units_of(annotations: pd.DataFrame, samples: Samples | None) -> pd.Series:
    """``sample`` for annotations that are constant within samples, else ``cell``."""
    return pd.Series(
        {
            name: "sample" if samples is not None and constant_within(values, samples.of_cell) else "cell"
            for name, values in annotations.items()
        },
        dtype=object,
    )


def how_tested(
    obs: pd.DataFrame,
    annotations: pd.DataFrame,
    samples: Samples | None,
    columns: dict[str, SampleColumn],
    keys: Keys,
    options: MetadataAnalysisOptions,
) -> dict[str, str]:
    """By annotation: on how many samples it is tested, or why it is not, and what to be careful about.

    Parameters
    ----------
    obs
        One row a cell.
    annotations
        Those that are analysed.
    samples
        The replicates, or ``None``.
    columns
        Annotations that are constant within samples.
    keys
        Name the condition.
    options
        Least samples of a category.
    """
    if samples is None:
        return dict.fromkeys(annotations, "tested on cells, as sample_key is not set")
    notes = {}
    for name in annotations:
        if name in (samples.block_name, samples.name, keys.sample_key):
            notes[name] = "not tested: it names the samples or their blocks"
        elif name not in columns:
            notes[name] = "differs between cells of a sample: correlated with expression within samples"
        else:
            parts = [_tested(columns[name], samples, options), _twin(name, columns)]
            if name == keys.condition_key and samples.block is None:
                parts.append(_pairs(obs, samples, columns[name]))
            notes[name] = "; ".join(filter(None, parts))
    return notes


def _tested(column: SampleColumn, samples: Samples, options: MetadataAnalysisOptions) -> str:
    design = make_design(column.values, column.blocks, options.min_samples_per_group)
    if not isinstance(design, Design):
        return f"not tested: {design}"
    units = f"{len(design.units)} {column.unit}s"
    if column.unit == "block":
        return f"tested on {units} ('{samples.block_name}'), within which it is constant"
    within = f", within {design.n_blocks} blocks of '{samples.block_name}'" if design.n_blocks else ""
    return f"tested on {units}{within}"


def _twin(name: str, columns: dict[str, SampleColumn]) -> str:
    """Another annotation that divides the samples in the same way, so that the two cannot be told apart."""
    mine = columns[name].values
    for other, column in columns.items():
        theirs = column.values
        if other == name or not mine.index.equals(theirs.index) or mine.nunique() != theirs.nunique():
            continue
        pairs = np.column_stack([pd.factorize(mine)[0], pd.factorize(theirs)[0]])
        if len(np.unique(pairs, axis=0)) == mine.nunique():
            return f"divides the samples exactly as '{other}' does: their effects cannot be told apart"
    return ""


def _pairs(obs: pd.DataFrame, samples: Samples, column: SampleColumn) -> str:
    found = pairing_column(obs, samples, column.values)
    return (
        f"each '{found}' has samples of every value: metadata_analysis.block_key={found} compares within them"
        if found
        else ""
    )
