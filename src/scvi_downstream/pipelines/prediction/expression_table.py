"""Predicted and measured expression of every gene, and how far predictions follow genes across samples and types."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from scvi_downstream.pipelines.prediction.comparison import UNCHANGED, measured, pair_means, predict
from scvi_downstream.pipelines.prediction.groups import NamedGroup
from scvi_downstream.pipelines.prediction.scores import INTERVAL, pearson
from scvi_downstream.pipelines.prediction.weights import Weights, pair_weights

MIN_UNIT_CELLS, MIN_UNITS = 3, 5


def tabulate_expression(
    found: NamedGroup,
    tests: pd.DataFrame,
    whole: Weights,
    replicates: Weights,
    genes: pd.DataFrame,
    fdr: float,
) -> pd.DataFrame:
    """One row a gene: measured and predicted log mean expression with 95 % bootstrap intervals.

    Parameters
    ----------
    found
        The group.
    tests
        Of :func:`.measured_change.test_genes`.
    whole, replicates
        All cells once, and drawn with replacement.
    genes
        ``gene`` and ``symbol``.
    fdr
        At which a gene counts as responding.

    Returns
    -------
    ``target``, ``group``, ``gene``, ``symbol``, ``source`` and ``measured`` (log(1 + counts per 10,000 of the
    modelled genes)), ``change``, ``p_adjusted``, ``responds``; by method its name, ``…_lower``, ``…_upper``, and for
    its change ``…_change``. The intervals are over cells (and samples), with the models as they are.
    """
    group = found.cells
    true, drawn = measured(group, whole), measured(group, replicates)
    low, high = np.nanpercentile(drawn.expression, INTERVAL, axis=0)
    source, blocks = group.all_source
    weights = pair_weights(blocks, group.blocks.target, group.blocks.n)
    before, _ = pair_means(source, group.target, (weights[0][None], weights[1][None]))
    table = genes.assign(
        target=found.target,
        group=found.name,
        source=before[0],
        measured=true.expression[0],
        measured_lower=low,
        measured_upper=high,
        change=true.change[0],
        p_adjusted=tests["p_adjusted"].to_numpy(),
        responds=(tests["p_adjusted"] <= fdr).to_numpy(),
    )
    drawn_predictions = predict(group, replicates)
    for method, prediction in predict(group, whole).items():
        if method.endswith(UNCHANGED):
            continue
        low, high = np.nanpercentile(drawn_predictions[method].expression, INTERVAL, axis=0)
        table[method] = prediction.expression[0]
        table[f"{method}_lower"], table[f"{method}_upper"] = low, high
        table[f"{method}_change"] = prediction.change[0]
    first = ["target", "group"]
    return table[[*first, *[name for name in table if name not in first]]]


def units_of(found: NamedGroup) -> list[dict[str, np.ndarray]]:
    """Measured and predicted values of each sample with enough cells of both conditions.

    Returns
    -------
    A dictionary a sample: ``expression`` and ``change`` as measured, ``expression_<method>`` and ``change_<method>``
    as predicted, each ``(n_genes,)``.
    """
    group = found.cells
    units = []
    for block in range(group.blocks.n):
        chosen = [
            codes == block for codes in (group.blocks.source, group.blocks.reference, group.blocks.target)
        ]
        if min(each.sum() for each in chosen) < MIN_UNIT_CELLS:
            continue
        weights = Weights(*(each[None] / each.sum() for each in chosen))
        true = measured(group, weights)
        unit = {"expression": true.expression[0], "change": true.change[0]}
        for method, prediction in predict(group, weights).items():
            unit[f"expression_{method}"] = prediction.expression[0]
            unit[f"change_{method}"] = prediction.change[0]
        units.append(unit)
    return units


def correlate_genes(units: Mapping[str, list[dict[str, np.ndarray]]], genes: pd.DataFrame) -> pd.DataFrame:
    """Per gene, Pearson's correlation of predicted and measured values across samples and cell types.

    Parameters
    ----------
    units
        By target, those of :func:`units_of` of all groups.
    genes
        ``gene`` and ``symbol``.

    Returns
    -------
    ``target``, ``gene``, ``symbol``, ``n_units``, ``mean_change``, and by method ``pearson_…`` (of expression) and
    ``pearson_change_…``; no row
    where there are fewer than 5 units.
    """
    tables = []
    for target, found in units.items():
        if len(found) < MIN_UNITS:
            continue
        shared = [name for name in found[0] if all(name in unit for unit in found)]
        stacked = {name: np.array([unit[name] for unit in found]).T for name in shared}
        table = genes.assign(target=target, n_units=len(found), mean_change=stacked["change"].mean(axis=1))
        for name, values in stacked.items():
            kind, _, method = name.partition("_")
            if method:
                column = f"pearson_{method}" if kind == "expression" else f"pearson_change_{method}"
                table[column] = pearson(values, stacked[kind])
        tables.append(table[["target", *[name for name in table if name != "target"]]])
    if tables:
        return pd.concat(tables, ignore_index=True).dropna(axis="columns", how="all")
    return pd.DataFrame(columns=["target", "gene", "symbol", "n_units", "mean_change"])
