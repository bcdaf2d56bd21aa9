"""The pictures of the documentation: the report, Kedro-Viz and MLflow as a browser shows them of a finished demo run."""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
from browser import CHROMIUM, PROJECT, chromium, free_port, new_page, serving
from PIL import Image

IMAGES = PROJECT / "docs" / "images"
DESKTOP, PHONE = (1280, 800), (390, 844)
DEMO = "pbmc68k"
GAP = 24


def save(name: str, *shots: bytes) -> None:
    """Shots side by side, in their 256 most frequent colours: all but those at the edges of letters and points."""
    opened = [np.asarray(Image.open(io.BytesIO(shot)).convert("RGB"), int) for shot in shots]
    gap = np.full((opened[0].shape[0], GAP, 3), 255)
    whole = np.hstack([part for image in opened for part in (gap, image)][1:])
    seen, place, counts = np.unique(whole.reshape(-1, 3), axis=0, return_inverse=True, return_counts=True)
    palette = seen[np.argsort(-counts)[:256]]
    nearest = ((seen[:, None] - palette) ** 2).sum(axis=2).argmin(axis=1)
    small = Image.fromarray(nearest[place].reshape(whole.shape[:2]).astype("uint8"))
    small.putpalette(palette.astype("uint8").tobytes())
    small.save(IMAGES / name, optimize=True)
    print(f"docs/images/{name}: {(IMAGES / name).stat().st_size / 1000:.0f} kB")


def report(browser, page_file: Path) -> None:
    def shot(size: tuple[int, int], scheme: str) -> bytes:
        page = new_page(browser, *size, scheme)
        page.goto(page_file.resolve().as_uri())
        page.wait_for_timeout(500)
        return page.screenshot()

    save("report.png", shot(DESKTOP, "light"))
    save("report_dark.png", shot(DESKTOP, "dark"))
    save("report_phone.png", shot(PHONE, "light"), shot(PHONE, "dark"))


def kedro_viz(browser, data: Path) -> None:
    port = free_port()
    address = f"http://127.0.0.1:{port}"
    viz = (".venv/bin/kedro", "viz", "run", "--include-hooks", "--no-browser", "--host", "127.0.0.1")
    params = f"study={DEMO},data_root={data.resolve()}"
    with serving(*viz, "--port", str(port), "--params", params, health=f"{address}/api/main"):
        page = new_page(browser, 1900, 520)
        page.goto(address)
        page.locator(".pipeline-node").first.wait_for()
        # what it says where it cannot ask for its newest version
        page.add_style_tag(content="[class^=update-reminder] {display: none}")
        page.wait_for_timeout(2000)
        save("kedro_viz.png", page.locator(".pipeline-flowchart").screenshot())


def mlflow(browser) -> None:
    from scvi_downstream.tracking import tracking_uri
    from scvi_downstream.tracking.page import newest_runs

    port = free_port()
    server = f"http://127.0.0.1:{port}"
    with serving("make", "ui", health=f"{server}/health", PORT=str(port)):
        page = new_page(browser, *DESKTOP)
        page.goto(newest_runs(tracking_uri(None, PROJECT), server)[DEMO])
        page.get_by_text("Show more").first.click()
        page.wait_for_timeout(1000)
        save("mlflow.png", page.screenshot())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=PROJECT / "data", help="data_root of the run")
    data = parser.parse_args().data
    page = data / "08_reporting" / DEMO / "report.html"
    if not page.exists():
        raise SystemExit(f"{page} is missing: `make run` first")
    if CHROMIUM is None:
        raise SystemExit("no Chromium was found on the path: install it, e.g. `apt-get install chromium`")
    with chromium() as browser:
        report(browser, page)
        kedro_viz(browser, data)
        mlflow(browser)


if __name__ == "__main__":
    main()
