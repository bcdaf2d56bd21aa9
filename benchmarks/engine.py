"""How long a training step takes in the project's loop, in scvi-tools' own, and what is left of it.

    python benchmarks/engine.py [--input cells.h5ad --cells 2000 --genes 2000] [--repeats 3] [--page docs/engine.md]

Without a file the demonstration's 700 cells × 765 genes and 20,000 simulated cells × 2,000 genes are used. Every
measurement is a process of its own on one thread, the sides take turns, and seconds are those of the processor, so
that another process beside disturbs little. Both sides train the same module with the same options, and validate after
each epoch; the time of a step is the difference between a long and a short training, so that neither imports nor
compiling count. ``--models`` random small models are trained in both loops, too, and once more of another seed;
``--in-turn`` models are fitted, saved and read again in one process, whose memory is looked at after each.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

EPOCHS = {"small": (4, 64), "large": (1, 4)}
SIDES = {
    "scvi-tools": "`scvi.model.SCVI.train`",
    "fast": "`training.engine: fast`",
}
N_TRAIN, N_VALIDATION = 0.8, 0.1


def cells_of(name: str, n_cells: int, n_genes: int) -> Any:
    """Counts with a column ``batch``: the demonstration's, simulated ones, or those of a file."""
    import anndata
    import numpy as np

    from scvi_downstream.cells.keys import Keys
    from scvi_downstream.datasets.counts_input_dataset import CountsInputDataset
    from scvi_downstream.pipelines.preparation.nodes import prepare_counts
    from scvi_downstream.pipelines.preparation.options import PreparationOptions
    from scvi_downstream.study.defaults import defaults_of

    if name == "simulated":
        from simulation import Planted, simulate

        planted = Planted(n_cells=n_cells, n_genes=n_genes, n_types=8, n_batches=2, median_counts=700)
        return simulate(planted, seed=0)
    cells = CountsInputDataset(source="pbmc68k").load() if name == "pbmc68k" else anndata.read_h5ad(name)
    if len(cells) > n_cells:
        cells = cells[np.random.default_rng(0).permutation(len(cells))[:n_cells]].copy()
    cells.obs["batch"] = cells.obs.get("batch", "all")
    counts, _, _ = prepare_counts(
        cells, None, Keys(batch_key="batch"), defaults_of(PreparationOptions, n_top_genes=n_genes)
    )
    return counts[:, counts.var["highly_variable"]].copy()


def train(cells: Any, side: str, likelihood: str, epochs: int) -> None:
    """Train scVI for so many epochs."""
    import scvi

    from scvi_downstream.cells.keys import Keys
    from scvi_downstream.models.checkpoints import CheckpointStore
    from scvi_downstream.models.fitting import fit, reproducible
    from scvi_downstream.study.defaults import model_spec

    engine = "fast" if side == "fast" else "stock"
    training = {
        "engine": engine,
        "batch_size": 128,  # and the rest as scvi-tools has it
        "lr": 0.001,
        "reduce_lr_on_plateau": False,
        "max_epochs": epochs,
        "early_stopping": False,
        "validation_size": N_VALIDATION,
    }
    spec = model_spec({"name": "scvi", "family": "SCVI", "gene_likelihood": likelihood, "training": training})
    with reproducible(0):
        model = spec.build(cells.copy(), Keys(batch_key="batch"))
    if side == "scvi-tools":
        scvi.settings.num_threads = 1
        how = {"train_size": N_TRAIN, "validation_size": N_VALIDATION, "check_val_every_n_epoch": 1}
        model.train(max_epochs=epochs, accelerator="cpu", enable_progress_bar=False, **how)
        return
    with tempfile.TemporaryDirectory() as folder:
        fit(model, spec, seed=0, accelerator="cpu", checkpoints=CheckpointStore(Path(folder)))


