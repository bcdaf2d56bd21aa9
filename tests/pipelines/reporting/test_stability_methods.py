from pathlib import Path

import yaml

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.stability.report import STABILITY, describe_stability
from scvi_downstream.report import bibliography
from scvi_downstream.study.completion import complete_parameters
from scvi_downstream.study.graph import study_graph
from scvi_downstream.study.parameters import StudyParameters

PROJECT = Path(__file__).resolve().parents[3]


def describe(raw, **changes):
    parameters = complete_parameters(raw | changes)
    keys = Keys.model_validate(parameters["keys"])
    study = StudyParameters.model_validate(
        {name: value for name, value in parameters.items() if name != "keys"}
    )
    return describe_stability(study, keys, study_graph(parameters))


def test_says_what_was_fitted_again_and_compared(raw_parameters):
    text = describe(
        raw_parameters, stability={"models": ["scvi"], "n_seeds": 4, "top_genes": 30, "resolution": 0.5}
    )
    for said in (
        "`scvi` was fitted with 4 seeds to the same split",
        "resolution 0.5",
        "Genes of each group of `cell_type`",
        "the first 30",
        "[@webber2010]",
        "jackknife over fits [@arvesen1969]",
    ):
        assert said in text
    assert bibliography.select(text)


def test_leaves_out_what_did_not_run(raw_parameters):
    assert describe(raw_parameters) == ""
    text = describe(raw_parameters, input="x.h5ad", label_key=None, stability={"models": ["scvi"]})
    assert "the first fit's clusters" in text


def test_items_are_files_of_the_catalogue():
    catalog = yaml.safe_load((PROJECT / "conf/base/catalog_08_stability.yml").read_text())
    for item in STABILITY.items:
        written = catalog[item.dataset]["filepath"]
        assert item.kind == "figure" or written.endswith("/08_reporting/${param:study}/" + item.file)
    assert {name for name in catalog if name.endswith("_figure")} <= {
        item.dataset for item in STABILITY.items
    }
