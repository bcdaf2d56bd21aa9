"""How much faster trials are side by side than one after the other.

    python benchmarks/side_by_side.py [cells.h5ad --batch-key batch --label-key cell_line]

Runs one sweep with one worker and with as many as there are cores, in folders of their own, and prints the seconds from the first
trial's start to the last one's end, start of the processes included. The boards must be equal. Without a file the demonstration's
cells are used. Measure on an idle machine.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

PROJECT = Path(__file__).resolve().parents[1]
MEASURED = ("seconds", "peak_memory_mb", "rank_", "mean_rank", "pareto")


def main() -> None:
    """Print one line a number of workers, and the ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("cells", nargs="?", default="pbmc68k")
    parser.add_argument("--batch-key", default="")
    parser.add_argument("--label-key", default="")
    parser.add_argument("--sweep", default="sweep.scvi.n_latent=5;10;20;30,sweep.scvi.n_layers=1;2")
    given = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    params = f"input={given.cells},study=side_by_side,{given.sweep}"
    for key in ("batch_key", "label_key"):
        params += f",{key}={getattr(given, key)}" if getattr(given, key) else ""
    seconds, boards = {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for workers in (1, cores):
            seconds[workers], boards[workers] = sweep(params, workers, Path(folder) / str(workers))
            print(f"{workers} at a time: {seconds[workers]:.0f} s", flush=True)
    kept = [column for column in boards[1] if not column.startswith(MEASURED)]
    pd.testing.assert_frame_equal(boards[1][kept].sort_index(), boards[cores][kept].sort_index())
    print(f"{seconds[1] / seconds[cores]:.2f} times as fast on {cores} cores; the boards are equal")


def sweep(params: str, workers: int, root: Path) -> tuple[float, pd.DataFrame]:
    """Seconds that the trials took, and the board."""
    root.mkdir()
    command = [sys.executable, "-m", "kedro", "run", "--pipelines", "sweep", "--params"]
    command.append(f"{params},workers={workers},data_root={root / 'data'}")
    environment = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{root / 'mlflow.db'}"}
    begun = ended = 0.0
    with subprocess.Popen(
        command, cwd=PROJECT, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        for line in process.stdout or ():
            if "trainings in processes of their own" in line:
                begun = time.perf_counter()
            if "champion: " in line:
                ended = time.perf_counter()
    if process.returncode != 0:
        raise SystemExit(f"the sweep with {workers} workers failed")
    board = root / "data" / "08_reporting" / "side_by_side" / "leaderboard.csv"
    return ended - begun, pd.read_csv(board, index_col=0)


if __name__ == "__main__":
    main()