def measure(name: str, n_cells: int, n_genes: int, side: str, likelihood: str) -> dict[str, Any]:
    """Milliseconds of the processor a step, and the peak of memory in MB."""
    import resource
    from math import ceil

    cells = cells_of(name, n_cells, n_genes)
    train(cells, side, likelihood, 1)  # compiles and imports
    seconds = []
    epochs = EPOCHS["small" if cells.n_obs <= 5000 else "large"]
    for number in epochs:
        start = time.process_time()
        train(cells, side, likelihood, number)
        seconds.append(time.process_time() - start)
    steps = ceil(ceil(N_TRAIN * cells.n_obs) / 128) * (epochs[1] - epochs[0])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "ms": 1e3 * (seconds[1] - seconds[0]) / steps,
        "memory": peak,
        "cells": cells.n_obs,
        "genes": cells.n_vars,
        "non_zero": cells.X.nnz / cells.n_obs / cells.n_vars,
    }


PARTS = {
    "matrix products": ("aten::mm", "aten::addmm"),
    "likelihood and its gradients": ("_LogLikelihood", "_LogLikelihoodBackward"),
    "Adam": ("Adam",),
    "normalisation and rectifiers": ("_Hidden", "_HiddenBackward"),
    "copies and sums": ("aten::copy_", "aten::sum", "aten::amax", "aten::index_select"),
    "log1p and dropout's draws": ("aten::log1p", "aten::bernoulli_", "aten::div_"),
}


def shares_of(name: str, n_cells: int, n_genes: int) -> dict[str, float]:
    """Shares of the time of the project's loop, by what PyTorch's profiler sees of a long training and not of a short one."""
    import logging

    from torch.profiler import ProfilerActivity, profile, record_function

    from scvi_downstream.models.fast_training import CpuAdam

    def recorded(optimizer: CpuAdam, take_step: Any = CpuAdam.take_step) -> None:
        with record_function("Adam"):
            take_step(optimizer)

    CpuAdam.take_step = recorded  # type: ignore[method-assign]
    logging.disable(logging.INFO)
    cells = cells_of(name, n_cells, n_genes)
    short, long = EPOCHS["small" if cells.n_obs <= 5000 else "large"]
    train(cells, "fast", "zinb", 1)  # compiles
    found = []
    for epochs in (short, long):
        with profile(activities=[ProfilerActivity.CPU]) as seen:
            start = time.perf_counter()  # as the profiler's
            train(cells, "fast", "zinb", epochs)
            total = time.perf_counter() - start
        by_key = {each.key: each.self_cpu_time_total * 1e-6 for each in seen.key_averages()}
        parts = [sum(by_key.get(key, 0.0) for key in keys) for keys in PARTS.values()]
        found.append([*parts, total - sum(parts)])
    spent = [of_long - of_short for of_short, of_long in zip(*found, strict=True)]
    names = [*PARTS, "all else, calls of Python and PyTorch above all"]
    return {part: seconds / sum(spent) for part, seconds in zip(names, spent, strict=True)}


