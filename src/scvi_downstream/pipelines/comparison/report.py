"""Why a champion was chosen, in words with numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.families import FAMILIES
from scvi_downstream.models.specification import TrainingOptions
from scvi_downstream.pipelines.comparison.noise import Contest, Difference, Evidence, paired_difference
from scvi_downstream.pipelines.comparison.options import ChampionRule
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.report.contents import OUTPUT, Item, Section, names
from scvi_downstream.report.versions import named
from scvi_downstream.report.words import Finding, listed
from scvi_downstream.scoring.criteria import JUDGED_BY_LABELS, SAW_LABELS, of_cells, unit

_MANY = 5
_MOST_NAMES = 4
_MARGINS = {"one_standard_error": "one standard error", "interval": "its 95 % interval"}
_ECONOMIES = {
    "n_latent": "is smaller ({own:,.0f} dimensions against {best:,.0f})",
    "n_parameters": "has fewer parameters ({own:,.0f} against {best:,.0f})",
    "seconds": "took less time to train ({own:,.3g} s against {best:,.3g} s)",
    "peak_memory_mb": "took less memory ({own:,.0f} MB against {best:,.0f} MB)",
}


def state_rule(rule: ChampionRule) -> str:
    """The whole rule, whatever it came to here."""
    margins = [
        *(
            [f"within {_MARGINS[rule.noise]} of their paired difference to the best"]
            if rule.noise != "none"
            else []
        ),
        *([f"within {rule.within:g} of the best"] if rule.within or rule.noise == "none" else []),
    ]
    text = f"the first of {', '.join(rule.criteria)} that exists decides; models {' or '.join(margins)} tie, and "
    text += (
        f"of these the lowest {', then '.join(rule.tie_breakers)} wins"
        if rule.tie_breakers
        else "the best wins"
    )
    if rule.noise != "none":
        text += "; the noise is that of the cells, training again with another seed adds to it"
    text += "; baselines cannot be champion"
    return text + ("" if rule.trained_on_labels else ", nor can models by labels that they were trained on")


def no_choice(models: pd.DataFrame, rule: ChampionRule) -> str:
    """Why there is no champion."""
    failed = int(models["failed"].notna().sum()) if "failed" in models else 0
    reason = f"no model has any of {', '.join(rule.criteria)}"
    if failed:
        reason += f"; {failed} of {len(models)} failed"
    return reason + "."


def explain_choice(
    contest: Contest, board: pd.DataFrame, rule: ChampionRule, evidence: Evidence, beaten_by: str | None
) -> str:
    """The champion, what it was compared with, and what speaks against it.

    Parameters
    ----------
    contest
        Of the criterion that decided.
    board
        All rows.
    rule
        Noise and tolerance.
    evidence
        For the difference to the baseline.
    beaten_by
        The best baseline that has a better value.
    """
    champion, criterion = contest.champion, contest.criterion
    parts = [_compare(contest, board, rule)]
    if beaten_by:
        parts.append(_of_baseline(contest, board, rule, evidence, beaten_by))
    family = board["family"].get(champion) if "family" in board else None
    if criterion in JUDGED_BY_LABELS and family in SAW_LABELS:
        parts.append("It was trained on the labels that it is judged by, so its bio conservation is too good")
    if contest.unfair:
        names = ", ".join(f"{model} ({_value(board, model, criterion)})" for model in contest.unfair)
        parts.append(f"Not considered, being trained on the labels that would judge it: {names}")
    return ". ".join(parts) + "."


def name_other_choices(contest: Contest, others: Sequence[Contest]) -> str:
    """Whether other criteria would choose another model; empty when there is no other criterion or model."""
    if not others or len(contest.values) < 2:
        return ""
    by_choice: dict[str, list[Contest]] = {}
    for other in others:
        by_choice.setdefault(other.champion, []).append(other)
    alike = [other.criterion for other in by_choice.pop(contest.champion, [])]
    if not by_choice:
        return f"By {_listed(alike)} the choice would be the same."
    parts = [
        f"{_listed([other.criterion for other in same])} would choose {name}{_lead(same[0], contest.champion)}"
        for name, same in by_choice.items()
    ]
    if alike:
        parts.append(f"{_listed(alike)} would choose {contest.champion} as well")
    return f"The choice depends on the criterion: {'; '.join(parts)}."


def warn_of_selection(contest: Contest, optimism: float | None) -> str:
    """That the cells which chose the best score make it look too good; empty for a choice among few."""
    among = len(contest.values)
    opening = f"The cells that score it also chose it among {among} models"
    if optimism is None:
        return f"{opening}, so its {contest.criterion} is slightly optimistic." if among >= _MANY else ""
    shown = f"{optimism:.1g}"
    if among < 3 or optimism < (0.05 if of_cells(contest.criterion) else 0.0005):
        return ""
    return (
        f"{opening}, which makes the best {contest.criterion} too good by about {shown}{unit(contest.criterion)}; "
        "only cells that took no part in the choice can tell the rest."
    )


def _compare(contest: Contest, board: pd.DataFrame, rule: ChampionRule) -> str:
    criterion, champion, best = contest.criterion, contest.champion, contest.best
    if len(contest.values) == 1:
        return f"{champion} is the only model with {criterion} ({_value(board, champion, criterion)})"
    if len(contest.tied) == 1:
        second = str(contest.values.index[1])
        return (
            f"{champion} has the best {criterion} of the models ({_value(board, champion, criterion)}; next {second}, "
            f"{_value(board, second, criterion)}{_worse_by(contest.differences[second], criterion, rule)})"
        )
    lead = f"{best} has the best {criterion} ({_value(board, best, criterion)})"
    if champion == best:
        others = [name for name in contest.tied if name != best]
        if len(others) > 1:
            text = f"{_some(others)} are within noise of it but no more economical"
            return f"{lead}; {text}; choose {champion}"
        return f"{lead}; {_tie(contest, others[0], rule)} but is no more economical; choose {champion}"
    text = f"{lead}, but {_tie(contest, champion, rule)} and {_economy(contest, board)}; choose {champion}"
    more = [name for name in contest.tied if name not in (best, champion)]
    return f"{text}. As close to the best: {_some(more)}" if more else text


def _tie(contest: Contest, name: str, rule: ChampionRule) -> str:
    """``ldvae is within noise of it (difference 0.4 ± 0.6 nats per cell)``."""
    difference = contest.differences[name]
    if difference is not None and difference.is_noise(rule.noise):
        return f"{name} is within noise of it (difference {_difference(difference, contest.criterion, rule)})"
    if contest.values[name] == contest.values[contest.best]:
        return f"{name} equals it"
    return f"{name} is within {rule.within:g} of it"


def _economy(contest: Contest, board: pd.DataFrame) -> str:
    column = contest.decided_by
    if column is None or pd.isna(board.loc[contest.best, column]):
        return "is more economical"
    words = _ECONOMIES.get(column, f"has the lower {column} ({{own:,.4g}} against {{best:,.4g}})")
    return words.format(own=board.loc[contest.champion, column], best=board.loc[contest.best, column])


def _of_baseline(
    contest: Contest, board: pd.DataFrame, rule: ChampionRule, evidence: Evidence, baseline: str
) -> str:
    criterion = contest.criterion
    shown = _value(board, baseline, criterion)
    difference = paired_difference(board, criterion, baseline, contest.champion, evidence)
    if difference is None:
        return f"The baseline {baseline} is better ({shown}): no model improves on it here"
    by = _difference(difference, criterion, rule)
    if difference.is_noise(rule.noise):
        return f"The baseline {baseline} is as good ({shown}; the difference of {by} is within noise)"
    return f"The baseline {baseline} is better ({shown}, by {by}): no model improves on it here"


def _lead(other: Contest, champion: str) -> str:
    """``, 3.1 nats per cell better than scvi``, where the criterion judged the champion."""
    if champion not in other.values:
        return ""
    gain = other.values[other.champion] - other.values[champion]
    if gain < 0:  # it ties with the best, and is more economical than the champion, which is nearer
        return " (within noise of the best, and more economical)"
    return f" ({gain:.2g}{unit(other.criterion)} better)"


def _worse_by(difference: Difference | None, criterion: str, rule: ChampionRule) -> str:
    return "" if difference is None else f", worse by {_difference(difference, criterion, rule)}"


def _difference(difference: Difference, criterion: str, rule: ChampionRule) -> str:
    if rule.noise == "interval":
        return f"{difference.value:.2g}, 95 % interval {difference.low:.2g} to {difference.high:.2g}{unit(criterion)}"
    return f"{difference.value:.2g} ± {difference.standard_error:.2g}{unit(criterion)}"


def _value(board: pd.DataFrame, model: str, criterion: str) -> str:
    value = board.loc[model, criterion]
    return f"{value:,.1f}" if of_cells(criterion) else f"{value:,.4g}"


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _some(names: Sequence[str]) -> str:
    if len(names) <= _MOST_NAMES:
        return _listed(names)
    return f"{', '.join(names[:_MOST_NAMES])} and {len(names) - _MOST_NAMES} more"


_OPTIONS = tuple(
    dict.fromkeys(
        option
        for family in FAMILIES.values()
        for option in family.model_fields
        if option not in ("name", "family", "init_from", "trial_of", "training")
    )
)
_OF_TRAINING = tuple(f"training.{option}" for option in TrainingOptions.model_fields)
SECTION = Section(
    "Comparison",
    "All models and baselines on one board, by the same metrics on the same cells. In brackets stand 95 % intervals: "
    "how far a score would move with other cells of the same kind, not with another training.",
    (
        Item(dataset="leaderboard_figure", caption="Scores of all models and baselines."),
        Item(
            dataset="pareto_figure",
            caption="What each model is worth against what it costs: nothing beats those on the front in both.",
        ),
        Item(
            dataset="leaderboard",
            caption="Leaderboard. Behind the best: the difference in the criterion that chose the champion, on the "
            "same cells. Mean rank: of bio conservation, batch correction and likelihood.",
            file="leaderboard.csv",
            columns=(
                *names("model family kind trial_of"),
                *_OPTIONS,
                *_OF_TRAINING,
                *names("scib_total scib_bio_conservation scib_batch_correction elbo_test marginal_ll_test"),
                *names("behind_best mean_rank pareto seconds peak_memory_mb epochs n_parameters"),
                *names(
                    "scib_isolated_labels scib_leiden_nmi scib_leiden_ari scib_kmeans_nmi scib_kmeans_ari"
                ),
                *names("scib_silhouette_label scib_clisi scib_bras scib_ilisi scib_kbet"),
                *names("scib_graph_connectivity scib_pcr_comparison elbo_validation left_out failed"),
            ),
        ),
        Item(dataset="dimensions_figure", caption="How many latent dimensions the held-out cells call for."),
        Item(
            dataset="correction_figure",
            caption="Whether batches call for correction, and what correcting did.",
        ),
        Item(dataset="champion", caption="The champion, and why.", file="champion.json", folded=True),
        Item(
            dataset="{primary}.integration",
            caption="Integration metrics of {primary}.",
            file=OUTPUT + "{model}/integration.json",
            folded=True,
        ),
    ),
)


def describe_comparison(study: Any, keys: Keys, graph: Study) -> str:
    """Held-out likelihood, integration metrics, baselines and the rule for the champion."""
    options = study.evaluation
    text = [
        "Models were compared by ELBO and reconstruction error on the test cells and by their marginal "
        "log-likelihood, estimated by importance sampling [@burda2015] with at most "
        f"{options.marginal_ll_samples} samples on at most {options.marginal_ll_max_cells:,} cells."
    ]
    measured = ["biological conservation"] if keys.label_key else []
    measured += ["batch correction"] if keys.batch_key else []
    if measured:
        baselines = [_BASELINES[name] for name in graph.baselines]
        special = (
            ", kBET [@buttner2019] and BRAS [@rautenstrauch2025] among them," if len(measured) > 1 else ""
        )
        text.append(
            f"Metrics of {listed(measured)} [@luecken2022]{special} were computed as in "
            f"{named('scib-metrics')} for every model and, to compare with, for {listed(baselines)}."
        )
    rule = study.comparison.champion
    criterion = next((name for name in rule.criteria if _measurable(name, keys)), None)
    drawn = bool(measured) and study.comparison.n_bootstrap > 0
    text.append(_describe_intervals(study.comparison.n_bootstrap if drawn else 0))
    if criterion and len(graph.models) > 1:
        text.append(_describe_rule(rule, criterion, drawn=drawn))
    return " ".join(text)


def _describe_intervals(n_bootstrap: int) -> str:
    of_cells = "intervals of means over cells are t intervals"
    if not n_bootstrap:
        return f"The 95 % {of_cells}."
    return (
        f"The 95 % intervals of integration metrics are percentiles of up to {n_bootstrap:,} bootstrap samples "
        "[@efron1979] of the cells, the same for all embeddings, which stay as they are; in each the cells are "
        f"clustered and tested by kBET anew, and the draws are centred at the score; {of_cells}."
    )


def _describe_rule(rule: ChampionRule, criterion: str, *, drawn: bool) -> str:
    has_noise = drawn or not criterion.startswith("scib_")
    if rule.noise == "none" or not has_noise or not rule.tie_breakers:
        return f"The champion is the model with the best `{criterion}`."
    margin = {
        "one_standard_error": "is at most one standard error [@breiman1984]",
        "interval": "has a 95 % interval that holds zero",
    }[rule.noise]
    economy = ", then ".join(_ECONOMY.get(name, f"lowest `{name}`") for name in rule.tie_breakers)
    paired = "bootstrap samples" if criterion.startswith("scib_") else "cells"
    return (
        f"The champion is the most economical ({economy}) of the models whose difference to the best `{criterion}`, in "
        f"pairs of the same {paired}, {margin}."
    )


_ECONOMY = {
    "n_latent": "fewest latent dimensions",
    "n_parameters": "fewest parameters",
    "seconds": "least training time",
}
_BASELINES = {"pca": "PCA", "harmony": "Harmony [@korsunsky2019]", "scanorama": "Scanorama [@hie2019]"}


def _measurable(criterion: str, keys: Keys) -> bool:
    needed = {"scib_total": (keys.label_key, keys.batch_key), "scib_bio_conservation": (keys.label_key,)}
    return all(needed.get(criterion, ()))


def findings(contents: Mapping[str, Any], _: Study) -> Iterator[Finding]:
    """The champion, and why."""
    champion = contents.get("champion")
    if isinstance(champion, Mapping):
        for text in champion.get("sentences") or [champion.get("reason")]:
            if text:  # names of models keep their case
                yield Finding("Champion", str(text).removesuffix(".") + ".")
