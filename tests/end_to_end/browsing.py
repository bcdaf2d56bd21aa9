"""Pages in a real browser: whatever they complain of, or ask of another machine, fails the test."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from browser import CHROMIUM, chromium, new_page

LOCAL = ("file:", "data:", "blob:", "about:", "http://127.0.0.1:")
UNFOLDED = "document.querySelectorAll('details').forEach(each => { each.open = true; })"
# Tables and lists are judged by their first entries: axe takes seconds for a thousand.
SHORTENED = """document.querySelectorAll('tbody, tr, ul, ol, dl').forEach(
    each => [...each.children].slice(3).forEach(entry => entry.remove()))"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium for the tests of a file, as Playwright's loop would be in the way of other tests' loops."""
    if CHROMIUM is None:
        missing = "there is no Chromium: install it, e.g. by `apt-get install chromium`"
        pytest.fail(missing) if os.environ.get("CI") == "true" else pytest.skip(missing)
    with chromium() as opened:
        yield opened


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """Opens an address at a size and in a colour scheme; complaints that hold a word of ``forgiven`` do not count."""
    complaints: list[str] = []

    def opening(
        address: str,
        width: int = 1280,
        height: int = 800,
        scheme: str = "light",
        forgiven: tuple[str, ...] = (),
    ) -> Any:
        def complain(text: str) -> None:
            if not any(word in text for word in forgiven):
                complaints.append(text)

        page = new_page(browser, width, height, scheme)
        page.on("console", lambda said: said.type == "error" and complain(f"{said.text} {said.location}"))
        page.on("pageerror", lambda error: complain(str(error)))
        page.on("requestfailed", lambda request: complain(f"failed: {request.url[:200]}"))
        page.on(
            "request", lambda asked: asked.url.startswith(LOCAL) or complain(f"outside: {asked.url[:200]}")
        )
        page.goto(address)
        return page

    yield opening
    for context in browser.contexts:
        context.close()
    assert not complaints, "\n".join(complaints)


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Address of a folder's pages."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=folder))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


def barriers(page: Any, *others: str) -> list[str]:
    """What axe finds on a page as it is, and of its colours in other schemes."""
    page.evaluate(UNFOLDED)
    page.evaluate(SHORTENED)
    found = [_judged(page)]
    for scheme in others:
        page.emulate_media(color_scheme=scheme)
        found.append(_judged(page, runOnly=["color-contrast", "link-in-text-block"]))
    return [report for report in found if report]


def _judged(page: Any, **rules: Any) -> str:
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page, options={"resultTypes": ["violations"], **rules})
    return found.generate_report() if found.violations_count else ""
