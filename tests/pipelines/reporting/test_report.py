import base64
import io
import re
from html.parser import HTMLParser

import pytest
from PIL import Image

from scvi_downstream.engine.fingerprints import DISTRIBUTIONS, PROJECT
from scvi_downstream.pipelines.reporting.nodes import gather, render_report, write_methods
from scvi_downstream.report import bibliography, versions
from scvi_downstream.study.completion import complete_parameters
from scvi_downstream.study.defaults import default_parameters
from scvi_downstream.study.plan import plan_study

from .conftest import gathered

VOID = {"meta", "link", "img", "br", "hr", "input"}
FIRST_SCREEN = 600  # Characters before the first figure.


class Page(HTMLParser):
    """Tags, attributes and text of a page; refuses tags that do not close in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not self.open or self.open[-1] not in ("script", "style"):
            self.text += data

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


CELLS = {
    "n_cells": 3,
    "names": ["a</script>", "b", "c"],
    "layouts": {"2": "AAAAAAAAAAAAAAAA", "3": "AAAAAAAAAAAAAAAAAAAAAAAA"},
    "colours": [
        {"title": "leiden", "kind": "category", "values": "AAAB", "categories": [["0", "#000000", 2]]}
    ],
}


def render(parameters, preparation_summary, training_summary, contents, cells=CELLS) -> str:
    study = plan_study(parameters)
    summaries = gathered(study, preparation_summary, training_summary)
    methods = write_methods(study, **summaries)
    references = bibliography.write_references(methods)
    return render_report(study, methods, references, cells, **summaries, shown=gather(**contents))


@pytest.fixture(scope="session")
def html(parameters, preparation_summary, training_summary, contents) -> str:
    return render(parameters, preparation_summary, training_summary, contents)


@pytest.fixture(scope="session")
def page(html) -> Page:
    return Page(html)


def test_loads_nothing_from_outside(html, page):
    assert html.startswith("<!DOCTYPE html>")
    for tag, attributes in page.tags:
        for name in ("src", "srcset", "data", "poster", "action"):
            assert attributes.get(name, "data:").startswith("data:"), (tag, attributes)
        if tag != "a":
            assert attributes.get("href", "data:,") == "data:,"
    styles = "".join(re.findall(r"<style>(.*?)</style>", html, re.DOTALL))
    assert "url(" not in styles
    assert "@import" not in styles
    assert "fetch(" not in html
    assert "plotly" not in html


def test_every_figure_is_embedded_with_its_caption(page, contents):
    figures = {name: content for name, content in contents.items() if isinstance(content, bytes)}
    images = [image for image in page.all("img") if "src" in image]
    shown = [base64.b64decode(image["src"].removeprefix("data:image/png;base64,")) for image in images]
    assert len(shown) == len(figures)
    sizes = {Image.open(io.BytesIO(png)).size for png in figures.values()}
    assert {Image.open(io.BytesIO(png)).size for png in shown} == sizes
    assert all(image["alt"] and int(image["width"]) > 0 for image in images)
    # 3 inches are 288 CSS pixels, whatever the resolution of the file.
    assert images[0]["width"] == "288"


def test_contents_lead_to_sections_that_exist(page):
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    links = [attributes["href"] for attributes in page.all("a") if attributes["href"].startswith("#")]
    assert {"#overview", "#quality-control", "#comparison", "#methods", "#parameters", "#versions"} <= set(
        links
    )
    assert {link[1:] for link in links} <= set(ids)


def test_tables_have_captions_and_headings(html, page):
    assert html.count("<caption>") == len(page.all("table")) > 3
    assert all(heading.get("scope") in ("col", "row") for heading in page.all("th"))


def test_long_tables_are_cut_and_point_to_the_file(page, parameters):
    rows = parameters["reporting"]["table_rows"]
    assert "GENE0" in page.text
    assert f"GENE{rows}" not in page.text.split("References")[0]
    assert f"{2 * rows} of 50 rows (2 groups); all of them:" in page.text
    assert any(link["href"] == "../../07_model_output/pbmc68k/markers.csv" for link in page.all("a"))


def test_numbers_are_written_for_people(page):
    assert "1.23" in page.text
    assert "1.23456" not in page.text
    assert "3e-12" in page.text


def test_figures_can_be_downloaded_as_drawn_and_as_numbers(page):
    files = {link["href"] for link in page.all("a") if "download" in link}
    assert {"qc.svg", "qc_data.csv", "ldvae/history.svg", "ldvae/history_data.csv"} <= files


def test_first_screen_is_a_picture_with_a_line_a_capability(html, page):
    start = Page(html[html.index("<body>") : html.index("<figure")] + "</section></main></div></body>")
    assert len(" ".join(start.text.split())) < FIRST_SCREEN
    found = re.search(r'<div class="found">(.*?)</ol>', html, re.DOTALL)
    assert found
    lines = Page(found[0] + "</div>")
    assert {"#quality-control", "#clusters", "#comparison"} <= {link["href"] for link in lines.all("a")}
    marks = re.findall(r'<span class="mark (\w+)">([^<]+)</span>', found[0])
    assert set(marks) == {("holds", "holds"), ("uncertain", "uncertain"), ("fails", "does not hold")}
    assert "1 warning to read" in lines.text


def test_cells_are_drawn_only_where_there_is_a_layout(
    html, parameters, preparation_summary, training_summary, contents
):
    assert 'id="cells-data"' in html
    without = render(parameters, preparation_summary, training_summary, contents, cells=None)
    assert 'id="cells-data"' not in without
    assert "What was found" in without


def test_nothing_that_is_said_in_words_stands_in_a_table_again(html):
    said = re.findall(r"<li>([^<]{60,})</li>", html)
    assert said
    assert [text for text in said if html.count(text) > 1] == []


def test_says_what_was_found_and_what_was_left_out(page):
    text = re.sub(r"\s+", " ", page.text)
    for said in (
        "scanvi has the highest scib_total.",
        "Resolution 1 is the finest that is stable.",
        "the means of 20 to 60 of 500 genes differ by more than 0.25 log2",
        "the model has the direction of 90% of them. Of pairs of cells, 1 to 3.",
        "The model predicts held-out counts better than the mean of each gene.",
        "Pseudobulk tests were left out, since sample_key is empty",
        "Conditions were not compared, since condition_key is empty",
        "Integration metrics kbet, bras left out: One batch only.",
    ):
        assert said in text, said
    assert "pseudobulk confirms" not in text


def test_warnings_are_said_and_escaped(html):
    section = re.search(r'<section id="quality-control".*?</section>', html, re.DOTALL)
    assert section
    assert "&lt;holds&gt;" in section[0]


def test_champion_is_marked_wherever_models_are_listed(html):
    rows = re.findall(r'<tr class="champion">\s*<th[^>]*>(\w+)', html)
    assert rows == ["scanvi"]


def test_empty_table_says_so(page):
    assert "Strongest genes of each comparison. The table is empty" in page.text


def test_parameters_versions_and_fingerprint_are_there(page, parameters, preparation_summary):
    for said in ("n_top_genes: 2000", "scvi-tools", preparation_summary["data_fingerprint"], "seed: 0"):
        assert said in page.text


def test_software_outside_of_python_is_named(parameters, preparation_summary, training_summary):
    contents = {"trajectory_summary": {"software": {"monocle": "2.26.0"}, "sentences": []}}
    html = render(parameters, preparation_summary, training_summary, contents)
    assert "<li><span>monocle</span><span>2.26.0</span></li>" in html


def test_same_input_same_page_but_for_the_time(
    html, parameters, preparation_summary, training_summary, contents
):
    again = render(parameters, preparation_summary, training_summary, contents)
    time = re.compile(r"<time.*?</time>")
    assert time.sub("", again) == time.sub("", html)


def test_models_left_out_say_why(raw_parameters, preparation_summary, training_summary):
    parameters = complete_parameters(
        default_parameters(raw_parameters | {"input": "mine.h5ad", "batch_key": "batch"})
    )
    page = Page(render(parameters, preparation_summary, training_summary, {}))
    assert "scanvi was left out: SCANVI needs label_key, which is empty." in page.text
    assert "Nothing was compared with cell types" in page.text


def test_title_is_the_users(raw_parameters, preparation_summary, training_summary):
    parameters = complete_parameters(
        default_parameters(raw_parameters | {"reporting": {"title": "Blood <cells>", "table_rows": 3}})
    )
    html = render(parameters, preparation_summary, training_summary, {})
    assert "<h1>Blood &lt;cells&gt;</h1>" in html


# They store, check, draw and convey; no number is theirs.
_WITHOUT_NUMBERS = {
    "click", "fsspec", "h5py", "huggingface-hub", "jinja2", "kedro-datasets", "kedro-viz", "lazy-loader", "markupsafe",
    "matplotlib",
    "omegaconf", "pillow", "psutil", "pyarrow", "pydantic", "pyyaml", "threadpoolctl",
}  # fmt: skip


def test_every_library_that_makes_numbers_is_named() -> None:
    brought = {DISTRIBUTIONS.get(library, library).replace("_", "-") for library in PROJECT.imported()}
    assert {name for name in brought if versions.installed(name)} - _WITHOUT_NUMBERS <= set(
        versions.software()
    )
