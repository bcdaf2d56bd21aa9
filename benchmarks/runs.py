"""Whole runs of the project: from nothing with one worker and with all, again unchanged, again with one option changed.

Usage: python benchmarks/runs.py [NAME] [--input FILE] [--batch-key KEY] [--label-key KEY] [--sample-key KEY]
       [--condition-key KEY] [--env ENV] [--page FILE]

Each run is a process of its own with data and tracking in a folder of its own. Seconds on the wall and of the
processor, and the most memory that all processes of the run hold together (shared pages counted once), are looked at
several times a second. Runs with one worker and with several must leave the same contents, but for what tells the time.
Figures are kept in benchmarks/runs.json, one entry a NAME, of which the page is made.
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
from typing import Any

import psutil

PROJECT = Path(__file__).resolve().parents[1]
RESULTS = Path(__file__).with_name("runs.json")
KEYS = ("input", "batch_key", "label_key", "sample_key", "condition_key")
LOOK_EVERY_SECONDS = 0.25
# What holds seconds and megabytes, or is made of it.
TIMED = (
    "training_summary",
    "leaderboard",
    "champion",
    "report",
    "analysed",
    "pareto_figure",
    "summary",
    "scores",
)
ONE_OPTION = "clustering.kmeans_max_k=19"


def kedro(folder: Path, *command: str) -> dict[str, float]:
    """Run a command of Kedro with its tracking in a folder; seconds, processor seconds and megabytes."""
    surroundings = os.environ | {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db"}
    started = time.perf_counter()
    with (folder / "log.txt").open("a") as log:
        running = subprocess.Popen(
            [sys.executable, "-m", "kedro", *command], cwd=PROJECT, env=surroundings, stdout=log, stderr=log
        )
    used: dict[int, float] = {}
    most = 0.0
    while running.poll() is None:
        held = 0
        for process in [psutil.Process(running.pid), *psutil.Process(running.pid).children(recursive=True)]:
            try:
                times = process.cpu_times()
                used[process.pid] = times.user + times.system
                held += process.memory_full_info().pss
            except psutil.Error:
                continue
        most = max(most, held / 2**20)
        time.sleep(LOOK_EVERY_SECONDS)
    if running.returncode:
        sys.exit((folder / "log.txt").read_text()[-4000:])
    return {"wall": time.perf_counter() - started, "cpu": sum(used.values()), "mb": most}


def contents(folder: Path) -> dict[str, str]:
    """Digest of what each file of a run holds, by dataset, without what tells the time."""
    records = {file.stem: json.loads(file.read_text()) for file in folder.rglob("provenance/*.json")}
    return {
        name: record["content"]
        for name, record in records.items()
        if not name.rpartition(".")[2].endswith(TIMED)
    }


def measure(params: dict[str, str], env: str) -> dict[str, Any]:
    """Runs of a study from nothing and again."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as several:

        def run(folder: str, **more: str) -> dict[str, float]:
            given = ",".join(
                f"{name}={value}" for name, value in {"data_root": folder, **params, **more}.items()
            )
            return kedro(Path(folder), "run", *(["--env", env] if env else []), "--params", given)

        found: dict[str, Any] = {"all workers": run(several), "one worker": run(one, workers="1")}
        apart = [
            name for name, content in contents(Path(one)).items() if contents(Path(several))[name] != content
        ]
        found["unchanged"] = run(several)
        name, _, value = ONE_OPTION.partition("=")
        found["one option"] = run(several, **{name: value})
        return found | {"differ": sorted(apart)}


def page(results: dict[str, Any]) -> str:
    """Page of all that was measured."""
    lines = [
        "# Whole runs",
        "",
        "Made by `python benchmarks/runs.py NAME --page docs/runs.md`; do not edit.",
        "",
        "| cells | run | on the wall | processor | memory of all processes |",
        "|---|---|---|---|---|",
    ]
    for name, found in results.items():
        for kind, figures in found.items():
            if kind != "differ":
                seconds = f"{figures['wall']:.0f} s | {figures['cpu']:.0f} s | {figures['mb']:,.0f} MB |"
                lines.append(f"| {name} | {kind} | {seconds}")
    lines.append("")
    for name, found in results.items():
        ratio = found["one worker"]["wall"] / found["all workers"]["wall"]
        same = f"differ: {', '.join(found['differ'])}" if found["differ"] else "hold the same bits"
        lines.append(f"- {name}: all workers are {ratio:.2f} × as fast as one; their files {same}.")
    return "\n".join([*lines, ""])


def main() -> None:
    """Measure one study, and make the page of all."""
    about, usage, *_ = (__doc__ or "").split("\n\n")
    parser = argparse.ArgumentParser(description=about, epilog=usage)
    parser.add_argument("name", nargs="?", default="demo")
    for key in KEYS:
        parser.add_argument(f"--{key.replace('_', '-')}")
    parser.add_argument("--env", default="")
    parser.add_argument("--page", type=Path)
    arguments = parser.parse_args()
    params = {key: given for key in KEYS if (given := getattr(arguments, key))}
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    results[arguments.name] = measure(params | ({"study": arguments.name} if params else {}), arguments.env)
    RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    text = page(results)
    print(text)
    if arguments.page:
        arguments.page.write_text(text)


if __name__ == "__main__":
    main()
