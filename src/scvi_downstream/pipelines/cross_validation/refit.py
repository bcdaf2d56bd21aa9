"""A model fitted anew without some of the cells, which it never meets in any form."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.cells.obs import sample_column
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.fitting import Fit, Split, fit, reproducible, split_cells
from scvi_downstream.models.saved import why_no_unseen_batch
from scvi_downstream.models.specification import ModelSpec, TrainingOptions
from scvi_downstream.pipelines.cross_validation.held_out import (
    SCORES,
    score_cells,
    score_cells_of_unknown_batch,
)
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.options import UNKNOWN, Accelerator
from scvi_downstream.runtime.progress import track
from scvi_downstream.runtime.threads import quiet
from scvi_downstream.scoring.likelihood import cell_elbo
from scvi_downstream.scoring.resampling import stratified_sample

if TYPE_CHECKING:
    from anndata import AnnData
    from scvi.model.base import BaseModelClass

    from scvi_downstream.pipelines.evaluation.options import EvaluationOptions

logger = logging.getLogger(__name__)


_FEWEST_CELLS_OF_FOLD = 2


def assign_folds(strata: Sequence[pd.Series], n_cells: int, n_folds: int, seed: int) -> np.ndarray:
    """Deal cells out to folds of nearly equal size and composition.

    Each combination of categories is shared out equally, and what is left over goes to the folds that have been given
    least of its categories so far. A combination differs by one cell at most between folds.

    Parameters
    ----------
    strata
        Categories of the ``n_cells`` cells, such as batch and label; may be empty.
    n_cells
        Number of cells.
    n_folds
        Number of folds.
    seed
        Of the shuffle.

    Returns
    -------
    Fold of each cell, 1 to ``n_folds``.

    Raises
    ------
    InputError
        When a fold would hold fewer than two cells.

    References
    ----------
    Sechidis, Tsoumakas & Vlahavas (2011), doi:10.1007/978-3-642-23808-6_10, whose greedy choice this follows.
    """
    if n_cells < _FEWEST_CELLS_OF_FOLD * n_folds:
        raise InputError(
            f"cross_validation.n_folds is {n_folds}, but {n_cells} cells make no {n_folds} folds of at least "
            f"{_FEWEST_CELLS_OF_FOLD}; take fewer folds"
        )
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(n_cells)
    codes = [pd.factorize(values.astype(str).to_numpy(), sort=True)[0] for values in strata]
    table = pd.DataFrame(dict(enumerate(codes)), index=np.arange(n_cells)).loc[shuffled]
    groups = [cells.index.to_numpy() for _, cells in table.groupby(list(table))] if codes else [shuffled]
    extra = [np.zeros((code.max() + 1, n_folds), dtype=np.int64) for code in codes]
    extra_in_all = np.zeros(n_folds, dtype=np.int64)
    folds = np.empty(n_cells, dtype=np.int64)
    for group in sorted(groups, key=len):  # the rare ones first, while there is a choice
        n_left_over = len(group) % n_folds
        given = sum((extra[i][code[group[0]]] for i, code in enumerate(codes)), np.zeros(n_folds, np.int64))
        least = np.lexsort([rng.permutation(n_folds), extra_in_all, given])[:n_left_over]
        order = np.concatenate([least, np.arange(len(group) - n_left_over) % n_folds])
        folds[group] = order + 1
        extra_in_all[least] += 1
        for i, code in enumerate(codes):
            extra[i][code[group[0]], least] += 1
    return folds


def strata_of(obs: pd.DataFrame, keys: Keys) -> list[pd.Series]:
    """Batch and label of each cell, where the study has them."""
    return [obs[key] for key in (keys.batch_key, keys.label_key) if key is not None]


def marginal_cells(obs: pd.DataFrame, keys: Keys, most: int, seed: int) -> np.ndarray:
    """Whether the marginal likelihood of a cell is estimated, ``(n_cells,)``.

    The same cells for every fold and every batch, so that what a model loses on a batch that it has not seen is
    measured cell by cell.
    """
    batches = obs[keys.batch_key] if keys.batch_key else None
    chosen = np.zeros(len(obs), dtype=bool)
    chosen[stratified_sample([batches], len(obs), most, seed)] = True
    return chosen


def split_seen(n_cells: int, training: TrainingOptions, seed: int) -> Split:
    """Training and validation cells among those that are not held out, in the study's proportion."""
    share = training.validation_size / (training.train_size + training.validation_size)
    drawn = split_cells(n_cells, 1 - share, share, seed)
    # rounding may leave a cell over
    validation = np.concatenate([drawn.validation, drawn.test])
    return Split(train=drawn.train, validation=validation, test=np.array([], dtype=np.int64))


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


_CURVES = ("elbo_train", "elbo_validation")


