"""Weights of cells: means over samples that compare like with like, in halves and in bootstrap replicates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class Blocks:
    """Code of the block (sample) of each cell.

    Attributes
    ----------
    source
        Cells that predictions start from.
    reference
        Cells of the source condition that the change is measured from, others than these.
    target
        Held-out cells.
    n
        Number of blocks.
    """

    source: np.ndarray
    reference: np.ndarray
    target: np.ndarray
    n: int


@dataclass(frozen=True, eq=False)
class Weights:
    """Weights ``(n_replicates, n_cells)`` of the cells of each kind; each row adds up to one, or is NaN."""

    source: np.ndarray
    reference: np.ndarray
    target: np.ndarray


def difference_weights(sizes: np.ndarray, n_of_source: int) -> np.ndarray:
    """Weight of each block: ``n_s n_t / (n_s + n_t)``, the inverse of the variance of its difference.

    Parameters
    ----------
    sizes
        ``(n_parts, n_blocks)`` cells; a block without cells in a part weighs nothing.
    n_of_source
        How many of the parts, the first ones, are of the source condition.

    Returns
    -------
    ``(n_blocks,)``, not scaled.
    """
    source, target = sizes[:n_of_source].sum(axis=0), sizes[n_of_source:].sum(axis=0)
    both = np.maximum(source + target, 1)
    return source * target / both * (sizes > 0).all(axis=0)


def pair_weights(source: np.ndarray, target: np.ndarray, n_blocks: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights of the cells of two conditions, blocks weighted alike in both.

    The difference of the weighted means is the coefficient of the condition in a linear model with blocks.

    Parameters
    ----------
    source, target
        Code of the block of each cell.
    n_blocks
        Number of blocks.
    """
    rows = _weigh([source], [target], np.ones(n_blocks))
    return rows[0], rows[1]


def whole_weights(blocks: Blocks) -> Weights:
    """One replicate: every cell once."""
    rows = _weigh([blocks.source, blocks.reference], [blocks.target], np.ones(blocks.n))
    return Weights(*(row[None] for row in rows))


def bootstrap_weights(blocks: Blocks, times: np.ndarray, rng: np.random.Generator) -> Weights:
    """Cells drawn with replacement within blocks.

    Parameters
    ----------
    blocks
        Of the cells.
    times
        ``(n_replicates, n_blocks)`` weight of each block beside the one that follows from its size.
    rng
        Draws the cells.
    """
    parts = [blocks.source, blocks.reference, blocks.target]
    replicates = []
    for each in times:
        drawn = [_resample(codes, rng) for codes in parts]
        replicates.append(_weigh(parts[:2], parts[2:], each, drawn))
    return Weights(*(np.array(rows) for rows in zip(*replicates, strict=True)))


def halved_weights(
    blocks: Blocks, times: np.ndarray, rng: np.random.Generator, *, resampled: np.ndarray
) -> tuple[Weights, Weights]:
    """The target cells in random halves, in both directions: rows ``2 r`` and ``2 r + 1``.

    Where cells are resampled, they are within each half, so that no cell is in both.

    Parameters
    ----------
    blocks
        Of the cells.
    times
        ``(n_replicates, n_blocks)`` weight of each block beside the one that follows from its size.
    rng
        Draws halves and cells.
    resampled
        ``(n_replicates,)`` whether cells are drawn with replacement.
    """
    sources, references, one, other = [], [], [], []
    for each, again in zip(times, resampled, strict=True):
        chosen = first_half(blocks.target, rng)
        parts = [
            blocks.source,
            blocks.reference,
            np.where(chosen, blocks.target, -1),
            np.where(chosen, -1, blocks.target),
        ]
        drawn = [_resample(codes, rng) for codes in parts] if again else None
        source, reference, first, second = _weigh(parts[:2], parts[2:], each, drawn)
        sources += [source, source]
        references += [reference, reference]
        one += [first, second]
        other += [second, first]
    shared = np.array(sources), np.array(references)
    return Weights(*shared, np.array(one)), Weights(*shared, np.array(other))


def first_half(blocks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Whether each cell is in a random half of the cells of its block; the odd one goes either way.

    Parameters
    ----------
    blocks
        Code of the block of each cell.
    rng
        Draws the half.
    """
    order = np.lexsort((rng.random(len(blocks)), blocks))
    position = np.empty(len(blocks), dtype=np.intp)
    position[order] = np.arange(len(blocks))
    starts = np.searchsorted(blocks[order], blocks)
    offset = rng.integers(0, 2, blocks.max(initial=0) + 1)[blocks]
    return (position - starts + offset) % 2 == 0


def _resample(blocks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """How often each cell is drawn, as many of each block as it has; cells with a negative code are not there."""
    order = np.argsort(blocks, kind="stable")
    ordered = blocks[order]
    starts = np.searchsorted(ordered, ordered)
    sizes = np.searchsorted(ordered, ordered, side="right") - starts
    chosen = starts + np.floor(rng.random(len(blocks)) * sizes).astype(np.intp)
    times = np.bincount(order[chosen], minlength=len(blocks)).astype(np.float64)
    return np.where(blocks >= 0, times, 0.0)


def _weigh(
    source: list[np.ndarray],
    target: list[np.ndarray],
    times: np.ndarray,
    drawn: Sequence[np.ndarray] | None = None,
) -> list[np.ndarray]:
    """Weights of the cells of every part, all with the same weights of blocks."""
    parts = [*source, *target]
    sizes = np.array([np.bincount(codes[codes >= 0], minlength=len(times)) for codes in parts])
    of_block = difference_weights(sizes, len(source)) * times
    total = of_block.sum()
    of_block = of_block / total if total > 0 else np.full(len(times), np.nan)
    rows = []
    for i, codes in enumerate(parts):
        per_cell = of_block / np.maximum(sizes[i], 1)
        weights = np.where(codes >= 0, per_cell[np.maximum(codes, 0)], 0.0)
        rows.append(weights if drawn is None else weights * drawn[i])
    return rows