def train_alike(n_models: int) -> list[str]:
    """Held-out ELBO of random small models in both loops, beside that of another seed."""
    import numpy as np
    from scipy.stats import wilcoxon

    from scvi_downstream.cells.keys import Keys
    from scvi_downstream.models.checkpoints import CheckpointStore
    from scvi_downstream.models.fitting import build_and_fit
    from scvi_downstream.study.defaults import model_spec

    cells = cells_of("pbmc68k", 20_000, 300)
    rng = np.random.default_rng(0)
    cells.obs["donor"] = rng.choice(["a", "b", "c"], cells.n_obs)
    cells.obs["age"] = rng.normal(size=cells.n_obs)
    given: dict[str, Any] = {"batch_key": "batch", "label_key": "cell_type"}
    covariates = {"categorical_covariates": ("donor",), "continuous_covariates": ("age",)}
    losses = []
    for number in range(n_models):
        family = str(rng.choice(["SCVI", "SCANVI", "LinearSCVI", "DRVI"]))
        linear = family == "LinearSCVI"
        options = {
            "family": family,
            "n_latent": int(rng.integers(2, 12)),
            "n_layers": int(rng.integers(1, 3)),
            "n_hidden": int(rng.choice([16, 64, 128])),
            "dropout_rate": float(rng.choice([0, 0.1, 0.3])),
            "dispersion": str(rng.choice(["gene", "gene-batch", *([] if linear else ["gene-cell"])])),
            "gene_likelihood": str(rng.choice(["zinb", "nb", "poisson"])),
        }
        keys = Keys(**given, **(covariates if rng.random() < 0.5 and not linear else {}))
        training = {
            "max_epochs": 12,
            "n_epochs_kl_warmup": 6,
            "batch_size": int(rng.choice([32, 64, 128, 200])),
        }
        found = []
        for engine, seed in (("fast", 0), ("stock", 0), ("fast", 1), ("stock", 1)):
            spec = model_spec({"name": "m", **options, "training": training | {"engine": engine}})
            with tempfile.TemporaryDirectory() as folder:
                store = CheckpointStore(Path(folder))
                result = build_and_fit(
                    cells.copy(), spec, keys, seed=seed, accelerator="cpu", checkpoints=store
                )
            found.append(float(result.history["elbo_validation"].min()))
        losses.append(found)
        print(number, options, training["batch_size"], found, file=sys.stderr, flush=True)
    fast, stock, other_fast, other_stock = np.array(losses).T
    engines = np.concatenate([fast - stock, other_fast - other_stock]) / np.concatenate([stock, other_stock])
    seeds = np.concatenate([fast - other_fast, stock - other_stock]) / np.concatenate(
        [other_fast, other_stock]
    )
    p = wilcoxon(engines).pvalue
    return [
        f"{n_models} random small models (family, layers, units, dispersion, likelihood, covariates, mini-batches), each of two seeds:",
        f"the best held-out ELBO differs between the loops by {np.median(np.abs(engines)):.2%} in the median and {np.abs(engines).max():.2%} at most,",
        f"between seeds by {np.median(np.abs(seeds)):.2%} and {np.abs(seeds).max():.2%} (mean of the loops {engines.mean():+.3%}, Wilcoxon p = {p:.2f}).",
    ]


def fit_in_turn(n_models: int) -> list[int]:
    """Resident memory of this process, MB, after each of so many models was fitted, saved, read again and asked."""
    import psutil

    from scvi_downstream.cells.keys import Keys
    from scvi_downstream.models.checkpoints import CheckpointStore
    from scvi_downstream.models.fitting import build_and_fit
    from scvi_downstream.models.saved import SavedModel
    from scvi_downstream.study.defaults import model_spec

    cells = cells_of("simulated", 5_000, 2_000)
    keys = Keys(batch_key="batch", label_key="cell_type")
    resident = []
    for number in range(n_models):
        family = ("SCVI", "LinearSCVI", "SCANVI")[number % 3]
        spec = model_spec({"name": "m", "family": family, "training": {"max_epochs": 2}})
        with tempfile.TemporaryDirectory() as folder:
            store = CheckpointStore(Path(folder))
            fit = build_and_fit(cells.copy(), spec, keys, seed=0, accelerator="cpu", checkpoints=store)
            fit.model.save(f"{folder}/model", save_anndata=False)
            SavedModel(Path(folder) / "model").attach(cells).get_latent_representation()
        del fit
        resident.append(psutil.Process().memory_info().rss >> 20)
    return resident


def memory_in_turn(n_models: int) -> list[str]:
    """One sentence of :func:`fit_in_turn`, in a process of its own."""
    resident = json.loads(in_own_process(__file__, "--fit-in-turn", str(n_models)))
    first, last = resident[5], resident[-1]
    return [
        f"{n_models} models (scVI, LDVAE, scANVI) of 5,000 × 2,000 simulated counts fitted, saved and read again one after another in",
        f"one process: it holds {first:,} MB after the sixth and {last:,} MB after the last, {max(resident):,} MB at most between.",
    ]


def what_is_left(names: list[str], size: list[str]) -> list[str]:
    """One line an input: what the time of the project's loop goes to."""
    lines = [
        "What the time of the project's loop goes to (zinb, by PyTorch's profiler, which itself takes some of the last part):",
        "",
    ]
    for name in names:
        shares = json.loads(in_own_process(__file__, "--shares", name, *size))
        told = ", ".join(f"{part} {share:.0%}" for part, share in shares.items())
        lines.append(f"- {Path(name).stem}: {told}")
    return lines


