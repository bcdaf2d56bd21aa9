from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.batch_effects.report import describe_batch_effects
from scvi_downstream.study.completion import complete_parameters
from scvi_downstream.study.graph import study_graph
from scvi_downstream.study.parameters import StudyParameters


def describe(raw, **changes):
    parameters = complete_parameters(raw | changes)
    keys = Keys.model_validate(parameters["keys"])
    study = StudyParameters.model_validate(
        {name: value for name, value in parameters.items() if name != "keys"}
    )
    return describe_batch_effects(study, keys, study_graph(parameters))


def test_says_what_was_measured_with_its_options(raw_parameters):
    text = describe(raw_parameters, batch_effects={"n_folds": 3, "n_neighbors": 20, "fdr": 0.1})
    for said in (
        "kBET [@buttner2019] on 20 neighbours",
        "BRAS [@rautenstrauch2025]",
        "3-fold",
        "batches among cells of the same `cell_type`",
        "averaged over all batches",
        "[@benjamini1995] at 10 %",
        "Over-correction",
    ):
        assert said in text


def test_leaves_out_what_did_not_run(raw_parameters):
    text = describe(
        raw_parameters, input="x.h5ad", batch_key="lane", label_key=None, batch_effects={"corrected": False}
    )
    assert "`lane`" in text
    for absent in ("BRAS", "Corrected", "Over-correction", "among cells of the same"):
        assert absent not in text
    assert describe(raw_parameters, input="x.h5ad", batch_key=None, label_key=None) == ""
