"""The text of a run's page, and the addresses that `make ui` prints."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.pipelines.reporting.findings import Line
from scvi_downstream.report.sections import Section, Trust
from scvi_downstream.tracking.page import experiment_tags, run_text

LINES = [Line(Section("Cell types", "", ()), "10 types; 82% right", Trust.UNCERTAIN)]


def board(rows: int) -> pd.DataFrame:
    models = [f"model{i}" for i in range(rows)]
    return pd.DataFrame(
        {"model": models, "scib_total": np.linspace(0.9, 0.1, rows), "elbo_test": np.nan, "epochs": 1}
    )


def test_the_text_leads_to_the_report_and_says_what_was_found_and_which_model_is_best() -> None:
    links, found, table, place = run_text("1", "a1", LINES, "data/report.html", board(2)).split("\n\n")
    assert links.startswith("[Report](#/experiments/1/runs/a1/artifacts/report.html?")
    assert "searchFilter=tags.%60mlflow.parentRunId%60%20%3D%20%27a1%27" in links
    assert found == "- **Cell types** (uncertain): 10 types; 82% right"
    assert table.replace("&nbsp;", "").splitlines() == [
        "| Model | scIB total |",
        "|---|---|",
        "| model0 | 0.900 |",
        "| model1 | 0.100 |",
    ]
    assert place.endswith("`data/report.html`.")


def test_a_run_without_report_and_board_says_what_it_found() -> None:
    links, found = run_text("1", "a1", LINES, None, None).split("\n\n")
    assert "Report" not in links
    assert "Cell types" in found


def test_a_long_board_is_cut() -> None:
    text = run_text("1", "a1", LINES, None, board(200))
    assert "The first 10 of 200 rows" in text
    assert len(text) < 2000


def test_the_view_of_all_models_is_one_that_the_text_leads_to() -> None:
    saved = json.loads(experiment_tags()["mlflow.sharedViewState.models"])
    assert "metrics.`elbo_test`" in json.loads(saved["state"])["selectedColumns"]
    assert "viewStateShareKey=models" in run_text("1", "a1", [], None, None)


@pytest.mark.slow
def test_the_newest_run_of_each_study_is_found(tmp_path: Path) -> None:
    from scvi_downstream.tracking.page import newest_runs
    from scvi_downstream.tracking.runs import StudyTracker

    uri = f"sqlite:///{tmp_path / 'tracking.db'}"
    assert newest_runs(uri, "http://here") == {}
    assert not (tmp_path / "tracking.db").exists()
    parents = {}
    for study, name in (("one", "first"), ("one", "second"), ("two", "third")):
        tracker = StudyTracker(uri, study, tmp_path / "artifacts")
        tracker.start(name, ["scvi"], {})
        parents[study] = tracker._parent
        tracker.finish("FINISHED")
    found = newest_runs(uri, "http://here")
    assert set(found) == {"one", "two"}
    for study, parent in parents.items():
        assert f"http://here/#/experiments/{['one', 'two'].index(study) + 1}/runs/{parent}?" in found[study]
