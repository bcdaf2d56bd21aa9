"""``ScviModelDataset`` saves scvi-tools models and loads them without running code from the file."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from kedro_datasets._typing import JSONPreview

from .saved_model import MODEL_FILE, SavedContents, read_contents
from .stored_files import StoredFileDataset

if TYPE_CHECKING:
    from scvi.model.base import BaseModelClass


class ScviModelDataset(StoredFileDataset):
    """``ScviModelDataset`` keeps a model of scvi-tools as scvi-tools' own folder.

    The folder loads with ``scvi.model.<family>.load(folder, adata)``, and folders saved by scvi-tools
    load here. A model needs cells to be of use, which Kedro keeps in a dataset of their own: ``load``
    gives weights, genes, settings and history, and ``attach(adata)`` of these gives the model.

    scvi-tools itself unpickles the file, which runs what its author has put into it. This dataset
    reads weights and plain data, and refuses a file that holds anything else.

    ``save_args`` are those of the model's ``save``, ``load_args`` those of its ``load`` other than
    ``dir_path`` and ``adata``; ``attach`` takes more of them.

    Examples:
        Using the [YAML API](https://docs.kedro.org/en/stable/catalog-data/data_catalog_yaml_examples/):

        ```yaml
        fitted:
          type: kedro_datasets_experimental.scverse.ScviModelDataset
          filepath: data/06_models/scvi
          versioned: true
          load_args:
            accelerator: cpu
        ```

        Using the [Python API](https://docs.kedro.org/en/stable/catalog-data/advanced_data_catalog_usage/):

        >>> import anndata
        >>> import numpy as np
        >>> import scvi
        >>> from kedro_datasets_experimental.scverse import ScviModelDataset
        >>>
        >>> scvi.settings.verbosity = 40  # errors alone
        >>> counts = anndata.AnnData(np.random.default_rng(0).poisson(2, (20, 5)).astype("float32"))
        >>> scvi.model.SCVI.setup_anndata(counts)
        >>> dataset = ScviModelDataset(filepath=tmp_path / "scvi", load_args={"accelerator": "cpu"})
        >>> dataset.save(scvi.model.SCVI(counts, n_latent=3))
        >>> dataset.load().settings["n_latent"]
        3
        >>> model = dataset.load().attach(counts)

    """

    def load(self) -> SavedContents:
        """Reads the model's file."""
        with self._reading() as folder:
            return replace(read_contents(folder / MODEL_FILE), load_args=self._load_args)

    def save(self, data: BaseModelClass) -> None:
        """Writes the folder, and fails where what it holds could not be loaded again."""
        with self._writing() as folder:
            data.save(str(folder), overwrite=True, **self._save_args)
            read_contents(folder / MODEL_FILE)

    def preview(self) -> JSONPreview:
        """Family, number of genes, settings and set-up of the model."""
        model = self.load()
        facts = {"family": model.family, "n_genes": len(model.genes)}
        return JSONPreview(
            json.dumps(facts | {"settings": model.settings, "setup": model.setup}, default=str)
        )
