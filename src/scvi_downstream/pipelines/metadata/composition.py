"""How the cells of each sample are divided among clusters or cell types, and what that goes together with."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys, Replicates
from scvi_downstream.cells.samples import Samples, find_samples
from scvi_downstream.pipelines.metadata.annotations import analysed_columns
from scvi_downstream.pipelines.metadata.options import MetadataAnalysisOptions
from scvi_downstream.runtime.errors import InputError, closest
from scvi_downstream.runtime.options import UNKNOWN
from scvi_downstream.runtime.slow_types import AnnData
from scvi_downstream.statistics.designs import Contrast, Design, SampleColumn, contrast_tests
from scvi_downstream.statistics.moderated import fit_linear, moderate

COLUMNS = ["by", "sample", "group", "n", "total", "proportion"]
TEST_COLUMNS = [
    "column", "contrast", "group", "unit", "n_samples", "n_blocks", "proportion", "proportion_reference",
    "effect", "ci_lower", "ci_upper", "statistic", "df", "p", "p_adjusted",
]  # fmt: skip
ALL_CELLS = "all cells"


def tabulate_composition(
    counts: AnnData, clusters: pd.DataFrame, keys: Replicates, options: MetadataAnalysisOptions
) -> pd.DataFrame:
    """Cells of every group in every sample, else in every condition, as of :func:`tabulate`.

    Parameters
    ----------
    counts, clusters
        Labels, samples and conditions of the cells; clusterings of the same cells.
    keys, options
        Names of the obs columns; the grouping.
    """
    samples = find_samples(counts.obs, keys)
    units = counts.obs[keys.condition_key] if keys.condition_key else None
    if samples is not None:
        units = samples.of_cell.rename(samples.name)
    return tabulate(find_groups(counts, clusters, keys, options), units)


def find_groups(
    counts: AnnData, clusters: pd.DataFrame, keys: Keys, options: MetadataAnalysisOptions
) -> pd.Series:
    """The cells' groups: ``options.groups``, else the labels, else the recommended clusters.

    Returns
    -------
    Categories of strings by cell, named after their column; missing where a label is ``unknown``.

    Raises
    ------
    InputError
        ``options.groups`` is neither a clustering nor in obs.
    """
    name = options.groups or keys.label_key or "leiden"
    for table in (clusters, counts.obs):
        if name in table:
            values = table[name].reindex(counts.obs_names).astype("category")
            texts = values.cat.rename_categories(values.cat.categories.astype(str))
            return texts.cat.remove_categories([c for c in texts.cat.categories if c == UNKNOWN]).rename(name)
    known = [*clusters.columns, *counts.obs.columns]
    raise InputError(
        f"metadata_analysis.groups '{name}' is neither a clustering nor in obs{closest(name, known)}"
    )


def tabulate(groups: pd.Series, units: pd.Series | None) -> pd.DataFrame:
    """Cells of every group in every sample or condition; cells without a group do not count.

    ``units`` are named after what they are; ``None``: all cells are one row a group. Every pair of a unit and a
    group has its row of ``by`` (what the rows are of), ``sample``, ``group``, ``n``, ``total`` and ``proportion``.
    """
    of_cell = pd.Series(ALL_CELLS, index=groups.index, name=ALL_CELLS) if units is None else units
    of_cell = of_cell.astype("category")
    known = groups.notna() & of_cell.notna()
    names = [str(name) for name in of_cell.cat.categories]
    n = np.zeros((len(names), len(groups.cat.categories)), dtype=np.int64)
    np.add.at(n, (of_cell.cat.codes.to_numpy()[known], groups.cat.codes.to_numpy()[known]), 1)
    total = n.sum(axis=1)
    kept = total > 0
    columns = {
        "by": str(of_cell.name),
        "sample": np.repeat(np.array(names, dtype=object)[kept], n.shape[1]),
        "group": np.tile(groups.cat.categories.to_numpy(dtype=object), int(kept.sum())),
        "n": n[kept].ravel(),
        "total": np.repeat(total[kept], n.shape[1]),
    }
    table = pd.DataFrame(columns)
    return table.assign(proportion=table["n"] / table["total"])[COLUMNS]


def compare_composition(
    composition: pd.DataFrame,
    annotations: pd.DataFrame,
    counts: AnnData,
    keys: Replicates,
    options: MetadataAnalysisOptions,
) -> pd.DataFrame:
    """Tests of the annotations that are constant within samples against the share of each group.

    Parameters
    ----------
    composition, annotations, counts
        Of :func:`tabulate_composition`; cells × columns; the same cells.
    keys, options
        Sample, condition and block; what is enough to be tested.

    Returns
    -------
    As of :func:`compare_shares`; no rows without samples.
    """
    _, samples, columns = analysed_columns(annotations, counts.obs, keys, options)
    return compare_shares(composition, columns.values(), samples)


def compare_shares(
    composition: pd.DataFrame, columns: Iterable[SampleColumn], samples: Samples | None
) -> pd.DataFrame:
    """Tests of each annotation against the share of each group, with samples as replicates.

    Shares are logit-transformed, with half a cell added to every count, and each group is fitted by a linear model
    of the annotation and, where there are blocks, of the block; variances are moderated over the groups, with two
    groups, which mirror each other, they are not. One group's share cannot rise without another's falling, so a
    single change can show in several groups. Without samples nothing can be tested.

    Returns
    -------
    One row an annotation, contrast and group: ``effect`` with its 95 % interval is the difference of the
    log-odds (natural logarithm; a slope: per unit; any difference: none), ``proportion`` and
    ``proportion_reference`` the mean shares of the two categories; BH within annotation and contrast, the
    smallest p-value first.

    References
    ----------
    Phipson et al. (2022), doi:10.1093/bioinformatics/btac582.
    """
    tables = [pd.DataFrame(columns=TEST_COLUMNS)]
    if samples is None or composition.empty:
        return tables[0]
    cells = composition.pivot_table(index="sample", columns="group", values="n", aggfunc="sum", sort=False)
    cells.index = cells.index.astype(str)
    for column in columns:
        of_unit = cells
        if column.unit == "block" and samples.block is not None:
            of_unit = cells.groupby(samples.block.reindex(cells.index).astype(str).to_numpy()).sum()
        of_unit = of_unit[of_unit.sum(axis=1) >= column.min_cells]
        design = column.design(of_unit.index)
        if isinstance(design, Design):
            tables.append(_test_shares(of_unit.loc[design.units], column, design))
    return pd.concat(tables[1:] or tables, ignore_index=True)


def log_odds(cells: np.ndarray) -> np.ndarray:
    """Log-odds of each group's share of each sample, half a cell added to every count of ``(n_samples, n_groups)``."""
    added = cells + 0.5
    share = added / added.sum(axis=1, keepdims=True)
    return np.log(share / (1 - share))


