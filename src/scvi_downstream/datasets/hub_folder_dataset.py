"""``HubFolderDataset`` writes a model as a folder for scvi-hub, and opens such folders safely."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from scvi_downstream.datasets.json_dataset import SummarizedFile, plain
from scvi_downstream.datasets.whole_files import reading, require
from scvi_downstream.models.saved import CARD, METADATA, MINIFIED_DATA, HubExport, HubFolder, SavedModel
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.upstream.anndata_dataset import write_h5ad


class HubFolderDataset(SummarizedFile):
    """``HubFolderDataset`` keeps ``model.pt``, minified cells, metadata and a model card as scvi-hub does.

    ``scvi.hub.HubModel(folder)`` takes the folder as it is, to load it or to push it to a hub.

    Examples
    --------
    Using the YAML API:

    .. code-block:: yaml

        hub:
          type: scvi_downstream.datasets.HubFolderDataset
          filepath: data/07_model_output/hub

    Using the Python API:

    >>> from scvi_downstream.datasets import HubFolderDataset
    >>> dataset = HubFolderDataset(filepath=tmp_path / "hub")
    >>> dataset.save(export)                                    # doctest: +SKIP
    >>> latent = dataset.load().latent                          # doctest: +SKIP
    """

    KIND = "a folder of scvi-hub"

    def _read(self) -> HubFolder:
        return open_hub_folder(self._filepath)

    def _write(self, data: HubExport) -> None:
        data.model.save(str(self._filepath), save_anndata=False, overwrite=True)
        _ = SavedModel(self._filepath).contents  # never keep what could not be read back
        if data.minified is not None:
            write_h5ad(self._filepath / MINIFIED_DATA, data.minified, {})
        text = json.dumps(plain(dict(data.metadata)), indent=4, ensure_ascii=False) + "\n"
        (self._filepath / METADATA).write_text(text, encoding="utf-8")
        (self._filepath / CARD).write_text(data.card, encoding="utf-8")

    def _about(self) -> dict[str, Any]:
        model = SavedModel(self._filepath)
        return {
            "family": model.family,
            "n_genes": len(model.genes),
            "minified_cells": (self._filepath / MINIFIED_DATA).is_file(),
            "metadata": _read_metadata(self._filepath / METADATA),
        }


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
