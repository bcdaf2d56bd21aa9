"""Two classifiers of the batch on an embedding, for many permutations at once: logistic regression, neighbours."""

from __future__ import annotations

import numpy as np

from scvi_downstream.runtime.progress import Progress
from scvi_downstream.scoring.mixing import count_auc, macro_auc
from scvi_downstream.scoring.resampling import count_by_row

# Ridge penalty of the coefficients, scikit-learn's default.
PENALTY = 1.0
# Steps after which probabilities of out-of-fold cells agree with scikit-learn's to 0.01.
ITERATIONS = 40
# Values of one array; more permutations are taken in turns.
MOST_VALUES = 2**23


def cross_validated_auc(
    points: np.ndarray, arranged: np.ndarray, n_folds: int, *, seed: int, label: str
) -> np.ndarray:
    """Macro one-vs-rest AUC of out-of-fold probabilities, for every arrangement of the batches.

    Folds are stratified by batch, anew for each arrangement, so that the real one is treated like the
    permuted ones. The embedding is scaled by one factor, for its directions to keep their weight, and the
    coefficients have a ridge penalty. Every fit takes the same number of accelerated steps.

    Parameters
    ----------
    points
        ``(n_cells, n_dims)``.
    arranged
        ``(n_arrangements, n_cells)`` batch codes from 0; every code occurs.
    n_folds
        Number of folds; no batch should have fewer cells.
    seed, label
        Of the folds; what the progress line says.

    Returns
    -------
    ``(n_arrangements,)`` AUCs.

    References
    ----------
    Böhning (1992), doi:10.1007/BF00048682; O'Donoghue & Candès (2015), doi:10.1007/s10208-013-9150-3.
    """
    n_batches = int(arranged.max()) + 1
    order = np.random.default_rng(seed).random(len(points))
    at_once = max(1, MOST_VALUES // (len(points) * n_batches))
    parts = [arranged[start : start + at_once] for start in range(0, len(arranged), at_once)]
    progress = Progress(label, len(parts) * n_folds * ITERATIONS)
    design = precondition(points)
    areas = [macro_auc(_out_of_fold(design, part, order, n_folds, progress), part) for part in parts]
    return np.concatenate(areas)


def precondition(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates in which one step of length one never overshoots, and the penalty in them.

    The Hessian of the softmax loss is at most half the Gram matrix of the design, and fewer cells have a
    smaller one: a Cholesky factor of that bound makes it the identity for every fold.

    ``(n_cells, 1 + n_dims)`` float32 design with an intercept; ``(1 + n_dims, 1 + n_dims)`` penalty.
    """
    centred = points.astype(np.float64) - points.mean(axis=0, dtype=np.float64)
    scale = centred.std(axis=0).max()
    design = np.column_stack([np.ones(len(points)), centred / (scale if scale > 0 else 1)])
    penalty = np.diag([0.0, *np.full(points.shape[1], PENALTY)])
    bound = np.linalg.inv(np.linalg.cholesky(design.T @ design / 2 + penalty))
    return (design @ bound.T).astype(np.float32), (bound @ penalty @ bound.T).astype(np.float32)


def stratified_folds(arranged: np.ndarray, order: np.ndarray, n_folds: int) -> np.ndarray:
    """Fold of each cell, ``(n_arrangements, n_cells)``: cells of a batch in turn, from fold to fold."""
    folds = np.empty(arranged.shape, dtype=np.int16)
    for row, batches in zip(folds, arranged, strict=True):
        row[np.lexsort((order, batches))] = np.arange(len(batches)) % n_folds
    return folds


def _out_of_fold(
    design: tuple[np.ndarray, np.ndarray],
    arranged: np.ndarray,
    order: np.ndarray,
    n_folds: int,
    progress: Progress,
) -> np.ndarray:
    """Linear predictors of the fold that a cell is left out of, ``(n_batches, n_arrangements, n_cells)``."""
    features, penalty = design
    folds = stratified_folds(arranged, order, n_folds)
    logits = np.zeros((int(arranged.max()) + 1, *arranged.shape), dtype=np.float32)
    for fold in range(n_folds):
        weights = fit_logistic(features, penalty, arranged, folds != fold, progress)
        np.copyto(logits, weights @ features.T, where=folds == fold)
    return logits


def fit_logistic(
    features: np.ndarray,
    penalty: np.ndarray,
    arranged: np.ndarray,
    trained: np.ndarray,
    progress: Progress | None = None,
) -> np.ndarray:
    """Coefficients of all arrangements, each fitted to its own training cells.

    ``features`` and ``penalty`` are of :func:`precondition`; ``arranged`` and ``trained`` ``(n_arrangements,
    n_cells)`` batch codes, and whether a cell is trained on. Nesterov's method takes ``ITERATIONS`` steps, its
    momentum restarted where it points uphill. ``(n_batches, n_arrangements, 1 + n_dims)``.
    """
    n_batches = int(arranged.max()) + 1
    mask = trained.astype(np.float32)
    observed = np.stack([(mask * (arranged == batch)) @ features for batch in range(n_batches)])
    weights = np.zeros((n_batches, len(arranged), features.shape[1]), dtype=np.float32)
    ahead, pace = weights, np.ones((len(arranged), 1))
    for _ in range(ITERATIONS):
        expected = _probabilities(ahead @ features.T)
        expected *= mask
        slope = expected @ features - observed + ahead @ penalty
        moved = ahead - slope
        uphill = np.einsum("cpd,cpd->p", slope, moved - weights)[:, None] > 0
        pace = np.where(uphill, 1, pace)
        faster = (1 + np.sqrt(1 + 4 * pace**2)) / 2
        momentum = np.where(uphill, 0, (pace - 1) / faster)
        ahead = moved + momentum.astype(np.float32) * (moved - weights)
        weights, pace = moved, faster
        if progress:
            progress.advance()
    return weights


def _probabilities(logits: np.ndarray) -> np.ndarray:
    """Softmax over the first axis, in place; predictors beyond ±40 are decided anyway."""
    np.clip(logits, -40, 40, out=logits)
    np.exp(logits, out=logits)
    logits /= logits.sum(axis=0)
    return logits


def neighbor_auc(neighbors: np.ndarray, arranged: np.ndarray) -> np.ndarray:
    """Macro one-vs-rest AUC of the share of a cell's neighbours in each batch, for every arrangement.

    ``neighbors`` are ``(n_cells, k)`` positions of the nearest other cells, ``arranged`` ``(n_arrangements,
    n_cells)`` batch codes from 0, every one of which occurs; ``(n_arrangements,)``.
    """
    n_batches = int(arranged.max()) + 1
    k, votes = neighbors.shape[1], (count_by_row(batches[neighbors], n_batches) for batches in arranged)
    return np.array([count_auc(found, batches, k) for found, batches in zip(votes, arranged, strict=True)])
