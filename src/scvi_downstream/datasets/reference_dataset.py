"""``ReferenceDataset`` reads a saved model and the counts that it was fitted on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

from kedro.io import AbstractDataset, DatasetError

from scvi_downstream.datasets.counts_input_dataset import CountsInputDataset
from scvi_downstream.datasets.json_dataset import plain
from scvi_downstream.datasets.kedro_previews import NO_PREVIEW, JSONPreview
from scvi_downstream.datasets.user_table_dataset import user_path
from scvi_downstream.datasets.whole_files import require
from scvi_downstream.models.saved import Reference, SavedModel
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.slow_types import AnnData
from scvi_downstream.upstream.saved_model import MODEL_FILE

_FITTED = "fitted"
_SAVED_COUNTS = "adata.h5ad"
_MODELS, _PRIMARY = "06_models", "03_primary"
_MINIFIED = "_scvi_adata_minify_type"


class ReferenceDataset(AbstractDataset):
    """``ReferenceDataset`` reads a model of this project or of scvi-tools, and its counts.

    The counts are those named; else ``adata.h5ad`` beside the model, as scvi-tools' ``save_anndata=True``
    writes it; else, for a model of this project, the counts of its study. Nothing in the files is executed.

    Examples
    --------
    Using the YAML API:

    .. code-block:: yaml

        reference:
          type: scvi_downstream.datasets.ReferenceDataset
          model: data/06_models/atlas/scvi/fitted

    Using the Python API:

    >>> from scvi_downstream.datasets import ReferenceDataset
    >>> dataset = ReferenceDataset(model="data/06_models/atlas/scvi", counts="atlas.h5ad")
    >>> reference = dataset.load()                              # doctest: +SKIP
    """

    def __init__(
        self, *, model: str | None, counts: str | None = None, metadata: dict[str, Any] | None = None
    ) -> None:
        """Point to the user's files.

        Parameters
        ----------
        model
            Folder of the model, the folder above its ``fitted``, or the model's file; from the current folder
            or the project's.
        counts
            Its counts: ``.h5ad``, ``.zarr`` or 10x; ``None`` or empty: those beside the model or of its study.
        metadata
            Ignored by Kedro, used by plugins.
        """
        self._model = model or None
        self._counts = counts or None
        self.metadata = metadata

    def _describe(self) -> dict[str, Any]:
        return {"model": self._model, "counts": self._counts}

    def load(self) -> Reference:
        """Check that the model is safe and complete, and read its counts into memory."""
        model = find_model(self._named_model())
        _ = model.contents
        source = self._counts or find_counts(model)
        return Reference(model=model, counts=_read_counts(str(source)), name=_name(model))

    def save(self, data: Any) -> NoReturn:
        """Refuse: what the user brings is never written."""
        raise DatasetError(f"{self._model} belongs to the user and is read only")

    def _exists(self) -> bool:
        return self._model is None or user_path(self._model).exists()

    def preview(self) -> JSONPreview:
        """Family, number of genes and set-up; the counts are not read."""
        if self._model is None or not self._exists():
            return NO_PREVIEW
        model = find_model(self._model)
        about = {"name": _name(model), "family": model.family, "n_genes": len(model.genes)}
        return JSONPreview(json.dumps(plain(about | {"setup": model.setup})))

    def _named_model(self) -> str:
        if self._model is None:
            raise InputError(
                "reference is not set; give the folder of a saved model, --params reference=…, such as "
                "data/06_models/<study>/<model>"
            )
        return self._model


def find_model(named: str) -> SavedModel:
    """The saved model that a user's path means.

    Parameters
    ----------
    named
        Folder of the model, the folder above its ``fitted``, or the model's file.

    Raises
    ------
    InputError
        There is no such path, no model, or more than one in the folder.
    """
    path = user_path(named)
    require(path)
    if path.is_file():
        if not path.name.endswith(MODEL_FILE):
            raise InputError(f"{path} is not a model of scvi-tools, whose file ends in {MODEL_FILE}")
        return SavedModel(path.parent, path.name.removesuffix(MODEL_FILE))
    for folder in (path, path / _FITTED):
        files = sorted(folder.glob(f"*{MODEL_FILE}")) if folder.is_dir() else []
        if (folder / MODEL_FILE) in files or len(files) == 1:
            file = folder / MODEL_FILE if (folder / MODEL_FILE) in files else files[0]
            return SavedModel(folder, file.name.removesuffix(MODEL_FILE))
        if files:
            named_files = ", ".join(file.name for file in files[:5])
            raise InputError(f"{folder} holds {len(files)} models ({named_files}); name one of the files")
    below = sorted(file.parent for file in path.glob(f"*/{_FITTED}/*{MODEL_FILE}"))
    hint = f"; did you mean {below[0].parent}?" if below else ""
    raise InputError(f"{path} holds no {MODEL_FILE}, so it is not a model saved by scvi-tools{hint}")


def find_counts(model: SavedModel) -> Path:
    """Where the counts of a saved model lie.

    Raises
    ------
    InputError
        They lie neither beside the model nor where this project keeps them.
    """
    beside = model.save_dir / f"{model.prefix}{_SAVED_COUNTS}"
    if beside.is_file():
        return beside
    of_study = _counts_of_study(model.save_dir)
    if of_study is not None and of_study.is_file():
        return of_study
    looked = f"{beside}, {of_study}" if of_study is not None else str(beside)
    raise InputError(
        f"the counts that {model.save_dir} was fitted on are not where they should be ({looked}); "
        "name their file, --params reference_counts=…, or save the model again with save_anndata=True"
    )


def _counts_of_study(folder: Path) -> Path | None:
    if folder.name != _FITTED or len(folder.parents) < 4 or folder.parents[2].name != _MODELS:
        return None
    return folder.parents[3] / _PRIMARY / folder.parents[1].name / "counts.h5ad"


def _read_counts(source: str) -> AnnData:
    counts = CountsInputDataset(source=source).load()
    if _MINIFIED in counts.uns:
        raise InputError(
            f"{source} is minified: it holds latent cells without counts; "
            "name the file of the whole counts, --params reference_counts=…"
        )
    return counts


def _name(model: SavedModel) -> str:
    folder = model.save_dir.resolve()
    if folder.name == _FITTED:
        return f"{folder.parents[1].name}/{folder.parent.name}"
    return folder.name
