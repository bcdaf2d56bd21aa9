"""The search for hyperparameters in the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.search_space import Choice, SearchSpace, TrialRecord
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.search.choice import Difference, Recommendation
from scvi_downstream.pipelines.search.options import SearchOptions
from scvi_downstream.report.contents import Item, Section
from scvi_downstream.report.versions import named
from scvi_downstream.report.words import listed

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
        Item(
            dataset="search_trials",
            caption="All trials: options, objectives, how far behind the best (and the standard error of that), other "
            "scores, costs, and why a trial was stopped or failed.",
            file="search_trials.csv",
        ),
        Item(
            dataset="search_best",
            caption="The recommended trial as an entry of models:.",
            file="search_best.yml",
            folded=True,
        ),
        Item(
            dataset="search_summary",
            caption="What the search found, in words and numbers.",
            file="search_summary.json",
            folded=True,
        ),
    ),
)


_OBJECTIVES = {
    "elbo_validation": "ELBO of the validation cells",
    "marginal_ll_validation": "importance-weighted marginal log-likelihood of the validation cells",
    "scib_total": "scIB total of the training and validation cells",
    "scib_bio_conservation": "scIB bio conservation of the training and validation cells",
    "scib_batch_correction": "scIB batch correction of the training and validation cells",
}


def describe_search(study: Any, keys: Keys, graph: Study) -> str:
    """How hyperparameters were searched for; empty where they were not."""
    options = study.search
    model = options.model
    if model is None:
        return ""
    varied = f" ({listed([f'`{name}`' for name in options.space])})" if options.space else ""
    objectives = listed([_OBJECTIVES[name] for name in options.objectives])
    text = [
        f"Hyperparameters of `{model}`{varied} were searched for in {options.trials} trials, the first with those "
        f"configured, run by {named('ray')} Tune [@liaw2018]; {_drawn(options)}. The objective"
        f"{' was' if len(options.objectives) == 1 else 's were'} the {objectives}; test cells were not used."
    ]
    if options.halves:
        text.append(
            f"Trials were stopped by asynchronous successive halving [@li2020] on the ELBO of the validation cells, "
            f"after {options.grace_epochs} epochs at the earliest, one in {options.reduction_factor:g} going on from "
            "each rung; the model as configured was not stopped."
        )
    equal = "the highest second objective" if len(options.objectives) > 1 else "the fewest parameters"
    text.append(
        "Of the trials within one standard error of the best by the first objective (paired differences over cells, or "
        f"over bootstrap draws for scIB) [@breiman1984], that with {equal} is recommended."
    )
    return " ".join(text)


def _drawn(options: SearchOptions) -> str:
    if options.algorithm != "bayesian":
        return "values were drawn at random"
    pareto = " for several objectives [@ozaki2022]" if len(options.objectives) > 1 else ""
    return (
        f"values were suggested by tree-structured Parzen estimators [@bergstra2011]{pareto} of "
        f"{named('optuna')} [@akiba2019]"
    )


LABELS = {
    "elbo_validation": "ELBO of the validation cells",
    "marginal_ll_validation": "marginal log-likelihood of the validation cells",
    "scib_total": "scIB total",
    "scib_bio_conservation": "scIB bio conservation",
    "scib_batch_correction": "scIB batch correction",
}
_NATS = ("elbo_validation", "marginal_ll_validation")


def shown(score: str, value: float) -> str:
    """A score with its unit."""
    return f"{value:,.1f} nats per cell" if score in _NATS else f"{value:.3f}"


def tell_search(
    model: str,
    records: Sequence[TrialRecord],
    names: Mapping[int, str],
    space: SearchSpace,
    objectives: tuple[str, ...],
    choice: Recommendation,
    on_test: Difference | None,
    effects: Sequence[Mapping[str, Any]],
    *,
    fdr: float = 0.05,
) -> list[str]:
    """Sentences, the most important first.

    Parameters
    ----------
    model
        Name of the model that was varied.
    records
        All trials.
    names
        Number → name.
    space
        What was varied.
    objectives
        What was sought, the first decides.
    choice
        The best and the recommended trial.
    on_test
        ELBO of the test cells: the recommended trial less the model as it is configured; ``None`` when they are one.
    effects
        Associations of options with the first objective.
    fdr
        Up to which associations are told.
    """
    by_number = {record.number: record for record in records}
    taken = by_number[choice.recommended]
    return [
        *_recommended(model, taken, names, objectives, records, on_test),
        *_noise(names, objectives, choice, by_number),
        *_front(names, objectives, records),
        *_at_the_edge(taken, names, space),
        *_going_along(effects, objectives[0], fdr),
        *_failed(names, records),
    ]


def values_of(changes: Mapping[str, Any]) -> str:
    """``n_latent 20, training.lr 0.002``."""
    return ", ".join(f"{name} {value}" for name, value in changes.items())


def _recommended(
    model: str,
    taken: TrialRecord,
    names: Mapping[int, str],
    objectives: tuple[str, ...],
    records: Sequence[TrialRecord],
    on_test: Difference | None,
) -> list[str]:
    scores = ", ".join(f"{LABELS[name]} {shown(name, taken.scores[name])}" for name in objectives)
    counts = [
        f"{sum(record.status == 'finished' for record in records)} of {len(records)} trials came to an end"
    ]
    stopped, failed = (sum(record.status == status for record in records) for status in ("stopped", "failed"))
    counts += [f"{stopped} {'was' if stopped == 1 else 'were'} stopped early"] * bool(stopped)
    counts += [f"{failed} failed"] * bool(failed)
    if not taken.changes:
        return [
            f"No trial is better than {model} as it is configured, beyond noise or otherwise ({scores}); "
            f"{', '.join(counts)}."
        ]
    first = f"{names[taken.number]} is recommended: {model} with {values_of(taken.changes)} ({scores}); "
    return [first + f"{', '.join(counts)}.", *([_gain(model, taken, names, on_test)] if on_test else [])]


def _gain(model: str, taken: TrialRecord, names: Mapping[int, str], on_test: Difference) -> str:
    interval = "" if on_test.low is None else f" (95 % interval {on_test.low:.1f} to {on_test.high:.1f})"
    verdict = "is better than"
    if on_test.low is not None and on_test.high is not None and on_test.low <= 0:
        verdict = "is worse than" if on_test.high < 0 else "cannot be told from"
    return (
        f"On the test cells, which no objective looked at, {names[taken.number]} {verdict} {model} as it is "
        f"configured: {on_test.mean:+.1f} nats of ELBO per cell{interval}; scores of validation cells flatter the best "
        "of many trials."
    )


def _noise(
    names: Mapping[int, str],
    objectives: tuple[str, ...],
    choice: Recommendation,
    by_number: Mapping[int, TrialRecord],
) -> list[str]:
    first = objectives[0]
    best = f"{names[choice.best]} ({shown(first, by_number[choice.best].scores[first])})"
    others = [names[number] for number in choice.within_noise if number != choice.best]
    if not others:
        return [f"{best} has the best {LABELS[first]}, and no trial is within one standard error of it."]
    rule = f"the highest {LABELS[objectives[1]]}" if len(objectives) > 1 else "the fewest parameters"
    equal = f"{len(others)} other trials are" if len(others) > 1 else f"{others[0]} is"
    return [
        f"{best} has the best {LABELS[first]}; {equal} within one standard error of the paired difference, and "
        f"of these {names[choice.recommended]} has {rule}."
    ]


def _front(
    names: Mapping[int, str], objectives: tuple[str, ...], records: Sequence[TrialRecord]
) -> list[str]:
    if len(objectives) < 2:
        return []
    import numpy as np

    from scvi_downstream.pipelines.search.choice import pareto_front

    finished = [record for record in records if record.status == "finished"]
    front = pareto_front(np.array([[record.scores[name] for name in objectives] for record in finished]))
    on_front = [names[record.number] for record, on in zip(finished, front, strict=True) if on]
    what = " and ".join(LABELS[name] for name in objectives)
    if len(on_front) == 1:
        return [f"{on_front[0]} is best in {what} at once."]
    return [
        f"{what} pull apart: {len(on_front)} trials are beaten by none in all of them, {', '.join(on_front)}."
    ]


def _at_the_edge(taken: TrialRecord, names: Mapping[int, str], space: SearchSpace) -> list[str]:
    sentences = []
    for name, value in taken.changes.items():
        domain = space.options[name]
        values = domain.values if isinstance(domain, Choice) else (domain.low, domain.high)
        numbers = [one for one in values if isinstance(one, int | float) and not isinstance(one, bool)]
        if len(numbers) < 2 or len(numbers) < len(values) or value not in (min(numbers), max(numbers)):
            continue
        end, way = ("largest", "larger") if value == max(numbers) else ("smallest", "smaller")
        sentences.append(
            f"{name} {value} of {names[taken.number]} is the {end} that was tried; a {way} one may be better."
        )
    return sentences


def _going_along(effects: Sequence[Mapping[str, Any]], objective: str, fdr: float) -> list[str]:
    told = [
        f"{row['option']} (ρ {row['rho']:+.2f})"
        if row["kind"] == "continuous"
        else f"{row['option']} (η² {row['eta2']:.2f})"
        for row in effects
        if row["p_adjusted"] <= fdr
    ]
    if told:
        return [f"Among finished trials the {LABELS[objective]} goes with {', '.join(told)}."]
    if effects:
        n = effects[0]["n"]
        return [f"No option goes with the {LABELS[objective]} beyond chance among {n} finished trials."]
    return []


def _failed(names: Mapping[int, str], records: Sequence[TrialRecord]) -> list[str]:
    failed = [record for record in records if record.status == "failed"]
    return [f"{names[record.number]} failed: {record.reason}." for record in failed[:3]]
