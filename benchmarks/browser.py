"""The system's Chromium, driven by Playwright, and servers of this machine that it opens; it reaches nothing else."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

PROJECT = Path(__file__).resolve().parents[1]
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
"""The browser; ``None``: there is none."""
# What the pages of others show at a first visit: a panel on the right, a tour, another theme.
_VISITED = """
if (window === top) {
  localStorage.setItem("mlflow.assistant.fab.autoOpenedOnFirstLoad_v1", "true");
  localStorage.setItem("KedroViz", JSON.stringify({
    theme: "light", orientation: "horizontal", showFeatureHints: false,
    visible: {graph: true, sidebar: false, miniMap: false},
  }));
}
"""


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser that finds no other machine."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        alone = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=[alone])
        try:
            yield browser
        finally:
            browser.close()


def new_page(browser: Browser, width: int, height: int, scheme: str = "light"):
    """A page of a visitor who is not here for the first time."""
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    context.add_init_script(_VISITED)
    return context.new_page()


def free_port() -> int:
    """A port that no one uses."""
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
            time.sleep(0.2)


@contextmanager
def serving(*command: str, health: str, **environment: str) -> Iterator[int]:
    """A server that runs in the project until the block ends; yields its process."""
    server = subprocess.Popen(
        command, cwd=PROJECT, env=os.environ | environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        answer(health, seconds=180)
        yield server.pid
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=30)
