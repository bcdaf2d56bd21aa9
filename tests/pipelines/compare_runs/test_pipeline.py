from __future__ import annotations

from pathlib import Path

import pytest
from kedro.io import DataCatalog
from kedro.runner import SequentialRunner

from scvi_downstream.pipelines.compare_runs.pipeline import template
from scvi_downstream.tracking.runs import StudyTracker

PROJECT = Path(__file__).resolve().parents[3]


@pytest.mark.slow
def test_runs_of_a_store_become_a_table_a_summary_and_a_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, catalogue
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    for number, n_latent in enumerate((10, 30)):
        tracker = StudyTracker(uri, "pbmc", tmp_path / "artifacts")
        tracker.start(f"pbmc {number}", ["scvi", "pca"], {})
        tracker.log_parameters(None, {"seed": 0})
        tracker.log_parameters("scvi", {"family": "SCVI", "n_latent": n_latent})
        tracker.log_metrics(
            "scvi", {"elbo_test": -470.0 + number, "n_genes": 300, "n_test": 70, "scib_total": 0.6}
        )
        tracker.log_metrics("pca", {"scib_total": 0.5})
        tracker.log_data("pbmc", "pbmc68k", {"data_fingerprint": "abc", "n_cells": 700, "n_genes": 765})
        tracker.finish("FINISHED")
    entries = catalogue(data_root=str(tmp_path / "data"), study="pbmc")
    entries["tracked_runs"] |= {"filepath": str(tmp_path / "mlflow.db"), "runs": [], "study": "pbmc"}
    for name in ("tracking_uri", "experiment"):
        entries["tracked_runs"].pop(name, None)
    stored = DataCatalog.from_config(entries)
    SequentialRunner().run(template(), stored)
    table = stored["run_comparison"].load()
    assert table["model"].tolist() == ["pca", "scvi"] * 2
    assert table.loc[table["model"] == "scvi", "option.n_latent"].tolist() == ["10", "30"]
    text = " ".join(stored["run_comparison_summary"].load()["sentences"])
    assert (
        "From run 'pbmc 0' to 'pbmc 1': models.scvi.n_latent 10 → 30; scores: scvi elbo_test -470.0 → -469.0"
        in text
    )
    assert (tmp_path / "data/08_reporting/pbmc/run_comparison.png").stat().st_size > 10_000
