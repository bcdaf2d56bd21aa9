"""The annotations to analyse: found, joined, typed, described, and tested against the latent."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys, Replicates
from scvi_downstream.cells.obs import (
    align_metadata,
    as_categories,
    constant_within,
    typed_values,
    unmatched_sentence,
)
from scvi_downstream.cells.samples import Samples, find_samples
from scvi_downstream.pipelines.metadata.options import MetadataAnalysisOptions
from scvi_downstream.pipelines.preparation.options import PreparationOptions
from scvi_downstream.runtime.errors import InputError, closest
from scvi_downstream.runtime.options import UNKNOWN
from scvi_downstream.runtime.slow_types import AnnData
from scvi_downstream.statistics.association import associate
from scvi_downstream.statistics.designs import Design, SampleColumn, sample_columns

logger = logging.getLogger(__name__)

DESCRIPTION = ["column", "source", "type", "unit", "n_values", "n_missing", "first_values", "note"]
N_EXAMPLES = 3
"""Values of a column that its description shows."""
MOST_CODES = 10
"""A column of no more whole numbers may hold codes of groups, which the user is told."""


def join_annotations(
    counts: AnnData,
    metadata: pd.DataFrame | None,
    keys: Replicates,
    preparation: PreparationOptions,
    options: MetadataAnalysisOptions,
) -> tuple[pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """The columns to analyse, what each was taken for, and what of the table found no cell.

    Parameters
    ----------
    counts, metadata
        obs may hold the table's columns already; the user's table by cell or by sample, or ``None``.
    keys, preparation, options
        The study's obs columns; ``metadata_key``, the column to join on; columns to analyse.

    Returns
    -------
    Cells × columns, numbers as float64, others as categories; one row a column; facts of the join.

    Raises
    ------
    InputError
        See :func:`gather_columns` and :func:`~scvi_downstream.cells.samples.find_samples`.
    """
    gathered, sources, facts = gather_columns(counts.obs, metadata, keys, preparation.metadata_key, options)
    if (unmatched := unmatched_sentence(facts)) is not None:
        logger.warning(unmatched)
    usable, samples, columns = analysed_columns(gathered, counts.obs, keys, options)
    notes = how_tested(usable, samples, columns, keys)
    described = _describe_columns(gathered, sources, samples, notes, options)
    for row in described.itertuples():
        logger.info(
            "%s (%s values, %s: %s): %s", row.column, row.n_values, row.type, row.first_values, row.note
        )
    return gathered.rename_axis("cell"), described, facts


def gather_columns(
    obs: pd.DataFrame,
    metadata: pd.DataFrame | None,
    keys: Keys,
    metadata_key: str | None,
    options: MetadataAnalysisOptions,
) -> tuple[pd.DataFrame, pd.Series, dict[str, Any]]:
    """Columns to analyse, of obs and of the user's table.

    Parameters
    ----------
    obs
        One row a cell; may hold the table's columns already.
    metadata, keys
        One row a cell or a sample, or ``None``; the condition and the covariates are analysed by default.
    metadata_key, options
        Column of the table to join on; ``columns`` to analyse instead.

    Returns
    -------
    Cells × columns as :func:`.typed_values` makes them; where each comes from (``obs``, ``table``, ``obs and table``);
    the facts of the join, empty without a table.

    Raises
    ------
    InputError
        Nothing to analyse, a column that does not exist, or a column of the table that obs holds with other
        values.
    """
    table, facts = pd.DataFrame(index=obs.index), dict[str, Any]()
    if metadata is not None:
        table, facts = align_metadata(obs, metadata, metadata_key, keys.sample_key)
        table = table.rename(columns=lambda name: str(name).replace("/", "_"))
        _require_same_values(obs, table, keys)
    names = _choose_columns(obs, table, keys, options)
    held = {"obs": obs, "table": table}
    sources = {name: " and ".join(where for where in held if name in held[where]) for name in names}
    columns = {name: typed_values(obs[name] if name in obs else table[name]) for name in names}
    return pd.DataFrame(columns, index=obs.index), pd.Series(sources, dtype=object), facts


def _choose_columns(
    obs: pd.DataFrame, table: pd.DataFrame, keys: Keys, options: MetadataAnalysisOptions
) -> list[str]:
    if options.columns is None:
        condition = [keys.condition_key] if keys.condition_key else []
        names = [*table.columns, *condition, *keys.categorical_covariates, *keys.continuous_covariates]
    else:
        names = list(options.columns)
        known = [*map(str, obs.columns), *map(str, table.columns)]
        for name in names:
            if name not in known:
                raise InputError(
                    f"metadata_analysis.columns names '{name}', which is neither in obs nor in the metadata table"
                    f"{closest(name, known)}"
                )
    if not names:
        raise InputError(
            "there is no column to analyse: give a table by metadata=<CSV, TSV or Parquet>, set condition_key, or "
            "name obs columns in metadata_analysis.columns"
        )
    return list(dict.fromkeys(names))


def _require_same_values(obs: pd.DataFrame, table: pd.DataFrame, keys: Keys) -> None:
    for name in table.columns.intersection(obs.columns):
        compared = table[name].notna().to_numpy()
        if name == keys.label_key:
            compared &= obs[name].astype(str).to_numpy() != UNKNOWN
        ours, theirs = obs.loc[compared, name], table.loc[compared, name]
        differ = ~_equal_values(ours, theirs)
        if differ.any():
            at = int(np.argmax(differ))
            raise InputError(
                f"metadata column '{name}' is in obs with other values ({int(differ.sum()):,} cells differ, first "
                f"'{ours.index[at]}': '{ours.iloc[at]}' in obs, '{theirs.iloc[at]}' in the table); rename it in "
                "the metadata table, or run preparation again with this table"
            )


def _equal_values(ours: pd.Series, theirs: pd.Series) -> np.ndarray:
    mine, other = typed_values(ours), typed_values(theirs)
    if is_number(mine) and is_number(other):
        return np.isclose(mine, other, rtol=1e-5, equal_nan=True)
    left, right = (np.asarray(as_categories(values), dtype=object) for values in (ours, theirs))
    return (left == right) | (pd.isna(left) & pd.isna(right))


def is_number(values: pd.Series) -> bool:
    """Whether :func:`~scvi_downstream.cells.obs.typed_values` took a column for numbers."""
    return not isinstance(values.dtype, pd.CategoricalDtype)


def analysed(annotations: pd.DataFrame, options: MetadataAnalysisOptions) -> pd.DataFrame:
    """The columns that vary and have no more than ``max_categories`` categories."""
    return annotations[[name for name in annotations if not _why_not_analysed(annotations[name], options)]]


def _why_not_analysed(values: pd.Series, options: MetadataAnalysisOptions) -> str:
    n_values = values.nunique()
    if n_values < 2:
        return "not analysed: " + ("no value at all" if n_values == 0 else "the same in all cells")
    if not is_number(values) and n_values > options.max_categories:
        return f"not analysed: {n_values:,} categories, more than {options.max_categories}"
    return ""


def analysed_columns(
    annotations: pd.DataFrame, obs: pd.DataFrame, keys: Replicates, options: MetadataAnalysisOptions
) -> tuple[pd.DataFrame, Samples | None, dict[str, SampleColumn]]:
    """The annotations that are analysed, the study's samples, and the annotations that are constant within them.

    Parameters
    ----------
    annotations, obs
        Cells × columns as :func:`.typed_values` makes them; the same cells.
    keys, options
        Sample, condition and block; most categories of a column.
    """
    usable = analysed(annotations, options)
    samples = find_samples(obs, keys)
    return usable, samples, sample_columns(usable, samples, keys)


def _describe_columns(
    annotations: pd.DataFrame,
    sources: pd.Series,
    samples: Samples | None,
    notes: dict[str, str],
    options: MetadataAnalysisOptions,
) -> pd.DataFrame:
    """One row a column, ``DESCRIPTION``: where it comes from, what it was taken for, and how it is tested.

    ``unit`` is ``sample`` where it is constant within samples, else ``cell``.
    """
    rows = []
    for name, values in annotations.items():
        known = values.dropna()
        distinct = known.unique()
        examples = [f"{v:g}" if isinstance(v, float) else str(v) for v in distinct[:N_EXAMPLES]]
        note = notes.get(str(name), "")
        if is_number(values) and len(distinct) <= MOST_CODES and (known == known.round()).all():
            codes = "whole numbers, analysed as a number; write them as words to compare groups"
            note = f"{codes}; {note}" if note else codes
        rows.append(
            (
                name,
                sources[name],
                "number" if is_number(values) else "categories",
                "sample" if samples is not None and constant_within(values, samples.of_cell) else "cell",
                len(distinct),
                int(values.isna().sum()),
                ", ".join(examples) + (", …" if len(distinct) > N_EXAMPLES else ""),
                _why_not_analysed(values, options) or note,
            )
        )
    return pd.DataFrame(rows, columns=DESCRIPTION)


def how_tested(
    annotations: pd.DataFrame, samples: Samples | None, columns: dict[str, SampleColumn], keys: Keys
) -> dict[str, str]:
    """By annotation: on how many samples it is tested, or why it is not, and what to be careful about.

    ``annotations`` are those that are analysed, ``columns`` those of them that are constant within samples.
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
            notes[name] = _describe_test(columns[name], samples)
            if twin := _indistinguishable_from(name, columns):
                notes[name] += (
                    f"; divides the samples exactly as '{twin}' does: their effects cannot be told apart"
                )
    return notes


