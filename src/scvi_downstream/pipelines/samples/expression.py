"""What a condition changes in the expression of the cells of a group, and their expression as of each sample."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scvi_downstream.cells.expression import symbols_of
from scvi_downstream.cells.keys import Replicates
from scvi_downstream.cells.samples import find_samples
from scvi_downstream.models.mrvi import decode, gene_positions, local_states
from scvi_downstream.models.saved import SavedModel
from scvi_downstream.pipelines.samples.design import ALL_CELLS, Contrast, make_contrasts, sample_design
from scvi_downstream.pipelines.samples.distances import LARGEST_BATCH, attach_mrvi
from scvi_downstream.pipelines.samples.options import SamplesOptions
from scvi_downstream.runtime.progress import Progress
from scvi_downstream.runtime.slow_types import MRVI, AnnData, Tensor
from scvi_downstream.statistics.designs import condition_column
from scvi_downstream.statistics.pseudobulk import test_cells

PER_CELL = 1e4
"""Counts of a cell in which expression is given."""
PSEUDOBULK = {"effect": "pseudobulk_lfc", "p": "pseudobulk_p", "p_adjusted": "pseudobulk_p_adjusted"}
CHANGES = (
    "group", "condition", "reference", "gene", "mean_condition", "mean_reference", "lfc", "lfc_sd",
    "share_of_cells", "rank", "pseudobulk_lfc", "pseudobulk_p", "pseudobulk_p_adjusted",
)  # fmt: skip


def compare_sample_expression(
    fitted: SavedModel,
    counts: AnnData,
    clusters: pd.DataFrame,
    keys: Replicates,
    options: SamplesOptions,
    seed: int,
    accelerator: str,
) -> pd.DataFrame:
    """Genes that each condition changes in each group, by the model and by sums of counts.

    Parameters
    ----------
    fitted, counts, clusters, keys, options, seed, accelerator
        As of :func:`.comparison.compare_samples`.

    Returns
    -------
    One row a group, condition and gene: :data:`CHANGES` and ``symbol``. ``lfc`` is the mean over cells of the
    difference of log2 of counts per 10,000 plus one, between the cell under the mean shift of the samples of the
    condition and under that of the reference; ``lfc_sd`` its spread over cells; ``share_of_cells`` those that change
    by ``min_lfc`` in the direction of the mean. ``pseudobulk_…`` is
    :func:`~scvi_downstream.statistics.pseudobulk.test_sums`, on all genes and without the model.

    References
    ----------
    Boyeau et al. (2024), doi:10.1101/2022.10.04.510898.
    """
    model = attach_mrvi(fitted, counts, accelerator)
    genes = model.adata.var_names
    symbols = symbols_of(counts.var).reindex(genes)
    design = sample_design(counts, clusters, keys, options)
    contrasts = make_contrasts(design, options, seed)
    column = condition_column(counts.obs, find_samples(counts.obs, keys), keys)
    tests: dict[str, dict[str, pd.DataFrame]] = {}
    progress = Progress("differential expression by MrVI", len(contrasts))
    tables = [pd.DataFrame(columns=[*CHANGES, "symbol"])]
    for (group, condition), contrast in contrasts.items():
        progress.advance()
        if isinstance(contrast, str):
            continue
        g = design.groups.index(group)
        cells = design.chosen_cells(g, options.max_cells_per_group, seed)
        changes = change_of_expression(model, cells, contrast, options.min_lfc)
        if column is not None and group not in tests:
            tests[group] = test_cells(counts, column, design.members[g])
        nothing = pd.DataFrame(columns=["gene", *PSEUDOBULK])
        bulk = tests.get(group, {}).get(f"{condition} vs {design.reference}", nothing).set_index("gene")
        bulk = bulk[[*PSEUDOBULK]].reindex(genes).astype(np.float64).rename(columns=PSEUDOBULK)
        table = pd.concat([changes, bulk.reset_index(drop=True)], axis=1).assign(
            group=group,
            condition=condition,
            reference=design.reference,
            gene=genes.astype(str),
            rank=changes["lfc"].abs().rank(ascending=False, method="first").astype(np.int64),
            symbol=np.asarray(symbols, dtype=object),
        )
        tables.append(table[[*CHANGES, "symbol"]])
    return pd.concat(tables[1:] or tables, ignore_index=True)


def change_of_expression(model: MRVI, cells: np.ndarray, contrast: Contrast, min_lfc: float) -> pd.DataFrame:
    """Mean and spread over cells (positions) of what a condition changes, gene by gene, in blocks of cells.

    The fit of a condition on shifts is that of least squares with a constant (and pairs); scvi-tools'
    ``differential_expression`` has no constant, so that its fold changes are those between the condition and all
    samples, half as large where conditions are balanced.

    One row a gene: ``mean_condition``, ``mean_reference`` (counts per 10,000), ``lfc``, ``lfc_sd``,
    ``share_of_cells`` that change by ``min_lfc``.
    """
    sums = np.zeros((6, model.adata.n_vars))
    for states in local_states(model, cells, samples=contrast.samples, batch_size=LARGEST_BATCH):
        treated, reference = (
            decode(model, states, states.base + _mean_shift(states.shifts, weights)).double() * PER_CELL
            for weights in contrast.means()
        )
        change = (treated + 1).log2() - (reference + 1).log2()
        added = (treated, reference, change, change**2, change >= min_lfc, change <= -min_lfc)
        for row, values in enumerate(added):
            sums[row] += values.double().sum(dim=0).cpu().numpy()
    treated, reference, first, second, up, down = sums / len(cells)
    table = pd.DataFrame({"mean_condition": treated, "mean_reference": reference, "lfc": first})
    spread = np.sqrt(np.maximum(second - first**2, 0))
    return table.assign(lfc_sd=spread, share_of_cells=np.where(first >= 0, up, down))


def _mean_shift(shifts: Tensor, weights: np.ndarray) -> Tensor:
    import torch

    of_samples = torch.as_tensor(weights, dtype=shifts.dtype, device=shifts.device)
    return torch.einsum("nsl,s->nl", shifts, of_samples)


def decode_as_samples(
    fitted: SavedModel,
    counts: AnnData,
    clusters: pd.DataFrame,
    sample_expression: pd.DataFrame,
    keys: Replicates,
    options: SamplesOptions,
    seed: int,
    accelerator: str,
) -> pd.DataFrame:
    """Mean expression of the cells of each group as if all of them were of one sample, for every sample.

    The genes are those of ``samples.genes``, or those that conditions change most over all cells, or else the most
    variable ones.

    Parameters
    ----------
    sample_expression
        Of :func:`compare_sample_expression`.
    fitted, counts, clusters, keys, options, seed, accelerator
        As of :func:`.comparison.compare_samples`.

    Returns
    -------
    ``group``, ``sample``, ``condition``, ``gene``, ``counterfactual`` (counts per 10,000 of the modelled genes,
    all cells of the group), ``observed`` (the same of the sample's own cells of the group, from their counts; NaN
    without cells), ``n_cells``, ``n_cells_observed``.

    Raises
    ------
    InputError
        A gene is not modelled; names the closest.
    """
    model = attach_mrvi(fitted, counts, accelerator)
    design = sample_design(counts, clusters, keys, options)
    genes = list(options.genes)
    if not genes:
        whole = sample_expression[sample_expression["group"] == ALL_CELLS]
        changed = whole.sort_values("rank", kind="stable")["gene"].drop_duplicates()
        genes = changed.head(options.top_genes).tolist()
    if not genes:
        variable = counts.var.loc[model.adata.var_names].sort_values("highly_variable_rank", kind="stable")
        genes = variable.index[: options.top_genes].tolist()
    columns = gene_positions(model, genes)
    matrix = model.adata.X.tocsr()
    totals = np.asarray(matrix.sum(axis=1)).ravel()
    shares = PER_CELL * matrix[:, columns].toarray() / np.maximum(totals, 1)[:, None]
    tables = []
    for g, group in enumerate(design.groups):
        cells = design.chosen_cells(g, options.max_cells_per_group, seed)
        sums = np.zeros((len(design.samples), len(genes)))
        label = f"counterfactual expression, {group}"
        for states in local_states(model, cells, batch_size=LARGEST_BATCH, label=label):
            for s in range(len(design.samples)):
                decoded = decode(model, states, states.base + states.shifts[:, s])[:, columns]
                sums[s] += PER_CELL * decoded.double().sum(dim=0).cpu().numpy()
        for s, sample in enumerate(design.samples):
            own = design.members[g] & (design.of_cell == s)
            means = {
                "group": group,
                "sample": sample,
                "condition": design.conditions[s] if design.conditions else None,
                "gene": genes,
                "counterfactual": sums[s] / len(cells),
                "observed": shares[own].mean(axis=0) if own.any() else np.nan,
                "n_cells": len(cells),
                "n_cells_observed": int(own.sum()),
            }
            tables.append(pd.DataFrame(means))
    return pd.concat(tables, ignore_index=True)
