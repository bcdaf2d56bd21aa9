"""Which cells are measured, and what is known of each: its batch and its biology."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from scvi_downstream.errors import InputError
from scvi_downstream.metrics.eligibility import stratified_sample
from scvi_downstream.parameters import UNKNOWN, BatchEffectOptions, Keys

if TYPE_CHECKING:
    from anndata import AnnData


@dataclass(frozen=True)
class Design:
    """Batch and biology of ``n_cells`` cells.

    Attributes
    ----------
    cells
        Names, in the order of the counts.
    positions
        Rows of the counts.
    batches
        Batch of each cell.
    biology
        Label, or label and condition; ``None`` when neither is known.
    labels
        ``None`` without a label_key.
    samples
        ``None`` without a sample_key, or when samples are batches.
    known
        Whether label and condition are known, ``(n_cells,)``.
    dropped
        Columns of label and condition that are left out because no cell has a known value.
    """

    cells: pd.Index
    positions: np.ndarray
    batches: pd.Series
    biology: pd.Series | None
    labels: pd.Series | None
    samples: pd.Series | None
    known: np.ndarray
    dropped: tuple[str, ...] = ()

    def take(self, chosen: np.ndarray) -> Design:
        """The design of some of its cells, by position or mask."""
        return Design(
            cells=self.cells[chosen],
            positions=self.positions[chosen],
            batches=self.batches.iloc[chosen],
            biology=None if self.biology is None else self.biology.iloc[chosen],
            labels=None if self.labels is None else self.labels.iloc[chosen],
            samples=None if self.samples is None else self.samples.iloc[chosen],
            known=self.known[chosen],
            dropped=self.dropped,
        )


def choose_cells(counts: AnnData, keys: Keys, options: BatchEffectOptions, seed: int) -> Design:
    """All cells, or a sample stratified by batch, label and condition; the same for all measurements.

    Parameters
    ----------
    counts
        Counts whose obs holds the study's keys.
    keys
        ``batch_key`` is set.
    options
        About how many cells to keep, and folds: a batch keeps a cell a fold if it has as many.
    seed
        Of the sample.

    Raises
    ------
    InputError
        ``batch_key`` is not set.
    """
    obs = counts.obs
    if not keys.batch_key:
        raise InputError(
            "batch_key is empty, so batches cannot be compared; set batch_key to the obs column of donors, lanes or "
            f"technologies (obs has {', '.join(map(str, obs.columns[:8]))})"
        )
    names = [name for name in (keys.label_key, keys.condition_key) if name and name != keys.batch_key]
    columns = [obs[name] for name in (keys.batch_key, *names)]
    chosen = stratified_sample(columns, counts.n_obs, options.max_cells, seed)
    chosen = _top_up(chosen, obs[keys.batch_key], options.n_folds, seed)
    text = obs.iloc[chosen].astype(str)
    kept = _with_known_values(text, names)
    samples = text[keys.sample_key] if keys.sample_key and keys.sample_key != keys.batch_key else None
    return Design(
        cells=counts.obs_names[chosen],
        positions=chosen,
        batches=text[keys.batch_key],
        biology=text[kept].agg("\t".join, axis=1) if kept else None,
        labels=text[keys.label_key] if keys.label_key in kept else None,
        samples=samples,
        known=(text[kept] != UNKNOWN).all(axis=1).to_numpy(),
        dropped=tuple(name for name in names if name not in kept),
    )


def _with_known_values(text: pd.DataFrame, names: list[str]) -> list[str]:
    """Columns with a known value; the last are left out until some cell is known in all of them."""
    kept = [name for name in names if (text[name] != UNKNOWN).any()]
    while kept and not (text[kept] != UNKNOWN).all(axis=1).any():
        kept.pop()
    return kept


def _top_up(chosen: np.ndarray, batches: pd.Series, fewest: int, seed: int) -> np.ndarray:
    """The chosen cells, and others of batches with fewer than ``fewest`` chosen ones."""
    order = np.random.default_rng(seed).permutation(len(batches))
    is_left = ~np.isin(order, chosen)
    order = np.concatenate([chosen, order[is_left]])
    found = codes(batches.astype(str))[order]
    rank = pd.Series(found).groupby(found).cumcount()
    return np.sort(order[(np.arange(len(order)) < len(chosen)) | (rank.to_numpy() < fewest)])


def codes(values: pd.Series) -> np.ndarray:
    """Categories as whole numbers from 0, every one of which occurs."""
    return np.unique(values.to_numpy(dtype=str), return_inverse=True)[1]
