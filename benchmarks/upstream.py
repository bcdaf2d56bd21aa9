"""What the parts that other projects could take are worth: figures of docs/upstream.md.

    python benchmarks/upstream.py [--cells FILE.h5ad]

Without a file the demonstration's 700 cells are used. Times are of the processor, on one thread, medians of steps that
take turns, so that another process beside disturbs little.
"""

from __future__ import annotations

import argparse
import logging
import time
import warnings
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import anndata
import numpy as np
import scvi
import torch
from kedro_datasets.pickle import PickleDataset
from scipy import sparse
from scvi.distributions import _negative_binomial as stock

from scvi_downstream.datasets.counts_input_dataset import read_pbmc68k
from scvi_downstream.models.scvi_internals import sparse_likelihood
from scvi_downstream.upstream import sparse_likelihood as ours
from scvi_downstream.upstream.anndata_dataset import AnnDataDataset
from scvi_downstream.upstream.scvi_model_dataset import ScviModelDataset

N_GENES, BATCH, N_EPOCHS = 2000, 128, 2


def cells_of(file: str | None) -> anndata.AnnData:
    """Counts of the genes that most cells have."""
    cells = anndata.read_h5ad(file) if file else read_pbmc68k()
    counts = sparse.csr_matrix(cells.X, dtype=np.float32)
    genes = np.sort(np.argsort(-counts.getnnz(axis=0), kind="stable")[:N_GENES])
    return anndata.AnnData(counts[:, genes], obs=cells.obs[[]], var=cells.var[[]].iloc[genes])


def in_turn(repeats: int, **steps: Callable[[], Any]) -> dict[str, float]:
    """Milliseconds of the processor, by name."""
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeats):
        for name, step in steps.items():
            start = time.process_time()
            step()
            taken[name].append(1e3 * (time.process_time() - start))
    return {name: median(times) for name, times in taken.items()}


def likelihoods(counts: sparse.csr_matrix) -> None:
    """A mini-batch's log-likelihood with gradients, and the likelihood alone."""
    rng = np.random.default_rng(0)
    x = torch.from_numpy(counts[rng.permutation(counts.shape[0])[:BATCH]].toarray())
    share = torch.from_numpy(np.asarray(counts.sum(0)).ravel() / counts.sum()).float()
    noise, pi = torch.randn(2, *x.shape, generator=torch.Generator().manual_seed(0))
    mu = x.sum(1, keepdim=True) * share * (0.5 * noise).exp() + 1e-4
    theta = torch.ones(x.shape[1])
    for kind in ("nb", "zinb"):
        parameters = [mu, theta, *([pi] if kind == "zinb" else [])]
        parameters = [each.clone().requires_grad_() for each in parameters]

        def step(place: Any, *, gradients: bool, kind: str = kind, given: list = parameters) -> None:
            expanded = [given[0], given[1].expand(x.shape), *given[2:]]  # as distributions do
            with nullcontext() if gradients else torch.no_grad():
                value = getattr(place, f"log_{kind}_positive")(x, *expanded).sum(-1).mean()
            if gradients:
                torch.autograd.grad(value, given)

        for gradients in (True, False):
            found = in_turn(
                30,
                stock=lambda g=gradients: step(stock, gradients=g),
                sparse=lambda g=gradients: step(ours, gradients=g),
            )
            what = "with gradients" if gradients else "alone"
            print(f"{kind} {what}: {found['stock']:.1f} → {found['sparse']:.1f} ms")


def errors() -> None:
    """Largest error of single precision, of counts near their means."""
    for counts, theta in ((5.0, 1.0), (5.0, 1e4), (1e5, 10.0)):
        x, mu = torch.full((100,), counts), torch.linspace(0.8, 1.25, 100) * counts
        given = (x, mu, torch.full((100,), theta))
        known = stock.log_nb_positive(*(each.double() for each in given))
        of = {
            name: float((place.log_nb_positive(*given) - known).abs().max())
            for name, place in (("stock", stock), ("sparse", ours))
        }
        print(f"counts near {counts:g}, theta {theta:g}: error {of['stock']:.1g} → {of['sparse']:.1g}")


def training(counts: anndata.AnnData) -> Any:
    """Train scVI by scvi-tools alone, and with the sparse likelihood."""
    for likelihood in ("nb", "zinb"):
        model_class = scvi.model.SCVI
        model_class.setup_anndata(counts)
        model = model_class(counts, gene_likelihood=likelihood)
        options = {"max_epochs": N_EPOCHS, "accelerator": "cpu", "enable_progress_bar": False, "logger": None}

        def train(by: Any, model: Any = model, options: dict = options) -> None:
            with by:
                model.train(**options)

        found = in_turn(3, stock=lambda: train(nullcontext()), sparse=lambda: train(sparse_likelihood()))
        steps = N_EPOCHS * -(-int(0.9 * counts.n_obs) // BATCH)
        print(
            f"SCVI.train, {likelihood}: {found['stock'] / steps:.1f} → {found['sparse'] / steps:.1f} ms a step"
        )
    return model


def files(counts: anndata.AnnData, model: Any) -> None:
    """AnnData beside a pickle of it, and a model read safely beside scvi-tools' own reading."""
    with TemporaryDirectory() as folder:
        datasets = {
            "pickle": PickleDataset(filepath=f"{folder}/counts.pkl"),
            "h5ad": AnnDataDataset(filepath=f"{folder}/counts.h5ad"),
            "zarr": AnnDataDataset(filepath=f"{folder}/counts.zarr"),
        }
        for name, dataset in datasets.items():
            saved = in_turn(3, save=lambda to=dataset: to.save(counts), load=dataset.load)
            path = Path(folder, f"counts.{'pkl' if name == 'pickle' else name}")
            parts = [path] if path.is_file() else path.rglob("*")
            size = sum(file.stat().st_size for file in parts if file.is_file())
            print(
                f"{name}: {size / 1e6:.1f} MB, saved in {saved['save']:.0f} ms, loaded in {saved['load']:.0f} ms"
            )
        dataset = ScviModelDataset(filepath=f"{folder}/scvi")
        dataset.save(model)
        found = in_turn(
            5,
            theirs=lambda: type(model).load(f"{folder}/scvi", adata=counts, accelerator="cpu"),
            ours=lambda: dataset.load().attach(counts, accelerator="cpu"),
        )
        print(f"load of the model: scvi-tools {found['theirs']:.0f} ms, safely {found['ours']:.0f} ms")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cells", help=".h5ad with counts in X")
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    torch.set_num_threads(1)
    counts = cells_of(parser.parse_args().cells)
    share = counts.X.nnz / np.prod(counts.shape)
    print(f"{counts.n_obs} cells × {counts.n_vars} genes, {share:.0%} of the counts are not zero")
    likelihoods(counts.X)
    errors()
    files(counts, training(counts))


if __name__ == "__main__":
    main()
