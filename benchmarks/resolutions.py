"""Which rule recommends a Leiden resolution best, where the types are known.

    python benchmarks/resolutions.py FOLDER [--seeds 0 1] [--page docs/defaults.md]

Clusters the latent of a scVI model with the project's defaults at many resolutions, on the data sets of
``benchmarks/defaults.py`` that have labels and on simulated types of unequal size, one of them broad. A rule picks a
resolution from each grid: the finest on which random halves of the cells agree by a threshold. What a rule loses is the
difference of the adjusted Rand index and of the normalised mutual information to those of the best resolution of all. Some
ten minutes on one core.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
from defaults import fitted, load, put

from scvi_downstream.pipelines.clustering.nodes import cluster_leiden, compare_clusterings, resample_leiden
from scvi_downstream.pipelines.clustering.options import ClusteringOptions
from scvi_downstream.pipelines.clustering.report import recommend
from scvi_downstream.pipelines.embedding.nodes import build_neighbors
from scvi_downstream.pipelines.embedding.options import EmbeddingOptions
from scvi_downstream.study.defaults import defaults_of

REAL = ("pbmc3k", "cell_lines", "kang_ifnb", "worm_embryo", "demo")
PLANTED = ("types", "unequal", "unequal_broad", "unequal_many")
EVERY = (0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0, 1.2, 1.5, 2.0)
GRIDS = {
    "0.25, 0.5, 1, 1.5, 2": (0.25, 0.5, 1.0, 1.5, 2.0),
    "the project's": defaults_of(ClusteringOptions).leiden_resolutions,
}
THRESHOLDS = (0.6, 0.7, 0.75, 0.8, 0.85)


@dataclass(frozen=True)
class Clustered:
    """One latent of ``n_types`` at every resolution: ``leiden`` by cell, ``stability`` by replicate, ``ari`` and ``nmi`` by column."""

    name: str
    n_types: int
    leiden: pd.DataFrame
    stability: pd.DataFrame
    agreement: pd.DataFrame

    def lost(self, grid: tuple[float, ...], threshold: float) -> tuple[float, float, int]:
        """ARI and NMI below the best of all, and the number of clusters."""
        inside = self.stability[self.stability["resolution"].isin(grid)]
        best = recommend(self.leiden, inside, threshold)
        ari, nmi = (
            float(self.agreement[name].max() - self.agreement.loc[best.column, name])
            for name in ("ari", "nmi")
        )
        return ari, nmi, best.n_clusters


def cluster(name: str, folder: Path, seed: int) -> Clustered:
    """Train, cluster and compare with the labels."""
    data = load(name, folder)
    model = fitted(data, "default", seed).model
    latent = pd.DataFrame(model.get_latent_representation(), index=data.counts.obs_names)
    graph = build_neighbors(latent, defaults_of(EmbeddingOptions), seed)
    options = defaults_of(ClusteringOptions, leiden_resolutions=EVERY)
    leiden = cluster_leiden(graph, options, seed)
    stability = resample_leiden(graph, leiden, options, seed)
    known = compare_clusterings(leiden, data.counts, data.keys)
    agreement = known[known["clustering_b"] == "label"].set_index("clustering_a")
    n_types = data.counts.obs[data.keys.label_key].nunique()
    return Clustered(name, n_types, leiden, stability, agreement)


def tables(found: list[Clustered]) -> Iterator[str]:
    """What each rule loses, and what the project's picks on each set."""
    yield "| grid | threshold | real: ARI, NMI lost | simulated: ARI, NMI lost | most lost |"
    yield "|---|---|---|---|---|"
    for grid, resolutions in GRIDS.items():
        for threshold in THRESHOLDS:
            lost = pd.DataFrame(
                [each.lost(resolutions, threshold)[:2] for each in found], columns=["ari", "nmi"]
            )
            real = np.array([each.name in REAL for each in found])
            parts = [
                " | ".join(f"{a:.3f}, {n:.3f}" for a, n in [lost[chosen].mean()]) for chosen in (real, ~real)
            ]
            yield f"| {grid} | {threshold:g} | {parts[0]} | {parts[1]} | {lost['ari'].max():.2f}, {lost['nmi'].max():.2f} |"
    yield ""
    own = defaults_of(ClusteringOptions)
    before = next(iter(GRIDS.values()))
    yield "| set | types | grid of five: clusters, ARI, NMI | the project's: clusters, ARI, NMI | best possible: ARI, NMI |"
    yield "|---|---|---|---|---|"
    for name in dict.fromkeys(each.name for each in found):
        same = [each for each in found if each.name == name]
        best = np.mean([each.agreement[["ari", "nmi"]].max().to_numpy() for each in same], axis=0)
        cells = []
        for grid in (before, own.leiden_resolutions):
            lost = np.mean([each.lost(grid, own.min_stability) for each in same], axis=0)
            cells.append(f"{lost[2]:.1f}, {best[0] - lost[0]:.2f}, {best[1] - lost[1]:.2f}")
        yield f"| {name} | {same[0].n_types} | {cells[0]} | {cells[1]} | {best[0]:.2f}, {best[1]:.2f} |"


def main() -> None:
    """Print or write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--page", type=Path, help="that the tables are put on")
    given = parser.parse_args()
    found = []
    for name in (*REAL, *PLANTED):
        for seed in given.seeds:
            found.append(cluster(name, given.folder, seed))
            print(f"{name}, seed {seed}", flush=True)
    table = "\n".join(tables(found))
    if given.page:
        put(given.page, {"resolutions": table})
    print(table)


if __name__ == "__main__":
    main()
