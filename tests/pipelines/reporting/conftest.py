"""A study as its pipelines leave it, small enough to look through."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scvi_downstream.graphs.neighbors import neighbors_graph
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.reporting.nodes import write_methods
from scvi_downstream.study.completion import complete_parameters
from scvi_downstream.study.defaults import default_parameters
from scvi_downstream.study.plan import plan_study

N_CELLS = 60
PROJECT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def raw_parameters() -> dict[str, Any]:
    return default_parameters()


@pytest.fixture(scope="session")
def parameters(raw_parameters) -> dict[str, Any]:
    return complete_parameters(raw_parameters)


@pytest.fixture
def cells() -> pd.Index:
    return pd.Index([f"cell{i}" for i in range(N_CELLS)], name="cell")


@pytest.fixture
def counts(cells) -> ad.AnnData:
    rng = np.random.default_rng(0)
    obs = pd.DataFrame(
        {
            "batch": pd.Categorical.from_codes(np.arange(N_CELLS) % 2, ["a", "b"]),
            "cell_type": pd.Categorical.from_codes(np.arange(N_CELLS) % 3, ["B/plasma", "T", "unknown"]),
            "score": rng.normal(size=N_CELLS),
        },
        index=cells.to_numpy(),
    )
    X = sparse.csr_matrix(rng.poisson(1.0, (N_CELLS, 8)).astype(np.float32))
    return ad.AnnData(
        X, obs=obs, var=pd.DataFrame({"highly_variable": True}, index=[f"gene{i}" for i in range(8)])
    )


def coordinates(cells: pd.Index, n_dims: int, prefix: str, seed: int) -> pd.DataFrame:
    values = np.random.default_rng(seed).normal(size=(len(cells), n_dims)).astype(np.float32)
    return pd.DataFrame(values, index=cells, columns=[f"{prefix}{i + 1}" for i in range(n_dims)])


@pytest.fixture
def tables(cells) -> dict[str, Any]:
    """Everything that `join_cells` takes beside the counts and the study's names."""
    latent = coordinates(cells, 4, "latent_", 1)
    clusters = pd.DataFrame(
        {
            name: pd.Categorical([str(i % 3) for i in range(N_CELLS)])
            for name in ("leiden_0.5", "leiden", "kmeans")
        },
        index=cells,
    ).assign(hierarchical=pd.Categorical([str(i % 4) for i in range(N_CELLS)]))
    return {
        "qc_metrics": pd.DataFrame({"n_counts": np.arange(N_CELLS) + 1.0, "batch": "a"}, index=cells),
        "umap": coordinates(cells, 2, "UMAP", 2),
        "umap_3d": coordinates(cells, 3, "UMAP", 3),
        "clusters": clusters,
        "neighbors": neighbors_graph(
            cells, latent.to_numpy(), n_neighbors=6, n_search=10, exact_up_to=1000, seed=0
        ),
        "X_pca": coordinates(cells, 4, "latent_", 4),
        "X_scVI": latent,
    }


@pytest.fixture(scope="session")
def preparation_summary() -> dict[str, Any]:
    return {
        "n_cells": 700,
        "n_cells_raw": 710,
        "n_genes": 765,
        "n_highly_variable": 500,
        "hvg_method": "500 genes by Seurat v3's normalised variance",
        "batches": {"1": 350, "2": 350},
        "labels": {"B": 300, "T": 400},
        "conditions": {},
        "samples": {},
        "dropped": {"empty_cells": 10, "empty_genes": 0},
        "filters": {},
        "warnings": ["batch '2' <holds> one label only"],
        "data_fingerprint": "ae622adb9907ea674bcc34a4c7ff959c",
    }


@pytest.fixture(scope="session")
def training_summary() -> dict[str, Any]:
    return {
        "model": "scvi",
        "family": "SCVI",
        "seconds": 31.2,
        "epochs": 210,
        "max_epochs": 400,
        "best_epoch": 180,
        "n_parameters": 251234,
        "device": "cpu",
        "batch_size": 127,
    }


