"""Fit one model of the study."""

from __future__ import annotations

from functools import partial
from typing import Any

import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.families import parse_spec
from scvi_downstream.models.fitting import build_and_fit
from scvi_downstream.models.saved import SavedModel
from scvi_downstream.models.schedule import split_by
from scvi_downstream.runtime.slow_types import AnnData, BaseModelClass


def train_model(
    counts: AnnData,
    spec: dict[str, Any],
    keys: Keys,
    seed: int,
    accelerator: str,
    checkpoint: CheckpointStore,
    initial: SavedModel | None = None,
) -> tuple[BaseModelClass, pd.DataFrame, dict[str, Any]]:
    """Fit one model of the study on the highly variable genes.

    Parameters
    ----------
    counts
        Checked counts, ``n_cells × n_genes``.
    spec
        An entry of ``models:`` with its training options.
    keys
        obs columns of the study.
    seed
        The study's seed: of the split, and of all else unless the model has a seed of its own.
    accelerator
        ``auto``, ``cpu``, ``gpu`` or ``mps``.
    checkpoint
        Where an interrupted training is taken up.
    initial
        Fitted model whose weights are the start.

    Returns
    -------
    The trained scvi-tools model; its curves, one row an epoch; seconds, memory, epochs and sizes.
    """
    options = parse_spec(spec)
    result = build_and_fit(
        counts[:, counts.var["highly_variable"]].copy(),
        options,
        options.keys_seen(keys),
        seed=seed if options.seed is None else options.seed,
        accelerator=accelerator,
        checkpoints=checkpoint,
        initial=None if initial is None else partial(initial.attach, counts),
        split=split_by(options.training, counts.n_obs, seed),
    )
    return result.model, result.history, result.summary
