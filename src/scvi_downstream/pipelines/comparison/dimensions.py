"""How many latent dimensions do the data call for?"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.pipelines.comparison.noise import by_model, cell_values
from scvi_downstream.pipelines.comparison.options import ComparisonOptions
from scvi_downstream.scoring.criteria import rows_by_model
from scvi_downstream.statistics.differences import Difference, Noise

logger = logging.getLogger(__name__)

# Options in which models of one grid may differ.
_MAY_DIFFER = ("name", "n_latent", "trial_of", "seed")
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
# No smaller number is proposed: one dimension is a line of cells.
_FEWEST_DIMENSIONS = 2
_NO_LIKELIHOOD = "No held-out likelihood of models that differ in n_latent alone."
_NO_GRID = (
    "No model was trained with several n_latent; e.g. sweep: {scvi: {n_latent: [5, 10, 20, 30]}} asks how many latent "
    "dimensions the data call for."
)
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
    board = rows_by_model(leaderboard)
    tables = by_model(cell_likelihoods, "cell_likelihood")
    answers, sentences, reason = [], [], None
    grids = find_grids(board.index, models)
    for grid in grids:
        held_out = held_out_likelihood(grid, tables)
        if held_out is None:
            logger.info("%s: no held-out likelihood to compare numbers of latent dimensions by", grid.title)
            continue
        answers.append(_answer(grid, held_out, options.champion.noise, board))
        sentences += _describe_answer(answers[-1], held_out)
    if not answers:
        reason = _NO_LIKELIHOOD if grids else _NO_GRID
    logger.info("latent dimensions: %s", sentences[0] if sentences else reason)
    return {
        "recommended": {answer["title"]: answer["recommended"] for answer in answers},
        "grids": answers,
        "reason": reason,
        "sentences": sentences,
    }


@dataclass(frozen=True)
class Grid:
    """One model at several numbers of latent dimensions.

    ``title`` is the model's name, with what sets it apart where several grids are of one model; ``models`` are names
    by number of dimensions, in ascending order, several where they were trained with several seeds.
    """

    title: str
    family: str
    models: dict[int, tuple[str, ...]]


def find_grids(names: Iterable[str], models: Mapping[str, Mapping[str, Any]]) -> list[Grid]:
    """Grids with at least two numbers of latent dimensions, in the order of the models.

    ``names`` are those that can be compared; ``models`` the complete options, of which ``trial_of`` names the model
    that a trial varies.
    """
    present = set(names)
    groups: dict[str, dict[str, Mapping[str, Any]]] = {}
    for name, options in models.items():
        if name in present and options.get("n_latent") is not None:
            shared = {option: value for option, value in options.items() if option not in _MAY_DIFFER}
            groups.setdefault(json.dumps(shared, sort_keys=True, default=str), {})[name] = options
    grids = []
    for group in groups.values():
        sizes = sorted({int(options["n_latent"]) for options in group.values()})
        if len(sizes) > 1:
            by_size: dict[int, tuple[str, ...]] = dict.fromkeys(sizes, ())
            for name, options in group.items():
                by_size[int(options["n_latent"])] += (name,)
            first = next(iter(group.values()))
            original = next((name for name, options in group.items() if not options.get("trial_of")), None)
            grids.append((original or str(first["trial_of"]), first, by_size))
    return [
        Grid(title + _tell_apart(title, first, grids), str(first.get("family")), by_size)
        for title, first, by_size in grids
    ]


def _tell_apart(title: str, own: Mapping[str, Any], grids: list[tuple[str, Mapping[str, Any], Any]]) -> str:
    """Options in which a grid differs from the others of the same model, in brackets; empty for the only one."""
    alike = [options for name, options, _ in grids if name == title]
    options = [name for name in own if name not in _MAY_DIFFER]
    differing = [name for name in options if len({repr(each.get(name)) for each in alike}) > 1]
    return f" ({', '.join(f'{name} {own[name]}' for name in differing)})" if len(alike) > 1 else ""


@dataclass(frozen=True)
class HeldOut:
    """Held-out ELBO of one grid.

    ``by_cell`` is cells × numbers of dimensions, nats, averaged over seeds; ``trainings`` the seeds, and
    ``training_sd`` the standard deviation of the mean between trainings with other seeds (nats per cell), by number
    of dimensions.
    """

    by_cell: pd.DataFrame
    trainings: dict[int, int]
    training_sd: dict[int, float]

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

    ``tables`` are cells × ``share, elbo`` by model; models without one are left out. ``None`` when fewer than two
    numbers of dimensions, or ten cells, can be compared. Smyth (2004), doi:10.2202/1544-6115.1027, for the moderated
    variance.
    """
    columns = {
        (size, name): values
        for size, names in grid.models.items()
        for name in names
        if len(values := cell_values(tables.get(name), HELD_OUT, CRITERION)) > 0
    }
    if len({size for size, _ in columns}) < 2:
        return None
    by_model = pd.concat(columns, axis="columns", join="inner").dropna()
    if len(by_model) < _FEWEST_CELLS:
        return None
    by_cell = by_model.T.groupby(level=0).mean().T
    means = by_model.mean().groupby(level=0)
    trainings = {int(size): int(count) for size, count in means.size().items()}
    prior = (TRAINING_NOISE * by_cell.mean()) ** 2
    squares = means.apply(lambda seeds: float(((seeds - seeds.mean()) ** 2).sum()))
    sd = {
        size: float(np.sqrt((_PRIOR_TRAININGS * prior[size] + squares[size]) / (_PRIOR_TRAININGS + n - 1)))
        for size, n in trainings.items()
    }
    return HeldOut(by_cell=by_cell, trainings=trainings, training_sd=sd)