def leave_fold_out(
    genes: AnnData,
    fold: int,
    n_folds: int,
    recipe: Recipe,
    evaluation: EvaluationOptions,
    checkpoints: CheckpointStore,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Fit on the other folds and score this one.

    Parameters
    ----------
    genes
        `n_cells` × modelled genes.
    fold
        1 to ``n_folds``.
    n_folds
        Number of folds.
    recipe
        How the model is fitted.
    evaluation
        Samples of the marginal likelihood and for how many cells, of all folds together.
    checkpoints
        Where an interrupted training is taken up.

    Returns
    -------
    One row a cell with ``fold``, ``role`` (held_out, train), ``batch`` (where there are batches) and its likelihoods in
    nats: ``elbo`` of all (without dropout), the others of held-out cells alone, ``…_batch_unknown`` where the model is
    not told the batch. And the record of the training (:func:`training_record`).
    """
    folds = assign_folds(strata_of(genes.obs, recipe.keys), genes.n_obs, n_folds, recipe.seed)
    seen, held_out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
    chosen = marginal_cells(genes.obs, recipe.keys, evaluation.marginal_ll_max_cells, recipe.seed)[held_out]
    cells = held_out_cells(genes, seen, held_out, recipe)
    fitted = fit_on(genes, seen, recipe, checkpoints, part=fold)
    start = time.perf_counter()
    model, n_samples = fitted.model, evaluation.marginal_ll_samples
    scores = score_cells(model, cells, chosen, n_samples, recipe.seed)
    unknown, _ = score_cells_of_unknown_batch(
        model, cells, recipe.keys_seen.batch_key, known_batches(model), chosen, n_samples, recipe.seed
    )
    scores = scores.join(unknown[["elbo", "marginal_ll"]].add_suffix("_batch_unknown"))
    trained = np.sort(np.asarray(model.train_indices))
    trained_elbo = pd.DataFrame(
        {"elbo": cell_elbo(model, trained, recipe.seed)}, index=model.adata.obs_names[trained]
    )
    table = pd.concat([scores, trained_elbo], keys=["held_out", "train"], names=["role", "cell"])
    table = table.reset_index("role").assign(fold=fold)
    if recipe.keys.batch_key:
        table["batch"] = genes.obs[recipe.keys.batch_key].astype(str).reindex(table.index)
    described = ["fold", "role", *(["batch"] if recipe.keys.batch_key else [])]
    table = table.astype({name: "category" for name in described if name != "fold"})
    seconds = time.perf_counter() - start
    record = training_record(fitted, len(held_out)) | {"fold": fold, "seconds_scoring": seconds}
    return table[[*described, *scores.columns]], record


def training_record(fitted: Fit, n_held_out: int) -> dict[str, Any]:
    """What a training was, with its curves.

    Returns
    -------
    The training's summary, ``n_held_out`` and ``curves``: the loss by epoch of training and validation cells (negative
    ELBO, in nats per cell).
    """
    curves = {name: fitted.history[name].tolist() for name in _CURVES if name in fitted.history}
    return fitted.summary | {"n_held_out": n_held_out, "curves": curves}


def known_batches(model: BaseModelClass) -> list[str]:
    """Batches that a model was fitted on."""
    return [str(name) for name in model.adata_manager.get_state_registry("batch").categorical_mapping]


_FEWEST_SEEN = 20
FEWEST_BATCHES = 2


def leave_batches_out(
    genes: AnnData,
    most: int,
    n_seen: int,
    recipe: Recipe,
    evaluation: EvaluationOptions,
    checkpoints: CheckpointStore,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Fit without each batch and score its cells.

    Batches that are done are kept in the store until all are, so that an interrupted run goes on with the next.

    Parameters
    ----------
    genes
        `n_cells` × modelled genes.
    most
        With more batches than these, so many are drawn.
    n_seen
        Most cells to fit on, drawn from the other batches: with as many as a model of the folds is fitted on, a
        difference to these is not one of the number of cells.
    recipe
        How the model is fitted.
    evaluation
        Samples of the marginal likelihood and for how many cells, of all batches together.
    checkpoints
        Where what is done, and an interrupted training, are found again.

    Returns
    -------
    One row a held-out cell with ``batch`` and its likelihoods in nats; and ``trainings`` (a record a batch, with the
    weight of every seen batch, ``likeness``), ``left_out`` (batch → reason).

    Raises
    ------
    InputError
        When the model has no likelihood of such cells.
    """
    if reason := why_no_unseen_batch(recipe.spec, recipe.keys):
        raise InputError(
            f"models.{recipe.spec.name} cannot be cross-validated over batches, as {reason}; set "
            "cross_validation.batches to false"
        )
    column = genes.obs[str(recipe.keys.batch_key)].astype(str)
    batches = sorted(column.unique())
    left_out: dict[str, str] = {}
    if len(batches) < FEWEST_BATCHES:
        left_out[batches[0]] = "it is the only batch"
        batches = []
    if len(batches) > most:
        drawn = np.random.default_rng(recipe.seed).choice(len(batches), most, replace=False)
        left_out |= {name: "not drawn" for i, name in enumerate(batches) if i not in drawn}
        batches = [batches[i] for i in np.sort(drawn)]
    tables: list[pd.DataFrame] = []
    trainings: list[dict[str, Any]] = []
    stores = {name: CheckpointStore(checkpoints.path / f"without_{i}") for i, name in enumerate(batches)}
    identity = _identity(genes, n_seen, recipe, evaluation) if batches else ""
    for name in track(batches, f"{recipe.spec.name}: leaving batches out", len(batches)):
        if reason := _why_not(genes, *_parts(column.to_numpy(), name, n_seen, recipe.seed), recipe):
            left_out[name] = reason
            logger.warning("%s without batch '%s': %s", recipe.spec.name, name, reason)
            continue
        done = CheckpointStore(stores[name].path / "done")
        record = done.find_record(f"{identity} {name}")
        if record is None:
            seen, held_out = _parts(column.to_numpy(), name, n_seen, recipe.seed)
            record = _leave_out(genes, seen, held_out, recipe, evaluation, stores[name])
            record["training"]["batch"] = name
            done.write_record(record, f"{identity} {name}")
        tables.append(_table(record, genes, name))
        trainings.append(record["training"])
    for store in stores.values():
        CheckpointStore(store.path / "done").clear()
        store.clear()
    checkpoints.clear()
    empty = pd.DataFrame({"batch": pd.Categorical([]), **{score: [] for score in SCORES}}).rename_axis("cell")
    return pd.concat(tables) if tables else empty, {"trainings": trainings, "left_out": left_out}


