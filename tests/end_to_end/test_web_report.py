"""The report as a browser shows it: on a screen and a phone, in light and dark, without barriers, and on paper."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from .browsing import UNFOLDED, barriers

pytestmark = pytest.mark.slow
WIDTH = "document.documentElement.scrollWidth"


@pytest.fixture
def address(first_run: Any) -> str:
    return (first_run.folder("08_reporting") / "report.html").as_uri()


@pytest.mark.parametrize(("width", "scheme", "others"), [(1280, "light", ["dark"]), (390, "dark", [])])
def test_it_fits_the_screen_and_has_no_barriers(
    address: str, open_page: Callable[..., Any], width: int, scheme: str, others: list[str]
) -> None:
    page = open_page(address, width, 844, scheme)
    assert page.evaluate(WIDTH) == width
    page.evaluate(UNFOLDED)
    assert page.evaluate(WIDTH) == width
    assert barriers(page, *others) == []


def test_tables_are_sorted_filtered_and_copied(address: str, open_page: Callable[..., Any]) -> None:
    page = open_page(address)
    board = page.locator("#leaderboard")
    head = board.locator("thead th", has_text="scIB total")
    column = head.evaluate("head => head.cellIndex")
    values = f"rows => rows.map(row => Number(row.cells[{column}].dataset.sort))"
    for order in ("descending", "ascending"):
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == order
        shown = board.locator("tbody tr").evaluate_all(values)
        assert shown == sorted(shown, reverse=order == "descending")
        assert len(shown) == 5
    page.evaluate(UNFOLDED)
    long = page.locator(".result:has(input[type=search])").first
    rows = long.locator("tbody tr:visible")
    first, all_rows = rows.first.locator("th").inner_text(), rows.count()
    long.locator("input").fill(first)
    assert 1 <= rows.count() < all_rows
    copy = long.get_by_role("button", name="Copy")
    copy.click()
    assert copy.inner_text() == "Copied"


def test_cells_change_colour_and_turn(address: str, open_page: Callable[..., Any]) -> None:
    page = open_page(address)
    cells = page.locator("#cells")
    canvas, legend = cells.locator("canvas"), cells.locator(".legend")

    def drawn() -> str:
        page.evaluate("new Promise(requestAnimationFrame)")
        return canvas.evaluate("canvas => canvas.toDataURL()")

    pictures, legends = [drawn()], [legend.inner_text()]
    cells.get_by_label("Colour").select_option("leiden")
    pictures.append(drawn())
    legends.append(legend.inner_text())
    cells.get_by_role("button", name="3D").click()
    pictures.append(drawn())
    legend.locator("button").first.click()
    pictures.append(drawn())
    assert len(set(pictures)) == 4
    assert len(set(legends)) == 2


def test_it_goes_to_paper(address: str, open_page: Callable[..., Any]) -> None:
    assert open_page(address).pdf(format="A4").startswith(b"%PDF")