def _test_shares(cells: pd.DataFrame, column: SampleColumn, design: Design) -> pd.DataFrame:
    fit = fit_linear(log_odds(cells.to_numpy(dtype=np.float64)), design.matrix)
    # Shares sum to one: with as many degrees of freedom as groups, few groups would be called too often.
    variances = moderate(fit, n_independent=(cells.shape[1] - 1) / 2)
    shares = cells.div(cells.sum(axis=1), axis=0)
    values = column.values.reindex(design.units)
    facts = {"group": cells.columns.to_numpy(), "n_samples": len(design.units), "df": variances.df}
    tables = [
        tests.assign(**facts, **_mean_shares(shares, values, contrast)).sort_values("p", kind="stable")
        for contrast, tests in contrast_tests(fit, variances, column, design)
    ]
    return pd.concat([table.reindex(columns=TEST_COLUMNS) for table in tables], ignore_index=True)


def _mean_shares(shares: pd.DataFrame, values: pd.Series, contrast: Contrast) -> dict[str, np.ndarray]:
    if not contrast.level:
        return {"proportion": shares.mean().to_numpy()}
    texts = values.astype(str).to_numpy()
    return {
        "proportion": shares[texts == contrast.level].mean().to_numpy(),
        "proportion_reference": shares[texts == contrast.reference].mean().to_numpy(),
    }
