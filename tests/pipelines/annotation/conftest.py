"""Probabilities that mean what they say."""

import numpy as np


def draw_exact(
    n_cells: int, n_types: int = 4, seed: int = 0, sharpness: float = 2.0
) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities ``(n_cells, n_types)``, and truths ``(n_cells,)`` drawn from them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, sharpness, (n_cells, n_types))
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = (probabilities.cumsum(axis=1) > rng.random(n_cells)[:, None]).argmax(axis=1)
    return probabilities, truth
