"""How much faster a search is with several trials at a time: the same trials, one and two (or more) at a time.

Usage: python benchmarks/search_speed.py FILE [--batch-key KEY] [--label-key KEY] [--trials 8] [--concurrent 1 2] [--epochs 60]

FILE is an .h5ad with raw counts. Every measurement starts a Ray of its own, so that its start and the imports of each
process count: they take a minute on two cores, and weigh less the longer the trials are. Prints seconds and their
ratio; with --algorithm asha the trainings that are stopped differ from measurement to measurement.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")


def task_of(arguments: argparse.Namespace) -> Any:
    import anndata
    import numpy as np

    from scvi_downstream.cells.keys import Keys
    from scvi_downstream.pipelines.comparison.options import ComparisonOptions
    from scvi_downstream.pipelines.embedding.nodes import compute_pca
    from scvi_downstream.pipelines.embedding.options import EmbeddingOptions
    from scvi_downstream.pipelines.evaluation.options import EvaluationOptions
    from scvi_downstream.pipelines.preparation.nodes import prepare_counts
    from scvi_downstream.pipelines.preparation.options import PreparationOptions
    from scvi_downstream.pipelines.search.trial import TrialTask
    from scvi_downstream.study.defaults import default_model, defaults_of

    keys = Keys(batch_key=arguments.batch_key, label_key=arguments.label_key)
    options = defaults_of(PreparationOptions, n_top_genes=arguments.genes)
    counts, *_ = prepare_counts(anndata.read_h5ad(arguments.file), None, keys, options)
    pca, _ = compute_pca(counts, defaults_of(EmbeddingOptions), 0)
    training = {"max_epochs": arguments.epochs} if arguments.epochs else {}
    spec = default_model(training=training)
    objectives = (
        ("elbo_validation", "scib_total") if keys.batch_key and keys.label_key else ("elbo_validation",)
    )
    return TrialTask(
        genes=counts[:, counts.var["highly_variable"]].copy(),
        before=pca.to_numpy(np.float32),
        base=spec.model_dump(mode="json"),
        keys=keys,
        objectives=objectives,
        embedding=defaults_of(EmbeddingOptions),
        comparison=defaults_of(ComparisonOptions),
        evaluation=defaults_of(EvaluationOptions),
        seed=0,
        accelerator="cpu",
    )


def main() -> None:
    from scvi_downstream.models.checkpoints import CheckpointStore
    from scvi_downstream.pipelines.search.options import SearchOptions
    from scvi_downstream.pipelines.search.search import search_models
    from scvi_downstream.study.defaults import defaults_of

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--batch-key")
    parser.add_argument("--label-key")
    parser.add_argument("--genes", type=int, default=2000)
    parser.add_argument("--trials", type=int, default=8)
    parser.add_argument("--epochs", type=int, default=60, help="at most; 0: as the study's default")
    parser.add_argument("--concurrent", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--algorithm", default="random", choices=["random", "asha", "bayesian"])
    arguments = parser.parse_args()
    task = task_of(arguments)
    seconds: dict[int, float] = {}
    for concurrent in arguments.concurrent:
        options = defaults_of(
            SearchOptions,
            algorithm=arguments.algorithm,
            trials=arguments.trials,
            concurrent=concurrent,
            objectives=task.objectives,
        )
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            records = search_models(task, options, CheckpointStore(Path(folder)))
            seconds[concurrent] = time.perf_counter() - start
        states = [record.status for record in records.values()]
        counted = ", ".join(f"{states.count(state)} {state}" for state in sorted(set(states)))
        print(
            f"{concurrent} at a time: {seconds[concurrent]:.0f} s ({len(states)} trials: {counted})",
            flush=True,
        )
    slowest = seconds[arguments.concurrent[0]]
    for concurrent in arguments.concurrent[1:]:
        print(
            f"{concurrent} against {arguments.concurrent[0]}: {slowest / seconds[concurrent]:.2f} times as fast"
        )


if __name__ == "__main__":
    main()
