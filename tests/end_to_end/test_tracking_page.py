"""`make ui` serves MLflow's page by one process, also beside a machine that is busy."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

PROJECT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def answer(url: str, seconds: float) -> str:
    """What the page says once the server is up."""
    begun = time.monotonic()
    while True:
        try:
            with urllib.request.urlopen(url, timeout=30) as page:
                return page.read().decode()
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() - begun > seconds:
                raise
            time.sleep(0.5)


def test_one_worker_serves_the_page(tmp_path: Path) -> None:
    port = free_port()
    uri = f"sqlite:///{tmp_path / 'tracking.db'}"
    environment = os.environ | {"PORT": str(port), "MLFLOW_TRACKING_URI": uri}
    busy = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(os.cpu_count() or 1)]
    server = subprocess.Popen(
        ["make", "ui"], cwd=PROJECT, env=environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        address = f"http://127.0.0.1:{port}"
        assert answer(f"{address}/health", seconds=180) == "OK"
        assert "<title>MLflow" in answer(address, seconds=30)
        found = json.loads(answer(f"{address}/api/2.0/mlflow/experiments/search?max_results=5", seconds=30))
        assert found["experiments"][0]["name"] == "Default"
        command = [" ".join(child.cmdline()) for child in psutil.Process(server.pid).children(recursive=True)]
        assert sum("spawn_main" in line for line in command) <= 1, command
        assert not any("huey" in line or "job" in line for line in command), command
    finally:
        for process in busy:
            process.kill()
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)
