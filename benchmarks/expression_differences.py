"""How long Bayesian differential expression takes here and in scvi-tools, and how far the two agree.

    python benchmarks/expression_differences.py [FILE --label-key KEY] [--repeats 3] [--results figures.json]

Every group against its rest, by a shortly trained scVI: of an .h5ad with raw counts, or of 12 types among 20,000
simulated cells × 2,000 genes. The sides take turns in one process of one thread, with a seed of their own each time;
seconds are those of the processor, of which scvi-tools' are without its averages of raw counts, ours with them. Imports
and compiling do not count. Agreement is the mean over groups, of ours with scvi-tools and of each with itself.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
import warnings
from itertools import combinations, product
from pathlib import Path
from statistics import fmean, median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
N_TOP = 100


def model_and_groups(given: argparse.Namespace) -> tuple[Any, list[Any]]:
    """A fitted model, and each group of its cells against the rest."""
    from engine import cells_of
    from simulation import Planted, simulate

    from scvi_downstream.cells.keys import Keys
    from scvi_downstream.models.checkpoints import CheckpointStore
    from scvi_downstream.models.fitting import build_and_fit
    from scvi_downstream.statistics.comparisons import keep_large, one_vs_rest
    from scvi_downstream.study.defaults import model_spec

    if given.file:
        cells = cells_of(given.file, given.cells, given.genes)
    else:
        size: dict[str, Any] = {"n_cells": given.cells, "n_genes": given.genes, "median_counts": 700}
        cells = simulate(Planted(**size, n_types=12, n_batches=2), seed=0)
    spec = model_spec({"name": "m", "family": "SCVI", "training": {"max_epochs": given.epochs}})
    keys = Keys(batch_key="batch", label_key=given.label_key)
    with tempfile.TemporaryDirectory() as folder:
        store = CheckpointStore(Path(folder))
        model = build_and_fit(cells, spec, keys, seed=0, accelerator="cpu", checkpoints=store).model
    return model, keep_large(list(one_vs_rest("labels", cells.obs[given.label_key])), 10)[0]


def by_scvi_tools(model: Any, comparisons: list[Any], test: Any, seed: int) -> Any:
    """The same columns, by ``model.differential_expression``."""
    import pandas as pd
    import scvi

    scvi.settings.seed = seed
    asked = {"mode": "change", "delta": test.delta, "n_samples_overall": test.n_samples, "silent": True}
    asked |= {"cred_interval_lvls": [test.credible_interval], "all_stats": False}
    tables = []
    for each in comparisons:
        found = model.differential_expression(idx1=each.cells1, idx2=each.cells2, **asked)
        tables.append(found.rename_axis("gene").reset_index().assign(comparison=each.name))
    return pd.concat(tables)


def agreement(table: Any, other: Any) -> dict[str, float]:
    """Of two tables, mean over groups."""
    from scipy.stats import spearmanr

    found = []
    for name, group in table.groupby("comparison"):
        a = group.set_index("gene")
        b = other[other["comparison"] == name].set_index("gene").loc[a.index]
        top_a, top_b = (
            set((each["lfc_median"].abs() * each["proba_de"]).nlargest(N_TOP).index) for each in (a, b)
        )
        found.append(
            {
                "lfc": spearmanr(a["lfc_median"], b["lfc_median"]).statistic,
                "proba": spearmanr(a["proba_de"], b["proba_de"]).statistic,
                "top": len(top_a & top_b),
                "lfc_difference": (a["lfc_median"] - b["lfc_median"]).abs().mean(),
                "proba_shift": (a["proba_de"] - b["proba_de"]).mean(),
            }
        )
    return {key: float(fmean(each[key] for each in found)) for key in found[0]}


def main() -> None:
    """Measure both sides in turn and print two tables."""
    from scvi_downstream.pipelines.de.options import DeOptions
    from scvi_downstream.statistics.bayesian_expression import compare_bayesian
    from scvi_downstream.study.defaults import defaults_of

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", nargs="?")
    parser.add_argument("--label-key", default="cell_type")
    parser.add_argument("--cells", type=int, default=20_000)
    parser.add_argument("--genes", type=int, default=2_000)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--samples", type=int, default=5_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--results", type=Path)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    model, comparisons = model_and_groups(given)
    test = defaults_of(DeOptions, n_samples=given.samples).bayesian
    sides = {"scvi-tools": by_scvi_tools, "ours": compare_bayesian}
    compare_bayesian(model, comparisons[:1], test, 0)  # imports and compiles
    seconds: dict[str, list[float]] = {side: [] for side in sides}
    walls: dict[str, list[float]] = {side: [] for side in sides}
    tables: dict[str, list[Any]] = {side: [] for side in sides}
    for seed in range(given.repeats):
        for side, compare in sides.items():
            start, wall = time.process_time(), time.perf_counter()
            tables[side].append(compare(model, comparisons, test, seed))
            seconds[side].append(time.process_time() - start)
            walls[side].append(time.perf_counter() - wall)
            print(side, seed, round(seconds[side][-1], 2), file=sys.stderr, flush=True)
    ratios = [stock / own for stock, own in zip(seconds["scvi-tools"], seconds["ours"], strict=True)]
    pairs = {f"{side} with itself": list(combinations(found, 2)) for side, found in tables.items()}
    pairs["ours with scvi-tools"] = list(product(tables["ours"], tables["scvi-tools"]))
    agree = {}
    for name, both in pairs.items():
        each = [agreement(a, b) for a, b in both]
        agree[name] = {key: fmean(one[key] for one in each) for key in each[0]} if each else {}
    about = f"{model.adata.n_obs:,} × {model.adata.n_vars:,}, {len(comparisons)} groups, {given.samples:,} samples"
    name = Path(given.file).stem if given.file else "simulated"
    print(f"{name} {about}\n\n| | seconds of the processor | wall |\n|---|---|---|")
    for side in sides:
        print(f"| {side} | {median(seconds[side]):.2f} | {median(walls[side]):.2f} |")
    print(f"\nratio {median(ratios):.1f} ({min(ratios):.1f}–{max(ratios):.1f})\n")
    print(
        f"| | Spearman of lfc | of proba_de | top {N_TOP} shared | mean abs. lfc difference | proba_de shift |"
    )
    print("|---" * 6 + "|")
    for pair, values in agree.items():
        print(f"| {pair} | " + " | ".join(f"{value:.4f}" for value in values.values()) + " |")
    if given.results:
        figures = {"counts": name, "about": about, "seconds": seconds, "wall": walls, "ratios": ratios}
        given.results.write_text(json.dumps(figures | {"agreement": agree}, indent=1) + "\n")


if __name__ == "__main__":
    main()
