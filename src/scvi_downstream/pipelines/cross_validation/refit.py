"""Models fitted anew without a part of the cells, which they never meet in any form, and what they give that part."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.cells.obs import sample_column
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.families import parse_spec
from scvi_downstream.models.fitting import Fit, Split, build_and_fit
from scvi_downstream.models.saved import why_no_unseen_batch
from scvi_downstream.models.schedule import split_cells
from scvi_downstream.models.specification import ModelSpec, TrainingOptions
from scvi_downstream.pipelines.cross_validation.held_out import (
    SCORES,
    score_cells,
    score_cells_of_unknown_batch,
)
from scvi_downstream.pipelines.cross_validation.options import CrossValidationOptions
from scvi_downstream.pipelines.evaluation.options import EvaluationOptions
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.options import UNKNOWN, Accelerator
from scvi_downstream.runtime.progress import track
from scvi_downstream.runtime.slow_types import AnnData
from scvi_downstream.scoring.likelihood import cell_likelihoods
from scvi_downstream.scoring.resampling import stratified_sample

logger = logging.getLogger(__name__)
_FEWEST_CELLS_OF_FOLD = 2
# A model that has seen fewer cells says nothing of batches.
_FEWEST_SEEN = 20
_CURVES = ("elbo_train", "elbo_validation")


@dataclass(frozen=True)
class Recipe:
    """How a model is fitted, whatever the cells.

    ``initial`` is the model whose weights are the start, fitted on the same cells, if there is one; ``seed`` that of
    the split, the training and the draws.
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
        return "labels" in self.spec.needs or getattr(self.spec, "dispersion", "") == "gene-label"


