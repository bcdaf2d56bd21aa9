"""How far latent factors stand for one thing each, and come back with another seed: scVI, LDVAE, DRVI.

Usage: python benchmarks/factors.py [--models scvi ldvae drvi]

On the 700 PBMCs of the demonstration, two seeds a model (DRVI takes minutes a seed on a CPU). Prints, per model:
seconds of training, the mean over cell types of the best η² of any dimension, the mean relative gap to the second best,
and the median |r| of the loadings of factors matched between the seeds.
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from pathlib import Path
from typing import Any

MODELS = {
    "scvi": {"family": "SCVI"},
    "ldvae": {"family": "LinearSCVI", "training": {"lr": 0.005}},
    "drvi": {"family": "DRVI"},
}
SEEDS = (0, 1)


def fitted(counts: Any, keys: Any, name: str, seed: int, folder: Path) -> tuple[Any, Any, float]:
    from scvi_downstream.datasets.scvi_model_dataset import CheckpointDataset, ScviModelDataset
    from scvi_downstream.pipelines.embedding.nodes import compute_latent
    from scvi_downstream.pipelines.training.nodes import train_model
    from scvi_downstream.study.defaults import model_options

    store = CheckpointDataset(filepath=str(folder / f"{name}{seed}.checkpoint")).load()
    model, _, summary = train_model(
        counts, model_options({"name": name, **MODELS[name]}), keys, seed, "cpu", store
    )
    dataset = ScviModelDataset(filepath=str(folder / f"{name}{seed}"))
    dataset.save(model)
    saved = dataset.load()
    return saved, compute_latent(saved, counts, "cpu"), summary["seconds"]


def one_to_one(dimensions: Any, labels: Any) -> tuple[float, float]:
    import numpy as np
    import pandas as pd

    from scvi_downstream.statistics.association import associate

    members = pd.get_dummies(labels, dtype=bool).astype(str)
    found = associate(dimensions, members, None)
    effects = [np.sort(group["effect"])[::-1] for _, group in found.groupby("covariate")]
    return float(np.mean([e[0] for e in effects])), float(np.mean([(e[0] - e[1]) / e[0] for e in effects]))


def agreement(first: Any, second: Any) -> float:
    import numpy as np
    from scipy.optimize import linear_sum_assignment

    r = np.abs(np.corrcoef(first.T, second.T)[: first.shape[1], first.shape[1] :])
    rows, columns = linear_sum_assignment(-r)
    return float(np.median(r[rows, columns]))


def main() -> None:
    from scvi_downstream.cells.keys import Keys
    from scvi_downstream.datasets.counts_input_dataset import CountsInputDataset
    from scvi_downstream.pipelines.factors.effects import read_loadings
    from scvi_downstream.pipelines.preparation.nodes import prepare_counts
    from scvi_downstream.pipelines.preparation.options import PreparationOptions
    from scvi_downstream.study.defaults import defaults_of

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    keys = Keys(batch_key="batch", label_key="cell_type")
    counts, _, _ = prepare_counts(
        CountsInputDataset(source="pbmc68k").load(), None, keys, defaults_of(PreparationOptions)
    )
    print("model | dimensions | seconds | best η² of a type | gap to the second | |r| between seeds")
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in parser.parse_args().models:
            loadings, seconds, shown = [], [], None
            for seed in SEEDS:
                saved, latent, took = fitted(counts, keys, name, seed, Path(folder))
                seconds.append(took)
                dimensions = latent
                if name != "scvi":
                    table, variance = read_loadings(saved, latent, counts, "cpu")
                    active = variance[variance["active"]]
                    loadings.append(table[active["factor"]].to_numpy())
                    dimensions = latent[active["dimension"].tolist()]
                if shown is None:
                    shown = (dimensions.shape[1], *one_to_one(dimensions, counts.obs["cell_type"]))
            between = f"{agreement(*loadings):.2f}" if loadings else "–"
            n, best, gap = shown
            print(f"{name} | {n} | {sum(seconds) / 2:.0f} | {best:.2f} | {gap:.0%} | {between}", flush=True)


if __name__ == "__main__":
    main()
