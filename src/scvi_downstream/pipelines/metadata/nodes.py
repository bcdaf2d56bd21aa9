"""What annotations of cells and samples go together with: embedding, composition, expression."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.cells.obs import unmatched_sentence
from scvi_downstream.pipelines.metadata import composition, expression
from scvi_downstream.pipelines.metadata import expression as cell_expression
from scvi_downstream.pipelines.metadata.annotations import analysed, describe_columns, gather_columns
from scvi_downstream.pipelines.metadata.designs import SampleColumn, Samples, find_samples, sample_columns
from scvi_downstream.pipelines.metadata.options import MetadataAnalysisOptions
from scvi_downstream.pipelines.metadata.plots import (
    draw_composition,
)
from scvi_downstream.pipelines.metadata.report import how_tested, summarize, units_of
from scvi_downstream.pipelines.preparation.options import PreparationOptions
from scvi_downstream.statistics.association import associate

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.figure import Figure
else:  # Kedro resolves the annotations at every command, and importing these is slow
    AnnData = Figure = Any

logger = logging.getLogger(__name__)


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


def join_annotations(
    counts: AnnData,
    metadata: pd.DataFrame | None,
    keys: Keys,
    preparation: PreparationOptions,
    options: MetadataAnalysisOptions,
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """The columns to analyse, what each was taken for, and what of the table found no cell.

    Parameters
    ----------
    counts
        obs may hold the table's columns already.
    metadata
        The user's table by cell or by sample, or ``None``.
    keys
        The study's obs columns.
    preparation
        ``metadata_key``, the column to join on.
    options
        Columns to analyse.

    Returns
    -------
    Cells × columns, numbers as float64, others as categories; one row a column; facts of the join.

    Raises
    ------
    InputError
        See `annotations.gather_columns` and `samples.find_samples`.
    """
    gathered, sources, facts = gather_columns(counts.obs, metadata, keys, preparation.metadata_key, options)
    if (unmatched := unmatched_sentence(facts)) is not None:
        logger.warning(unmatched)
    samples = find_samples(counts.obs, keys, options)
    usable = analysed(gathered, options)
    notes = how_tested(counts.obs, usable, samples, sample_columns(usable, samples), keys, options)
    described = describe_columns(gathered, sources, units_of(gathered, samples), notes, options)
    for row in described.itertuples():
        logger.info(
            "%s (%s values, %s: %s): %s", row.column, row.n_values, row.type, row.first_values, row.note
        )
    return gathered.rename_axis("cell"), described, facts


def associate_annotations(
    latent: pd.DataFrame,
    annotations: pd.DataFrame,
    counts: AnnData,
    keys: Keys,
    options: MetadataAnalysisOptions,
) -> pd.DataFrame:
    """Every latent dimension against every annotation; see `embedding.associate_columns`."""
    samples = find_samples(counts.obs, keys, options)
    usable = analysed(annotations, options)
    return associate_columns(latent, usable.set_axis(latent.index), samples, sample_columns(usable, samples))


def tabulate_composition(
    counts: AnnData, clusters: pd.DataFrame, keys: Keys, options: MetadataAnalysisOptions
) -> pd.DataFrame:
    """Cells of every group in every sample, else in every condition; see `composition.tabulate`."""
    samples = find_samples(counts.obs, keys, options)
    units = counts.obs[keys.condition_key] if keys.condition_key else None
    if samples is not None:
        units = samples.of_cell.rename(samples.name)
    return composition.tabulate(composition.find_groups(counts, clusters, keys, options), units)


def compare_composition(
    composition_table: pd.DataFrame,
    annotations: pd.DataFrame,
    counts: AnnData,
    keys: Keys,
    options: MetadataAnalysisOptions,
) -> pd.DataFrame:
    """Shares of groups against annotations of samples; see `composition.compare_composition`."""
    samples = find_samples(counts.obs, keys, options)
    columns = sample_columns(analysed(annotations, options), samples)
    return composition.compare_composition(composition_table, columns.values(), samples, options)


def compare_expression(
    counts: AnnData,
    clusters: pd.DataFrame,
    annotations: pd.DataFrame,
    keys: Keys,
    options: MetadataAnalysisOptions,
) -> pd.DataFrame:
    """Genes that go together with annotations.

    On counts summed by sample where an annotation is constant within samples (`expression.compare_on_samples`),
    otherwise on cells, within samples (`cell_expression.correlate_on_cells`).
    """
    samples = find_samples(counts.obs, keys, options)
    usable = analysed(annotations, options)
    columns = sample_columns(usable, samples)
    naming = [] if samples is None else [samples.name, samples.block_name, keys.sample_key]
    of_cells = usable[[name for name in usable if name not in columns and name not in naming]]
    groups = composition.find_groups(counts, clusters, keys, options)
    on_samples = expression.compare_on_samples(counts, groups, list(columns.values()), options)
    on_cells = cell_expression.correlate_on_cells(
        counts, of_cells, None if samples is None else samples.of_cell
    )
    return expression.join_in_order([on_samples, on_cells], list(usable))


def summarize_metadata(
    metadata_columns: pd.DataFrame,
    metadata_join: dict[str, Any],
    metadata_associations: pd.DataFrame,
    composition_tests: pd.DataFrame,
    metadata_genes: pd.DataFrame,
    keys: Keys,
    options: MetadataAnalysisOptions,
) -> dict[str, Any]:
    """What goes together with what, in numbers and sentences; see `summary.summarize`."""
    return summarize(
        metadata_columns,
        metadata_join,
        metadata_associations,
        composition_tests,
        metadata_genes,
        keys,
        options,
    )


def plot_composition(
    composition_table: pd.DataFrame,
    composition_tests: pd.DataFrame,
    annotations: pd.DataFrame,
    counts: AnnData,
    keys: Keys,
    options: MetadataAnalysisOptions,
) -> Figure:
    """Shares of each group by the condition, or the annotation with the smallest p; see `plots.composition`."""
    samples = find_samples(counts.obs, keys, options)
    columns = sample_columns(analysed(annotations, options), samples)
    return draw_composition(
        composition_table,
        composition_tests,
        {name: column.values for name, column in columns.items() if column.unit == "sample"},
        None if samples is None else samples.block,
        keys.condition_key,
        options.fdr,
    )
