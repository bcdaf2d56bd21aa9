"""What a fitted model has to be told of a cell before it can embed it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from scvi_downstream.models.saved import SavedModel

_ENCODE_BY_DEFAULT = ("TOTALVI",)
# Field of scvi-tools' registry → argument of ``setup_anndata`` that names its obs column.
_CATEGORICAL = {"batch": "batch_key", "labels": "labels_key", "sample": "sample_key"}


@dataclass(frozen=True)
class ModelInput:
    """What a model was set up with, by whether its encoder reads it.

    The decoder's batches, covariates, labels and size factors do not matter for an embedding; they are only filled
    in, so that scvi-tools takes the cells.

    Attributes
    ----------
    genes
        In the order of the model.
    categories
        obs columns that the encoder reads, each with the categories that the model knows.
    numbers
        obs columns of numbers that the encoder reads.
    proteins
        Names of the proteins that the encoder reads; none for most models.
    filled
        obs columns that the encoder does not read → what is put there.
    layer, protein_key
        Where scvi-tools looks for counts (``None``: X) and for proteins in obsm.
    """

    genes: pd.Index
    categories: Mapping[str, tuple[Any, ...]]
    numbers: tuple[str, ...]
    proteins: pd.Index
    filled: Mapping[str, Any]
    layer: str | None
    protein_key: str | None

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of obs that new cells must have."""
        return (*self.categories, *self.numbers)


def describe_input(model: SavedModel) -> ModelInput:
    """Read from a saved model which genes, obs columns and proteins new cells need.

    Parameters
    ----------
    model
        Saved here or by scvi-tools.
    """
    setup, fields = model.setup, model.contents.attributes["registry_"]["field_registries"]
    read = _encoder_reads(model)
    categories, filled = {}, {}
    for column, known, is_read in _categorical_columns(setup, fields, covariates_read=read):
        if is_read and len(known) > 1:
            categories[column] = known
        else:
            filled[column] = known[0]
    if setup.get("unlabeled_category") is not None:
        filled[setup["labels_key"]] = setup["unlabeled_category"]
    numbers = tuple(setup.get("continuous_covariate_keys") or ())
    if not read:
        filled |= dict.fromkeys(numbers, 0.0)
    if setup.get("size_factor_key"):
        filled[setup["size_factor_key"]] = 1.0
    protein_key = setup.get("protein_expression_obsm_key")
    proteins = fields["proteins"]["state_registry"]["column_names"] if protein_key else ()
    return ModelInput(
        genes=model.genes,
        categories=categories,
        numbers=numbers if read else (),
        proteins=pd.Index([str(name) for name in proteins], name="protein"),
        filled=filled,
        layer=setup.get("layer"),
        protein_key=protein_key,
    )


def latent_names(model: SavedModel) -> list[str]:
    """``latent_1``, … as many as the embedding has; of MrVI that is ``u``."""
    settings = model.settings
    size = settings["n_latent_u"] if model.family == "MRVI" else settings["n_latent"]
    return [f"latent_{i + 1}" for i in range(size)]


def _encoder_reads(model: SavedModel) -> bool:
    """Whether batches and covariates enter the encoder."""
    return bool(model.settings.get("encode_covariates", model.family in _ENCODE_BY_DEFAULT))


def _categorical_columns(
    setup: Mapping[str, Any], fields: Mapping[str, Any], *, covariates_read: bool
) -> list[tuple[str, tuple[Any, ...], bool]]:
    """Each column, its categories, and whether the encoder reads it; MrVI's encoder always reads the sample."""
    columns = [
        (setup[key], fields[field]["state_registry"]["categorical_mapping"], field)
        for field, key in _CATEGORICAL.items()
        if setup.get(key)
    ]
    covariates = fields.get("extra_categorical_covs", {}).get("state_registry", {}).get("mappings", {})
    columns += [(name, known, "covariate") for name, known in covariates.items()]
    read = {"sample": True, "labels": False}
    return [(str(name), tuple(known), read.get(field, covariates_read)) for name, known, field in columns]
