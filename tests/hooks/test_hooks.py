from __future__ import annotations

import logging
import time
from pathlib import Path

import pytest
from kedro.pipeline import Node, Pipeline

from scvi_downstream.hooks import progress as hooks
from scvi_downstream.hooks.progress import ProgressHooks
from scvi_downstream.hooks.study import StudyHooks
from scvi_downstream.pipeline_registry import register_pipelines
from scvi_downstream.runtime import errors
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.study.completion import complete_parameters
from scvi_downstream.study.defaults import default_parameters

STUDY = {"study": "mine", "input": "cells.h5ad", "primary": "scvi", "models": {"scvi": {"family": "SCVI"}}}


class Context:
    """What the hooks look at of Kedro's context."""

    def __init__(self, parameters: dict, project: Path) -> None:
        self.config_loader = {"parameters": parameters}
        self.project_path = project


def hooks_of(parameters: dict, project: Path) -> StudyHooks:
    hooks = StudyHooks()
    hooks.after_context_created(context=Context(parameters, project))
    return hooks


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
    tmp_path: Path,
) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(InputError, match=r"cannot write to .*data_root="):
        hooks_of(complete_parameters(default_parameters(STUDY)), tmp_path).before_pipeline_run(Pipeline([]))


@pytest.mark.parametrize(
    ("of", "missing", "message"),
    [
        ("search", "optuna", r"the pipeline search needs optuna, .* pip install 'scvi-downstream\[ray\]'"),
        ("export_hub", "huggingface_hub", r"export_hub needs huggingface_hub, .*'scvi-downstream\[hub\]'"),
    ],
)
def test_a_missing_extra_is_named_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of: str, missing: str, message: str
) -> None:
    monkeypatch.setattr(errors, "find_spec", lambda name: None if name == missing else name)
    hooks = hooks_of(complete_parameters(default_parameters(STUDY)), tmp_path)
    pipelines = register_pipelines(hooks._planned)
    hooks.before_pipeline_run(pipelines["__default__"])
    with pytest.raises(InputError, match=message):
        hooks.before_pipeline_run(pipelines[of])


def test_what_is_left_out_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    models = {"scvi": {"family": "SCVI"}, "scanvi": {"family": "SCANVI"}}
    with caplog.at_level(logging.INFO):
        hooks_of(
            complete_parameters(default_parameters({**STUDY, "models": models})), tmp_path
        ).before_pipeline_run(Pipeline([]))
    assert "scanvi is left out: SCANVI needs label_key, which is empty" in caplog.messages
    assert not list(tmp_path.rglob(".write-*"))
