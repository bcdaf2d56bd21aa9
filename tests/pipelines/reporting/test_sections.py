from pathlib import Path

import pytest

from scvi_downstream.pipeline_registry import register_pipelines
from scvi_downstream.pipelines.comparison.options import BASELINES
from scvi_downstream.pipelines.reporting.table_of_contents import expand, report_contents, sections
from scvi_downstream.study import plan
from scvi_downstream.study.completion import complete_parameters
from scvi_downstream.study.defaults import default_parameters

PROJECT = Path(__file__).resolve().parents[3]
ITEMS = [item for section in sections() for item in section.items]


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


def test_every_figure_is_in_the_report(monkeypatch):
    monkeypatch.setattr(plan, "_PACKAGES", {})
    parameters = complete_parameters(default_parameters({"comparison": {"baselines": list(BASELINES)}}))
    pipelines = register_pipelines(plan.plan_study(parameters))
    made = {name for pipeline in pipelines.values() for name in pipeline.all_outputs()}
    figures = {name for name in made if name.endswith("_figure")}
    models = ["scvi", "ldvae", "scanvi"]
    shown = {entry.dataset for item in ITEMS for entry in expand(item, "scvi", models)}
    of_primary_alone = {
        f"{model}.{name}"
        for model in models
        for name in ("clusters_figure", "clustering_figure", "dendrogram_figure")
    }
    beside_the_report = {"run_comparison_figure"}  # of several runs, where a report is of one
    assert figures - shown <= of_primary_alone | beside_the_report


@pytest.mark.parametrize("item", ITEMS, ids=lambda item: item.dataset)
def test_items_name_datasets_and_files_of_the_catalogue(item, catalogue_entry):
    name = item.dataset.replace("{primary}", "scvi").replace("{model}", "scvi")
    entry = catalogue_entry(name)
    assert entry, name
    if not item.file:
        assert item.kind == "figure"
        return
    file = item.file.format(study="pbmc68k", model="scvi")
    assert (PROJECT / "data/08_reporting/pbmc68k" / file).resolve() == (PROJECT / entry["filepath"]).resolve()
