"""Comparisons of differential expression tested on counts summed by sample."""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Replicates
from scvi_downstream.cells.obs import as_categories
from scvi_downstream.cells.samples import find_samples
from scvi_downstream.runtime.progress import track
from scvi_downstream.runtime.slow_types import AnnData
from scvi_downstream.statistics.comparisons import Comparison
from scvi_downstream.statistics.designs import SampleColumn, condition_column
from scvi_downstream.statistics.pseudobulk import test_cells

logger = logging.getLogger(__name__)
PSEUDOBULK_COLUMNS = [
    "grouping", "comparison", "gene", "lfc", "lfc_se", "statistic", "p_value", "p_adjusted",
    "n_samples1", "n_samples2",
]  # fmt: skip
_NAMES = {"effect": "lfc", "error": "lfc_se", "p": "p_value"}
FIRST, SECOND = "first", "second"


def compare_pseudobulk(counts: AnnData, comparisons: list[Comparison], keys: Replicates) -> pd.DataFrame:
    """Moderated t-tests of counts summed by sample; see :func:`~scvi_downstream.statistics.pseudobulk.test_sums`.

    Conditions are compared as in every other analysis, on the samples and blocks of
    :func:`~scvi_downstream.cells.samples.find_samples`. Of other groups, samples with cells in both enter as pairs;
    where these are too few, samples of one group are compared with samples of the other, within blocks that hold both.

    Parameters
    ----------
    counts, comparisons
        Raw counts of all genes; pairs of groups.
    keys
        Samples, conditions and blocks, and how many of them are enough.

    Returns
    -------
    One row a gene tested and comparison: ``lfc`` (log2) and its standard error, ``statistic`` (t), p-value and
    Benjamini & Hochberg's adjusted one, numbers of samples.
    """
    found = find_samples(counts.obs, keys)
    condition = condition_column(counts.obs, found, keys)
    samples = pd.Series(as_categories(counts.obs[keys.sample_key]), index=counts.obs_names)
    block = None if found is None else found.block
    tables, too_few = [], []
    for comparison in track(comparisons, "pseudobulk tests", len(comparisons)):
        column, cells = condition, comparison.within
        contrast = f"{comparison.group1} vs {comparison.group2}"
        if cells is None:
            column, cells = two_sides(comparison, samples, block, keys), comparison.cells1 | comparison.cells2
            contrast = f"{FIRST} vs {SECOND}"
        tests = {} if column is None else test_cells(counts, column, cells)
        if contrast in tests:
            named = tests[contrast].rename(columns=_NAMES)
            named = named.assign(grouping=comparison.grouping, comparison=comparison.name)
            tables.append(named.sort_values("p_value", kind="stable")[PSEUDOBULK_COLUMNS])
        else:
            too_few.append(comparison.name)
    if too_few:
        logger.info(
            "no pseudobulk test, as there are not %d samples of %d cells a side with counts enough: %s",
            keys.min_samples_per_group,
            keys.min_cells_per_sample,
            ", ".join(too_few),
        )
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=PSEUDOBULK_COLUMNS)


def two_sides(
    comparison: Comparison, samples: pd.Series, block: pd.Series | None, keys: Replicates
) -> SampleColumn:
    """The side, ``first`` or ``second``, of each part of a sample that is in a group.

    Where samples enough have cells in both groups only they are used, as pairs; otherwise those in one group only, for
    a sample on both sides would count as two independent ones. ``samples`` are string categories by cell; the
    ``block`` of a sample counts where as many blocks as samples are enough hold both sides.
    """
    names, codes = samples.cat.categories.astype(str), samples.cat.codes.to_numpy()
    sides = {FIRST: comparison.cells1, SECOND: comparison.cells2}
    of_side = {side: codes[cells & (codes >= 0)] for side, cells in sides.items()}
    n_cells = {side: np.bincount(found, minlength=len(names)) for side, found in of_side.items()}
    usable = pd.DataFrame(n_cells, index=names) >= keys.min_cells_per_sample
    both = usable.all(axis=1)
    paired = bool(both.sum() >= keys.min_samples_per_group)
    used = both if paired else usable.sum(axis=1) == 1
    parts = usable[used].stack()
    parts = parts.index[parts.to_numpy()]
    units = parts.get_level_values(0) + " | " + parts.get_level_values(1)
    side = np.select(list(sides.values()), list(sides), "")
    of_cell = samples.astype(object).astype(str) + " | " + side
    values = pd.Categorical(parts.get_level_values(1), categories=[SECOND, FIRST])
    blocks = pd.Series(parts.get_level_values(0), index=units)
    if not paired:
        blocks = blocks.map({} if block is None else block.astype(object).to_dict())
    n_sides = pd.Series(values, index=units).groupby(blocks).nunique()
    return SampleColumn(
        name=comparison.name,
        unit="sample",
        values=pd.Series(values, index=units),
        unit_of_cell=of_cell.where(of_cell.isin(units)).astype("category"),
        blocks=blocks if (n_sides == len(sides)).sum() >= keys.min_samples_per_group else None,
        min_cells=keys.min_cells_per_sample,
        min_samples=keys.min_samples_per_group,
    )
