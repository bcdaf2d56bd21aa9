"""How often the 90 % intervals of the integration metrics hold the expected score, on samples of a known generator.

Usage: python benchmarks/score_intervals.py [--samples 200] [--cells 600] [--draws 200] [--shift 0.7] [--kmeans]

Cells are drawn again and again from a mixture of Gaussians: cell types that overlap, batches that are shifted, a
composition that differs between batches. The number of cells of a batch is fixed, which cell type each cell is of is
not. Each sample is scored with everything anew: neighbours, clusters, resamples. Prints, for each metric, the expected
score (the mean over samples), its standard deviation between samples, the mean standard deviation of the
resamples, and the share of the 90 % percentile intervals that hold the expected score.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
import pandas as pd

N_LABELS, N_BATCHES, N_DIMS = 5, 3, 8
SHARES = np.array([[0.4, 0.3, 0.15, 0.1, 0.05], [0.2, 0.2, 0.3, 0.2, 0.1], [0.3, 0.4, 0.1, 0.2, 0.0]])


def sample(n_cells: int, seed: int, shift: float = 0.7) -> tuple[np.ndarray, np.ndarray, pd.DataFrame]:
    """Latent and unintegrated coordinates of new cells, and their labels and batches."""
    rng = np.random.default_rng(seed)
    planted = np.random.default_rng(1234)
    centres = 2.2 * planted.normal(size=(N_LABELS, N_DIMS))
    shifts = planted.normal(size=(N_BATCHES, N_DIMS))
    batch = np.repeat(np.arange(N_BATCHES), n_cells // N_BATCHES)
    label = np.array([rng.choice(N_LABELS, p=SHARES[b]) for b in batch])
    cells = centres[label] + rng.normal(size=(len(batch), N_DIMS)) * (1 + 0.3 * label[:, None])
    obs = pd.DataFrame(
        {"label": pd.Categorical(label.astype(str)), "batch": pd.Categorical(batch.astype(str))}
    )
    return (
        (cells + shift * shifts[batch]).astype(np.float32),
        (cells + 1.5 * shifts[batch]).astype(np.float32),
        obs,
    )


def score(
    n_cells: int, seed: int, n_draws: int, shift: float, *, by_leiden: bool
) -> tuple[pd.Series, pd.DataFrame]:
    """Scores of one sample and their resamples."""
    from scvi_downstream.graphs.neighbors import neighbors_graph
    from scvi_downstream.scoring.criteria import choose_profile
    from scvi_downstream.scoring.embedding_metrics import compute_metrics

    latent, before, obs = sample(n_cells, seed, shift)
    graph = neighbors_graph(obs.index, latent, n_neighbors=15, n_search=90, exact_up_to=50_000, seed=0)
    scores, draws = compute_metrics(
        latent,
        graph,
        before,
        obs["label"],
        obs["batch"],
        profile=choose_profile("full", leiden_optimisation=by_leiden),
        n_draws=n_draws,
        seed=seed,
    )
    names = {name: name.removeprefix("scib_") for name in draws if name.removeprefix("scib_") in scores}
    found = {name: scores.get(name, scores.get(metric)) for name, metric in names.items()}
    found |= {name: scores[name] for name in draws if name in scores}
    return pd.Series(found), draws


def coverage(n_samples: int, n_cells: int, n_draws: int, shift: float, *, by_leiden: bool) -> pd.DataFrame:
    """One row a metric; see the module."""
    found, lows, highs, spreads = [], [], [], []
    for seed in range(n_samples):
        scores, draws = score(n_cells, seed, n_draws, shift, by_leiden=by_leiden)
        found.append(scores)
        lows.append(draws.quantile(0.05))
        highs.append(draws.quantile(0.95))
        spreads.append(draws.std())
    scores = pd.DataFrame(found)
    low, high = (pd.DataFrame(ends).reset_index(drop=True) for ends in (lows, highs))
    expected = scores.mean()
    held = ((low <= expected) & (expected <= high)).mean()
    return pd.DataFrame(
        {
            "expected": expected,
            "sd": scores.std(),
            "sd_of_draws": pd.DataFrame(spreads).mean(),
            "coverage": held,
            "shift_of_draws": (low + high).div(2).mean() - expected,
        }
    ).loc[scores.columns]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--cells", type=int, default=600)
    parser.add_argument("--draws", type=int, default=200)
    parser.add_argument("--shift", type=float, default=0.7, help="of the batches in the latent; 0: mixed")
    parser.add_argument("--kmeans", action="store_true", help="NMI and ARI by k-means instead of Leiden")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    table = coverage(
        arguments.samples,
        arguments.cells,
        arguments.draws,
        arguments.shift,
        by_leiden=not arguments.kmeans,
    )
    print(table.round(4).to_string())