def _parts(batches: np.ndarray, name: str, n_seen: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Cells to fit on and cells held out."""
    seen = np.flatnonzero(batches != name)
    if len(seen) > n_seen:
        seen = seen[stratified_sample([pd.Series(batches[seen])], len(seen), n_seen, seed)]
    return seen, np.flatnonzero(batches == name)


def _why_not(genes: AnnData, seen: np.ndarray, held_out: np.ndarray, recipe: Recipe) -> str | None:
    """Reason why one batch cannot be held out, if there is one."""
    if len(seen) < _FEWEST_SEEN:
        return f"without it only {len(seen)} cells are left to learn from"
    try:
        held_out_cells(genes, seen, held_out, recipe)
    except InputError as error:
        return str(error)
    return None


def _leave_out(
    genes: AnnData,
    seen: np.ndarray,
    held_out: np.ndarray,
    recipe: Recipe,
    evaluation: EvaluationOptions,
    store: CheckpointStore,
) -> dict[str, Any]:
    """Everything about one batch in plain numbers."""
    chosen = marginal_cells(genes.obs, recipe.keys, evaluation.marginal_ll_max_cells, recipe.seed)[held_out]
    batch_key = recipe.keys_seen.batch_key
    cells = held_out_cells(genes, seen, held_out, recipe)
    fitted = fit_on(genes, seen, recipe, store)
    start = time.perf_counter()
    n_samples = evaluation.marginal_ll_samples
    table, weights = score_cells_of_unknown_batch(
        fitted.model, cells, batch_key, known_batches(fitted.model), chosen, n_samples, recipe.seed
    )
    likeness = {str(seen_batch): float(weight) for seen_batch, weight in weights.items()}
    seconds = time.perf_counter() - start
    training = training_record(fitted, len(held_out))
    training |= {"likeness": likeness, "seconds_scoring": seconds}
    return {
        "positions": held_out.tolist(),
        "scores": {score: table[score].tolist() for score in SCORES},
        "training": training,
    }


def _table(record: dict[str, Any], genes: AnnData, name: str) -> pd.DataFrame:
    cells = pd.Index(genes.obs_names[record["positions"]], name="cell")
    table = pd.DataFrame(record["scores"], index=cells, dtype=np.float64)
    table.insert(0, "batch", name)
    return table


def _identity(genes: AnnData, n_seen: int, recipe: Recipe, evaluation: EvaluationOptions) -> str:
    """Of everything that decides the scores of a batch."""
    digest = hashlib.sha256()
    for part in (genes.X.data, genes.X.indices, genes.X.indptr, *genes.obsm.values()):
        digest.update(np.asarray(part, order="C").tobytes())
    keys = recipe.keys
    columns = [*keys.categorical.values(), *keys.continuous_covariates]
    of_cells = pd.util.hash_pandas_object(genes.obs[list(dict.fromkeys(columns))].astype(str))
    digest.update(of_cells.to_numpy().tobytes())
    digest.update(json.dumps([n_seen, asdict(recipe), evaluation], default=_plain, sort_keys=True).encode())
    return digest.hexdigest()


def _plain(options: Any) -> Any:
    return options.model_dump(mode="json")
