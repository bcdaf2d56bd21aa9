from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.pipelines.compare_runs.plots import plot_runs
from scvi_downstream.pipelines.compare_runs.report import summarize_runs
from scvi_downstream.pipelines.compare_runs.table import comparable_groups, tabulate_runs


def fit(run: str, model: str, **changes: Any) -> dict[str, Any]:
    """A row as it is read from the store."""
    number = int(run.rpartition(" ")[2])
    return {
        "study": run.rpartition(" ")[0],
        "run_id": f"id of {run}",
        "run": run,
        "started": pd.Timestamp("2026-11-01", tz="UTC") + pd.Timedelta(days=number),
        "status": "FINISHED",
        "model": model,
        "model_run_id": f"{run} {model}",
        "model_status": "FINISHED",
        "device": "cpu",
        "data": run.rpartition(" ")[0],
        "data_digest": "abc",
        "data_cells": 700.0,
        "data_genes": 765.0,
        "error": None,
        "param.family": model.upper(),
        "param.n_latent": "10",
        "study_param.seed": "0",
        "study_param.study": run,
        "study_param.training.train_size": "0.8",
        "study_param.preparation.n_top_genes": "2000",
        "version.scvi-tools": "1.5.1",
        "metric.elbo_test": -470.0,
        "metric.elbo_test_se": 14.0,
        "metric.n_genes": 765.0,
        "metric.n_test": 70.0,
        "metric.scib_total": 0.6,
        "metric.seconds": 12.0,
    } | changes


def table(*rows: dict[str, Any]) -> pd.DataFrame:
    return pd.DataFrame(rows)


def sentences(*rows: dict[str, Any]) -> str:
    return " ".join(summarize_runs(table(*rows))["sentences"])


def test_the_best_is_named_with_its_next_on_the_same_cells() -> None:
    rows = [
        fit("pbmc 1", "scvi", **{"metric.elbo_test": -472.0}),
        fit("pbmc 2", "scvi", **{"metric.elbo_test": -470.0, "metric.scib_total": 0.7}),
        fit("pbmc 2", "ldvae", **{"metric.elbo_test": -480.0}),
    ]
    summary = summarize_runs(table(*rows))
    best = {record["criterion"]: record for record in summary["best"]}
    assert (best["elbo_test"]["model"], best["elbo_test"]["run"], best["elbo_test"]["n"]) == (
        "scvi",
        "pbmc 2",
        3,
    )
    assert (best["scib_total"]["value"], best["scib_total"]["next_value"]) == (0.7, 0.6)
    assert summary["sentences"][0] == "2 runs of 1 study are compared, with 3 fits of 2 models and baselines."
    assert (
        "scvi of run 'pbmc 2' has the best elbo_test of 3 fits on the same cells (-470.0 nats per cell, standard error "
        "14.0 over cells that all of them share; next scvi of run 'pbmc 1', -472.0)"
    ) in " ".join(summary["sentences"])


@pytest.mark.parametrize(
    "other",
    [
        {"data_digest": "other cells"},
        {"metric.n_genes": 500.0},
        {"study_param.seed": "1"},
        {"param.training.train_size": "0.5"},
    ],
    ids=["cells", "genes", "split by seed", "split by share"],
)
def test_likelihoods_of_other_cells_or_genes_are_not_compared(other: dict[str, Any]) -> None:
    runs = table(
        fit("pbmc 1", "scvi"),
        fit("pbmc 1", "ldvae"),
        fit("pbmc 2", "scvi", **{"metric.elbo_test": -1.0}, **other),
    )
    assert comparable_groups(runs, "elbo_test").tolist() == ["A", "A", "B"]
    summary = summarize_runs(runs)
    assert [
        (record["group"], record["n"]) for record in summary["best"] if record["criterion"] == "elbo_test"
    ] == [
        ("A", 2),
        ("B", 1),
    ]
    text = " ".join(summary["sentences"])
    assert "Likelihoods are not compared between 2 groups of fits" in text
    assert "elbo_test -470.0 → -1.0" not in text
    assert tabulate_runs(runs)["same_cells_and_genes"].tolist() == ["A", "A", "B"]


def test_runs_that_recorded_no_data_are_compared_within_themselves_only() -> None:
    runs = table(
        fit("pbmc 1", "scvi", data_digest=None),
        fit("pbmc 1", "ldvae", data_digest=None),
        fit("pbmc 2", "scvi", data_digest=None),
    )
    assert comparable_groups(runs, "elbo_test").tolist() == ["A", "A", "B"]
    assert comparable_groups(runs, "scib_total").tolist() == ["A", "A", "B"]


def test_more_draws_of_the_marginal_likelihood_are_another_bound() -> None:
    runs = table(
        *(
            fit("pbmc 1", "scvi", **{"metric.marginal_ll_test": -465.0, "metric.marginal_ll_samples": n})
            for n in (10.0, 200.0)
        )
    )
    assert comparable_groups(runs, "marginal_ll_test").nunique() == 2
    assert comparable_groups(runs, "elbo_test").tolist() == ["A", "A"]


