"""The fewest latent dimensions that noise cannot tell from the best, and what to try next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .dimension_grids import Grid
from .dimension_likelihood import HeldOut
from .noise import Difference, Noise

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
