"""The study's obs columns."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, PositiveInt

from scvi_downstream.runtime.options import Options

PROTEIN_KEY = "protein_expression"
"""Where prepared counts hold proteins in obsm."""

ROLES = ("batch_key", "label_key", "sample_key", "condition_key")
"""Parameters that say what an obs column with groups of cells is."""
RAW = "raw"
"""How ``counts_layer`` names ``adata.raw``."""


class Keys(Options):
    """The obs columns, the layer and the obsm entry that the user named; ``None`` where there is none."""

    counts_layer: str | None = None
    batch_key: str | None = None
    label_key: str | None = None
    sample_key: str | None = None
    condition_key: str | None = None
    categorical_covariates: tuple[str, ...] = ()
    continuous_covariates: tuple[str, ...] = ()
    protein_key: str | None = None

    @property
    def categorical(self) -> dict[str, str]:
        """Parameter name → obs column, for the categorical keys that are set."""
        covariates = {
            f"categorical_covariates[{i}]": key for i, key in enumerate(self.categorical_covariates)
        }
        return {name: getattr(self, name) for name in ROLES if getattr(self, name)} | covariates


class Replicates(Keys):
    """The same obs columns, and which samples are the replicates of a test.

    ``block_key`` names what pairs samples up, such as the donor; ``None``: as
    :func:`~scvi_downstream.cells.samples.find_block` finds it; empty: nothing does. A sample counts in a group of cells
    from ``min_cells_per_sample`` of them on, and a category is tested from ``min_samples_per_group`` samples on.
    """

    block_key: str | None = None
    min_cells_per_sample: PositiveInt
    min_samples_per_group: Annotated[int, Field(ge=2)]
