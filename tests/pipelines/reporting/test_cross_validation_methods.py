from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.cross_validation.report import describe_cross_validation
from scvi_downstream.study.completion import complete_parameters
from scvi_downstream.study.graph import study_graph
from scvi_downstream.study.parameters import StudyParameters


def describe(raw, **changes):
    parameters = complete_parameters(raw | changes)
    keys = Keys.model_validate(parameters["keys"])
    study = StudyParameters.model_validate(
        {name: value for name, value in parameters.items() if name != "keys"}
    )
    return describe_cross_validation(study, keys, study_graph(parameters))


def test_says_what_was_held_out_and_how_it_was_scored(raw_parameters):
    text = describe(
        raw_parameters, cross_validation={"models": ["scvi", "ldvae"], "n_folds": 4, "max_epochs": 50}
    )
    for said in (
        "`scvi` and `ldvae` were fitted anew in 4-fold",
        "stratified by `batch` and `cell_type`",
        "at most 50 epochs",
        "[@nadeau2003]",
        "without each batch of `batch`",
        "log p(x) = log 1/B Σ p(x | b)",
    ):
        assert said in text


def test_leaves_out_what_did_not_run(raw_parameters):
    assert describe(raw_parameters, cross_validation={"models": []}) == ""
    folds_only = describe(raw_parameters, cross_validation={"models": ["scvi"], "batches": False})
    assert "mixture" not in folds_only
    unbatched = describe(
        raw_parameters, input="x.h5ad", batch_key=None, label_key=None, cross_validation={"models": ["scvi"]}
    )
    assert "stratified" not in unbatched
    assert "mixture" not in unbatched