def in_own_process(script: str, *arguments: str, threads: str = "1") -> str:
    """Last line of what a script prints in a process of one thread, or of so many."""
    environment = os.environ | {"OMP_NUM_THREADS": threads, "PYTHONDONTWRITEBYTECODE": ""}
    command = [sys.executable, "-W", "ignore", script, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return done.stdout.splitlines()[-1]


def table(found: dict[tuple[str, str], dict[str, list[dict[str, Any]]]]) -> list[str]:
    """One row an input and likelihood: milliseconds of each side, and the ratios of pairs."""
    lines = ["| counts | likelihood | " + " | ".join(SIDES.values()) + " | scvi-tools : fast | memory, MB |"]
    lines.append("|---" * (len(SIDES) + 4) + "|")
    for (name, likelihood), sides in found.items():
        about = sides["fast"][0]
        ms = {side: median(each["ms"] for each in runs) for side, runs in sides.items()}
        pairs = zip(sides["scvi-tools"], sides["fast"], strict=True)
        ratios = [stock["ms"] / fast["ms"] for stock, fast in pairs]
        size = f"{about['cells']:,} × {about['genes']:,}, {about['non_zero']:.0%} non-zero"
        times = " | ".join(f"{value:.1f} ms" for value in ms.values())
        memory = " : ".join(
            f"{max(each['memory'] for each in sides[side]):.0f}" for side in ("scvi-tools", "fast")
        )
        ratio = f"**{median(ratios):.1f}** ({min(ratios):.1f}–{max(ratios):.1f})"
        lines.append(f"| {Path(name).stem} {size} | {likelihood} | {times} | {ratio} | {memory} |")
    return lines


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--input", type=str)
    parser.add_argument("--cells", type=int, default=20_000)
    parser.add_argument("--genes", type=int, default=2_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--models", type=int, default=0)
    parser.add_argument("--in-turn", type=int, default=0)
    parser.add_argument("--fit-in-turn", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--shares", help=argparse.SUPPRESS)
    parser.add_argument("--page", type=Path)
    parser.add_argument("--measure", nargs=3, metavar=("NAME", "SIDE", "LIKELIHOOD"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        name, side, likelihood = given.measure
        print(json.dumps(measure(name, given.cells, given.genes, side, likelihood)))
        return
    if given.shares:
        print(json.dumps(shares_of(given.shares, given.cells, given.genes)))
        return
    if given.fit_in_turn:
        print(json.dumps(fit_in_turn(given.fit_in_turn)))
        return
    found: dict[tuple[str, str], dict[str, list[dict[str, Any]]]] = {}
    size = ["--cells", str(given.cells), "--genes", str(given.genes)]
    names = [given.input] if given.input else ["pbmc68k", "simulated"]
    for name in names:
        for likelihood in ("zinb", "nb"):
            sides = found.setdefault((name, likelihood), {side: [] for side in SIDES})
            for _ in range(given.repeats):
                for side in SIDES:
                    line = in_own_process(__file__, "--measure", name, side, likelihood, *size)
                    sides[side].append(json.loads(line))
                    print(name, likelihood, side, sides[side][-1], file=sys.stderr, flush=True)
    lines = [
        "# The training loop",
        "",
        f"Made by `python benchmarks/engine.py --repeats {given.repeats} --models {given.models} --in-turn {given.in_turn} --page docs/engine.md`; do not edit.",
        "",
        "scVI, the same module and options, mini-batches of 128, held-out cells looked at after each epoch. Processor time of a",
        f"step on one thread, median of {given.repeats} runs that took turns; ratios of the pairs, with their range.",
        "",
        *table(found),
        "",
        *what_is_left(names, size),
        "",
        "On a GPU the counts stay on the device and mini-batches are gathered there. That is tested on a CPU, and not measured.",
    ]
    if given.models:
        lines += ["", *train_alike(given.models)]
    if given.in_turn:
        lines += ["", *memory_in_turn(given.in_turn)]
    print("\n".join(lines))
    if given.page:
        given.page.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