def png(width: float) -> bytes:
    from matplotlib.figure import Figure

    stream = io.BytesIO()
    Figure(figsize=(width, 1)).savefig(stream, format="png", dpi=120)
    return stream.getvalue()


@pytest.fixture(scope="session")
def contents(training_summary) -> dict[str, Any]:
    """Report contents under the names of their arguments."""
    markers = pd.DataFrame(
        {
            "grouping": "clusters",
            "group": np.repeat(["0", "1"], 25),
            "rank": [*range(1, 26)] * 2,
            "gene": [f"GENE{i}" for i in range(50)],
            "lfc_median": 1.0,
            "effect": 1.23456,
            "wilcoxon_p_adjusted": [0.0, 3.2e-12, *[0.0123] * 48],
        }
    )
    concordance = pd.DataFrame(
        {
            "grouping": "clusters",
            "comparison": ["0 vs rest", "1 vs rest"],
            "n_genes": 500,
            "unit": "cells",
            "n_called": [20, 60],
            "n_bayesian": [1, 3],
            "same_direction": 0.9,
            "confirmed_wilcoxon": [0.5, 0.7],
            "confirmed_pseudobulk": np.nan,
        }
    )
    leaderboard = pd.DataFrame(
        {"scib_total": [0.71, 0.5], "elbo_test": [-812.3, np.nan]},
        index=pd.Index(["scanvi", "pca"], name="model"),
    )
    clustering = {
        "n_clusters": {"leiden": 8, "leiden_1": 8},
        "recommended_column": "leiden_1",
        "stability": {"leiden_1": 0.9},
        "stable": True,
        "reason": "resolution 1 is the finest that is stable",
    }
    return {
        "qc_figure": png(3),
        "scvi__history_figure": png(2),
        "ldvae__history_figure": png(2.5),
        "scvi__training_summary": training_summary,
        "ldvae__training_summary": training_summary | {"model": "ldvae", "family": "LinearSCVI"},
        "scvi__clustering_summary": clustering,
        "scvi__integration": {
            "scib_total": 0.6,
            "left_out": {"kbet": "one batch only", "bras": "one batch only"},
        },
        "markers": markers,
        "de_concordance": concordance,
        "de_results": markers.iloc[:0].rename(columns={"group": "comparison"}),
        "imputation_scores": {
            "best_baseline": "gene_mean",
            "difference": {"value": -0.1, "low": -0.2, "high": -0.05},
            "methods": {"gene_mean": {"poisson_nll": {"value": 2.0}}},
            "verdict": "the model predicts held-out counts better than the mean of each gene",
        },
        "leaderboard": leaderboard,
        "champion": {
            "model": "scanvi",
            "criterion": "scib_total",
            "value": 0.71,
            "better_baseline": "pca",
            "within_noise": [],
            "reason": "scanvi has the highest scib_total",
        },
    }


def gathered(study: Study, preparation: dict[str, Any], training: dict[str, Any]) -> dict[str, Any]:
    """What the boxes of preparation and models hand on, of the summaries of counts and primary model."""
    summaries = {"preparation_summary": preparation, f"{study.primary}.training_summary": training}
    return {"summaries": summaries}


@pytest.fixture
def describe(raw_parameters, preparation_summary, training_summary) -> Callable[..., str]:
    """The paragraph of the methods under a title, for parameters changed by keywords; empty when there is none."""

    def paragraph(title: str, **changes: Any) -> str:
        study = plan_study(complete_parameters(default_parameters(raw_parameters | changes)))
        text = write_methods(study, **gathered(study, preparation_summary, training_summary))
        found = [part for part in text.split("\n\n") if part.startswith(f"**{title}.**")]
        return found[0].removeprefix(f"**{title}.** ").strip() if found else ""

    return paragraph
