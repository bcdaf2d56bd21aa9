from importlib.metadata import version

import pytest

from scvi_downstream.pipelines.reporting.nodes import write_methods
from scvi_downstream.report import bibliography
from scvi_downstream.study.completion import complete_parameters
from scvi_downstream.study.defaults import default_parameters
from scvi_downstream.study.plan import plan_study

from .conftest import gathered

FULL = {
    "input": "mine.h5ad",
    "batch_key": "batch",
    "label_key": "cell_type",
    "sample_key": "donor",
    "condition_key": "condition",
    "categorical_covariates": ["sex"],
    "de": {"pairs": [["cell_type", "B", "T"]], "delta": None, "mode": "change"},
    "imputation": {"transform_batch": ["a"], "library_size": "latent"},
    "embedding": {"exact_up_to": 10},
    "clustering": {"kmeans_k": 7},
    "preparation": {"filters": {"min_genes": 200}},
}
BARE = {
    "input": "mine.h5ad",
    "batch_key": None,
    "label_key": None,
    "models": {"mine": {"family": "SCVI", "n_latent": 5}},
    "primary": "mine",
    "de": {"wilcoxon": False},
}


@pytest.fixture
def write(raw_parameters, preparation_summary, training_summary):
    def text(changes, **summary):
        parameters = complete_parameters(default_parameters(raw_parameters | changes))
        study = plan_study(parameters)
        return write_methods(study, **gathered(study, preparation_summary | summary, training_summary))

    return text


def test_says_what_ran_with_its_numbers(write):
    text = write({})
    for said in (
        "700 cells and 765 genes",
        "500 genes by Seurat v3's normalised variance [@stuart2019]",
        f"scvi-tools {version('scvi-tools')} [@gayoso2022]",
        "10 latent dimensions",
        "initialised with the weights of `scvi`",
        "`batch` as batch",
        "mini-batches of 127 cells for at most 400 epochs",
        "the best was epoch 180",
        "15 nearest neighbours",
        "resolution 0.25, 0.3, 0.4, 0.5, 0.6, 0.8, 1, 1.5 and 2",
        "above 0.25 between pairs of cells, in 5,000 posterior samples",
        "differs by more than 0.25 log2",
        "Wilcoxon rank-sum test [@wilcoxon1945]",
        "PCA and Harmony [@korsunsky2019]",
        "peripheral blood mononuclear cells [@zheng2017]",
    ):
        assert said in text


@pytest.mark.parametrize("changes", [{}, FULL, BARE], ids=["demo", "full", "bare"])
def test_every_citation_is_in_the_bibliography(write, changes):
    text = write(changes)
    cited = bibliography.cited_keys(text)
    assert text.count("@") >= len(cited) > 10
    assert list(bibliography.parse(bibliography.write_references(text))) == cited


def test_leaves_out_what_did_not_run(write):
    text = write(BARE)
    for absent in (
        "Wilcoxon",
        "pseudobulk",
        "Harmony",
        "scANVI",
        "LDVAE",
        "scib",
        "Counterfactual",
        "kBET",
        "zheng2017",
    ):
        assert absent.lower() not in text.lower(), absent
    assert "No batch or covariate was modelled" in text
    assert "5 latent dimensions" in text


def test_says_everything_that_a_full_study_adds(write):
    text = write(FULL, filters={"min_genes": {"threshold": 200, "removed": 3}})
    for said in (
        "[@law2014]",
        "[@squair2021]",
        "`sex` as categorical covariate",
        "B against T of `cell_type`",
        "`condition` within each cell type",
        "as if every cell came from a",
        "pynndescent",
        "k = 7",
        "`min_genes` = 200",
        "each cell's own library size",
    ):
        assert said in text
    assert "Faiss" not in text
    assert "the highest mean silhouette" not in text


def test_training_of_one_model_is_told_apart(write):
    text = write({"models": {"mine": {"family": "SCVI", "training": {"lr": 0.01}}}, "primary": "mine"})
    assert "For `mine`, `lr` = 0.01." in text


def test_no_early_stopping_no_word_of_it(write):
    assert "Training stopped" not in write({"training": {"early_stopping": False}})


@pytest.mark.parametrize(
    ("block_key", "expected"),
    [(None, "within blocks of `lane`"), ("chip", "within blocks of `chip`"), ("", None)],
)
def test_says_within_what_conditions_are_compared(write, block_key, expected):
    text = write(FULL | {"block_key": block_key}, design={"block": "lane"})
    assert (expected in text) if expected else ("within blocks" not in text)
