"""Whole runs of the project: from nothing with all workers and with one, again unchanged, again with one option changed.

Usage: python benchmarks/runs.py [NAME] [--input FILE] [--batch-key KEY] [--label-key KEY] [--sample-key KEY]
       [--condition-key KEY] [--env ENV] [--stock EPOCHS] [--all-workers-only] [--page FILE]

Each run is a process of its own with data and tracking in a folder of its own. Seconds on the wall and of the
processor, and the most memory that all processes of the run hold together (shared pages counted once), are looked at
several times a second. Runs with one worker and with several must leave the same contents, but for what tells the time.
``--input simulated`` are 20,000 cells × 2,000 genes. ``--stock`` also trains ``scvi.model.SCVI`` with its own defaults
on the same cells, for so many epochs, after the runs. Figures are kept in benchmarks/runs.json, one entry a NAME; of
these and of what expression_differences.py and integration_scores.py have kept beside it the page is made.
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

import psutil
from engine import cells_of

PROJECT = Path(__file__).resolve().parents[1]
RESULTS, EXPRESSION, SCORES = (
    Path(__file__).with_name(f"{name}.json")
    for name in ("runs", "expression_differences", "integration_scores")
)
KEYS = ("input", "batch_key", "label_key", "sample_key", "condition_key")
LOOK_EVERY_SECONDS = 0.25
# What holds seconds and megabytes, or is made of it; of the scores only the seconds are left out.
SCORED = ("integration", "likelihood")
TIMED = (
    "training_summary",
    "leaderboard",
    "leaderboard_figure",
    "champion",
    "scores",
    "report",
    "analysed",
    "pareto_figure",
    "prediction_training",
    "prediction_mrvi_training",
    "prediction_summary",
)
ONE_OPTION = "clustering.kmeans_max_k=19"
STOCK_EPOCHS = 400
N_STEPS = 6


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


def records(folder: Path) -> dict[Path, dict[str, Any]]:
    """What the project has written down of each dataset that a run has made."""
    return {file: json.loads(file.read_text()) for file in folder.rglob("provenance/*.json")}


def steps(folder: Path) -> dict[str, float]:
    """Seconds of each node."""
    return {record["node"]: record["seconds"] for record in records(folder).values()}


def span(folder: Path) -> float:
    """Seconds from the first node's begin to the last one's end."""
    ends = [(file.stat().st_mtime, record["seconds"]) for file, record in records(folder).items()]
    return max(end for end, _ in ends) - min(end - seconds for end, seconds in ends)


def contents(folder: Path) -> dict[str, Any]:
    """Digest of what each file of a run holds, by dataset, without what tells the time."""
    found: dict[str, Any] = {}
    for file, record in records(folder).items():
        kind = file.stem.rpartition(".")[2]
        if kind not in (*TIMED, *SCORED):
            found[file.stem] = record["content"]
    for file in (each for kind in SCORED for each in folder.rglob(f"*{kind}.json")):
        if file.parent.name != "provenance":
            about = json.loads(file.read_text())
            found[str(file.relative_to(folder))] = {key: about[key] for key in about if key != "seconds"}
    return found


def measure(params: dict[str, str], env: str, *, with_one: bool) -> dict[str, Any]:
    """Runs of a study from nothing and again."""
    with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as several:

        def run(folder: str, **more: str) -> dict[str, float]:
            given = ",".join(
                f"{name}={value}" for name, value in {"data_root": folder, **params, **more}.items()
            )
            return kedro(Path(folder), "run", *(["--env", env] if env else []), "--params", given)

        found: dict[str, Any] = {"all workers": run(several)}
        longest = sorted(steps(Path(several)).items(), key=lambda step: -step[1])[:N_STEPS]
        spans = {"all workers": span(Path(several))}
        made = contents(Path(several))
        found["unchanged"] = run(several)
        name, _, value = ONE_OPTION.partition("=")
        found["one option"] = run(several, **{name: value})
        found |= {"spans": spans, "steps": dict(longest)}
        if not with_one:
            return found
        found["one worker"] = run(one, workers="1")
        spans["one worker"] = span(Path(one))
        apart = sorted(name for name, content in contents(Path(one)).items() if made.get(name) != content)
        return found | {"differ": apart}


def stock(file: str, batch_key: str, epochs: int) -> float:
    """Seconds of all epochs of ``scvi.model.SCVI.train``, of which so many are trained; all cores, as it is called."""
    import anndata
    import scvi

    cells = anndata.read_h5ad(file)
    scvi.model.SCVI.setup_anndata(cells, batch_key=batch_key or None)
    model = scvi.model.SCVI(cells)
    model.train(1, accelerator="cpu", enable_progress_bar=False)
    started = time.perf_counter()
    model.train(epochs, accelerator="cpu", enable_progress_bar=False)
    return (time.perf_counter() - started) * STOCK_EPOCHS / epochs


# What holds back a claim that is not reached, by profiles of these runs.
LIMITS = {
    "test, from nothing": "half of what its steps take is drawing, and imports of the server and two workers; 44 to 51 s over hours",
    "the graph on two cores": "training beside training shares the memory's bandwidth, the report waits for all",
    "memory": "every worker holds PyTorch, scvi-tools and its own counts; one worker's run stays below",
    "largest difference": "a ratio of small shares of variance, which scib-metrics takes in float32",
}


def claims(results: dict[str, Any]) -> list[tuple[str, str, str, bool]]:
    """What is aimed at, the aim, what was measured, and whether it is reached."""
    rows = []
    for name, most in (("demo", 90), ("kang_ifnb", 180), ("test", 45)):
        if name in results:
            wall = results[name]["all workers"]["wall"]
            rows.append((f"{name}, from nothing", f"≤ {most} s", f"{wall:.0f} s", wall <= most))
    for name, found in results.items():
        if "stock" in found:
            wall = found["all workers"]["wall"]
            rows.append(
                (f"{name}, from nothing", "less than stock's training", f"{wall:.0f} : {found['stock']:.0f} s",
                 wall < found["stock"])
            )  # fmt: skip
    for name, least in (("demo", 1.8), ("simulated", 1.8)):
        if "one worker" in results.get(name, {}):
            both = results[name]["spans"]
            ratio = both["one worker"] / both["all workers"]
            rows.append((f"{name}, the graph on two cores", f"≥ {least} ×", f"{ratio:.2f} ×", ratio >= least))
    for name, most in (("demo", 2400), ("simulated", 2600)):
        if name in results:
            mb = results[name]["all workers"]["mb"]
            rows.append((f"{name}, memory", f"≤ {most:,} MB", f"{mb:,.0f} MB", mb <= most))
    if EXPRESSION.exists():
        found = json.loads(EXPRESSION.read_text())
        ratios = found["ratios"]
        text = f"{median(ratios):.1f} × ({min(ratios):.1f}–{max(ratios):.1f})"
        rows.append(
            (
                f"Bayesian tests, {found['counts']} {found['about']}: scvi-tools : project",
                "≥ 8 ×",
                text,
                median(ratios) >= 8,
            )
        )
        ours, itself = (
            found["agreement"][pair] for pair in ("ours with scvi-tools", "scvi-tools with itself")
        )
        text = (
            f"{ours['lfc']:.4f}, {ours['top']:.1f} of 100 (itself {itself['lfc']:.4f}, {itself['top']:.1f})"
        )
        good = ours["lfc"] >= 0.99 and ours["top"] >= itself["top"] - 0.5
        rows.append(("their Spearman of LFC and top 100, with scvi-tools", "≥ 0.99, as itself", text, good))
    if SCORES.exists():
        found = json.loads(SCORES.read_text())
        sides = found["sides"]
        ratio = sides["scib-metrics"]["wall"] / sides["project"]["wall"]
        n = len(sides["project"]["scores"])
        about = (
            f"scib of {n} embeddings of {sides['project']['cells']:,} cells, all cores, intervals only here"
        )
        rows.append((f"{about}: Benchmarker : project", "≥ 5 ×", f"{ratio:.1f} ×", ratio >= 5))
        apart = {name: value for name, value in found["differences"].items() if "leiden" not in name}
        worst = max(apart, key=lambda name: apart[name])
        rows.append(
            (
                "their largest difference, Leiden aside",
                "≤ 1e-3",
                f"{apart[worst]:.2g} ({worst})",
                apart[worst] <= 1e-3,
            )
        )
    return rows


def page(results: dict[str, Any]) -> str:
    """Page of all that was measured."""
    lines = [
        "# Whole runs",
        "",
        "Made by `make bench` (`python benchmarks/runs.py NAME --page docs/runs.md`); do not edit.",
        "",
        "| what | aim | measured | | what limits it |",
        "|---|---|---|---|---|",
    ]
    for what, aim, found, good in claims(results):
        limit = "" if good else next((text for part, text in LIMITS.items() if part in what), "")
        lines.append(f"| {what} | {aim} | {found} | {'reached' if good else '**not reached**'} | {limit} |")
    lines += [
        "",
        "| cells | run | on the wall | processor | memory of all processes |",
        "|---|---|---|---|---|",
    ]
    for name, found in results.items():
        for kind, figures in found.items():
            if isinstance(figures, dict) and "wall" in figures:
                seconds = f"{figures['wall']:.0f} s | {figures['cpu']:.0f} s | {figures['mb']:,.0f} MB |"
                lines.append(f"| {name} | {kind} | {seconds}")
    lines.append("")
    for name, found in results.items():
        compared = ""
        if "one worker" in found:
            ratio = found["one worker"]["wall"] / found["all workers"]["wall"]
            same = f"differ: {', '.join(found['differ'])}" if found["differ"] else "hold the same bits"
            compared = f"all workers are {ratio:.2f} × as fast as one; their files {same}. "
        longest = ", ".join(f"{node} {seconds:.1f} s" for node, seconds in found["steps"].items())
        lines.append(f"- {name}: {compared}Longest: {longest}.")
    return "\n".join([*lines, ""])


def main() -> None:
    """Measure one study, and make the page of all."""
    about, usage, *_ = (__doc__ or "").split("\n\n")
    parser = argparse.ArgumentParser(description=about, epilog=usage)
    parser.add_argument("name", nargs="?", help="without it the page alone is made")
    for key in KEYS:
        parser.add_argument(f"--{key.replace('_', '-')}")
    parser.add_argument("--env", default="")
    parser.add_argument("--stock", type=int)
    parser.add_argument("--all-workers-only", action="store_true", help="without the run of one worker")
    parser.add_argument("--page", type=Path)
    parser.add_argument("--only-stock", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    params = {key: given for key in KEYS if (given := getattr(arguments, key))}
    if arguments.only_stock:
        print(stock(params["input"], params.get("batch_key", ""), arguments.stock))
        return
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    if arguments.name:
        results[arguments.name] = run_and_compare(arguments, params)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    text = page(results)
    print(text)
    if arguments.page:
        arguments.page.write_text(text)


def run_and_compare(arguments: argparse.Namespace, params: dict[str, str]) -> dict[str, Any]:
    """Figures of one study, and of scvi-tools' own training where they are asked for."""
    with tempfile.TemporaryDirectory() as folder:
        if params.get("input") == "simulated":
            params["input"] = f"{folder}/simulated.h5ad"
            cells_of("simulated", 20_000, 2_000).write_h5ad(params["input"])
        named = params | ({"study": arguments.name} if params else {})
        found = measure(named, arguments.env, with_one=not arguments.all_workers_only)
        if arguments.stock:
            given = ["--input", params["input"], "--batch-key", params.get("batch_key", "")]
            asked = [*given, "--stock", str(arguments.stock), "--only-stock"]
            command = [sys.executable, "-W", "ignore", __file__, *asked]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found["stock"] = float(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
