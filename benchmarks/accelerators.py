"""Training and read-out on the accelerator beside the CPU: what differs, and how long each takes.

    python benchmarks/accelerators.py

Every family is trained twice with the same seed on the demonstration's cells, saved, read back on the same device and on the
CPU. Epochs are timed on 20,000 cells × 2,000 genes of random counts. Without an accelerator only the CPU's lines are printed.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.datasets.counts_input_dataset import CountsInputDataset
from scvi_downstream.datasets.scvi_model_dataset import CheckpointDataset, ScviModelDataset
from scvi_downstream.pipelines.evaluation.options import EvaluationOptions
from scvi_downstream.pipelines.preparation.nodes import prepare_counts
from scvi_downstream.pipelines.preparation.options import PreparationOptions
from scvi_downstream.pipelines.training.nodes import train_model
from scvi_downstream.scoring.likelihood import score_likelihood
from scvi_downstream.study.defaults import defaults_of, model_options

if TYPE_CHECKING:
    from anndata import AnnData

FAMILIES = ("SCVI", "LinearSCVI", "DRVI", "MRVI")
KEYS = Keys(batch_key="batch", label_key="cell_type")
EPOCHS = 20


def main() -> None:
    """Print one line a family and device, then one line a device and size of mini-batch."""
    import torch

    devices = ["gpu", "cpu"] if torch.cuda.is_available() else ["cpu"]
    counts, _, _ = prepare_counts(
        CountsInputDataset(source="pbmc68k").load(),
        None,
        KEYS,
        defaults_of(PreparationOptions, n_top_genes=500),
    )
    with tempfile.TemporaryDirectory() as folder:
        for family in FAMILIES:
            for device in devices:
                print(family, device, compare(counts, family, device, Path(folder)))
        cells = random_counts()
        for device in devices:
            for batch_size in (128, 1024):
                seconds = seconds_an_epoch(cells, device, batch_size, Path(folder))
                print(f"20,000 × 2,000, {device}, mini-batches of {batch_size}: {seconds:.2f} s an epoch")


def compare(counts: AnnData, family: str, device: str, folder: Path) -> dict[str, Any]:
    """Same bits twice; the saved model read on its own device and on the CPU; held-out ELBO."""
    keys = KEYS.model_copy(update={"sample_key": "batch"}) if family == "MRVI" else KEYS
    spec = model_options(
        {"name": family, "family": family, "n_latent": 10, "training": {"max_epochs": EPOCHS}}
    )
    latents = []
    for again in range(2):
        store = CheckpointDataset(filepath=folder / f"checkpoint_{family}_{device}_{again}").load()
        model, _, summary = train_model(counts, spec, keys, 0, device, store)
        latents.append(np.asarray(model.get_latent_representation()))
    saved = ScviModelDataset(filepath=folder / f"{family}_{device}")
    saved.save(model)
    read = {place: saved.load().attach(counts, place) for place in {device, "cpu"}}
    scores, _ = score_likelihood(
        read[device],
        defaults_of(EvaluationOptions, marginal_ll_samples=20, marginal_ll_max_cells=50).sampling,
        seed=0,
    )
    return {
        "device": summary["device"],
        "seconds": round(summary["seconds"], 2),
        "same_bits_twice": bool((latents[0] == latents[1]).all()),
        "elbo_test": scores["elbo_test"],
        **{
            f"largest_difference_read_on_{place}": float(
                np.abs(np.asarray(other.get_latent_representation()) - latents[1]).max()
            )
            for place, other in read.items()
        },
    }


def random_counts() -> AnnData:
    """20,000 cells × 2,000 genes of Poisson counts: their values do not matter to the time."""
    import anndata
    from scipy import sparse

    rng = np.random.default_rng(0)
    counts = sparse.csr_matrix(rng.poisson(rng.gamma(0.3, 0.5, 2000), (20_000, 2000)).astype(np.float32))
    obs = pd.DataFrame({"batch": pd.Categorical(rng.choice(["a", "b"], 20_000))})
    obs.index = obs.index.astype(str)
    cells = anndata.AnnData(counts, obs=obs)
    cells.var["highly_variable"] = True
    return cells


def seconds_an_epoch(cells: AnnData, device: str, batch_size: int, folder: Path) -> float:
    """Mean of three epochs of scVI."""
    options = {"max_epochs": 3, "batch_size": batch_size, "early_stopping": False}
    store = CheckpointDataset(filepath=folder / f"timed_{device}_{batch_size}").load()
    spec = model_options({"name": "timed", "family": "SCVI", "training": options})
    _, _, summary = train_model(cells, spec, Keys(batch_key="batch"), 0, device, store)
    return summary["seconds"] / 3


if __name__ == "__main__":
    start = time.perf_counter()
    main()
    print(f"{time.perf_counter() - start:.0f} s")
