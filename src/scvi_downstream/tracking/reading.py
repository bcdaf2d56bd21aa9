"""Finished runs, read back from the tracking store as one table."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

from scvi_downstream.runtime.errors import InputError, closest
from scvi_downstream.tracking.page import PARENT_TAG
from scvi_downstream.tracking.runs import open_store

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment, Run

NEWEST = 10
HELD_OUT = ("elbo_test", "marginal_ll_test", "scib_total", "scib_bio_conservation")
COLUMNS = (
    "study", "run_id", "run", "started", "status", "model", "model_run_id", "model_status",
    "device", "data", "data_digest", "data_cells", "data_genes", "error",
)  # fmt: skip
PARAM, STUDY_PARAM, METRIC, VERSION = "param.", "study_param.", "metric.", "version."
_A_PAGE, _NEWEST_FIRST = 1000, ["attributes.start_time DESC"]


def read_runs(uri: str, wanted: Sequence[str], study: str) -> pd.DataFrame:
    """One row a model of each run; a run without models has one row of its own.

    Parameters
    ----------
    uri
        Of the tracking store.
    wanted
        Run ids, names of runs or names of experiments (studies). An experiment stands for its newest finished run
        with held-out scores (else with any scores, else at all). Empty: the ten newest finished runs of ``study`` that
        have scores.
    study
        Name of the experiment that is meant when nothing is named.

    Returns
    -------
    ``study`` (experiment), ``run_id``, ``run``, ``started`` (UTC), ``status``, ``model``, ``model_run_id``,
    ``model_status``, ``device``, ``data`` and its ``data_digest``, ``data_cells`` and ``data_genes`` (all empty where
    the run recorded none), ``error`` (why a run or its model failed); ``param.<name>`` of the model,
    ``study_param.<name>`` of the run, ``metric.<name>`` (last values, without curves) and ``version.<package>``. Runs
    are in the order in which they were named, or by start.

    Raises
    ------
    InputError
        When nothing has such a name, several runs have it, or a study has no finished run.
    """
    store = _Store(open_store(uri))
    names = [name.strip() for name in wanted if name.strip()]
    chosen = [store.find(name) for name in names] if names else store.newest_of(study)
    by_id = {run.info.run_id: run for run in chosen}
    rows = [row for run in by_id.values() for row in _rows(run, store)]
    table = pd.DataFrame(rows)
    return table[[*COLUMNS, *(name for name in table if name not in COLUMNS)]]


class _Store:
    """The runs of a tracking store, by name."""

    def __init__(self, client: MlflowClient) -> None:
        self._client = client
        found: list[Experiment] = client.search_experiments()
        self.experiments = {experiment.experiment_id: experiment for experiment in found}
        self.by_name = {experiment.name: experiment for experiment in found}
        self._children: dict[str, dict[str, list[Run]]] = {}

    def find(self, name: str) -> Run:
        """The run that a name stands for."""
        if name in self.by_name:
            return self._newest_finished(self.by_name[name])
        if run := self._by_id(name):
            return run
        parents = self._parents(self.experiments)
        named = [run for run in parents if run.info.run_name == name]
        if len(named) > 1:
            ids = ", ".join(run.info.run_id for run in named[:5])
            raise InputError(
                f"runs: {len(named)} runs are called '{name}'; give the id of one of them: {ids}"
            )
        if not named:
            known = closest(name, [*self.by_name, *(str(run.info.run_name) for run in parents)])
            raise InputError(f"runs: '{name}' is no study, run name or run id of the store{known}")
        return named[0]

    def newest_of(self, study: str) -> list[Run]:
        """The newest finished runs of a study with scores, the oldest first."""
        runs = self._finished(self.by_name[study]) if study in self.by_name else []
        scored = [run for run in runs if self._has_scores(run, any_of=())][:NEWEST]
        if not scored:
            others = [name for name in self.by_name if name != study]
            raise InputError(
                f"runs is empty, and study '{study}' has no finished run with scores; name runs or studies"
                f"{closest(study, others)}"
            )
        return scored[::-1]

    def children(self, run: Run) -> list[Run]:
        """Runs of the models of a run, by name: they are opened within a millisecond."""
        experiment = run.info.experiment_id
        if experiment not in self._children:
            of_parent: dict[str, list[Run]] = {}
            for found in self._search([experiment], f"tags.`{PARENT_TAG}` LIKE '%'"):
                of_parent.setdefault(found.data.tags[PARENT_TAG], []).append(found)
            self._children[experiment] = of_parent
        found = self._children[experiment].get(run.info.run_id, [])
        return sorted(found, key=lambda child: str(child.info.run_name))

    def parent(self, run: Run) -> Run | None:
        """The run that a model's run belongs to."""
        parent = run.data.tags.get(PARENT_TAG)
        return self._by_id(parent) if parent else None

    def study(self, run: Run) -> str:
        """Name of the experiment."""
        experiment = self.experiments.get(run.info.experiment_id)
        return str(experiment.name) if experiment else run.info.experiment_id

    def _newest_finished(self, experiment: Experiment) -> Run:
        runs = self._finished(experiment)
        for wanted in (HELD_OUT, ()):
            scored = next((run for run in runs if self._has_scores(run, any_of=wanted)), None)
            if scored is not None:
                return scored
        if runs:
            return runs[0]
        others = self._parents([experiment.experiment_id])[:3]
        states = ", ".join(f"'{run.info.run_name}' ({run.info.status})" for run in others) or "none at all"
        raise InputError(
            f"runs: study '{experiment.name}' has no finished run; its newest are {states}: name one"
        )

    def _finished(self, experiment: Experiment) -> list[Run]:
        runs = self._search([experiment.experiment_id], "attributes.status = 'FINISHED'")
        return [run for run in runs if PARENT_TAG not in run.data.tags]

    def _has_scores(self, run: Run, any_of: Iterable[str]) -> bool:
        """Whether the run or one of its models has one of the scores; of none: any number that is no curve.

        Names with dots are what analyses tell of the whole run.
        """
        named = {name for each in (run, *self.children(run)) for name in each.data.metrics}
        scores = {name for name in named if not name.startswith("curves/") and "." not in name}
        return bool(scores & set(any_of) if any_of else scores)

    def _parents(self, experiments: Iterable[str]) -> list[Run]:
        return [run for run in self._search(list(experiments), "") if PARENT_TAG not in run.data.tags]

    def _by_id(self, run_id: str) -> Run | None:
        from mlflow.exceptions import MlflowException

        try:
            return self._client.get_run(run_id)
        except MlflowException:
            return None

    def _search(self, experiments: list[str], condition: str) -> list[Run]:
        """All runs, the newest first."""
        found, token = [], None
        while True:
            page = self._client.search_runs(
                experiments, condition, max_results=_A_PAGE, order_by=_NEWEST_FIRST, page_token=token
            )
            found += list(page)
            token = page.token
            if not token:
                return found


