"""Pseudotime against measured time, prediction against measured cells, imputed against measured proteins.

Runs the project on data with a known answer and prints what it says of itself:

    python benchmarks/known_answers.py folder_of_data_sets

The folder holds worm_embryo.h5ad (Packer 2019; obs embryo_time, batch, cell_type), kang_ifnb.h5ad (Kang 2018; obs
condition, donor, cell_type_transferred) and citeseq_pbmc.h5ad (obsm protein_expression, obs batch). Files that are not there
are left out. On two idle cores it takes about a quarter of an hour. With --imputation, totalVI is compared with nearest
neighbours instead, on 100, 200 and all cells of citeseq_pbmc.h5ad and with other settings of its training.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import anndata
import numpy as np
import pandas as pd

PROJECT = Path(__file__).resolve().parents[1]
STUDIES = {
    "worm_embryo": "batch_key=batch,label_key=cell_type,trajectory.time_key=embryo_time,"
    "models.unbatched.family=SCVI,models.unbatched.correct_batch=false",
    "kang_ifnb": "batch_key=donor,sample_key=donor,condition_key=condition,label_key=cell_type_transferred",
    "citeseq_pbmc": "batch_key=batch",
}
TABLES = {
    "worm_embryo": "trajectory_time.csv",
    "kang_ifnb": "sample_effects.csv",
    "citeseq_pbmc": "protein_imputation.csv",
}
N_CELLS = (100, 200, 400)
TOTALVI = {
    "as is": "",
    "no prior of the background": ",models.totalvi.empirical_protein_background_prior=false",
    "mini-batches of 64": ",models.totalvi.training.batch_size=64",
    "100 epochs": ",models.totalvi.training.max_epochs=100,models.totalvi.training.early_stopping=false",
    "400 epochs": ",models.totalvi.training.max_epochs=400,models.totalvi.training.early_stopping=false",
}
"""What totalVI's imputation is measured with, each on all cells, the first on fewer, too."""
SUMMARIES = ("trajectory_summary", "sample_summary", "prediction_summary", "protein_summary")


def main() -> None:
    """Run each study and print its tables and sentences."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder of the .h5ad files")
    parser.add_argument("--output", type=Path, default=PROJECT / "data", help="data_root of the runs")
    parser.add_argument("--imputation", action="store_true", help="totalVI beside nearest neighbours")
    arguments = parser.parse_args()
    if arguments.imputation:
        compare_imputation(arguments.data / "citeseq_pbmc.h5ad", arguments.output)
        return
    for name, keys in STUDIES.items():
        source = arguments.data / f"{name}.h5ad"
        if not source.exists():
            print(f"{name}: no {source}")
            continue
        run(name, source, arguments.output, keys)
        report(name, arguments.output / "07_model_output" / name)


def compare_imputation(source: Path, output: Path) -> None:
    """Median r of hidden proteins by held-out batch and method, for each number of cells and setting of totalVI."""
    counts = anndata.read_h5ad(source)
    order = np.random.default_rng(0).permutation(counts.n_obs)
    for n in N_CELLS:
        file = output / f"{source.stem}_{n}.h5ad"
        counts[np.sort(order[:n])].write_h5ad(file)
        settings = TOTALVI if n == N_CELLS[-1] else {"as is": ""}
        for i, (setting, options) in enumerate(settings.items()):
            name = f"{file.stem}_{i}"
            run(name, file, output, f"batch_key=batch{options}", "--to-outputs", "protein_imputation")
            scores = pd.read_csv(output / "07_model_output" / name / "protein_imputation.csv")
            medians = scores.pivot_table("pearson", "held_out", "method", aggfunc="median").round(3)
            print(f"{n} cells, {setting}", medians, sep="\n", flush=True)


def run(name: str, source: Path, output: Path, keys: str, *arguments: str) -> None:
    """One study from counts to report, or what the arguments name of it."""
    params = f"study={name},input={source.resolve()},data_root={output.resolve()},{keys}"
    command = [sys.executable, "-m", "kedro", "run", "--params", params, *arguments]
    subprocess.run(command, cwd=PROJECT, check=True)


def report(name: str, folder: Path) -> None:
    """What the study says."""
    print(pd.read_csv(folder / TABLES[name]).to_string(float_format="{:.3f}".format))
    for summary in SUMMARIES:
        file = folder / f"{summary}.json"
        if file.exists():
            print(*(f"- {sentence}" for sentence in json.loads(file.read_text())["sentences"]), sep="\n")


if __name__ == "__main__":
    main()
