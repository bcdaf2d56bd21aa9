"""Fits of one model that differ in nothing but the seed, and how far their scores spread."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.pipelines.comparison.noise import by_model
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.numbers import is_number

SCORE_COLUMNS = [
    "metric", "n", "mean", "sd", "sd_low", "sd_high", "low", "high", "min", "max", "cv",
    "cell_sd", "seed_noise", "least_difference",
]  # fmt: skip
# Sizes and settings are the same for all seeds, or say nothing of the model.
_NOT_SCORES = (
    "seed", "batch_size", "n_latent", "n_layers", "n_hidden", "n_genes", "n_cells", "n_parameters", "n_train",
    "n_validation", "n_test", "marginal_ll_samples", "marginal_ll_cells", "peak_memory_mb", "max_epochs", "lr",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class SeedFit:
    """What is compared of one fit.

    Attributes
    ----------
    name
        Name of the model or trial.
    scores
        Flat record.
    score_draws
        Bootstrap draws × scib metrics; empty where there are none.
    latent
        ``n_cells`` × dimensions.
    clusters
        ``n_cells`` × repetitions of Leiden, in the order of ``latent``.
    markers
        Top genes of each group, of two sets of posterior draws; empty where the model has no test.
    """

    name: str
    scores: Mapping[str, Any]
    score_draws: pd.DataFrame
    latent: pd.DataFrame
    clusters: pd.DataFrame
    markers: pd.DataFrame = field(default_factory=pd.DataFrame)


def gather_fits(tables: Mapping[str, Any]) -> tuple[list[SeedFit], dict[str, str]]:
    """Fits, the study's own first, and the reason of each that failed.

    Parameters
    ----------
    tables
        ``<name>__scores``, ``<name>__score_draws``, ``<name>__latent``, ``<name>__seed_clusters`` and perhaps
        ``<name>__seed_markers`` of each fit.

    Raises
    ------
    InputError
        When two fits are not of the same cells.
    """
    failed, fits = {}, []
    for name, scores in by_model(tables, "scores").items():
        if scores.get("failed"):
            failed[name] = str(scores["failed"])
            continue
        latent, clusters = tables[f"{name}__latent"], tables[f"{name}__seed_clusters"]
        markers = tables.get(f"{name}__seed_markers", pd.DataFrame())
        draws = tables[f"{name}__score_draws"]
        fits.append(SeedFit(name, scores, draws, latent, clusters.loc[latent.index], markers))
    for fit in fits[1:]:
        if set(fit.latent.index) != set(fits[0].latent.index):
            raise InputError(
                f"'{fit.name}' was fitted to other cells than '{fits[0].name}'; run the study again so that all seeds "
                "see the same counts"
            )
    return fits, failed


def spread_of_scores(fits: list[SeedFit]) -> pd.DataFrame:
    """Mean and spread of every score over seeds.

    Parameters
    ----------
    fits
        At least two.

    Returns
    -------
    One row a metric that all fits have. ``sd`` is the standard deviation over ``n`` seeds, ``sd_low`` and
    ``sd_high`` its 95 % interval (a normal distribution over seeds taken); ``low`` and ``high`` the 95 % interval of
    the mean; ``cv`` the coefficient of variation. ``cell_sd`` is the standard error over cells of one fit's score
    (bootstrap, or of the mean over test cells; NaN where not known), and ``seed_noise`` says whether the seed moves
    the score ``less`` or ``more`` than the choice of cells (``sd_high`` below or ``sd_low`` above ``cell_sd``) or
    ``alike``. Two models fitted once each must differ by ``least_difference`` before the seeds alone are an unlikely
    reason (95 %): t × √2 × ``sd``, the reproducibility limit of ISO 5725.
    """
    rows = [
        _spread_of_score(name, fits)
        for name in fits[0].scores
        if name not in _NOT_SCORES
        and not name.endswith("_se")
        and all(is_number(score := fit.scores.get(name)) and np.isfinite(score) for fit in fits)
    ]
    return pd.DataFrame(rows, columns=SCORE_COLUMNS)


def _spread_of_score(name: str, fits: list[SeedFit]) -> tuple[object, ...]:
    """One row, in the order of :data:`SCORE_COLUMNS`."""
    from scipy import stats

    values = np.array([float(fit.scores[name]) for fit in fits])
    n, mean, sd = len(values), float(values.mean()), float(values.std(ddof=1))
    t = stats.t.ppf(0.975, n - 1)
    sd_low, sd_high = sd * np.sqrt((n - 1) / stats.chi2.ppf([0.975, 0.025], n - 1))
    reach = t * sd / np.sqrt(n)
    cv = sd / abs(mean) if mean else float("nan")
    cell_sd = _cell_sd(name, fits)
    noise = "less" if sd_high < cell_sd else "more" if sd_low > cell_sd else "alike"
    return (
        name, n, mean, sd, sd_low, sd_high, mean - reach, mean + reach, values.min(), values.max(), cv,
        cell_sd, noise if np.isfinite(cell_sd) else "", t * np.sqrt(2) * sd,
    )  # fmt: skip


def _cell_sd(name: str, fits: list[SeedFit]) -> float:
    """Mean over fits of the score's standard error over cells."""
    drawn = [fit.score_draws[name] for fit in fits if name in fit.score_draws]
    known = [draws.std(ddof=1) for draws in drawn if len(draws) > 1]
    known = known or [fit.scores[f"{name}_se"] for fit in fits if fit.scores.get(f"{name}_se") is not None]
    return float(np.mean(known)) if known else float("nan")
