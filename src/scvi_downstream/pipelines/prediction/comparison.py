"""What is measured of a held-out group, what each method predicts of it, and how blocks of cells are weighted."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy import sparse

from scvi_downstream.cells.expression import TARGET_SUM
from scvi_downstream.statistics.moderated import fit_linear, moderate, t_tests
from scvi_downstream.statistics.testing import benjamini_hochberg

NO_CHANGE, MEAN_SHIFT, POOLED_SHIFT, TARGET_MEAN = "no_change", "mean_shift", "pooled_shift", "target_mean"
BASELINES = (NO_CHANGE, MEAN_SHIFT, POOLED_SHIFT, TARGET_MEAN)
MEASURED_HALF = "measured_half"
CHOSEN = "chosen"
"""The method that the other groups' scores choose for a group: what the choice of a method is worth."""
UNCHANGED = "_unchanged"
"""Added to a model's name: the same cells decoded in their own condition."""
N_PERMUTATIONS = 199
"""With the measured conditions as one more, p-values are multiples of 0.005."""


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
    """Weight of each block, not scaled: ``n_s n_t / (n_s + n_t)``, the inverse of the variance of its difference.

    ``sizes`` are the cells of ``(n_parts, n_blocks)``, the first ``n_of_source`` parts of the source condition; a
    block without cells in a part weighs nothing.
    """
    source, target = sizes[:n_of_source].sum(axis=0), sizes[n_of_source:].sum(axis=0)
    both = np.maximum(source + target, 1)
    return source * target / both * (sizes > 0).all(axis=0)


def pair_weights(source: np.ndarray, target: np.ndarray, n_blocks: int) -> tuple[np.ndarray, np.ndarray]:
    """Weights of the cells of two conditions, by the codes of their blocks, which weigh alike in both.

    The difference of the weighted means is the coefficient of the condition in a linear model with blocks.
    """
    of_source, of_target = _weigh([source], [target], np.ones(n_blocks))
    return of_source, of_target


def whole_weights(blocks: Blocks) -> Weights:
    """One replicate: every cell once."""
    rows = _weigh([blocks.source, blocks.reference], [blocks.target], np.ones(blocks.n))
    return Weights(*(row[None] for row in rows))


def bootstrap_weights(blocks: Blocks, times: np.ndarray, rng: np.random.Generator) -> Weights:
    """Cells drawn with replacement within blocks.

    ``times`` is the ``(n_replicates, n_blocks)`` weight of each block beside the one that follows from its size.
    """
    sources, target = [blocks.source, blocks.reference], [blocks.target]
    replicates = []
    for each in times:
        drawn = [_resample(codes, rng) for codes in (*sources, *target)]
        replicates.append(_weigh(sources, target, each, drawn))
    return Weights(*map(np.array, zip(*replicates, strict=True)))


def halved_weights(
    blocks: Blocks, times: np.ndarray, rng: np.random.Generator, *, resampled: np.ndarray
) -> tuple[Weights, Weights]:
    """The target cells in random halves, in both directions: rows ``2 r`` and ``2 r + 1``.

    ``times`` are as for :func:`bootstrap_weights`; ``(n_replicates,)`` ``resampled`` says whether cells are drawn with
    replacement, which they are within each half, so that no cell is in both.
    """
    sources = [blocks.source, blocks.reference]
    one, other = [], []
    for each, again in zip(times, resampled, strict=True):
        chosen = first_half(blocks.target, rng)
        halves = [np.where(chosen, blocks.target, -1), np.where(chosen, -1, blocks.target)]
        drawn = [_resample(codes, rng) for codes in (*sources, *halves)] if again else None
        source, reference, first, second = _weigh(sources, halves, each, drawn)
        one += [(source, reference, first), (source, reference, second)]
        other += [(source, reference, second), (source, reference, first)]
    return Weights(*map(np.array, zip(*one, strict=True))), Weights(*map(np.array, zip(*other, strict=True)))


