"""Each batch in turn is held out: what a model makes of cells of a batch that it has never seen."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.errors import InputError
from scvi_downstream.metrics.eligibility import stratified_sample
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.unseen_batches import why_no_unseen_batch
from scvi_downstream.progress import track

from .folds import marginal_cells
from .held_out import SCORES, score_cells_of_unknown_batch
from .leave_fold_out import known_batches, training_record
from .refit import Recipe, fit_on, held_out_cells

if TYPE_CHECKING:
    from anndata import AnnData

    from scvi_downstream.parameters import EvaluationOptions

logger = logging.getLogger(__name__)
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
