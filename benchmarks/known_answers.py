"""Pseudotime against measured time, prediction against measured cells, imputed against measured proteins.

Runs the project on data with a known answer and prints what it says of itself:

    python benchmarks/known_answers.py folder_of_data_sets

The folder holds worm_embryo.h5ad (Packer 2019; obs embryo_time, batch, cell_type), kang_ifnb.h5ad (Kang 2018; obs
condition, donor, cell_type_transferred) and citeseq_pbmc.h5ad (obsm protein_expression, obs batch). Files that are not there
are left out. On two idle cores it takes about a quarter of an hour.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

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
SUMMARIES = ("trajectory_summary", "sample_summary", "prediction_summary", "protein_summary")


def main() -> None:
    """Run each study and print its tables and sentences."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path, help="folder of the .h5ad files")
    parser.add_argument("--output", type=Path, default=PROJECT / "data", help="data_root of the runs")
    arguments = parser.parse_args()
    for name, keys in STUDIES.items():
        source = arguments.data / f"{name}.h5ad"
        if not source.exists():
            print(f"{name}: no {source}")
            continue
        run(name, source, arguments.output, keys)
        report(name, arguments.output / "07_model_output" / name)


def run(name: str, source: Path, output: Path, keys: str) -> None:
    """One study from counts to report."""
    params = f"study={name},input={source.resolve()},data_root={output.resolve()},{keys}"
    subprocess.run([sys.executable, "-m", "kedro", "run", "--params", params], cwd=PROJECT, check=True)


def report(name: str, folder: Path) -> None:
    """What the study says."""
    print(pd.read_csv(folder / TABLES[name]).to_string(float_format="{:.3f}".format))
    for summary in SUMMARIES:
        file = folder / f"{summary}.json"
        if file.exists():
            print(*(f"- {sentence}" for sentence in json.loads(file.read_text())["sentences"]), sep="\n")


if __name__ == "__main__":
    main()
