"""Options of denoised expression and of its score."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveFloat, PositiveInt

from scvi_downstream.runtime.options import Options, Share


class ThinningOptions(Options):
    """How the held-out part of the counts is made and what it is compared with."""

    held_out_share: Share
    n_neighbors: PositiveInt
    max_cells: PositiveInt


class ImputationOptions(Options):
    """Denoised expression, counterfactuals and their score."""

    genes: Literal["all", "markers"] | tuple[str, ...]
    n_samples: PositiveInt
    library_size: PositiveFloat | Literal["latent"]
    transform_batch: tuple[str, ...]
    chunk_cells: PositiveInt
    figure_genes: tuple[str, ...]
    n_figure_genes: PositiveInt
    score: ThinningOptions
