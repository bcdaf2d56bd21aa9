"""Options of denoised expression and of its score."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveFloat, PositiveInt

from scvi_downstream.runtime.options import Options, Share


class ThinningOptions(Options):
    """How the held-out part of the counts is made and what it is compared with."""

    held_out_share: Share = 0.2
    n_neighbors: PositiveInt = 15
    max_cells: PositiveInt = 5000


class ImputationOptions(Options):
    """Denoised expression, counterfactuals and their score."""

    genes: Literal["all", "markers"] | tuple[str, ...] = "all"
    n_samples: PositiveInt = 1
    library_size: PositiveFloat | Literal["latent"] = 1e4
    transform_batch: tuple[str, ...] = ()
    chunk_cells: PositiveInt = 4096
    figure_genes: tuple[str, ...] = ()
    n_figure_genes: PositiveInt = 6
    score: ThinningOptions = ThinningOptions()
