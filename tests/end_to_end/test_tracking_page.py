"""`make ui` serves MLflow's page by one process, also beside a machine that is busy; what it shows of a run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import psutil
import pytest
from browser import answer, free_port, serving

pytestmark = pytest.mark.slow
# What MLflow asks for in vain, and what a browser says where a page was slow to lay out.
FORGIVEN = ("users/current", "telemetry-worker", "ResizeObserver loop")


@dataclass(frozen=True)
class Served:
    """The address of a server, its process and its store."""

    address: str
    pid: int
    uri: str


@pytest.fixture(scope="module")
def server(first_run: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """MLflow on a copy of the study's store, begun while all processors were busy."""
    file = shutil.copy(first_run.tracking_uri.removeprefix("sqlite:///"), tmp_path_factory.mktemp("page"))
    port, uri = free_port(), f"sqlite:///{file}"
    address = f"http://127.0.0.1:{port}"
    busy = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(os.cpu_count() or 1)]
    try:
        with serving(
            "make", "ui", health=f"{address}/health", PORT=str(port), MLFLOW_TRACKING_URI=uri
        ) as pid:
            _end(busy)
            yield Served(address, pid, uri)
    finally:
        _end(busy)


def _end(processes: list[subprocess.Popen]) -> None:
    for process in processes:
        process.kill()


def test_one_worker_serves_the_page(server: Served) -> None:
    assert answer(f"{server.address}/health", seconds=30) == "OK"
    assert "<title>MLflow" in answer(server.address, seconds=30)
    asked = f"{server.address}/api/2.0/mlflow/experiments/search?max_results=5"
    found = json.loads(answer(asked, seconds=30))
    assert {experiment["name"] for experiment in found["experiments"]} == {"Default", "test"}
    command = [" ".join(child.cmdline()) for child in psutil.Process(server.pid).children(recursive=True)]
    assert sum("spawn_main" in line for line in command) <= 1, command
    assert not any("huey" in line or "job" in line for line in command), command


def test_the_page_of_a_run_shows_findings_board_report_and_curves(
    server: Served, open_page: Callable[..., Any]
) -> None:
    from scvi_downstream.tracking.page import newest_runs

    page = open_page(newest_runs(server.uri, server.address)["test"], forgiven=FORGIVEN)

    text = page.get_by_test_id("note-editor-preview-content")
    text.get_by_text("Comparison").wait_for()
    assert {*text.locator("td:first-child").all_inner_texts()} >= {"scvi\N{NO-BREAK SPACE}"}
    links = {link.inner_text(): link.get_attribute("href") for link in text.locator("a").all()}
    page.get_by_role("tab", name="Model metrics").click()
    page.get_by_text("(curves/elbo_validation/scvi)").wait_for()
    page.goto(f"{server.address}/{links['Report']}")
    report = page.frame_locator("iframe")
    report.get_by_role("heading", name="test", exact=True).wait_for()
    report.locator("#cells .legend button").first.wait_for()
    page.goto(f"{server.address}/{links['Models of all runs']}")
    page.get_by_role("columnheader", name="scib_total").first.wait_for()
    page.get_by_role("link", name="harmony").first.wait_for()