def fit_fold(
    counts: AnnData,
    spec: dict[str, Any],
    keys: Keys,
    options: CrossValidationOptions,
    evaluation: EvaluationOptions,
    seed: int,
    accelerator: Accelerator,
    checkpoint: CheckpointStore,
    initial_spec: dict[str, Any] | None = None,
    *,
    fold: int,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Fit one model on all folds but one, and score the cells of this one.

    Parameters
    ----------
    counts
        Checked counts, ``n_cells × n_genes``.
    spec
        An entry of ``models:`` with its training options.
    keys
        obs columns of the study.
    options
        Number of folds and limit of epochs.
    evaluation
        Samples of the marginal likelihood and for how many cells, of all folds together.
    seed
        The study's seed; a model's own goes first.
    accelerator
        Where to compute.
    checkpoint
        Where an interrupted training is taken up.
    initial_spec
        Entry of ``models:`` whose weights are the start, which is then fitted on the same cells first.
    fold
        1 to ``options.n_folds``.

    Returns
    -------
    One row a cell with ``fold``, ``role`` (held_out, train), ``batch`` (where there are batches) and its likelihoods in
    nats: ``elbo`` of all (without dropout), the others of held-out cells alone, ``…_batch_unknown`` where the model is
    not told the batch. And the record of the training (:func:`_training_record`).
    """
    recipe = _write_recipe(spec, initial_spec, keys, options, seed, accelerator)
    genes = counts[:, counts.var["highly_variable"]].copy()
    strata = [genes.obs[key] for key in (keys.batch_key, keys.label_key) if key is not None]
    folds = assign_folds(strata, genes.n_obs, options.n_folds, recipe.seed)
    seen, held_out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
    chosen = marginal_cells(genes.obs, keys, evaluation.marginal_ll_max_cells, recipe.seed)[held_out]
    cells = held_out_cells(genes, seen, held_out, recipe)
    fitted = fit_on(genes, seen, recipe, CheckpointStore(checkpoint.path / f"fold_{fold}"), part=fold)
    start = time.perf_counter()
    model, drawn = fitted.model, (chosen, evaluation.marginal_ll_samples, recipe.seed)
    scores = score_cells(model, cells, *drawn)
    unknown, _ = score_cells_of_unknown_batch(model, cells, recipe.keys_seen.batch_key, *drawn)
    scores = scores.join(unknown[["elbo", "marginal_ll"]].add_suffix("_batch_unknown"))
    trained = np.sort(np.asarray(model.train_indices))
    elbo = {"elbo": cell_likelihoods(model, trained, recipe.seed)[0]}
    tables = [scores, pd.DataFrame(elbo, index=model.adata.obs_names[trained])]
    table = pd.concat(tables, keys=["held_out", "train"], names=["role", "cell"])
    table = table.reset_index("role").assign(fold=fold)
    described = ["fold", "role"]
    if keys.batch_key:
        described.append("batch")
        table["batch"] = genes.obs[keys.batch_key].astype(str).reindex(table.index)
    table = table.astype(dict.fromkeys(described[1:], "category"))
    seconds = time.perf_counter() - start
    record = _training_record(fitted, len(held_out)) | {"fold": fold, "seconds_scoring": seconds}
    return table[[*described, *scores.columns]], record


def fit_without_batches(
    counts: AnnData,
    spec: dict[str, Any],
    keys: Keys,
    options: CrossValidationOptions,
    evaluation: EvaluationOptions,
    seed: int,
    accelerator: Accelerator,
    checkpoint: CheckpointStore,
    initial_spec: dict[str, Any] | None = None,
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Fit one model without each batch in turn and score the batch that is left out.

    It is fitted on as many cells as a model of the folds, where the other batches have so many: then a difference to
    these is not one of the number of cells. Batches that are done are kept in the store until all are, so that an
    interrupted run goes on with the next.

    Parameters are those of :func:`fit_fold`; with more batches than ``options.max_batches``, so many are drawn.

    Returns
    -------
    One row a held-out cell with ``batch`` and its likelihoods in nats; and ``trainings`` (a record a batch, with the
    weight of every seen batch, ``likeness``), ``left_out`` (batch → reason).

    Raises
    ------
    InputError
        When the model has no likelihood of such cells.
    """
    recipe = _write_recipe(spec, initial_spec, keys, options, seed, accelerator)
    if reason := why_no_unseen_batch(recipe.spec, keys):
        raise InputError(
            f"models.{recipe.spec.name} cannot be cross-validated over batches, as {reason}; set "
            "cross_validation.batches to false"
        )
    genes = counts[:, counts.var["highly_variable"]].copy()
    n_seen = round(genes.n_obs * (1 - 1 / options.n_folds))
    store = CheckpointStore(checkpoint.path / "batches")
    column = genes.obs[str(keys.batch_key)].astype(str).to_numpy()
    batches, left_out = _choose_batches(column, options.max_batches, recipe.seed)
    tables: list[pd.DataFrame] = []
    trainings: list[dict[str, Any]] = []
    stores = {name: CheckpointStore(store.path / f"without_{i}") for i, name in enumerate(batches)}
    identity = _identity(genes, n_seen, recipe, evaluation) if batches else ""
    for name in track(batches, f"{recipe.spec.name}: leaving batches out", len(batches)):
        seen, held_out = np.flatnonzero(column != name), np.flatnonzero(column == name)
        if len(seen) > n_seen:
            seen = seen[stratified_sample([pd.Series(column[seen])], len(seen), n_seen, recipe.seed)]
        if reason := _why_not(genes, seen, held_out, recipe):
            left_out[name] = reason
            logger.warning("%s without batch '%s': %s", recipe.spec.name, name, reason)
            continue
        done = CheckpointStore(stores[name].path / "done")
        record = done.find_record(f"{identity} {name}")
        if record is None:
            record = _leave_out(genes, seen, held_out, recipe, evaluation, stores[name])
            record["training"]["batch"] = name
            done.write_record(record, f"{identity} {name}")
        cells = pd.Index(genes.obs_names[record["positions"]], name="cell")
        table = pd.DataFrame(record["scores"], index=cells, dtype=np.float64)
        table.insert(0, "batch", name)
        tables.append(table)
        trainings.append(record["training"])
    for each in stores.values():
        CheckpointStore(each.path / "done").clear()
        each.clear()
    store.clear()
    empty = pd.DataFrame({"batch": pd.Categorical([]), **{score: [] for score in SCORES}}).rename_axis("cell")
    return pd.concat(tables) if tables else empty, {"trainings": trainings, "left_out": left_out}


def _choose_batches(column: np.ndarray, most: int, seed: int) -> tuple[list[str], dict[str, str]]:
    """Batches to leave out, in the order of their names, and why the others are not."""
    batches = sorted(set(column))
    if len(batches) < 2:
        return [], {batches[0]: "it is the only batch"}
    if len(batches) <= most:
        return batches, {}
    drawn = np.random.default_rng(seed).choice(len(batches), most, replace=False)
    chosen = [batches[i] for i in np.sort(drawn)]
    return chosen, {name: "not drawn" for name in batches if name not in chosen}


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
    cells = held_out_cells(genes, seen, held_out, recipe)
    fitted = fit_on(genes, seen, recipe, store)
    start = time.perf_counter()
    drawn = chosen, evaluation.marginal_ll_samples, recipe.seed
    table, weights = score_cells_of_unknown_batch(fitted.model, cells, recipe.keys_seen.batch_key, *drawn)
    training = _training_record(fitted, len(held_out))
    training |= {"likeness": weights.to_dict(), "seconds_scoring": time.perf_counter() - start}
    return {"positions": held_out.tolist(), "scores": table.to_dict(orient="list"), "training": training}


def _write_recipe(
    spec: dict[str, Any],
    initial_spec: dict[str, Any] | None,
    keys: Keys,
    options: CrossValidationOptions,
    seed: int,
    accelerator: Accelerator,
) -> Recipe:
    """With the limit of epochs of the cross-validation, where it has one."""

    def parse(raw: dict[str, Any]) -> ModelSpec:
        parsed = parse_spec(raw)
        if options.max_epochs is None:
            return parsed
        training = parsed.training.model_copy(update={"max_epochs": options.max_epochs})
        return parsed.model_copy(update={"training": training})

    parsed, initial = parse(spec), None if initial_spec is None else parse(initial_spec)
    return Recipe(parsed, initial, keys, seed if parsed.seed is None else parsed.seed, accelerator)


def _identity(genes: AnnData, n_seen: int, recipe: Recipe, evaluation: EvaluationOptions) -> str:
    """Digest of everything that decides the scores of a batch."""
    digest = hashlib.sha256()
    for part in (genes.X.data, genes.X.indices, genes.X.indptr, *genes.obsm.values()):
        digest.update(np.asarray(part, order="C").tobytes())
    keys = recipe.keys
    columns = list(dict.fromkeys([*keys.categorical.values(), *keys.continuous_covariates]))
    digest.update(pd.util.hash_pandas_object(genes.obs[columns].astype(str)).to_numpy().tobytes())
    options = [n_seen, asdict(recipe), evaluation]
    text = json.dumps(options, default=lambda each: each.model_dump(mode="json"), sort_keys=True)
    digest.update(text.encode())
    return digest.hexdigest()


def _training_record(fitted: Fit, n_held_out: int) -> dict[str, Any]:
    """The training's summary, ``n_held_out``, and its curves by epoch: negative ELBO in nats per cell."""
    curves = {name: fitted.history[name].tolist() for name in _CURVES if name in fitted.history}
    return fitted.summary | {"n_held_out": n_held_out, "curves": curves}


def fit_on(
    genes: AnnData, seen: np.ndarray, recipe: Recipe, checkpoints: CheckpointStore, *, part: int = 0
) -> Fit:
    """Fit a model on some of the cells; the others are not even registered with it.

    ``genes`` are all cells × modelled genes; ``seen`` the positions of those that the model is fitted on, training
    and validation together. ``part`` numbers what is held out: each part has validation cells of its own, so that no
    cell is one in all.
    """
    split = split_seen(len(seen), recipe.spec.training, (recipe.seed + part) % 2**32)
    first = None
    if recipe.initial is not None:
        start = dataclasses.replace(recipe, spec=recipe.initial, initial=None)
        store = CheckpointStore(checkpoints.path / "initial")
        first = fit_on(genes, seen, start, store, part=part).model
    return build_and_fit(
        genes[seen].copy(),
        recipe.spec,
        recipe.keys_seen,
        seed=recipe.seed,
        accelerator=recipe.accelerator,
        checkpoints=checkpoints,
        initial=None if first is None else lambda: first,
        split=split,
    )


def held_out_cells(genes: AnnData, seen: np.ndarray, held_out: np.ndarray, recipe: Recipe) -> AnnData:
    """Cells that a model has not seen, as it can be asked about them.

    Labels that no seen cell has become ``unknown``.

    An InputError says that a categorical covariate, a sample, or a label that the dispersion depends on has a value
    that no seen cell has.
    """
    cells = genes[held_out].copy()
    obs = genes.obs
    described = list(recipe.keys_seen.categorical_covariates)
    if "samples" in recipe.spec.needs:
        described.append(sample_column(obs, recipe.keys))

    def new_values(key: str) -> list[str]:
        values = np.asarray(obs[key], dtype=str)
        return sorted(set(values[held_out]) - set(values[seen]))

    for key in described:
        if new := new_values(key):
            raise InputError(
                f"'{new[0]}' of '{key}' is found in held-out cells only, and a model knows nothing of a category that "
                "it has not seen; leave the column out or merge rare categories"
            )
    label_key = recipe.keys.label_key
    if label_key is None or not recipe.sees_labels:
        return cells
    new = new_values(label_key)
    if new and "labels" not in recipe.spec.needs:
        raise InputError(
            f"label '{new[0]}' of '{label_key}' is found in held-out cells only, and its dispersion (dispersion: "
            "gene-label) cannot be learnt from others; take dispersion: gene"
        )
    if new:
        labels = cells.obs[label_key].astype(str)
        cells.obs[label_key] = labels.where(~labels.isin(new), UNKNOWN).astype("category")
    return cells


def assign_folds(strata: Sequence[pd.Series], n_cells: int, n_folds: int, seed: int) -> np.ndarray:
    """Deal cells out to folds of nearly equal size and composition.

    Each combination of categories is shared out equally, and what is left over goes to the folds that have been given
    least of its categories so far. A combination differs by one cell at most between folds.

    ``strata`` are categories of the cells, such as batch and label, perhaps none; given is the fold of each cell, 1
    to ``n_folds``. An InputError says that a fold would hold fewer than two cells. The greedy choice is that of
    Sechidis, Tsoumakas & Vlahavas (2011), doi:10.1007/978-3-642-23808-6_10.
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


def marginal_cells(obs: pd.DataFrame, keys: Keys, most: int, seed: int) -> np.ndarray:
    """Whether the marginal likelihood of a cell is estimated, ``(n_cells,)``.

    The same cells for every fold and every batch, so that what a model loses on a batch that it has not seen is
    measured cell by cell.
    """
    batches = obs[keys.batch_key] if keys.batch_key else None
    chosen = stratified_sample([batches], len(obs), most, seed)
    return np.isin(np.arange(len(obs)), chosen)


def split_seen(n_cells: int, training: TrainingOptions, seed: int) -> Split:
    """Training and validation cells among those that are not held out, in the study's proportion."""
    share = training.validation_size / (training.train_size + training.validation_size)
    drawn = split_cells(n_cells, 1 - share, share, seed)
    # rounding may leave a cell over
    validation = np.concatenate([drawn.validation, drawn.test])
    return Split(train=drawn.train, validation=validation, test=np.array([], dtype=np.int64))
