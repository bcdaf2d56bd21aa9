"""A fitted model as a folder for scvi-hub: what goes in, and what comes out again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from scvi_downstream.models.families import FAMILIES
from scvi_downstream.models.saved import SavedModel
from scvi_downstream.runtime.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData
    from scvi.model.base import BaseModelClass


MINIFIED_DATA = "adata.h5ad"
METADATA = "_scvi_required_metadata.json"
CARD = "README.md"
MINIFIED_MARK = "_scvi_adata_minify_type"
"""Key in uns by which scvi-tools knows minified data."""
_POSTERIOR_MEAN = "latent_qzm"


@dataclass(frozen=True)
class HubExport:
    """What a folder for scvi-hub is written from.

    Attributes
    ----------
    model
        The scvi-tools model; set up with the minified cells where there are some.
    minified
        The posterior of the latent of every cell, without counts; ``None``: the folder holds no cells.
    metadata
        Fields of :class:`scvi.hub.HubMetadata`.
    card
        Markdown with a YAML header.
    """

    model: BaseModelClass
    minified: AnnData | None
    metadata: Mapping[str, Any]
    card: str


@dataclass(frozen=True)
class HubFolder:
    """A folder of scvi-hub, made here or by others, read without running code from it.

    Attributes
    ----------
    model
        Its model.
    minified
        Its cells: obs, var and the posterior of the latent, without counts; ``None``: it holds none.
    metadata
        Family and versions.
    card
        The model card; empty where there is none.
    """

    model: SavedModel
    minified: AnnData | None
    metadata: Mapping[str, Any]
    card: str

    @property
    def latent(self) -> pd.DataFrame:
        """Latent of every cell: columns ``latent_1``, …; no counts and no encoder are needed.

        It is what ``get_latent_representation`` gave when the folder was made here, and the posterior mean in folders
        of others.

        Raises
        ------
        InputError
            The folder holds no latent.
        """
        cells = self.minified
        own = FAMILIES[self.model.family].obsm_key
        stored = [] if cells is None else [key for key in cells.obsm if key.endswith(_POSTERIOR_MEAN)]
        if cells is None or not (own in cells.obsm or stored):
            raise InputError(
                f"{self.model.save_dir} holds no latent of its cells; embed their counts, "
                "scvi_downstream.serving.embedder.Embedder(folder.model).embed(counts)"
            )
        means = cells.obsm[own if own in cells.obsm else stored[-1]]
        values = means.to_numpy() if isinstance(means, pd.DataFrame) else means
        columns = [f"latent_{i + 1}" for i in range(values.shape[1])]
        return pd.DataFrame(values, index=cells.obs_names, columns=columns)

    def attach(self, accelerator: str = "cpu") -> BaseModelClass:
        """The scvi-tools model with the folder's own cells, which decodes expression without their counts.

        Raises
        ------
        InputError
            The folder holds no minified cells.
        """
        if self.minified is None or MINIFIED_MARK not in self.minified.uns:
            raise InputError(
                f"{self.model.save_dir} holds no minified cells; attach counts instead, folder.model.attach(counts)"
            )
        return self.model.attach(self.minified, accelerator)
