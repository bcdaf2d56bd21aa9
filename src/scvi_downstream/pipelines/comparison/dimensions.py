"""How many latent dimensions do the data call for?"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from scvi_downstream.pipelines.comparison.noise import Difference, Noise
from scvi_downstream.pipelines.comparison.options import ComparisonOptions

logger = logging.getLogger(__name__)


_NOT_COMPARED = ("name", "n_latent", "trial_of", "seed")


@dataclass(frozen=True)
class Grid:
    """One model at several numbers of latent dimensions.

    Attributes
    ----------
    title
        The model's name, with what sets it apart where several grids are of one model.
    family
        Of all of them.
    models
        By number of dimensions, in ascending order: names, several where they were trained with several seeds.
    """

    title: str
    family: str
    models: dict[int, tuple[str, ...]]


def find_grids(names: Iterable[str], models: Mapping[str, Mapping[str, Any]]) -> list[Grid]:
    """Grids with at least two numbers of latent dimensions, in the order of the models.

    Parameters
    ----------
    names
        Models that can be compared.
    models
        Complete options by model; ``trial_of`` names the model that a trial varies.
    """
    present = set(names)
    groups: dict[str, dict[str, Mapping[str, Any]]] = {}
    for name, options in models.items():
        if name in present and options.get("n_latent") is not None:
            groups.setdefault(_others(options), {})[name] = options
    grids = [
        group for group in groups.values() if len({options["n_latent"] for options in group.values()}) > 1
    ]
    titles = [_base(group) for group in grids]
    return [
        Grid(
            title=title if titles.count(title) == 1 else f"{title} ({_apart(group, grids)})",
            family=str(next(iter(group.values())).get("family")),
            models=_by_dimensions(group),
        )
        for title, group in zip(titles, grids, strict=True)
    ]


def _others(options: Mapping[str, Any]) -> str:
    compared = {name: value for name, value in options.items() if name not in _NOT_COMPARED}
    return json.dumps(compared, sort_keys=True, default=str)


def _base(group: Mapping[str, Mapping[str, Any]]) -> str:
    originals = [name for name, options in group.items() if not options.get("trial_of")]
    return originals[0] if originals else str(next(iter(group.values()))["trial_of"])


def _by_dimensions(group: Mapping[str, Mapping[str, Any]]) -> dict[int, tuple[str, ...]]:
    values = sorted({int(options["n_latent"]) for options in group.values()})
    return {
        value: tuple(name for name, options in group.items() if int(options["n_latent"]) == value)
        for value in values
    }


def _apart(group: Mapping[str, Mapping[str, Any]], grids: list[dict[str, Mapping[str, Any]]]) -> str:
    """Options in which a grid differs from the others of the same model."""
    base = _base(group)
    firsts = [next(iter(other.values())) for other in grids if _base(other) == base]
    own = next(iter(group.values()))
    differing = [
        name
        for name in own
        if name not in _NOT_COMPARED and len({repr(options.get(name)) for options in firsts}) > 1
    ]
    return ", ".join(f"{name} {own[name]}" for name in differing)


# No weight was fitted to cells of these shares; the validation cells have chosen the epoch that is kept of each model.
HELD_OUT = ("validation", "test")
CRITERION = "elbo"
# Standard deviation of the mean held-out ELBO between trainings with other seeds, as a share of its size, and the
# number of trainings that this prior knowledge is worth. On simulated counts (benchmarks/planted_dimensions.py) it was
# 0.0014 with at least as many dimensions as planted, and 0.004 with fewer.
TRAINING_NOISE = 0.0014
_PRIOR_TRAININGS = 2
_FEWEST_CELLS = 10
_NORMAL_975 = 1.96


@dataclass(frozen=True)
class HeldOut:
    """Held-out ELBO of one grid.

    Attributes
    ----------
    by_cell
        Cells × numbers of dimensions, nats, averaged over seeds.
    trainings
        Seeds by number of dimensions.
    training_sd
        Standard deviation of the mean between trainings with other seeds, by number of dimensions, nats per cell.
    """

    by_cell: pd.DataFrame
    trainings: dict[int, int]
    training_sd: dict[int, float]

    @property
    def means(self) -> pd.Series:
        """Nats per cell by number of dimensions."""
        return self.by_cell.mean()

    def behind(self, n_latent: int, best: int) -> Difference:
        """By how much a number of dimensions falls short of another, nats per cell.

        The noise is that of the cells, which are the same for both, and that of the trainings, whose seeds are not.
        """
        if n_latent == best:
            return Difference(0.0, 0.0, 0.0, 0.0)
        differences = (self.by_cell[best] - self.by_cell[n_latent]).to_numpy()
        of_cells = differences.var(ddof=1) / len(differences)
        of_trainings = sum(self.training_sd[value] ** 2 / self.trainings[value] for value in (n_latent, best))
        value, error = float(differences.mean()), float(np.sqrt(of_cells + of_trainings))
        return Difference(value, error, value - _NORMAL_975 * error, value + _NORMAL_975 * error)


def held_out_likelihood(grid: Grid, tables: Mapping[str, pd.DataFrame]) -> HeldOut | None:
    """ELBO of the cells that were held out of every model of a grid.

    The spread between trainings is moderated: the variance of the seeds that there are is averaged with
    prior knowledge, so that a single training is not taken for exact.

    Parameters
    ----------
    grid
        Models by number of dimensions.
    tables
        By model: cells × ``share, elbo``; models without one are left out.

    Returns
    -------
    ``None`` when fewer than two numbers of dimensions, or ten cells, can be compared.

    References
    ----------
    Smyth (2004), doi:10.2202/1544-6115.1027, for the moderated variance.
    """
    columns = {
        (value, name): values
        for value, names in grid.models.items()
        for name in names
        if len(values := _held_out_values(tables.get(name))) > 0
    }
    if len({value for value, _ in columns}) < 2:
        return None
    by_model = pd.concat(columns, axis="columns", join="inner").dropna()
    if len(by_model) < _FEWEST_CELLS:
        return None
    by_cell = by_model.T.groupby(level=0).mean().T
    means = by_model.mean().groupby(level=0)
    trainings = {int(value): int(count) for value, count in means.size().items()}
    prior = (TRAINING_NOISE * by_cell.mean()) ** 2
    squares = means.apply(lambda seeds: float(((seeds - seeds.mean()) ** 2).sum()))
    sd = {
        value: float(np.sqrt((_PRIOR_TRAININGS * prior[value] + squares[value]) / (_PRIOR_TRAININGS + n - 1)))
        for value, n in trainings.items()
    }
    return HeldOut(by_cell=by_cell, trainings=trainings, training_sd=sd)


def _held_out_values(table: pd.DataFrame | None) -> pd.Series:
    if table is None or table.empty or CRITERION not in table:
        return pd.Series(dtype=float)
    values = table.loc[table["share"].isin(HELD_OUT), CRITERION].astype(float)
    return values[np.isfinite(values)]


_FEWEST_DIMENSIONS = 2


@dataclass(frozen=True)
class Advice:
    """What one grid says.

    Attributes
    ----------
    recommended
        The smallest number of dimensions within noise of the best.
    best
        The number with the highest held-out ELBO.
    within_noise
        All numbers that noise cannot tell from the best, the best included.
    behind
        By how much each number falls short of the best.
    at_edge
        Whether the recommended number is the smallest or the largest that was tried.
    extend
        Numbers to try next.
    """

    recommended: int
    best: int
    within_noise: tuple[int, ...]
    behind: dict[int, Difference]
    at_edge: Literal["lower", "upper"] | None
    extend: tuple[int, ...]


def advise(held_out: HeldOut, noise: Noise) -> Advice:
    """Breiman's one-standard-error rule, or another, on paired held-out likelihoods.

    Parameters
    ----------
    held_out
        ELBO by cell and number of dimensions.
    noise
        What counts as noise.

    References
    ----------
    Breiman, Friedman, Stone & Olshen (1984), Classification and Regression Trees, section 3.4.3.
    """
    grid = [int(value) for value in held_out.by_cell.columns]
    best = int(held_out.means.idxmax())
    behind = {value: held_out.behind(value, best) for value in grid}
    within = tuple(value for value in grid if value == best or behind[value].is_noise(noise))
    edge, extend = _edge(within[0], grid)
    return Advice(within[0], best, within, behind, edge, extend)


def _edge(chosen: int, grid: list[int]) -> tuple[Literal["lower", "upper"] | None, tuple[int, ...]]:
    """Halves below a smallest number, half as many again and twice as many above a largest one."""
    if chosen == grid[0] and chosen > _FEWEST_DIMENSIONS:
        smaller = {max(_FEWEST_DIMENSIONS, round(chosen * share)) for share in (0.25, 0.5)}
        return "lower", tuple(sorted(smaller - {chosen}))
    if chosen == grid[-1]:
        return "upper", tuple(sorted({round(chosen * 1.5), chosen * 2}))
    return None, ()


def advice_sentences(grid: Grid, held_out: HeldOut, advice: Advice) -> list[str]:
    """The choice with its numbers; what to try next; whose noise is not measured.

    Parameters
    ----------
    grid
        Models by number of dimensions.
    held_out
        Their likelihood.
    advice
        The choice.
    """
    sentences = [_choice(grid, held_out, advice)]
    if advice.at_edge:
        size = "smallest" if advice.at_edge == "lower" else "largest"
        values = " and ".join(str(value) for value in advice.extend)
        sentences.append(
            f"{advice.recommended} is the {size} n_latent of {grid.title} that was tried: extend the grid by {values}."
        )
    if max(held_out.trainings.values()) == 1:
        sd = held_out.training_sd[advice.best]
        sentences.append(
            f"Each n_latent of {grid.title} was trained once; the ± assumes that trainings with other seeds differ by "
            f"{sd:.1f} nats per cell."
        )
    return sentences


def _choice(grid: Grid, held_out: HeldOut, advice: Advice) -> str:
    cells = f"elbo on {len(held_out.by_cell):,} held-out cells"
    chosen, best = advice.recommended, advice.best
    if chosen != best:
        gap = advice.behind[chosen]
        return (
            f"n_latent {best} of {grid.title} wins by {gap.value:.1f} nats per cell ({cells}), within noise of "
            f"{chosen} (± {gap.standard_error:.1f}); choose {chosen}."
        )
    tried = list(advice.behind)
    place = tried.index(chosen)
    behind = " and ".join(
        f"of {value} by {advice.behind[value].value:.1f} ± {advice.behind[value].standard_error:.1f}"
        for value in (*tried[max(place - 1, 0) : place], *tried[place + 1 : place + 2])
    )
    return f"n_latent {best} of {grid.title} wins ({cells}): ahead {behind} nats per cell; choose {chosen}."


_TOTAL = "scib_total"


def recommend_dimensions(
    leaderboard: pd.DataFrame,
    models: Mapping[str, Mapping[str, Any]],
    options: ComparisonOptions,
    **cell_likelihoods: pd.DataFrame,
) -> dict[str, Any]:
    """The smallest ``n_latent`` whose held-out ELBO noise cannot tell from the best, for each model that was varied.

    On counts with 3, 5 or 8 planted dimensions this found the number; the ELBO falls again beyond it, while the number
    of active dimensions of a large model does not stop there (``benchmarks/planted_dimensions.py``).

    Parameters
    ----------
    leaderboard
        One row a model or baseline.
    models
        Complete options by model; models that differ in ``n_latent`` and ``seed`` alone are compared.
    options
        ``champion.noise``: what counts as noise.
    **cell_likelihoods
        ``<name>__cell_likelihood``: cells × ``share, elbo, …``.

    Returns
    -------
    ``grids``: for each model ``title``, ``family``, ``grid``, ``recommended``, ``best``, ``within_noise``,
    ``differences`` (one record a number of dimensions), ``at_edge``, ``extend``, ``criterion``, ``shares`` and
    ``n_cells``; ``recommended`` by model; ``reason`` when there is nothing to answer, else ``None``; ``sentences``.

    References
    ----------
    Breiman, Friedman, Stone & Olshen (1984), Classification and Regression Trees, section 3.4.3.
    """
    board = leaderboard.set_index("model") if "model" in leaderboard else leaderboard
    tables = {argument.rpartition("__")[0]: table for argument, table in cell_likelihoods.items()}
    answers, sentences = [], []
    found = find_grids(board.index, models)
    for grid in found:
        held_out = held_out_likelihood(grid, tables)
        if held_out is None:
            logger.info("%s: no held-out likelihood to compare numbers of latent dimensions by", grid.title)
            continue
        advice = advise(held_out, options.champion.noise)
        answers.append(_record(grid, held_out, advice, board))
        sentences += advice_sentences(grid, held_out, advice)
    reason = None
    if not answers:
        reason = (
            "No held-out likelihood of models that differ in n_latent alone."
            if found
            else "No model was trained with several n_latent; e.g. sweep: {scvi: {n_latent: [5, 10, 20, 30]}} asks how "
            "many latent dimensions the data call for."
        )
    logger.info("latent dimensions: %s", sentences[0] if sentences else reason)
    return {
        "recommended": {answer["title"]: answer["recommended"] for answer in answers},
        "grids": answers,
        "reason": reason,
        "sentences": sentences,
    }


def _record(grid: Grid, held_out: HeldOut, advice: Advice, board: pd.DataFrame) -> dict[str, Any]:
    return {
        "title": grid.title,
        "family": grid.family,
        "grid": list(advice.behind),
        "recommended": advice.recommended,
        "best": advice.best,
        "within_noise": list(advice.within_noise),
        "differences": [
            {
                "n_latent": value,
                "models": list(grid.models[value]),
                "trainings": held_out.trainings[value],
                "elbo": float(held_out.means[value]),
                "behind_best": asdict(behind),
                "within_noise": value in advice.within_noise,
                _TOTAL: _mean_total(board, grid.models[value]),
            }
            for value, behind in advice.behind.items()
        ],
        "at_edge": advice.at_edge,
        "extend": list(advice.extend),
        "criterion": CRITERION,
        "shares": list(HELD_OUT),
        "n_cells": len(held_out.by_cell),
    }


def _mean_total(board: pd.DataFrame, names: tuple[str, ...]) -> float | None:
    if _TOTAL not in board:
        return None
    total = board.loc[list(names), _TOTAL].astype(float).mean()
    return float(total) if pd.notna(total) else None
