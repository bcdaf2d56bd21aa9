"""Fitted models on disk, in a folder of the study or of scvi-hub, and how they meet their counts again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.families import FAMILIES
from scvi_downstream.models.scvi_internals import forget_with
from scvi_downstream.models.specification import ModelSpec
from scvi_downstream.runtime.errors import InputError, closest
from scvi_downstream.runtime.threads import choose_torch_threads, quiet
from scvi_downstream.runtime.words import first_names
from scvi_downstream.upstream.saved_model import (
    MODEL_FILE,
    SavedContents,
    UnreadableModelError,
    read_contents,
)

if TYPE_CHECKING:
    from anndata import AnnData
    from scvi.model.base import BaseModelClass


_READ_OUT_BATCH = 128


@dataclass(frozen=True)
class SavedModel:
    """A model saved by scvi-tools, here or anywhere; reading it never runs code from the file.

    Attributes
    ----------
    save_dir
        Folder for ``scvi.model.<family>.load``, without data.
    prefix
        What the file's name begins with, as in scvi-tools' ``save(prefix=…)``.
    """

    save_dir: Path
    prefix: str = ""

    @property
    def contents(self) -> SavedContents:
        """Weights, genes and attributes, read from the file."""
        with refusing():
            return read_contents(self.save_dir / f"{self.prefix}{MODEL_FILE}")

    @property
    def family(self) -> str:
        """Class name in scvi-tools: ``SCVI``, ``SCANVI``, ``LinearSCVI``, ``DRVI``, ``MRVI``, ``TOTALVI``."""
        return _known_family(self.contents, self.save_dir)

    @property
    def genes(self) -> pd.Index:
        """Names of the modelled genes, in the order of the model."""
        return pd.Index(self.contents.genes.tolist(), name="gene")

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments that the model's class was called with."""
        return self.contents.settings

    @property
    def setup(self) -> dict[str, Any]:
        """Arguments of ``setup_anndata``: layer, batch_key, covariates, …"""
        return self.contents.setup

    def attach(self, counts: AnnData, accelerator: str = "cpu") -> BaseModelClass:
        """Load the model with the data to read it out on.

        Parameters
        ----------
        counts
            Raw counts with at least the modelled genes and the obs columns that the model was set up with.
        accelerator
            ``auto``, ``cpu``, ``gpu`` or ``mps``.

        Returns
        -------
        The scvi-tools model; its ``adata`` is a copy of all cells and the modelled genes, in the order of the
        model, and its training, validation and test cells are those it was fitted with.

        Raises
        ------
        InputError
            Genes, obs columns or categories that the model needs are missing, or the file is not a safe,
            complete model.
        """
        contents = self.contents
        _known_family(contents, self.save_dir)
        genes = _subset(counts, contents, self.save_dir)
        choose_torch_threads(_READ_OUT_BATCH, genes.n_vars)
        with meeting(self, "the counts do not fit the model"):
            model = contents.attach(genes, accelerator=accelerator)
        forget_with(model)
        return model


def model_class_of(family: str) -> type[BaseModelClass]:
    """The scvi-tools class of a family."""
    return FAMILIES[family].scvi_class()


def _known_family(contents: SavedContents, folder: Path) -> str:
    name = contents.family
    if name not in FAMILIES:
        raise InputError(f"{folder} holds a model of the family '{name}'{closest(name, FAMILIES)}")
    return name


def _subset(counts: AnnData, contents: SavedContents, folder: Path) -> AnnData:
    positions = counts.var_names.get_indexer(contents.genes)
    missing = contents.genes[positions < 0].tolist()
    if missing:
        raise InputError(
            f"{len(missing)} of the {len(positions)} genes of the model in {folder} are not in the counts: "
            f"{first_names(missing)}; attach it to the counts it was fitted on, or fit it again"
        )
    return counts[:, positions].copy()


@contextmanager
def refusing() -> Iterator[None]:
    """Say as an InputError that a file is no model, or not safe to read."""
    try:
        yield
    except UnreadableModelError as error:
        raise InputError(str(error)) from error


@contextmanager
def meeting(model: SavedModel, misfit: str) -> Iterator[None]:
    """Let cells be given to a model; where scvi-tools refuses them, an InputError begins with ``misfit``."""
    with quiet():
        try:
            yield
        except (KeyError, ValueError) as error:
            reason = error.args[0] if error.args else error
            raise InputError(f"{misfit} in {model.save_dir}: {reason}") from error


@dataclass(frozen=True)
class Reference:
    """A saved model, and the raw counts that it was fitted on, with the obs columns that it was set up with.

    ``name`` is for people: ``<study>/<model>`` of this project, else the folder's name.
    """

    model: SavedModel
    counts: AnnData
    name: str


def why_no_unseen_batch(spec: ModelSpec, keys: Keys) -> str | None:
    """Reason why a model of the study has no likelihood of cells of an unseen batch, if there is one."""
    if keys.batch_key is None:
        return "there is no batch_key"
    if "samples" in spec.needs:
        return (
            f"{spec.family} describes a cell by its sample, and cells of an unseen batch are of samples that it knows "
            "nothing of"
        )
    return None


MINIFIED_DATA = "adata.h5ad"
METADATA = "_scvi_required_metadata.json"
CARD = "README.md"
MINIFIED_MARK = "_scvi_adata_minify_type"
"""Key in uns by which scvi-tools knows minified data."""
_POSTERIOR_MEAN = "latent_qzm"


@dataclass(frozen=True)
class HubExport:
    """What a folder for scvi-hub is written from.

    ``model`` is set up with the minified cells, which have the posterior of the latent and no counts, where there are
    some. ``metadata`` are the fields of :class:`scvi.hub.HubMetadata`, ``card`` is Markdown with a YAML header.
    """

    model: BaseModelClass
    minified: AnnData | None
    metadata: Mapping[str, Any]
    card: str


@dataclass(frozen=True)
class HubFolder:
    """A folder of scvi-hub, made here or by others, read without running code from it.

    ``minified`` are its cells: obs, var and the posterior of the latent, without counts; ``None``: it holds none.
    ``metadata`` are family and versions; ``card`` is empty where there is none.
    """

    model: SavedModel
    minified: AnnData | None
    metadata: Mapping[str, Any]
    card: str

    @property
    def latent(self) -> pd.DataFrame:
        """Latent of every cell: columns ``latent_1``, …; no counts and no encoder are needed.

        It is what ``get_latent_representation`` gave when the folder was made here, and the posterior mean in folders
        of others. Where there is none, an InputError says how to embed the cells.
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