def test_other_labels_part_scores_of_embeddings_but_not_likelihoods() -> None:
    runs = table(fit("pbmc 1", "scvi"), fit("pbmc 2", "scvi", **{"study_param.label_key": "louvain"}))
    assert comparable_groups(runs, "scib_total").nunique() == 2
    assert comparable_groups(runs, "elbo_test").tolist() == ["A", "A"]


def test_what_changed_from_run_to_run_is_said() -> None:
    text = sentences(
        fit("pbmc 1", "scvi"),
        fit(
            "pbmc 2",
            "scvi",
            **{
                "param.n_latent": "30",
                "study_param.preparation.n_top_genes": "3000",
                "version.scvi-tools": "1.5.2",
            },
            **{"metric.elbo_test": -465.5},
        ),
        fit("pbmc 2", "drvi"),
    )
    assert (
        "From run 'pbmc 1' to 'pbmc 2': preparation.n_top_genes 2000 → 3000; scvi-tools 1.5.1 → 1.5.2; "
        "models.scvi.n_latent 10 → 30; new: drvi; scores: scvi elbo_test -470.0 → -465.5"
    ) in text


def test_a_repeated_run_is_told_to_be_the_same() -> None:
    text = sentences(fit("pbmc 1", "scvi"), fit("pbmc 2", "scvi"))
    assert (
        "From run 'pbmc 1' to 'pbmc 2': no option and no version differs; 2 scores of the same models are equal to the "
        "last digit."
    ) in text


def test_only_what_differs_has_a_column() -> None:
    runs = table(
        fit("pbmc 1", "scvi"), fit("pbmc 2", "scvi", **{"param.n_latent": "30"}), fit("pbmc 2", "ldvae")
    )
    columns = list(tabulate_runs(runs))
    assert [name for name in columns if name.startswith(("option.", "study.", "version."))] == [
        "option.n_latent"
    ]
    assert columns.index("scib_total") < columns.index("elbo_test") < columns.index("run_id")
    assert "error" not in columns


def test_failures_are_named_and_models_that_saw_labels_do_not_win_by_them() -> None:
    rows = [
        fit(
            "pbmc 1", "scvi", status="FAILED", model_status="FAILED", error="scvi.train: too few cells\nmore"
        ),
        fit("pbmc 2", "scvi"),
        fit("pbmc 2", "scanvi", model_status="FAILED", error="NaN", **{"metric.scib_total": 0.9}),
    ]
    summary = summarize_runs(table(*rows))
    text = " ".join(summary["sentences"])
    assert "Run 'pbmc 1' is FAILED (scvi.train: too few cells), so its scores may be incomplete." in text
    assert "In run 'pbmc 2' scanvi failed (NaN)." in text
    assert {record["model"] for record in summary["best"] if record["criterion"] == "scib_total"} == {"scvi"}


def test_runs_without_models_or_scores_do_not_break_anything() -> None:
    bare = {
        "study": "other",
        "run_id": "1",
        "run": "autolog",
        "started": pd.NaT,
        "status": "FINISHED",
        "model": None,
    }
    nothing = dict.fromkeys(
        ("model_run_id", "model_status", "device", "data", "data_digest", "data_cells", "data_genes", "error")
    )
    runs = table(bare | nothing | {"metric.val_loss": 0.25})
    assert tabulate_runs(runs)["val_loss"].tolist() == [0.25]
    assert summarize_runs(runs)["sentences"] == ["1 run of 1 study is compared, with no models."]
    assert plot_runs(runs).texts
    mixed = pd.concat([runs, table(fit("pbmc 1", "scvi"))], ignore_index=True)
    assert len(tabulate_runs(mixed)) == 2
    assert summarize_runs(mixed)["n_models"] == 1


def test_the_figure_draws_likelihoods_below_the_best_of_their_cells() -> None:
    rows = [
        fit("pbmc 1", "scvi", **{"metric.elbo_test": -470.0}),
        fit("pbmc 1", "ldvae", **{"metric.elbo_test": -480.0}),
        fit("liver 2", "scvi", data_digest="other", **{"metric.elbo_test": -90.0}),
    ]
    figure = plot_runs(table(*rows))
    axes = {panel.get_title(): panel for panel in figure.axes}
    drawn = np.sort(np.asarray(axes["ELBO"].collections[0].get_offsets())[:, 0])
    np.testing.assert_allclose(drawn, [-10, 0, 0])
    assert set(axes) == {"ELBO", "scIB total", "Training"}


def test_many_fits_are_cut_to_the_best_of_each_run() -> None:
    rows = [
        fit(f"pbmc {run}", f"m{i}", **{"metric.elbo_test": -400.0 - i}) for run in (1, 2) for i in range(40)
    ]
    figure = plot_runs(table(*rows))
    names = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert names == [f"m{i}" for i in range(22)] * 2
    assert "36 that score lower are not drawn" in figure.get_suptitle()
