"""One trial: a model with other options, trained, embedded and scored; wherever it runs."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.graphs.neighbors import neighbors_graph
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.families import parse_spec
from scvi_downstream.models.fitting import Fit, Split, fit, reproducible, split_cells
from scvi_downstream.models.search_space import TrialRecord, changed
from scvi_downstream.models.specification import ModelSpec
from scvi_downstream.pipelines.comparison.options import ComparisonOptions
from scvi_downstream.pipelines.embedding.options import EmbeddingOptions
from scvi_downstream.pipelines.evaluation.options import EvaluationOptions
from scvi_downstream.runtime import events
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.threads import one_thread, quiet
from scvi_downstream.scoring.criteria import profile_of
from scvi_downstream.scoring.embedding_metrics import compute_metrics
from scvi_downstream.scoring.likelihood import score_likelihood
from scvi_downstream.scoring.marginal_likelihood import estimate_marginal_likelihood

if TYPE_CHECKING:
    from anndata import AnnData
    from scvi.model.base import BaseModelClass

SCIB = ("scib_total", "scib_bio_conservation", "scib_batch_correction")
MARGINAL = "marginal_ll_validation"
CURVE = "elbo_validation"
_COSTS = ("epochs", "best_epoch", "n_parameters", "peak_memory_mb")
_CELLS_KEPT = 5_000
_SHARES = ("validation", "test")


@dataclass(frozen=True)
class TrialTask:
    """What all trials of a search share.

    Attributes
    ----------
    genes
        Counts, ``n_cells × n_modelled_genes``.
    before
        ``(n_cells, n_pcs)`` embedding without integration.
    base
        Complete options of the model that is varied.
    keys
        obs columns of the study.
    objectives
        Scores that are wanted.
    embedding, comparison, evaluation
        Options of the neighbours, the integration metrics and the likelihoods.
    seed
        The study's: of the split, and of all else unless the model has a seed of its own.
    accelerator
        Where to train.
    """

    genes: AnnData
    before: np.ndarray
    base: Mapping[str, Any]
    keys: Keys
    objectives: tuple[str, ...]
    embedding: EmbeddingOptions
    comparison: ComparisonOptions
    evaluation: EvaluationOptions
    seed: int
    accelerator: str


def run_trial(
    task: TrialTask,
    number: int,
    changes: Mapping[str, Any],
    on_epoch: Callable[[int, Mapping[str, float]], None],
) -> TrialRecord:
    """Train and score one trial; what goes wrong in it becomes its reason, not an error.

    Test cells are scored for the report, and neither seen by the training nor by any objective: integration is
    measured on the training and validation cells.

    Parameters
    ----------
    task
        What all trials share.
    number
        The trial's.
    changes
        Option → value.
    on_epoch
        Called after each epoch with its number and curves; may end the training by raising ``SystemExit``.
    """
    curve: list[float] = []

    def listen(event: events.Event) -> None:
        if isinstance(event, events.EpochEnded):
            if event.epoch == 1:
                curve.clear()  # a training that diverged starts again
            curve.append(-event.values[CURVE])
            on_epoch(event.epoch, event.values)

    start = time.perf_counter()
    try:
        spec = parse_spec(changed(task.base, changes))
        with one_thread(), events.listening(listen):
            result, split = _train(task, spec)
        with one_thread():
            scores, by_cell = _likelihood(task, result.model, split)
            integration, draws = _integration(task, result.model, split)
    except Exception as error:  # noqa: BLE001 - a bad trial is a bad row, not a failed search
        reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        return TrialRecord(number, dict(changes), "failed", curve=tuple(curve), reason=reason.split("\n")[0])
    costs = {name: result.summary[name] for name in _COSTS}
    scores |= integration | costs | {"seconds": time.perf_counter() - start}
    missing = [name for name in task.objectives if scores.get(name) is None]
    if missing:
        reason = f"{missing[0]} cannot be computed for this trial"
        return TrialRecord(number, dict(changes), "failed", scores, tuple(curve), reason=reason)
    return TrialRecord(number, dict(changes), "finished", scores, tuple(curve), by_cell, draws)


def kept_cells(share: np.ndarray, seed: int) -> np.ndarray:
    """Positions, in order, of the cells of a share whose own values are kept: all, or a sample of them."""
    if len(share) > _CELLS_KEPT:
        share = np.random.default_rng(seed).choice(share, _CELLS_KEPT, replace=False)
    return np.sort(share)


def _train(task: TrialTask, spec: ModelSpec) -> tuple[Fit, Split]:
    genes = task.genes.copy()  # what comes from Ray's store cannot be written to
    options = spec.training
    split = split_cells(genes.n_obs, options.train_size, options.validation_size, task.seed)
    seed = task.seed if spec.seed is None else spec.seed
    with reproducible(seed), quiet():
        model = spec.build(genes, spec.keys_seen(task.keys))
    with tempfile.TemporaryDirectory() as folder:
        result = fit(
            model,
            spec,
            seed=seed,
            accelerator=task.accelerator,
            checkpoints=CheckpointStore(Path(folder)),
            label_key=task.keys.label_key if "labels" in spec.needs else None,
            split=split,
        )
    return result, split


def _likelihood(
    task: TrialTask, model: BaseModelClass, split: Split
) -> tuple[dict[str, Any], dict[str, dict[str, list[float]]]]:
    marginal = MARGINAL in task.objectives
    options = task.evaluation if marginal else task.evaluation.model_copy(update=_BARELY)
    scores, cells = score_likelihood(model, options, seed=task.seed)
    kept = {share: kept_cells(getattr(split, share), task.seed) for share in _SHARES}
    by_cell = {CURVE: _values_of(cells["elbo"], model, kept)}
    wanted = ["elbo_train", CURVE, "elbo_test", "generalisation_gap"]
    if marginal:
        of_validation, log_evidence = estimate_marginal_likelihood(
            model, np.sort(split.validation), options, seed=task.seed
        )
        scores[MARGINAL] = of_validation["marginal_ll_test"]
        wanted += [MARGINAL, "marginal_ll_test"]
        evidence = cells["marginal_ll"].copy()
        evidence.loc[model.adata.obs_names[log_evidence.index]] = log_evidence.to_numpy()
        by_cell[MARGINAL] = _values_of(evidence, model, kept)
    return {name: scores[name] for name in wanted}, by_cell


_BARELY = {"marginal_ll_samples": 2, "marginal_ll_max_cells": 2}


def _values_of(
    values: pd.Series, model: BaseModelClass, kept: Mapping[str, np.ndarray]
) -> dict[str, list[float]]:
    names = model.adata.obs_names
    return {share: np.round(values.reindex(names[cells]), 4).tolist() for share, cells in kept.items()}


def _integration(
    task: TrialTask, model: BaseModelClass, split: Split
) -> tuple[dict[str, float], dict[str, list[float]]]:
    wanted = [name for name in task.objectives if name in SCIB]
    if not wanted:
        return {}, {}
    seen = np.sort(np.concatenate([split.train, split.validation]))
    obs = task.genes.obs.iloc[seen]
    with reproducible(task.seed), quiet():
        latent = np.asarray(model.get_latent_representation(indices=seen), dtype=np.float32)
    graph = neighbors_graph(
        obs.index,
        latent,
        n_neighbors=task.embedding.n_neighbors,
        n_search=task.embedding.n_neighbors_metrics,
        exact_up_to=task.embedding.exact_up_to,
        seed=task.seed,
    )
    scores, draws = compute_metrics(
        latent,
        graph,
        task.before[seen],
        obs[task.keys.label_key] if task.keys.label_key else None,
        obs[task.keys.batch_key] if task.keys.batch_key else None,
        profile=profile_of(task.comparison.model_copy(update={"profile": "fast"})),
        n_draws=task.comparison.n_bootstrap,
        seed=task.seed,
    )
    found = {name: float(scores[name]) for name in SCIB if name in scores}
    return found, {name: np.round(draws[name], 6).tolist() for name in wanted if name in draws}
