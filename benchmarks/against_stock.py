"""scVI as this project fits it beside stock scvi-tools: same cells, genes, seed and held-out cells.

Usage: python benchmarks/against_stock.py FOLDER [--only NAME …] [--out docs/benchmarks.md]

FOLDER holds the .h5ad files named in STUDIES; those that are missing are left out. Each measurement runs in a
process of its own, so that seconds and memory are its own. Results are kept in benchmarks/results.json, one entry a
study and side; delete an entry to measure it again.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).with_name("results.json")
STUDIES: dict[str, dict[str, Any]] = {
    "cell_lines": {"batch_key": "batch", "label_key": "cell_line", "keep": ("demuxlet_cls", "SNG")},
    "kang_ifnb": {"batch_key": "condition", "label_key": "cell_type_transferred"},
    "pbmc3k": {"batch_key": None, "label_key": "cell_type"},
    "worm_embryo": {"batch_key": "batch", "label_key": "cell_type"},
}
N_GENES = 2000
SEED = 0
N_LEIDEN = 20


def load(folder: Path, study: str) -> Any:
    """Counts, prepared as the project does; singlets where the study says so."""
    import anndata

    from scvi_downstream.cells.keys import Keys
    from scvi_downstream.pipelines.preparation.nodes import prepare_counts
    from scvi_downstream.pipelines.preparation.options import PreparationOptions
    from scvi_downstream.study.defaults import defaults_of

    options = STUDIES[study]
    cells = anndata.read_h5ad(folder / f"{study}.h5ad")
    if "keep" in options:
        column, value = options["keep"]
        cells = cells[cells.obs[column] == value].copy()
    keys = Keys(batch_key=options["batch_key"], label_key=options["label_key"])
    counts, _, _ = prepare_counts(cells, None, keys, defaults_of(PreparationOptions, n_top_genes=N_GENES))
    return counts, keys


def fit_stock(counts: Any, keys: Any) -> tuple[Any, float]:
    """SCVI with its own defaults."""
    import time

    import scvi

    scvi.settings.seed = SEED
    scvi.settings.num_threads = 1
    genes = counts[:, counts.var["highly_variable"]].copy()
    scvi.model.SCVI.setup_anndata(genes, batch_key=keys.batch_key)
    model = scvi.model.SCVI(genes)
    start = time.perf_counter()
    model.train(accelerator="cpu", enable_progress_bar=False, validation_size=0.1, train_size=0.9)
    return model, time.perf_counter() - start


def fit_project(counts: Any, keys: Any) -> tuple[Any, float]:
    """SCVI as the training pipeline fits it, on the same held-out cells."""
    import tempfile

    from scvi_downstream.models.checkpoints import CheckpointStore
    from scvi_downstream.models.fitting import fit, reproducible
    from scvi_downstream.study.defaults import model_spec

    spec = model_spec(
        {"name": "scvi", "family": "SCVI", "training": {"train_size": 0.9, "validation_size": 0.1}}
    )
    genes = counts[:, counts.var["highly_variable"]].copy()
    with reproducible(SEED):
        model = spec.build(genes, keys)
    with tempfile.TemporaryDirectory() as folder:
        result = fit(model, spec, seed=SEED, accelerator="cpu", checkpoints=CheckpointStore(Path(folder)))
    return result.model, result.summary["seconds"]


def measure(folder: Path, study: str, side: str) -> dict[str, float]:
    """Held-out and training ELBO, ARI and NMI of Leiden at resolution 1 on the latent, seconds."""
    import numpy as np
    import scanpy as sc
    from anndata import AnnData
    from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

    counts, keys = load(folder, study)
    model, seconds = {"stock": fit_stock, "project": fit_project}[side](counts, keys)
    latent = AnnData(np.asarray(model.get_latent_representation()))
    sc.pp.neighbors(latent, use_rep="X", n_neighbors=15, random_state=SEED)
    labels = counts.obs[keys.label_key].astype(str).to_numpy()
    known = labels != "unknown"
    ari, nmi = [], []
    for seed in range(N_LEIDEN):
        sc.tl.leiden(
            latent, resolution=1.0, flavor="igraph", n_iterations=2, directed=False, random_state=seed
        )
        clusters = latent.obs["leiden"].to_numpy()[known]
        ari.append(adjusted_rand_score(labels[known], clusters))
        nmi.append(normalized_mutual_info_score(labels[known], clusters))
    return {
        "n_cells": int(counts.n_obs),
        "epochs": len(model.history["elbo_train"]),
        "elbo_held_out": float(model.get_elbo(indices=model.validation_indices)),
        "elbo_train": float(model.get_elbo(indices=model.train_indices)),
        "ari": float(np.mean(ari)),
        "ari_sd": float(np.std(ari, ddof=1)),
        "nmi": float(np.mean(nmi)),
        "nmi_sd": float(np.std(nmi, ddof=1)),
        "seconds": seconds,
    }


def page(results: dict[str, Any]) -> str:
    """The table as Markdown."""
    lines = [
        "# Benchmarks",
        "",
        "Made by `python benchmarks/against_stock.py FOLDER`; do not edit.",
        "",
        f"scVI with scvi-tools' own defaults beside this project's training, same cells, same {N_GENES} genes, seed {SEED}, the same",
        "10 % of cells held out. ELBO in nats per cell, higher is better; ARI and NMI of Leiden at resolution 1 on the latent",
        f"against the known labels, mean ± standard deviation over {N_LEIDEN} seeds of Leiden. On these data scvi-tools trains",
        "400 epochs; the project stops on the held-out ELBO and keeps the best epoch, so its held-out figure is selected on",
        f"those cells. {results.get('machine', '')}",
        "",
        "| data | side | cells | epochs | held-out ELBO | training ELBO | ARI | NMI | seconds |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for study in STUDIES:
        for side in ("stock", "project"):
            row = results.get(f"{study}/{side}")
            if row is None:
                continue
            lines.append(
                f"| {study} | {side} | {row['n_cells']} | {row['epochs']} | {row['elbo_held_out']:.1f} | {row['elbo_train']:.1f} "
                f"| {row['ari']:.3f} ± {row['ari_sd']:.3f} | {row['nmi']:.3f} ± {row['nmi_sd']:.3f} | {row['seconds']:.0f} |"
            )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure what is missing and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--only", nargs="*", default=list(STUDIES))
    parser.add_argument("--out", type=Path, default=Path("docs/benchmarks.md"))
    parser.add_argument("--measure", nargs=2, metavar=("STUDY", "SIDE"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.folder, *arguments.measure)))
        return
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results["machine"] = f"Seconds of training on one CPU core each ({platform.machine()}), no GPU."
    for study in arguments.only:
        for side in ("stock", "project"):
            name = f"{study}/{side}"
            if name in results or not (arguments.folder / f"{study}.h5ad").exists():
                continue
            command = [
                sys.executable,
                "-W",
                "ignore",
                __file__,
                str(arguments.folder),
                "--measure",
                study,
                side,
            ]
            one_core = os.environ | {"OMP_NUM_THREADS": "1"}
            done = subprocess.run(command, capture_output=True, text=True, check=True, env=one_core)
            results[name] = json.loads(done.stdout.splitlines()[-1])
            RESULTS.write_text(json.dumps(results, indent=2, sort_keys=True) + "\n")
            print(name, results[name], flush=True)
    arguments.out.write_text(page(results))


if __name__ == "__main__":
    main()
