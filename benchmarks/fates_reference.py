"""Reference values of CellRank for the tests of walks, metastable states and fates.

Usage, in an environment with the project, cellrank==2.3.3 and jinja2<3.1 (for pygpcca), where the real counts are:
    python benchmarks/fates_reference.py

Writes tests/pipelines/trajectory/reference/fates.json: for planted and real cells what CellRank alone makes of their
neighbours graph and diffusion pseudotime, with its dense Schur decomposition and its direct solver. No counts are in it.

Where several edges of a cell weigh the same and not all of them are among its nearest 30 %, CellRank keeps those that
numpy's sort puts first, which depends on the processor; ours are the last by position. That is so for one cell of pbmc3k,
whose fates then differ by up to 6e-4, and for none of the cells here.
"""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
from anndata import AnnData
from cellrank.estimators import GPCCA
from cellrank.kernels import ConnectivityKernel, PseudotimeKernel

from scvi_downstream.pipelines.trajectory.diffusion import scanpy_graph

TESTS = Path(__file__).resolve().parents[1] / "tests" / "pipelines" / "trajectory"
DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
PLANTED = {"bifurcating": (3, 5), "three_way": (4, 6, 8)}
REAL = {"worm_embryo": (3, 6, 10)}
N_KEPT = 40


def main() -> None:
    spec = importlib.util.spec_from_file_location("planted", TESTS / "conftest.py")
    planted = importlib.util.module_from_spec(spec)
    sys.modules["planted"] = planted
    spec.loader.exec_module(planted)
    logging.disable(logging.WARNING)
    found = {}
    for kind, numbers in PLANTED.items():
        cells = planted._plant(kind, 600, 0)
        graph = planted.graph_of(cells.latent)
        time = planted.pseudotime_of(graph, cells.root_cell)
        found[kind] = reference(graph, time, numbers, cells.counts)
        print(kind, flush=True)
    data = Path(os.environ.get("SCVI_DOWNSTREAM_DATA", DATA))
    for name, numbers in REAL.items():
        graph = planted.graph_of(planted.principal_components(data / f"{name}.h5ad"))
        found[name] = reference(graph, planted.pseudotime_of(graph, 0), numbers)
        print(name, flush=True)
    (TESTS / "reference" / "fates.json").write_text(json.dumps(found, separators=(",", ":")) + "\n")


def reference(
    graph: Any, time: np.ndarray, numbers: tuple[int, ...], counts: np.ndarray | None = None
) -> dict[str, Any]:
    ordered = np.isfinite(time)
    cells = scanpy_graph(graph, ordered)
    if counts is not None:
        expression = np.log1p(1e4 * counts / counts.sum(axis=1, keepdims=True))
        cells = AnnData(expression, obs=cells.obs, obsp=dict(cells.obsp), uns=dict(cells.uns))
    cells.obs["time"] = time = time[ordered]
    along = PseudotimeKernel(cells, time_key="time").compute_transition_matrix(
        threshold_scheme="hard", show_progress_bar=False, n_jobs=1
    )
    walk = 0.8 * along + 0.2 * ConnectivityKernel(cells).compute_transition_matrix()
    estimator = GPCCA(walk)
    estimator.compute_schur(max(numbers) + 2, method="brandts", verbose=False)
    states = {}
    for n_states in numbers:
        try:
            estimator.compute_macrostates(n_states)
        except ValueError:
            states[n_states] = None  # a state has too few cells of its own
            continue
        macro = estimator.macrostates
        cores = [np.flatnonzero(macro == name).tolist() for name in macro.cat.categories]
        names = list(macro.cat.categories)
        stay = np.diag(estimator.coarse_T.loc[names, names])
        states[n_states] = {"cores": cores, "stability": rounded(stay)}
    latest = sorted(next(filter(None, states.values()))["cores"], key=lambda core: -np.median(time[core]))[:2]
    ends = dict(zip("ab", latest, strict=True))
    estimator.set_terminal_states({name: cells.obs_names[core].tolist() for name, core in ends.items()})
    estimator.compute_fate_probabilities(solver="direct", use_petsc=False, n_jobs=1, show_progress_bar=False)
    fates = np.asarray(estimator.fate_probabilities[list(ends)].X)
    kept = np.linspace(0, len(time) - 1, N_KEPT).astype(int)
    made = {
        "cells": kept.tolist(),
        "steps": rounded((walk.transition_matrix @ time)[kept]),
        "states": states,
        "ends": ends,
        "fates": {name: rounded(fates[kept, i]) for i, name in enumerate(ends)},
    }
    return made if counts is None else made | {"drivers": drivers(estimator, list(ends))}


def drivers(estimator: GPCCA, ends: list[str]) -> dict[str, Any]:
    found = estimator.compute_lineage_drivers().loc[estimator.adata.var_names[:N_KEPT]]
    columns = {
        "corr": "correlation",
        "pval": "p",
        "qval": "p_adjusted",
        "ci_low": "ci_lower",
        "ci_high": "ci_upper",
    }
    return {
        end: {ours: [float(f"{x:.7g}") for x in found[f"{end}_{name}"]] for name, ours in columns.items()}
        for end in ends
    }


def rounded(values: np.ndarray) -> list[float]:
    return np.round(np.asarray(values, dtype=float), 9).tolist()


if __name__ == "__main__":
    main()
