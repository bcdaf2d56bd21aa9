"""``HubFolderDataset`` writes a model as a folder for scvi-hub, and opens such folders safely."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from kedro.io import AbstractDataset

from scvi_downstream.datasets.anndata_dataset import write_h5ad
from scvi_downstream.datasets.kedro_previews import JSONPreview
from scvi_downstream.datasets.text_files import NO_PREVIEW, plain, reading, require
from scvi_downstream.models.plain_data import read_contents
from scvi_downstream.models.saved import CARD, METADATA, MINIFIED_DATA, HubExport, HubFolder, SavedModel
from scvi_downstream.runtime.atomic import replacing
from scvi_downstream.runtime.errors import InputError

_COMPRESSION = {"compression": "gzip", "compression_opts": 1}


class HubFolderDataset(AbstractDataset):
    """``HubFolderDataset`` keeps ``model.pt``, minified cells, metadata and a model card as scvi-hub does.

    ``scvi.hub.HubModel(folder)`` takes the folder as it is, to load it or to push it to a hub.

    Examples
    --------
    Using the YAML API:

    .. code-block:: yaml

        hub:
          type: scvi_downstream.datasets.hub_folder_dataset.HubFolderDataset
          filepath: data/07_model_output/hub

    Using the Python API:

    >>> from scvi_downstream.datasets import HubFolderDataset
    >>> dataset = HubFolderDataset(filepath=tmp_path / "hub")
    >>> dataset.save(export)                                    # doctest: +SKIP
    >>> latent = dataset.load().latent                          # doctest: +SKIP
    """

    def __init__(self, *, filepath: str | os.PathLike, metadata: dict[str, Any] | None = None) -> None:
        """Point to a folder.

        Parameters
        ----------
        filepath
            Folder in scvi-hub's format.
        metadata
            Ignored by Kedro, used by plugins.
        """
        self._filepath = Path(filepath)
        self.metadata = metadata

    def _describe(self) -> dict[str, Any]:
        return {"filepath": self._filepath}

    def load(self) -> HubFolder:
        """Open the folder; nothing in its files is executed."""
        return open_hub_folder(self._filepath)

    def save(self, data: HubExport) -> None:
        """Write the folder; one that is there is replaced when the new one is complete."""
        with replacing(self._filepath) as temporary:
            data.model.save(str(temporary), save_anndata=False, overwrite=True)
            read_contents(temporary)  # never keep what could not be read back
            if data.minified is not None:
                write_h5ad(temporary / MINIFIED_DATA, data.minified, _COMPRESSION)
            text = json.dumps(plain(dict(data.metadata)), indent=4, ensure_ascii=False) + "\n"
            (temporary / METADATA).write_text(text, encoding="utf-8")
            (temporary / CARD).write_text(data.card, encoding="utf-8")

    def _exists(self) -> bool:
        return self._filepath.exists()

    def preview(self) -> JSONPreview:
        """Family, genes and metadata; the cells are not read."""
        if not self._exists():
            return NO_PREVIEW
        model = SavedModel(self._filepath)
        about = {
            "family": model.family,
            "n_genes": len(model.genes),
            "minified_cells": (self._filepath / MINIFIED_DATA).is_file(),
            "metadata": _read_metadata(self._filepath / METADATA),
        }
        return JSONPreview(json.dumps(plain(about)))


def open_hub_folder(folder: str | os.PathLike) -> HubFolder:
    """Open a folder of scvi-hub, such as a download, without running code from it.

    ``scvi.hub.HubModel`` unpickles ``model.pt``; this reads it as weights and plain data.

    Parameters
    ----------
    folder
        With ``model.pt``, ``_scvi_required_metadata.json`` and, where the cells are kept, ``adata.h5ad``.

    Raises
    ------
    InputError
        The folder is not scvi-hub's, damaged, or not safe to read.
    """
    import anndata

    path = Path(folder)
    require(path)
    require(path / METADATA)
    model = SavedModel(path)
    _ = model.family  # reads the file, and refuses what is unsafe or unknown
    data, card = path / MINIFIED_DATA, path / CARD
    minified = None
    if data.is_file():
        with reading(data, "AnnData"):
            minified = anndata.read_h5ad(data)
    text = ""
    if card.is_file():
        with reading(card, "UTF-8 text"):
            text = card.read_text(encoding="utf-8")
    return HubFolder(model, minified, _read_metadata(path / METADATA), text)


def _read_metadata(file: Path) -> dict[str, Any]:
    with reading(file, "JSON"):
        found = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(found, dict):
        raise InputError(f"{file} holds no mapping, so it is not the metadata of scvi-hub")
    return found
