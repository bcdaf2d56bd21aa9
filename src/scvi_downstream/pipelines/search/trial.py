"""One trial: a model with other options, trained, embedded and scored, wherever it runs; and the record of it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.graphs.neighbors import neighbors_graph
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.families import parse_spec
from scvi_downstream.models.fitting import Fit, Split, build_and_fit, reproducible
from scvi_downstream.models.schedule import split_by
from scvi_downstream.models.search_space import changed
from scvi_downstream.models.specification import ModelSpec
from scvi_downstream.pipelines.comparison.options import ComparisonOptions
from scvi_downstream.pipelines.embedding.options import EmbeddingOptions
from scvi_downstream.pipelines.evaluation.options import EvaluationOptions
from scvi_downstream.runtime import events
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.threads import one_thread, quiet
from scvi_downstream.scoring.criteria import AGGREGATES
from scvi_downstream.scoring.embedding_metrics import compute_metrics
from scvi_downstream.scoring.likelihood import score_likelihood
from scvi_downstream.scoring.marginal_likelihood import estimate_marginal_likelihood

if TYPE_CHECKING:
    from anndata import AnnData
    from scvi.model.base import BaseModelClass

MARGINAL = "marginal_ll_validation"
CURVE = "elbo_validation"
AS_CONFIGURED = 1
"""Number of the trial without changes."""
_COSTS = ("epochs", "best_epoch", "n_parameters", "peak_memory_mb")
# Likelihoods of so many cells a share are kept: enough for paired differences, and records stay small.
_CELLS_KEPT = 5_000
_SHARES = ("validation", "test")


def trial_name(model: str, number: int) -> str:
    """``scvi_search_007``."""
    return f"{model}_search_{number:03d}"


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


TrialState = Literal["finished", "stopped", "failed"]


@dataclass(frozen=True)
class TrialRecord:
    """What is known of a trial when it is over.

    Attributes
    ----------
    number
        Position in the sequence of suggestions, from 1: the model as it is configured.
    changes
        Option → value drawn.
    status
        ``finished``; ``stopped``, when it fell behind; ``failed``.
    scores
        Numbers by name; of a stopped trial the best validation ELBO and the epochs.
    curve
        ELBO of the validation cells after each epoch, in nats per cell, higher is better.
    by_cell
        Objective of likelihood → ``{share: values}``, nats of each cell in the order of their positions.
    draws
        Integration metric → its values on resampled cells, the same cells in every trial.
    reason
        Why it failed or was stopped.
    """

    number: int
    changes: Mapping[str, Any]
    status: TrialState
    scores: Mapping[str, Any] = field(default_factory=dict)
    curve: tuple[float, ...] = ()
    by_cell: Mapping[str, Mapping[str, list[float]]] = field(default_factory=dict)
    draws: Mapping[str, list[float]] = field(default_factory=dict)
    reason: str = ""

    def plain(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self) | {"curve": list(self.curve)}

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> TrialRecord:
        """The record of what :meth:`plain` gave."""
        return cls(**{**plain, "curve": tuple(plain["curve"])})


def run_trial(
    task: TrialTask,
    number: int,
    changes: Mapping[str, Any],
    on_epoch: Callable[[int, Mapping[str, float]], None],
) -> TrialRecord:
    """Train and score one trial; what goes wrong in it becomes its reason, not an error.

    Test cells are scored for the report, and neither seen by the training nor by any objective: integration is measured
    on the training and validation cells. ``on_epoch`` is called after each epoch with its number and curves, and may
    end the training by raising ``SystemExit``.
    """
    curve: list[float] = []
    scores: dict[str, Any] = {}

    def fail(reason: str) -> TrialRecord:
        return TrialRecord(number, dict(changes), "failed", scores, tuple(curve), reason=reason)

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
            likelihood, by_cell = _score_likelihood(task, result.model, split)
            integration, draws = _score_integration(task, result.model, split)
    except Exception as error:  # noqa: BLE001 - a bad trial is a bad row, not a failed search
        reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        return fail(reason.split("\n")[0])
    costs = {name: result.summary[name] for name in _COSTS}
    scores |= likelihood | integration | costs | {"seconds": time.perf_counter() - start}
    for name in task.objectives:
        if scores.get(name) is None:
            return fail(f"{name} cannot be computed for this trial")
    return TrialRecord(number, dict(changes), "finished", scores, tuple(curve), by_cell, draws)


def _train(task: TrialTask, spec: ModelSpec) -> tuple[Fit, Split]:
    split = split_by(spec.training, task.genes.n_obs, task.seed)
    with tempfile.TemporaryDirectory() as folder:
        result = build_and_fit(
            task.genes.copy(),  # what comes from Ray's store cannot be written to
            spec,
            spec.keys_seen(task.keys),
            seed=task.seed if spec.seed is None else spec.seed,
            accelerator=task.accelerator,
            checkpoints=CheckpointStore(Path(folder)),
            split=split,
        )
    return result, split


def _score_likelihood(
    task: TrialTask, model: BaseModelClass, split: Split
) -> tuple[dict[str, Any], dict[str, dict[str, list[float]]]]:
    wanted = ["elbo_train", CURVE, "elbo_test", "generalisation_gap"]
    bounds = task.evaluation.sampling
    marginal = MARGINAL in task.objectives
    if not marginal:
        bounds = replace(bounds, samples=2, max_cells=2)
    scores, cells = score_likelihood(model, bounds, seed=task.seed)
    by_cell = {CURVE: _keep_values(task, model, split, cells["elbo"])}
    if marginal:
        of_validation, log_evidence = estimate_marginal_likelihood(
            model, np.sort(split.validation), bounds, seed=task.seed
        )
        scores[MARGINAL] = of_validation["marginal_ll_test"]
        wanted += [MARGINAL, "marginal_ll_test"]
        evidence = cells["marginal_ll"].copy()
        evidence.loc[model.adata.obs_names[log_evidence.index]] = log_evidence.to_numpy()
        by_cell[MARGINAL] = _keep_values(task, model, split, evidence)
    return {name: scores[name] for name in wanted}, by_cell


def _keep_values(
    task: TrialTask, model: BaseModelClass, split: Split, values: pd.Series
) -> dict[str, list[float]]:
    """Values of all cells of a share in the order of their positions, or of a sample of them."""
    kept = {}
    for share in _SHARES:
        cells = getattr(split, share)
        if len(cells) > _CELLS_KEPT:
            cells = np.random.default_rng(task.seed).choice(cells, _CELLS_KEPT, replace=False)
        names = model.adata.obs_names[np.sort(cells)]
        kept[share] = np.round(values.reindex(names), 4).tolist()
    return kept


def _score_integration(
    task: TrialTask, model: BaseModelClass, split: Split
) -> tuple[dict[str, float], dict[str, list[float]]]:
    wanted = [name for name in task.objectives if name in AGGREGATES]
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
        profile=task.comparison.model_copy(update={"profile": "fast"}).metrics_profile,
        n_draws=task.comparison.n_bootstrap,
        seed=task.seed,
    )
    found = {name: float(scores[name]) for name in AGGREGATES if name in scores}
    return found, {name: np.round(draws[name], 6).tolist() for name in wanted if name in draws}
