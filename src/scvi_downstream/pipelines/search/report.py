"""The search for hyperparameters in the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from scvi_downstream.models.search_space import Choice, SearchSpace
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.report.sections import Headline, Item, Section, Trust, result
from scvi_downstream.runtime.numbers import is_number

SECTION = Section(
    "Search",
    "Trials of one model with other hyperparameters. They are judged on validation cells, and integration on training "
    "and validation cells; test cells are only reported. Differences are paired, trial by trial on the same cells, and "
    "do not hold what another random initialisation would change.",
    (
        Item(
            dataset="search_figure",
            caption="Trainings of all trials, the first objective in the order of the trials, and objectives against "
            "each other (or against the size of the model).",
        ),
        Item(
            dataset="search_options_figure",
            caption="The first objective of finished trials by each option that was varied.",
        ),
        result(
            "search_trials.csv",
            "All trials: options, objectives, how far behind the best (and the standard error of that), other scores, "
            "costs, and why a trial was stopped or failed.",
            folder="",
        ),
        result("search_best.yml", "The recommended trial as an entry of models:.", folder="", folded=True),
        result("search_summary.json", "What the search found, in words and numbers.", folder="", folded=True),
    ),
)

LABELS = {
    "elbo_validation": "ELBO of the validation cells",
    "marginal_ll_validation": "marginal log-likelihood of the validation cells",
    "scib_total": "scIB total",
    "scib_bio_conservation": "scIB bio conservation",
    "scib_batch_correction": "scIB batch correction",
}
_FDR = 0.05
_MOST_FAILURES = 3


def describe_search(trials: pd.DataFrame, summary: Mapping[str, Any], space: SearchSpace) -> list[str]:
    """Sentences on a search, the most important first.

    ``trials`` are of :func:`.choice.tabulate_trials`, ``summary`` of :func:`.choice.choose_trial`.
    """
    failed = trials.loc[trials["status"] == "failed", "reason"]
    return [
        _recommend(trials, summary),
        *_describe_gain(summary),
        _describe_noise(trials, summary),
        *_describe_front(trials, summary),
        *_find_edges(summary, space),
        *_describe_effects(summary),
        *(f"{name} failed: {reason}." for name, reason in failed[:_MOST_FAILURES].items()),
    ]


def _format_score(score: str, value: float) -> str:
    """A score with its unit."""
    return f"{value:.3f}" if score.startswith("scib_") else f"{value:,.1f} nats per cell"


def _recommend(trials: pd.DataFrame, summary: Mapping[str, Any]) -> str:
    taken, model = summary["recommended"], summary["model"]
    objectives = trials.loc[taken, summary["objectives"]]
    scores = ", ".join(f"{LABELS[name]} {_format_score(name, value)}" for name, value in objectives.items())
    n_stopped, n_failed = summary["n_stopped"], summary["n_failed"]
    ends = f"{summary['n_finished']} of {len(trials)} trials came to an end"
    if n_stopped:
        ends += f", {n_stopped} {'was' if n_stopped == 1 else 'were'} stopped early"
    if n_failed:
        ends += f", {n_failed} failed"
    if not summary["changes"]:
        return f"No trial is better than {model} as it is configured, beyond noise or otherwise ({scores}); {ends}."
    changes = ", ".join(f"{name} {value}" for name, value in summary["changes"].items())
    return f"{taken} is recommended: {model} with {changes} ({scores}); {ends}."


def _describe_gain(summary: Mapping[str, Any]) -> Iterator[str]:
    """The recommended trial against the model as it is configured, where both are known and differ."""
    gain, low, high = (summary[f"test_elbo_gain{end}"] for end in ("", "_low", "_high"))
    if gain is None or not summary["changes"]:
        return
    interval = "" if pd.isna(low) else f" (95 % interval {low:.1f} to {high:.1f})"
    verdict = "is better than"
    if low <= 0:
        verdict = "is worse than" if high < 0 else "cannot be told from"
    yield (
        f"On the test cells, which no objective looked at, {summary['recommended']} {verdict} {summary['model']} as it "
        f"is configured: {gain:+.1f} nats of ELBO per cell{interval}; scores of validation cells flatter the best of "
        "many trials."
    )


def _describe_noise(trials: pd.DataFrame, summary: Mapping[str, Any]) -> str:
    first, *further = summary["objectives"]
    best = summary["best"]
    lead = f"{best} ({_format_score(first, trials.loc[best, first])}) has the best {LABELS[first]}"
    others = [name for name in summary["within_noise"] if name != best]
    if not others:
        return f"{lead}, and no trial is within one standard error of it."
    rule = f"the highest {LABELS[further[0]]}" if further else "the fewest parameters"
    equal = f"{len(others)} other trials are" if len(others) > 1 else f"{others[0]} is"
    return (
        f"{lead}; {equal} within one standard error of the paired difference, and of these "
        f"{summary['recommended']} has {rule}."
    )


def _describe_front(trials: pd.DataFrame, summary: Mapping[str, Any]) -> Iterator[str]:
    if len(summary["objectives"]) < 2:
        return
    front = trials.index[trials["pareto"]]
    what = " and ".join(LABELS[name] for name in summary["objectives"])
    yield (
        f"{front[0]} is best in {what} at once."
        if len(front) == 1
        else f"{what} pull apart: {len(front)} trials are beaten by none in all of them, {', '.join(front)}."
    )


def _find_edges(summary: Mapping[str, Any], space: SearchSpace) -> Iterator[str]:
    """Recommended numbers beyond which nothing was tried."""
    for name, value in summary["changes"].items():
        domain = space.options[name]
        values = domain.values if isinstance(domain, Choice) else (domain.low, domain.high)
        numbers = [one for one in values if is_number(one)]
        if len(numbers) < 2 or len(numbers) < len(values) or value not in (min(numbers), max(numbers)):
            continue
        end, way = ("largest", "larger") if value == max(numbers) else ("smallest", "smaller")
        yield (
            f"{name} {value} of {summary['recommended']} is the {end} that was tried; a {way} one may be better."
        )


def _describe_effects(summary: Mapping[str, Any]) -> Iterator[str]:
    effects, objective = summary["option_effects"], LABELS[summary["objectives"][0]]
    strong = [f"{row['option']} ({format_effect(row)})" for row in effects if row["p_adjusted"] <= _FDR]
    if strong:
        yield f"Among finished trials the {objective} goes with {', '.join(strong)}."
    elif effects:
        yield f"No option goes with the {objective} beyond chance among {effects[0]['n']} finished trials."


def format_effect(effect: Mapping[str, Any]) -> str:
    """Size of an association: ``ρ +0.52`` of numbers, ``η² 0.31`` of words."""
    return f"ρ {effect['rho']:+.2f}" if effect["kind"] == "continuous" else f"η² {effect['eta2']:.2f}"


def headline(contents: Mapping[str, Any], _: Study) -> Headline | None:
    """What the search recommends, and what that gains on cells that no objective looked at."""
    summary = contents.get("search_summary")
    if not summary:
        return None
    n_trials = f"{summary['n_trials']} trials"
    if not summary["changes"]:
        return Headline(f"None of {n_trials} is better than {summary['model']} as configured", Trust.HOLDS)
    text = f"{summary['recommended']} is the best of {n_trials}"
    gain, low = summary["test_elbo_gain"], summary["test_elbo_gain_low"]
    if gain is None:
        return Headline(f"{text}; its gain on test cells is not known", Trust.UNCERTAIN)
    trust = Trust.HOLDS if low is not None and low > 0 else Trust.FAILS if gain <= 0 else Trust.UNCERTAIN
    return Headline(f"{text}: {gain:+.1f} nats of ELBO per test cell", trust)
