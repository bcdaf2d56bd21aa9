"""Options of the prediction of expression under other conditions."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, PositiveInt

from scvi_downstream.runtime.options import Options, Share

# As `models.mrvi` has it: scvi-tools' own training of MrVI.
MRVI_TRAINING = {
    "batch_size": 256,
    "lr": 0.002,
    "eps": 1e-8,
    "weight_decay": 1e-8,
    "n_epochs_kl_warmup": 20,
    "gradient_clip_val": 40,
    "early_stopping_patience": 15,
}


class PredictionOptions(Options):
    """Which condition is predicted from which, what is held out, and how predictions are scored."""

    source: str | None = None
    target: tuple[str, ...] | None = None
    max_targets: PositiveInt = 3
    held_out_share: Share = 0.5
    max_groups: PositiveInt = 3
    min_cells: Annotated[int, Field(ge=4)] = 15
    max_cells: PositiveInt = 2000
    n_samples: PositiveInt = 5
    n_bootstrap: Annotated[int, Field(ge=20)] = 200
    top_genes: Annotated[int, Field(ge=3)] = 100
    fdr: Share = 0.05
    genes: tuple[str, ...] = ()
    n_figure_genes: PositiveInt = 8
    scvi: dict[str, Any] = Field(default_factory=dict)
    mrvi: dict[str, Any] = Field(default_factory=lambda: {"training": dict(MRVI_TRAINING)})