def first_half(blocks: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Whether each cell, of the block with its code, is in a random half of these; the odd one goes either way."""
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
    drawn: list[np.ndarray] | None = None,
) -> list[np.ndarray]:
    """Weights of the cells of every part, all with the same weights of blocks, and ``drawn`` times each cell's own."""
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


@dataclass(frozen=True, eq=False)
class Decoded:
    """Shares of the modelled genes that a model decodes for source cells, ``(n_draws, n_source, n_genes)``.

    Attributes
    ----------
    source, target
        As cells of the source and of the target condition.
    """

    source: np.ndarray
    target: np.ndarray


@dataclass(frozen=True, eq=False)
class TrainingMeans:
    """What the training cells of a group's kind look like, as log means ``(n_genes,)``; ``None``: no such cells.

    Attributes
    ----------
    shift
        Difference of target and source within the same type; of all types where the type's own is not known.
    pooled_shift
        Of all types together; ``None`` where ``shift`` is that already.
    target
        Of the same type in the target condition.
    """

    shift: np.ndarray | None = None
    pooled_shift: np.ndarray | None = None
    target: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Group:
    """Cells of one target condition and cell type; of ``reference`` and ``target`` no model has seen any.

    Attributes
    ----------
    source, reference, target
        ``(n_cells, n_genes)`` measured shares of the modelled genes; rows add up to one.
    blocks
        Of these cells.
    training
        Of the training cells.
    decoded
        What each model makes of the source cells.
    condition, name
        The target condition and the cell type.
    p_adjusted
        ``(n_genes,)`` of the change of the type's samples; ``None`` in a study without samples.
    """

    source: sparse.csr_matrix
    reference: sparse.csr_matrix
    target: sparse.csr_matrix
    blocks: Blocks
    training: TrainingMeans = TrainingMeans()
    decoded: dict[str, Decoded] = field(default_factory=dict)
    condition: str = ""
    name: str = ""
    p_adjusted: np.ndarray | None = None

    @property
    def all_source(self) -> tuple[sparse.csr_matrix, np.ndarray]:
        """All cells of the source condition, and their blocks."""
        cells = sparse.csr_matrix(sparse.vstack([self.source, self.reference]))
        return cells, np.concatenate([self.blocks.source, self.blocks.reference])

    @property
    def all_cells(self) -> tuple[sparse.csr_matrix, np.ndarray, np.ndarray]:
        """All cells of both conditions, their blocks, and whether each is of the source."""
        source, blocks = self.all_source
        of_source = np.arange(source.shape[0] + self.target.shape[0]) < source.shape[0]
        cells = sparse.csr_matrix(sparse.vstack([source, self.target]))
        return cells, np.concatenate([blocks, self.blocks.target]), of_source


@dataclass(frozen=True, eq=False)
class Prediction:
    """``(n_replicates, n_genes)`` log mean expression, and its change from the source."""

    expression: np.ndarray
    change: np.ndarray


def log_mean(shares: np.ndarray) -> np.ndarray:
    """``log(1 + counts per 10,000)`` of mean shares of the modelled genes."""
    return np.log1p(TARGET_SUM * shares)


def shares_of(counts: sparse.spmatrix | np.ndarray) -> sparse.csr_matrix:
    """Counts over each cell's total, float64; cells without counts stay zero."""
    rows = sparse.csr_matrix(counts, dtype=np.float64, copy=True)
    totals = np.asarray(rows.sum(axis=1)).ravel()
    scale = np.divide(1.0, totals, out=np.zeros(len(totals)), where=totals > 0)
    rows.data *= np.repeat(scale, np.diff(rows.indptr))
    return rows


def measured(group: Group, weights: Weights) -> Prediction:
    """Measured expression in the target condition, and its change from source cells that no model has seen.

    A model that has seen the cells from which the change is measured has seen their noise, and correlates by it.
    """
    target = log_mean(_weighted_mean(weights.target, group.target))
    return Prediction(target, target - log_mean(_weighted_mean(weights.reference, group.reference)))


def measured_again(group: Group, weights: Weights) -> Prediction:
    """Measured expression in the target condition as a prediction, its change from the cells predictions start from."""
    target = log_mean(_weighted_mean(weights.target, group.target))
    return Prediction(target, target - log_mean(_weighted_mean(weights.source, group.source)))


def pair_means(
    cells: tuple[sparse.csr_matrix, sparse.csr_matrix], blocks: tuple[np.ndarray, np.ndarray], n_blocks: int
) -> list[np.ndarray]:
    """Log means ``(n_genes,)`` of the cells of two conditions, with the weights of :func:`pair_weights`."""
    rows = (row[None] for row in pair_weights(*blocks, n_blocks))
    return [log_mean(_weighted_mean(*each))[0] for each in zip(rows, cells, strict=True)]


def predict(group: Group, weights: Weights) -> dict[str, Prediction]:
    """Every method's prediction from source cells, with the weights of these; the measured target is not looked at.

    The models by name, and ``…_unchanged``: the same cells decoded in their own condition, as a model's smoothing alone
    comes nearer to a mean than the noisy cells do; ``no_change``: the source itself; ``mean_shift``: the source moved
    by the mean change of the training cells of its type; ``pooled_shift``: of all types; ``target_mean``: the training
    cells in the target.
    """
    predictions = {name: _decode(decoded, weights.source) for name, decoded in group.decoded.items()}
    for name, prediction in list(predictions.items()):
        unchanged = prediction.expression - prediction.change
        predictions[name + UNCHANGED] = Prediction(unchanged, np.zeros_like(unchanged))
    source = log_mean(_weighted_mean(weights.source, group.source))
    predictions[NO_CHANGE] = Prediction(source, np.zeros_like(source))
    training = group.training
    for name, change in ((MEAN_SHIFT, training.shift), (POOLED_SHIFT, training.pooled_shift)):
        if change is not None:
            shift = np.broadcast_to(change, source.shape)
            predictions[name] = Prediction(np.maximum(source + shift, 0.0), shift)
    if training.target is not None:
        target = np.broadcast_to(training.target, source.shape)
        predictions[TARGET_MEAN] = Prediction(target, target - source)
    return predictions


def _decode(decoded: Decoded, weights: np.ndarray) -> Prediction:
    """Replicates take the posterior draws in turn; a single replicate takes their mean."""
    n_draws = len(decoded.target)
    if len(weights) < n_draws:
        draws = (decoded.source, decoded.target)
        source, target = (weights @ each.mean(axis=0, dtype=np.float64) for each in draws)
    else:
        source, target = (np.empty((len(weights), decoded.target.shape[2])) for _ in range(2))
        for draw in range(n_draws):
            rows = slice(draw, None, n_draws)
            source[rows] = weights[rows] @ decoded.source[draw].astype(np.float64)
            target[rows] = weights[rows] @ decoded.target[draw].astype(np.float64)
    expression = log_mean(target)
    return Prediction(expression, expression - log_mean(source))


def _weighted_mean(weights: np.ndarray, shares: sparse.csr_matrix) -> np.ndarray:
    return np.asarray((shares.T @ weights.T).T)


def change_p_value(group: Group, seed: int) -> float:
    """Probability of as large a change when conditions are given to held-out cells at random within blocks.

    ``(1 + n_as_large) / (1 + 199)`` of the sum of squares of the change over genes; NaN when no block holds both.
    """
    cells, blocks, of_source = group.all_cells
    per_cell = np.concatenate(pair_weights(blocks[of_source], blocks[~of_source], group.blocks.n))
    rng = np.random.default_rng(seed)
    # the first row is the measured one; cells keep their blocks, so their weights stay the same
    source, target = (np.zeros((1 + N_PERMUTATIONS, len(blocks))) for _ in range(2))
    order = np.argsort(blocks, kind="stable")
    for row in range(1 + N_PERMUTATIONS):
        shuffled = np.lexsort((rng.random(len(blocks)), blocks)) if row else order
        source[row, shuffled] = np.where(of_source[order], per_cell[order], 0.0)
        target[row, shuffled] = np.where(of_source[order], 0.0, per_cell[order])
    before, after = (log_mean(_weighted_mean(weights, cells)) for weights in (source, target))
    statistics = ((after - before) ** 2).sum(axis=1)
    if not np.isfinite(statistics[0]):
        return np.nan
    return float((statistics >= statistics[0]).sum() / len(statistics))


def test_genes(group: Group) -> np.ndarray:
    """Adjusted p-values ``(n_genes,)`` of every gene's change between the conditions.

    Those of the samples where the study has some; without, of moderated t-tests on cells. Cells of a sample are not
    independent, so these rank the genes of these samples and do not speak for others.
    """
    if group.p_adjusted is not None:
        return group.p_adjusted
    cells, blocks, of_source = group.all_cells
    expression = np.log1p(TARGET_SUM * cells.toarray())
    indicators = (blocks[:, None] == np.unique(blocks)).astype(np.float64)
    design = np.column_stack([(~of_source).astype(np.float64), indicators])
    if np.linalg.matrix_rank(design) < design.shape[1] or design.shape[0] <= design.shape[1]:
        return np.full(expression.shape[1], np.nan)
    fit = fit_linear(expression, design)
    p = t_tests(fit, moderate(fit), 0)["p"].where(expression.max(axis=0) > 0)
    return benjamini_hochberg(p.to_numpy())
