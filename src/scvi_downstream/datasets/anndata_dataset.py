"""``AnnDataDataset`` loads and saves annotated data as ``.h5ad`` or ``.zarr``."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from scvi_downstream.datasets.kedro_previews import NO_PREVIEW, TablePreview, table_preview
from scvi_downstream.datasets.whole_files import WholeFile, reading, refuse_pickles_in_zarr
from scvi_downstream.runtime.slow_types import AnnData
from scvi_downstream.upstream import anndata_dataset


class AnnDataDataset(WholeFile, anndata_dataset.AnnDataDataset):
    """``AnnDataDataset`` loads and saves an ``anndata.AnnData``; the suffix says in which format.

    Each load reads the file anew, so a consumer never shares arrays with another one. Text columns whose
    values repeat become categories, as in anndata's own files; the object that is saved stays as it is.

    Examples
    --------
    Using the YAML API:

    .. code-block:: yaml

        counts:
          type: scvi_downstream.datasets.AnnDataDataset
          filepath: data/03_primary/counts.h5ad
          save_args:
            compression: lzf

    Using the Python API:

    >>> import anndata, numpy as np
    >>> from scvi_downstream.datasets import AnnDataDataset
    >>> dataset = AnnDataDataset(filepath=tmp_path / "counts.h5ad")
    >>> dataset.save(anndata.AnnData(np.ones((3, 2), dtype="float32")))
    >>> dataset.load().shape
    (3, 2)
    """

    KIND = "AnnData"

    def _read(self) -> AnnData:
        self._refuse_pickles()
        return super()._read()

    def preview(self, nrows: int = 5) -> TablePreview:
        """Head of ``obs``, without reading the matrices."""
        if not self._exists():
            return NO_PREVIEW
        with reading(Path(self._get_load_path()), self.KIND):
            self._refuse_pickles()
            head: pd.DataFrame = self._obs().head(nrows)
        return table_preview(head.rename_axis(head.index.name or "cell"))

    def _refuse_pickles(self) -> None:
        if self._suffix == ".zarr":
            refuse_pickles_in_zarr(Path(self._get_load_path()))