def _rows(run: Run, store: _Store) -> list[dict[str, Any]]:
    parent = store.parent(run)
    if parent is not None:
        return [_row(parent, run, store)]
    return [_row(run, model, store) for model in store.children(run)] or [_row(run, None, store)]


def _row(run: Run, model: Run | None, store: _Store) -> dict[str, Any]:
    of_model = run if model is None else model
    row: dict[str, Any] = {
        "study": store.study(run),
        "run_id": run.info.run_id,
        "run": run.info.run_name,
        "started": pd.Timestamp(run.info.start_time, unit="ms", tz="UTC"),
        "status": run.info.status,
        "model": None if model is None else model.data.tags.get("model", model.info.run_name),
        "model_run_id": None if model is None else model.info.run_id,
        "model_status": None if model is None else model.info.status,
        "device": of_model.data.tags.get("device"),
        "error": of_model.data.tags.get("failed_node") or run.data.tags.get("error"),
        **_data(run, of_model),
    }
    row |= {f"{STUDY_PARAM}{name}": value for name, value in run.data.params.items()}
    if model is not None:
        row |= {f"{PARAM}{name}": value for name, value in model.data.params.items()}
        row.setdefault(f"{PARAM}family", model.data.tags.get("family"))
    scores = {name: value for name, value in of_model.data.metrics.items() if not name.startswith("curves/")}
    row |= {f"{METRIC}{name}": value for name, value in scores.items()}
    return row | {name: value for name, value in run.data.tags.items() if name.startswith(VERSION)}


def _data(run: Run, model: Run) -> dict[str, Any]:
    """What the run recorded of its counts."""
    inputs = [*model.inputs.dataset_inputs, *run.inputs.dataset_inputs]
    if not inputs:
        return dict.fromkeys(("data", "data_digest", "data_cells", "data_genes"))
    data = inputs[0].dataset
    try:
        profile = json.loads(data.profile or "{}")
    except ValueError:
        profile = {}
    if not isinstance(profile, dict):  # other people's data sets describe themselves in other ways
        profile = {}
    return {
        "data": data.name,
        "data_digest": data.digest or None,
        "data_cells": profile.get("n_cells"),
        "data_genes": profile.get("n_genes"),
    }
