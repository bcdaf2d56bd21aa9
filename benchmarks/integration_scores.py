"""Integration scores of scib-metrics' own Benchmarker and of this project: seconds, and how far they differ.

    python benchmarks/integration_scores.py [--input cells.h5ad --batch-key batch --label-key cell_type]
        [--cells 20000] [--embeddings 5] [--draws 200] [--kmeans] [--results FILE]

Each side scores the same embeddings on all cores in a process of its own, where everything is compiled and imported
anew, its search for neighbours included; that of the Benchmarker is approximate. The project scores embeddings side by
side, as its runs do, each on one thread. Both take the best of ten Leiden resolutions, or k-means. The project
resamples the cells as well, for intervals. Without a file cells are simulated.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import platform
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

from engine import cells_of, in_own_process

type Scores = dict[str, dict[str, float]]
FROM_A_RANDOM_START = ("kmeans_nmi", "kmeans_ari")
N_COMPONENTS = 50


def embed(given: argparse.Namespace, file: Path) -> None:
    """Write embeddings of different kinds: components of log counts, fewer of them, less of the batch, more noise."""
    import anndata
    import numpy as np
    import scanpy as sc

    cells = anndata.read_h5ad(given.input) if given.input else cells_of("simulated", given.cells, 2_000)
    sc.pp.normalize_total(cells, target_sum=1e4)
    sc.pp.log1p(cells)
    sc.pp.pca(cells, n_comps=N_COMPONENTS, random_state=0)
    points = cells.obsm["X_pca"].astype(np.float32)
    batches = cells.obs[given.batch_key].astype(str)
    table = cells.obs[[given.batch_key, given.label_key]].astype(str)
    rng, embeddings = np.random.default_rng(0), {"pca": points}
    means = np.stack([points[batches == batch].mean(axis=0) for batch in batches])
    for number in range(1, given.embeddings):
        n_dims, kept = max(N_COMPONENTS // 2**number, 5), 1 - number / given.embeddings
        moved = points - (1 - kept) * means + rng.normal(scale=0.5 * number, size=points.shape)
        embeddings[f"embedding_{number}"] = np.ascontiguousarray(moved[:, :n_dims], dtype=np.float32)
    anndata.AnnData(obs=table, obsm=embeddings).write_h5ad(file)


def score_stock(cells: Any, given: argparse.Namespace) -> Scores:
    """By :class:`scib_metrics.benchmark.Benchmarker`."""
    from scib_metrics.benchmark import Benchmarker, BioConservation

    from scvi_downstream.pipelines.comparison.benchmarker import our_name

    clustered = BioConservation(
        nmi_ari_cluster_labels_leiden=not given.kmeans, nmi_ari_cluster_labels_kmeans=given.kmeans
    )
    keys = given.batch_key, given.label_key, list(cells.obsm)
    how = {"pre_integrated_embedding_obsm_key": "pca", "progress_bar": False}
    benchmarker = Benchmarker(cells, *keys, clustered, **how)
    benchmarker.benchmark()
    found = benchmarker.get_results(clean_names=False).drop("Metric Type").astype(float)
    return found.rename(columns=our_name).rename(columns=lambda name: name.removeprefix("scib_")).T.to_dict()


def score_project(cells: Any, given: argparse.Namespace) -> Scores:
    """By the node of this project, neighbours and intervals included: as many embeddings at a time as there are cores."""
    context, names = multiprocessing.get_context("spawn"), list(cells.obsm)
    with ProcessPoolExecutor(mp_context=context) as workers:
        return dict(zip(names, workers.map(partial(score_embedding, given), names), strict=True))


def score_embedding(given: argparse.Namespace, name: str) -> dict[str, float]:
    """Scores of one embedding of the file, in a process of its own."""
    import anndata

    from scvi_downstream.graphs.neighbors import neighbors_graph
    from scvi_downstream.scoring.criteria import choose_profile
    from scvi_downstream.scoring.embedding_metrics import compute_metrics

    cells = anndata.read_h5ad(given.embedded)
    profile = choose_profile("full", leiden_optimisation=not given.kmeans)
    how = {"profile": profile, "n_draws": given.draws, "seed": 0}
    search = {"n_neighbors": 15, "n_search": 90, "exact_up_to": 50_000, "seed": 0}
    points, labels, batches = cells.obsm[name], cells.obs[given.label_key], cells.obs[given.batch_key]
    graph = neighbors_graph(cells.obs_names, points, **search)
    scores, _ = compute_metrics(points, graph, cells.obsm["pca"], labels, batches, **how)
    return {key: value for key, value in scores.items() if isinstance(value, float)}


SIDES: dict[str, Callable[[Any, argparse.Namespace], Scores]] = {
    "scib-metrics": score_stock,
    "project": score_project,
}
THREADS = {"scib-metrics": str(os.cpu_count()), "project": "1"}
"""Of each process: all cores for the one of the Benchmarker, one for each of the project's, of which there are as many."""