def _answer(grid: Grid, held_out: HeldOut, noise: Noise, board: pd.DataFrame) -> dict[str, Any]:
    """Breiman's one-standard-error rule, or another, on paired held-out likelihoods."""
    means = held_out.by_cell.mean()
    sizes = [int(size) for size in means.index]
    best = int(means.idxmax())
    behind = {size: held_out.behind(size, best) for size in sizes}
    within = [size for size in sizes if size == best or behind[size].is_noise(noise)]
    at_edge, extend = _extend_grid(within[0], sizes)
    return {
        "title": grid.title,
        "family": grid.family,
        "grid": sizes,
        "recommended": within[0],
        "best": best,
        "within_noise": within,
        "differences": [
            {
                "n_latent": size,
                "models": list(grid.models[size]),
                "trainings": held_out.trainings[size],
                "elbo": float(means[size]),
                "behind_best": asdict(difference),
                "within_noise": size in within,
                _TOTAL: _mean_total(board, grid.models[size]),
            }
            for size, difference in behind.items()
        ],
        "at_edge": at_edge,
        "extend": extend,
        "criterion": CRITERION,
        "shares": list(HELD_OUT),
        "n_cells": len(held_out.by_cell),
    }


def _extend_grid(chosen: int, sizes: list[int]) -> tuple[str | None, list[int]]:
    """Halves below a smallest number, half as many again and twice as many above a largest one."""
    if chosen == sizes[0] and chosen > _FEWEST_DIMENSIONS:
        smaller = {max(_FEWEST_DIMENSIONS, round(chosen * share)) for share in (0.25, 0.5)}
        return "lower", sorted(smaller - {chosen})
    if chosen == sizes[-1]:
        return "upper", sorted({round(chosen * 1.5), chosen * 2})
    return None, []


def _mean_total(board: pd.DataFrame, names: tuple[str, ...]) -> float | None:
    if _TOTAL not in board:
        return None
    total = board.loc[list(names), _TOTAL].astype(float).mean()
    return float(total) if pd.notna(total) else None


def _describe_answer(answer: Mapping[str, Any], held_out: HeldOut) -> list[str]:
    """The choice with its numbers; what to try next; whose noise is not measured."""
    title, chosen, best = answer["title"], answer["recommended"], answer["best"]
    behind = {row["n_latent"]: row["behind_best"] for row in answer["differences"]}
    cells = f"elbo on {answer['n_cells']:,} held-out cells"
    if chosen != best:
        choice = (
            f"n_latent {best} of {title} wins by {behind[chosen]['value']:.1f} nats per cell ({cells}), within noise "
            f"of {chosen} (± {behind[chosen]['standard_error']:.1f}); choose {chosen}."
        )
    else:
        place = answer["grid"].index(best)
        ahead = " and ".join(
            f"of {size} by {behind[size]['value']:.1f} ± {behind[size]['standard_error']:.1f}"
            for size in answer["grid"][max(place - 1, 0) : place + 2]
            if size != best
        )
        choice = f"n_latent {best} of {title} wins ({cells}): ahead {ahead} nats per cell; choose {best}."
    sentences = [choice]
    if answer["at_edge"]:
        end = "smallest" if answer["at_edge"] == "lower" else "largest"
        sentences.append(
            f"{chosen} is the {end} n_latent of {title} that was tried: extend the grid by "
            f"{' and '.join(map(str, answer['extend']))}."
        )
    if max(held_out.trainings.values()) == 1:
        sentences.append(
            f"Each n_latent of {title} was trained once; the ± assumes that trainings with other seeds differ by "
            f"{held_out.training_sd[best]:.1f} nats per cell."
        )
    return sentences
