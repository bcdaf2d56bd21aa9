"""Search better hyperparameters for one model, and say which trial to take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.families import parse_spec
from scvi_downstream.models.search_space import TrialRecord, check_objectives, read_space, searched_model
from scvi_downstream.pipelines.comparison.options import ComparisonOptions
from scvi_downstream.pipelines.embedding.options import EmbeddingOptions
from scvi_downstream.pipelines.evaluation.options import EvaluationOptions
from scvi_downstream.pipelines.search.choice import (
    best_name,
    choose,
    difference,
    model_entry,
    option_effects,
    tabulate_trials,
)
from scvi_downstream.pipelines.search.options import SearchOptions
from scvi_downstream.pipelines.search.plots import plot_search, plot_search_options
from scvi_downstream.pipelines.search.report import tell_search
from scvi_downstream.pipelines.search.search import AS_CONFIGURED, search_models, trial_name
from scvi_downstream.pipelines.search.trial import TrialTask
from scvi_downstream.runtime.options import Accelerator

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["choose_trial", "plot_search", "plot_search_options", "run_search"]


def run_search(
    counts: AnnData,
    pca_latent: pd.DataFrame,
    models: Mapping[str, Mapping[str, Any]],
    primary: str,
    keys: Keys,
    search: SearchOptions,
    embedding: EmbeddingOptions,
    comparison: ComparisonOptions,
    evaluation: EvaluationOptions,
    seed: int,
    accelerator: Accelerator,
    store: CheckpointStore,
) -> dict[str, Any]:
    """Train and score the trials of a search; those that are there already are not run again.

    Parameters
    ----------
    counts
        Checked counts, ``n_cells × n_genes``.
    pca_latent
        Cells × principal components before integration.
    models
        Complete options of all models, by name.
    primary
        The model that is varied when ``search.model`` is empty.
    keys
        obs columns of the study.
    search
        Space, algorithm, objectives.
    embedding, comparison, evaluation
        Options of the neighbours, the integration metrics and the likelihoods.
    seed
        The study's seed: of the split, the trainings and the draws.
    accelerator
        ``auto``, ``cpu``, ``gpu`` or ``mps``.
    store
        Where trials that are over are kept.

    Returns
    -------
    ``model``; ``trials``: :class:`.records.TrialRecord` of each as a dictionary, by number.

    Raises
    ------
    InputError
        A space, a model or an objective that cannot be, or no trial that came to an end.
    """
    base = searched_model(search, models, primary)
    check_objectives(search, parse_spec(base), keys)
    task = TrialTask(
        genes=counts[:, counts.var["highly_variable"]].copy(),
        before=pca_latent.loc[counts.obs_names].to_numpy(np.float32),
        base=base,
        keys=keys,
        objectives=search.objectives,
        embedding=embedding,
        comparison=comparison,
        evaluation=evaluation,
        seed=seed,
        accelerator=accelerator,
    )
    records = search_models(task, search, store)
    return {"model": base["name"], "trials": [record.plain() for record in records.values()]}


def choose_trial(
    search_records: Mapping[str, Any],
    models: Mapping[str, Mapping[str, Any]],
    search: SearchOptions,
) -> tuple[pd.DataFrame, dict[str, Any], dict[str, Any]]:
    """One row a trial, what the search found, and the recommended trial as an entry of ``models:``.

    Parameters
    ----------
    search_records
        Of :func:`run_search`.
    models
        Complete options of all models, by name.
    search
        Space and objectives.

    Returns
    -------
    See :func:`.choice.tabulate_trials`; a summary with ``sentences``; see :func:`.entry.model_entry`.
    """
    model, base = search_records["model"], models[search_records["model"]]
    records = [TrialRecord.of(plain) for plain in search_records["trials"]]
    by_number = {record.number: record for record in records}
    finished = [record for record in records if record.status == "finished"]
    names = {record.number: trial_name(model, record.number) for record in records}
    space = read_space(search.space, base)
    current = space.current(parse_spec(base))
    choice = choose(finished, search.objectives)
    taken, configured = by_number[choice.recommended], by_number.get(AS_CONFIGURED)
    on_test = None
    if configured is not None and configured.status == "finished" and taken is not configured:
        on_test = difference(taken, configured, "elbo_validation", share="test")
    effects = option_effects(finished, current, search.objectives[0])
    summary = {
        "model": model,
        "algorithm": search.algorithm,
        "halving": search.halves,
        "objectives": list(search.objectives),
        "options": list(current),
        "n_trials": len(records),
        **{
            f"n_{status}": sum(record.status == status for record in records)
            for status in ("finished", "stopped", "failed")
        },
        "best": names[choice.best],
        "recommended": names[choice.recommended],
        "recommended_name": best_name(model),
        "changes": dict(taken.changes),
        "within_noise": [names[number] for number in choice.within_noise],
        "test_elbo_gain": on_test and on_test.mean,
        "test_elbo_gain_low": on_test and on_test.low,
        "test_elbo_gain_high": on_test and on_test.high,
        "option_effects": effects,
        "seconds_of_trials": float(sum(record.scores.get("seconds", 0.0) for record in records)),
        "sentences": tell_search(model, records, names, space, search.objectives, choice, on_test, effects),
    }
    table = tabulate_trials(records, names, current, search.objectives, choice)
    return table, summary, model_entry(base, taken.changes)