def measure(side: str, given: argparse.Namespace) -> dict[str, Any]:
    """Scores, seconds and peak memory (MB) of one side: of this process and, each alone, those that it starts."""
    import anndata

    cells = anndata.read_h5ad(given.embedded)
    wall = time.perf_counter()
    scores = SIDES[side](cells, given)
    seconds = time.perf_counter() - wall
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return {
        "cpu": sum(each.ru_utime + each.ru_stime for each in used),
        "wall": seconds,
        "memory": max(each.ru_maxrss for each in used) // 1024,
        "cells": cells.n_obs,
        "scores": scores,
    }


def differences(stock: Scores, project: Scores) -> dict[str, float]:
    """Largest difference between the sides over embeddings, by metric that both have."""
    pairs = [(name, metric) for name in stock for metric in stock[name] if metric in project[name]]
    largest: dict[str, float] = {}
    for name, metric in pairs:
        apart = abs(stock[name][metric] - project[name][metric])
        largest[metric] = max(largest.get(metric, 0.0), apart)
    return largest


def main() -> None:
    """Print a line a side and a metric; keep them where asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--input", type=Path)
    parser.add_argument("--batch-key", default="batch")
    parser.add_argument("--label-key", default="cell_type")
    parser.add_argument("--cells", type=int, default=20_000, help="simulated without --input")
    parser.add_argument("--embeddings", type=int, default=5)
    parser.add_argument(
        "--draws", type=int, default=200, help="resamples of the project; fewer of many cells"
    )
    parser.add_argument("--kmeans", action="store_true", help="NMI and ARI of k-means, not of Leiden")
    parser.add_argument("--results", type=Path)
    parser.add_argument("--embedded", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--measure", choices=SIDES, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        print(json.dumps(measure(given.measure, given)))
        return
    with tempfile.TemporaryDirectory() as folder:
        embed(given, file := Path(folder) / "embedded.h5ad")
        options = [*sys.argv[1:], "--embedded", str(file)]
        found = {
            side: json.loads(in_own_process(__file__, *options, "--measure", side, threads=THREADS[side]))
            for side in SIDES
        }
    stock, project = found.values()
    for side, about in found.items():
        print(f"{side}: {about['cpu']:.0f} CPU s, {about['wall']:.0f} s, {about['memory']} MB")
    print(
        f"ratio: {stock['cpu'] / project['cpu']:.1f} of CPU seconds, {stock['wall'] / project['wall']:.1f} of seconds"
    )
    apart = differences(stock["scores"], project["scores"])
    for metric, value in apart.items():
        print(f"{metric}: {value:.1g}{' (from a random start)' if metric in FROM_A_RANDOM_START else ''}")
    if given.results:
        asked = {"draws": given.draws, "kmeans": given.kmeans, "machine": platform.processor()}
        given.results.write_text(json.dumps({**asked, "sides": found, "differences": apart}, indent=1) + "\n")


if __name__ == "__main__":
    main()
