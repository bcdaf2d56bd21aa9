"""Models of runs as rows, with what differs between them and what they score."""

from __future__ import annotations

import pandas as pd

from scvi_downstream.criteria import (
    AGGREGATES,
    BATCH_CORRECTION,
    BIO_CONSERVATION,
    CLUSTERS,
    COSTS,
    LIKELIHOOD,
)

from .comparability import comparable_groups
from .differences import differing

FIRST = ("study", "run", "started", "status", "model", "family", "device")
LAST = ("error", "data_digest", "run_id", "model_run_id")
SAME_CELLS, SAME_LABELS = "same_cells_and_genes", "same_cells_and_labels"
_KNOWN = (*AGGREGATES, *LIKELIHOOD, *COSTS, *BIO_CONSERVATION, *BATCH_CORRECTION, *CLUSTERS)


def tabulate_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """One row a model of a run, runs in their order.

    Parameters
    ----------
    runs
        As they are tracked: ``param.…``, ``study_param.…``, ``metric.…`` and ``version.…`` beside the names.

    Returns
    -------
    Names; ``same_cells_and_genes`` and ``same_cells_and_labels``: letters of groups within which likelihoods, and
    scores of embeddings, may be compared; options of models that differ within a family (``option.…``), of studies
    (``study.…``) and versions (``version.…``) that differ between runs; scores; errors and ids. Columns without a
    value are left out.
    """
    table = pd.DataFrame({name: runs[name] for name in ("study", "run", "started", "status", "model")})
    table["family"] = runs.get("param.family")
    table["device"] = runs.get("device")
    table[SAME_CELLS] = _first_group(runs, ("elbo_test", "marginal_ll_test"))
    table[SAME_LABELS] = _first_group(runs, AGGREGATES)
    options = differing(runs, "param.", ["param.family"])
    of_study = differing(runs, "study_param.")
    versions = differing(runs, "version.")
    parts = [
        table,
        runs[options].rename(columns=lambda name: "option." + name.removeprefix("param.")),
        runs[of_study].rename(columns=lambda name: "study." + name.removeprefix("study_param.")),
        runs[versions],
        _scores(runs),
        runs[[name for name in LAST if name in runs]],
    ]
    return pd.concat(parts, axis=1).dropna(axis=1, how="all")


def _first_group(runs: pd.DataFrame, criteria: tuple[str, ...]) -> pd.Series:
    """Groups of the first criterion that any row has."""
    present = [name for name in criteria if f"metric.{name}" in runs]
    return comparable_groups(runs, present[0] if present else criteria[0])


def _scores(runs: pd.DataFrame) -> pd.DataFrame:
    """Known scores first; names with dots are what other analyses tell of the whole run."""
    found = {column.removeprefix("metric."): column for column in runs if column.startswith("metric.")}
    known = [name for name in _KNOWN if name in found]
    others = [name for name in found if name not in known and "." not in name]
    return pd.DataFrame({name: runs[found[name]] for name in [*known, *others]}, index=runs.index)
