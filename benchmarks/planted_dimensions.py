"""Is the planted number of latent dimensions found?

    python benchmarks/planted_dimensions.py                     # counts from random decoders: about 25 minutes on one core
    python benchmarks/planted_dimensions.py normal5 --seeds 0 1 2
    python benchmarks/planted_dimensions.py --real cells.h5ad    # counts from a scVI model of real counts

Simulates counts with a known number of latent dimensions, trains scVI as the project does with several n_latent, and prints
what is recommended, how much trainings differ by the seed alone, and how many dimensions of the largest model are active
(posterior means with a variance above 0.1 over cells; Burda, Grosse & Salakhutdinov 2016, arXiv:1509.00519).
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from simulation import Planted, simulate, simulate_from

from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.fitting import build_and_fit, reproducible
from scvi_downstream.models.schedule import split_by
from scvi_downstream.pipelines.comparison.dimensions import recommend_dimensions
from scvi_downstream.pipelines.comparison.options import ComparisonOptions
from scvi_downstream.runtime.threads import quiet
from scvi_downstream.study.defaults import default_model, defaults_of

if TYPE_CHECKING:
    from anndata import AnnData
    from scvi.model import SCVI

PLANTED = {
    "normal3": Planted(n_cells=1500, n_genes=300, n_latent=3),
    "normal5": Planted(n_cells=2000, n_genes=300),
    "types5": Planted(n_cells=2000, n_genes=300, n_types=8),
    "weak5": Planted(n_cells=1500, n_genes=300, signal=0.4, median_counts=1000),
    "normal8": Planted(n_cells=2000, n_genes=300, n_latent=8),
}
GRID = (2, 3, 5, 8, 10, 20)
DATA_SEED = 1
REAL_CELLS, REAL_GENES, REAL_LATENT = 2000, 500, 5
ACTIVE_VARIANCE = 0.1


def main() -> None:
    """Print one line a training and one a data set."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help=f"of {', '.join(PLANTED)}; all when none is given")
    parser.add_argument("--grid", type=int, nargs="+", default=GRID)
    parser.add_argument("--seeds", type=int, nargs="+", default=(0,))
    parser.add_argument(
        "--real", type=Path, help=".h5ad of raw counts: plant the dimensions of a model of these"
    )
    arguments = parser.parse_args()
    if arguments.real:
        study("real", like_real(arguments.real), REAL_LATENT, arguments.grid, arguments.seeds)
        return
    for name in arguments.names or PLANTED:
        planted = PLANTED[name]
        study(name, simulate(planted, DATA_SEED), planted.n_latent, arguments.grid, arguments.seeds)


def study(name: str, counts: AnnData, truth: int, grid: list[int], seeds: list[int]) -> None:
    """Train the grid on one data set and compare the recommendation with the truth."""
    tables, models = {}, {}
    active = None
    for n_latent in grid:
        for seed in seeds:
            trial = f"scvi_latent{n_latent}_seed{seed}"
            start = time.perf_counter()
            model = train(counts, n_latent, seed)
            tables[f"{trial}__cell_likelihood"] = held_out(model)
            models[trial] = {"family": "SCVI", "n_latent": n_latent, "seed": seed, "trial_of": "scvi"}
            mean = tables[f"{trial}__cell_likelihood"]["elbo"].mean()
            print(f"{name} {trial}: elbo {mean:.2f}, {time.perf_counter() - start:.0f} s", flush=True)
            active = int((model.get_latent_representation().var(axis=0) > ACTIVE_VARIANCE).sum())
    answer = recommend_dimensions(
        pd.DataFrame(index=list(models)), models, defaults_of(ComparisonOptions), **tables
    )
    found = answer["grids"][0]
    print(
        f"== {name}: planted {truth}, recommended {found['recommended']}, best {found['best']}, {active} of {max(grid)} "
        f"dimensions active in the largest model; trainings differ by {noise_of_seeds(tables, models)}"
    )
    for sentence in answer["sentences"]:
        print(f"   {sentence}", flush=True)


def train(counts: AnnData, n_latent: int, seed: int) -> SCVI:
    """ScVI with the project's options; the split is the same for all."""
    spec = default_model(name=f"scvi_latent{n_latent}", n_latent=n_latent)
    split = split_by(spec.training, counts.n_obs, 0)
    with tempfile.TemporaryDirectory() as folder:
        how = {
            "seed": seed,
            "accelerator": "cpu",
            "checkpoints": CheckpointStore(Path(folder)),
            "split": split,
        }
        return build_and_fit(counts.copy(), spec, Keys(), **how).model


def held_out(model: SCVI) -> pd.DataFrame:
    """ELBO of validation and test cells."""
    parts = []
    for share in ("validation", "test"):
        cells = np.asarray(getattr(model, f"{share}_indices"))
        with reproducible(0), quiet():
            elbo = model.get_elbo(indices=cells, return_mean=False).numpy()
        parts.append(pd.DataFrame({"share": share, "elbo": elbo}, index=model.adata.obs_names[cells]))
    return pd.concat(parts)


def noise_of_seeds(tables: dict[str, pd.DataFrame], models: dict[str, dict]) -> str:
    """Standard deviation of the mean held-out ELBO over seeds, pooled over numbers of dimensions."""
    means = pd.Series({name: tables[f"{name}__cell_likelihood"]["elbo"].mean() for name in models})
    by_value = means.groupby([options["n_latent"] for options in models.values()])
    if by_value.size().max() < 2:
        return "an unknown amount (one seed)"
    spread = float(np.sqrt(by_value.var().mean()))
    return f"{spread:.2f} nats per cell, {spread / abs(means.mean()):.5f} of the ELBO"


def like_real(path: Path) -> AnnData:
    """Counts from a scVI model with 5 dimensions of the most variable genes of real counts."""
    import scanpy as sc

    real = sc.read_h5ad(path)
    with quiet():
        sc.pp.highly_variable_genes(real, n_top_genes=REAL_GENES, flavor="seurat_v3", subset=True)
    return simulate_from(train(real, REAL_LATENT, seed=0), REAL_CELLS, DATA_SEED)


if __name__ == "__main__":
    main()
