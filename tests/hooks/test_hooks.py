from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest
from kedro.pipeline import Node, Pipeline

from scvi_downstream.hooks import progress as hooks
from scvi_downstream.hooks.progress import ProgressHooks
from scvi_downstream.hooks.study import StudyHooks
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.study.completion import complete_parameters
from scvi_downstream.study.current import CurrentStudy

STUDY = {"study": "mine", "input": "cells.h5ad", "primary": "scvi", "models": {"scvi": {"family": "SCVI"}}}


def node(name: str) -> Node:
    return Node(lambda given: given, name, f"{name}_out", name=name)


def test_a_node_that_takes_its_time_is_announced_and_timed(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "QUIET_SECONDS", 0.05)
    progress = ProgressHooks()
    quick, slow = node("quick"), node("slow")
    progress.before_pipeline_run(pipeline=Pipeline([quick, slow]))
    with caplog.at_level(logging.INFO):
        progress.before_node_run(node=quick)
        progress.after_node_run(node=quick)
        progress.before_node_run(node=slow)
        time.sleep(0.2)
        progress.after_node_run(node=slow)
    assert caplog.messages == ["[2/2] slow …", "[2/2] slow: 0.2 s"]


def test_nothing_more_is_said_of_a_node_that_failed(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "QUIET_SECONDS", 0.05)
    progress = ProgressHooks()
    failing = node("failing")
    progress.before_pipeline_run(pipeline=Pipeline([failing]))
    with caplog.at_level(logging.INFO):
        progress.before_node_run(node=failing)
        progress.on_node_error(node=failing)
        time.sleep(0.15)
    assert not caplog.messages


def test_a_folder_that_cannot_be_written_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").write_text("a file")
    monkeypatch.setattr(CurrentStudy, "parameters", complete_parameters(STUDY))
    with pytest.raises(InputError, match=r"cannot write to .*data_root="):
        StudyHooks().before_pipeline_run(run_params={"project_path": str(tmp_path)})


def test_what_is_left_out_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    models = {"scvi": {"family": "SCVI"}, "scanvi": {"family": "SCANVI"}}
    monkeypatch.setattr(CurrentStudy, "parameters", complete_parameters({**STUDY, "models": models}))
    with caplog.at_level(logging.INFO):
        StudyHooks().before_pipeline_run(run_params={"project_path": str(tmp_path)})
    assert "scanvi is left out: SCANVI needs label_key, which is empty" in caplog.messages
    assert not list(tmp_path.rglob(".write-*"))
