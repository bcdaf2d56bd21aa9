"""A model fitted anew without some of the cells, which it never meets in any form."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scvi_downstream.errors import InputError
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.fitting import Fit, fit, reproducible
from scvi_downstream.models.quiet import quiet
from scvi_downstream.models.specification import ModelSpec
from scvi_downstream.parameters import UNKNOWN, Accelerator, Keys
from scvi_downstream.samples import sample_column

from .folds import split_seen

if TYPE_CHECKING:
    from anndata import AnnData


@dataclass(frozen=True)
class Recipe:
    """How a model is fitted, whatever the cells.

    Attributes
    ----------
    spec
        The model and its training.
    initial
        The model whose weights are the start, fitted on the same cells; ``None``: there is none.
    keys
        obs columns of the study.
    seed
        Of the split, the training and the draws.
    accelerator
        Where to compute.
    """

    spec: ModelSpec
    initial: ModelSpec | None
    keys: Keys
    seed: int
    accelerator: Accelerator

    @property
    def keys_seen(self) -> Keys:
        """Those that the model is given."""
        return self.spec.keys_seen(self.keys)

    @property
    def sees_labels(self) -> bool:
        """Whether labels enter the model."""
        return "labels" in self.spec.needs or self._label_dispersion

    @property
    def _label_dispersion(self) -> bool:
        return getattr(self.spec, "dispersion", "") == "gene-label"

    def shortened(self, max_epochs: int | None) -> Recipe:
        """The same with another limit of epochs; ``None``: as it is."""
        if max_epochs is None:
            return self
        initial = None if self.initial is None else _shortened(self.initial, max_epochs)
        return dataclasses.replace(self, spec=_shortened(self.spec, max_epochs), initial=initial)


def _shortened(spec: ModelSpec, max_epochs: int) -> ModelSpec:
    training = spec.training.model_copy(update={"max_epochs": max_epochs})
    return spec.model_copy(update={"training": training})


def fit_on(
    genes: AnnData, seen: np.ndarray, recipe: Recipe, checkpoints: CheckpointStore, *, part: int = 0
) -> Fit:
    """Fit a model on some of the cells; the others are not even registered with it.

    Parameters
    ----------
    genes
        All cells × modelled genes.
    seen
        Positions of the cells that the model is fitted on, training and validation together.
    recipe
        How.
    checkpoints
        Where an interrupted training is taken up.
    part
        Number of what is held out: each part has validation cells of its own, so that no cell is one in all.
    """
    split = split_seen(len(seen), recipe.spec.training, (recipe.seed + part) % 2**32)
    initial = None
    if recipe.initial is not None:
        start = dataclasses.replace(recipe, spec=recipe.initial, initial=None)
        store = CheckpointStore(checkpoints.path / "initial")
        initial = fit_on(genes, seen, start, store, part=part).model
    cells = genes[seen].copy()
    with reproducible(recipe.seed), quiet():
        model = (
            recipe.spec.build(cells, recipe.keys_seen)
            if initial is None
            else recipe.spec.build_from(cells, recipe.keys_seen, initial)
        )
    return fit(
        model,
        recipe.spec,
        seed=recipe.seed,
        accelerator=recipe.accelerator,
        checkpoints=checkpoints,
        label_key=recipe.keys.label_key if "labels" in recipe.spec.needs else None,
        split=split,
    )


def held_out_cells(genes: AnnData, seen: np.ndarray, held_out: np.ndarray, recipe: Recipe) -> AnnData:
    """Cells that a model has not seen, as it can be asked about them.

    Labels that no seen cell has become ``unknown``.

    Raises
    ------
    InputError
        When a categorical covariate, a sample, or a label that the dispersion depends on has a value that no seen cell
        has.
    """
    cells = genes[held_out].copy()
    obs = genes.obs
    described = list(recipe.keys_seen.categorical_covariates)
    if "samples" in recipe.spec.needs:
        described.append(sample_column(obs, recipe.keys))
    for key in described:
        if new := _new_values(obs[key], seen, held_out):
            raise InputError(
                f"'{new[0]}' of '{key}' is found in held-out cells only, and a model knows nothing of a category that "
                "it has not seen; leave the column out or merge rare categories"
            )
    label_key = recipe.keys.label_key
    if label_key is None or not recipe.sees_labels:
        return cells
    new = _new_values(obs[label_key], seen, held_out)
    if not new:
        return cells
    if "labels" not in recipe.spec.needs:
        raise InputError(
            f"label '{new[0]}' of '{label_key}' is found in held-out cells only, and its dispersion (dispersion: "
            "gene-label) cannot be learnt from others; take dispersion: gene"
        )
    labels = cells.obs[label_key].astype(str)
    cells.obs[label_key] = labels.where(~labels.isin(new), UNKNOWN).astype("category")
    return cells


def _new_values(column: object, seen: np.ndarray, held_out: np.ndarray) -> list[str]:
    values = np.asarray(column, dtype=str)
    return sorted(set(values[held_out]) - set(values[seen]))
