from pathlib import Path

import pytest
import yaml

from scvi_downstream.pipelines.reporting.contents import SECTIONS, expand, report_contents

PROJECT = Path(__file__).resolve().parents[3]
ITEMS = [item for section in SECTIONS for item in section.items]


@pytest.fixture(scope="module")
def catalog() -> dict:
    entries: dict = {}
    for path in (PROJECT / "conf" / "base").glob("catalog_*.yml"):
        entries |= yaml.safe_load(path.read_text())
    return entries


def test_contents_are_expanded_in_order_and_only_what_there_is():
    available = {
        "qc_figure",
        "ldvae.history_figure",
        "scvi.history_figure",
        "scvi.clusters_figure",
        "other.umap",
    }
    assert report_contents(available, "scvi", ["scvi", "ldvae"]) == [
        "qc_figure",
        "scvi.history_figure",
        "ldvae.history_figure",
        "scvi.clusters_figure",
    ]


def test_no_dataset_is_shown_twice():
    models = ["scvi", "ldvae"]
    everything = {entry.dataset for item in ITEMS for entry in expand(item, "ldvae", models)}
    contents = report_contents(everything, "ldvae", models)
    assert len(contents) == len(set(contents)) == len(everything)


def test_every_figure_of_the_catalogue_is_in_the_report(catalog):
    figures = {name for name in catalog if name.endswith("_figure")}
    shown = {item.dataset.replace("{primary}", "{model}") for item in ITEMS}
    of_baselines = {"pca.embedding_figure", "harmony.embedding_figure"}
    beside_the_report = {"run_comparison_figure"}  # of several runs, where a report is of one
    assert figures <= shown | of_baselines | beside_the_report


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.dataset)
def test_items_name_datasets_and_files_of_the_catalogue(item, catalog):
    name = item.dataset.replace("{primary}", "{model}")
    name = "{model}." + name.split(".")[1] if name.startswith(("pca.", "harmony.")) else name
    assert name in catalog
    if not item.file:
        assert item.kind == "figure"
        return
    root = Path("data/08_reporting/{study}")
    written = (
        catalog[name]["filepath"].replace("${param:data_root}", "data").replace("${param:study}", "{study}")
    )
    assert (PROJECT / root / item.file).resolve() == (PROJECT / written).resolve()