def _describe_test(column: SampleColumn, samples: Samples) -> str:
    design = column.design(column.values.index)
    if not isinstance(design, Design):
        return f"not tested: {design}"
    tested = f"tested on {len(design.units)} {column.unit}s"
    if column.unit == "block":
        return f"{tested} ('{samples.block_name}'), within which it is constant"
    within = f", within {design.n_blocks} blocks of {samples.blocks_in_words}" if design.n_blocks else ""
    return f"{tested}{within}"


def _indistinguishable_from(name: str, columns: dict[str, SampleColumn]) -> str | None:
    """Another annotation that divides the samples in the same way."""
    mine = columns[name].values
    for other, column in columns.items():
        theirs = column.values
        if other == name or not mine.index.equals(theirs.index) or mine.nunique() != theirs.nunique():
            continue
        pairs = np.column_stack([pd.factorize(mine)[0], pd.factorize(theirs)[0]])
        if len(np.unique(pairs, axis=0)) == mine.nunique():
            return other
    return None


def associate_annotations(
    latent: pd.DataFrame,
    annotations: pd.DataFrame,
    counts: AnnData,
    keys: Replicates,
    options: MetadataAnalysisOptions,
) -> pd.DataFrame:
    """Every latent dimension against every annotation, on the units of which the annotation is constant.

    Parameters
    ----------
    latent
        Cells × dimensions.
    annotations
        The same cells × annotations; those that are constant within blocks are tested on blocks.
    counts
        The same cells.
    keys, options
        Sample, condition and block.

    Returns
    -------
    As of :func:`~scvi_downstream.statistics.association.associate`, ``unit`` being cell, sample or block;
    ``p_adjusted`` is over the tests of one unit.
    """
    usable, samples, columns = analysed_columns(annotations, counts.obs, keys, options)
    usable = usable.set_axis(latent.index)
    by_block = [name for name, column in columns.items() if column.unit == "block"]
    levels = [] if samples is None else samples.levels
    tables = [associate(latent, usable.drop(columns=by_block), *levels)]
    if by_block:
        on_blocks = associate(latent, usable[by_block], columns[by_block[0]].unit_of_cell.rename(None))
        tables.append(on_blocks.assign(unit="block"))
    table = pd.concat([each for each in tables if len(each)] or tables[:1], ignore_index=True)
    order = {str(name): position for position, name in enumerate(usable)}
    rows = np.argsort(table["covariate"].map(order).to_numpy(), kind="stable")
    return table.iloc[rows].reset_index(drop=True)
