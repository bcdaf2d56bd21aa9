from __future__ import annotations

from typing import Any, Literal

import pytest
from huggingface_hub import ModelCard
from pydantic import ValidationError

from scvi_downstream.models.families import FAMILIES
from scvi_downstream.models.specification import ModelSpec
from scvi_downstream.pipelines.hub.card import CardFacts, tabulate_card_scores, write_card
from scvi_downstream.pipelines.hub.options import HubOptions
from scvi_downstream.study.defaults import defaults_of

SCORES = {
    "elbo_test": -300.25,
    "elbo_test_se": 4.0,
    "scib_total": 0.61,
    "scib_total_low": 0.55,
    "scib_total_high": 0.66,
    "leiden_ari_labels": 0.4,
    "seconds": 12.0,
    "family": "SCVI",
}


def facts(**changed: Any) -> CardFacts:
    content: dict[str, Any] = {
        "study": "pbmc",
        "name": "scvi",
        "family": "SCVI",
        "settings": {"n_latent": 10, "encode_covariates": False},
        "setup": {"batch_key": "batch", "layer": None},
        "scores": SCORES,
        "champion": {"model": "scvi", "reason": "scvi has the best ELBO."},
        "training": {"epochs": 100, "seconds": 12.5, "device": "cpu"},
        "data": {"n_cells": 12345, "batches": {"a": 1, "b": 2}, "samples": {"Jane Doe": 3}},
        "seed": 7,
        "split": {"train": 80, "validation": 10, "test": 10},
        "versions": {"scvi_version": "1.5.1", "anndata_version": "0.13.4"},
        "n_genes": 2000,
        "annotated": True,
        "columns": ["batch", "cell_type"],
        "no_cells": None,
    }
    return CardFacts(**(content | changed))


def test_the_header_is_what_hubs_sort_models_by() -> None:
    card = ModelCard(write_card(facts(), defaults_of(HubOptions, license="cc-by-4.0", tissues=("blood",))))
    assert card.data.license == "cc-by-4.0"
    assert card.data.library_name == "scvi-tools"
    assert {"model_cls_name:SCVI", "scvi_version:1.5.1", "tissue:blood", "annotated:True"} <= set(
        card.data.tags
    )


def test_the_card_says_how_good_on_what_and_by_whom() -> None:
    options = defaults_of(HubOptions, description="Blood of healthy donors.", citation=("Doe (2026)",))
    text = write_card(facts(), options)
    for said in (
        "Blood of healthy donors.",
        "12,345 cells and 2,000 genes",
        "scvi has the best ELBO.",
        "| `elbo_test` | -300.2 | ± 4 (standard error) |",
        "| `scib_total` | 0.61 | 0.55 to 0.66 (95 % interval) |",
        "| batches | 2 |",
        "80 cells were trained on; 10 chose the epoch",
        "| seed | 7 |",
        "`batch`, `cell_type`",
        "- Doe (2026)",
        "doi:10.1038/s41592-018-0229-2",
        "The encoder sees no batch",
    ):
        assert said in text
    assert "Jane Doe" not in text


def test_a_card_without_licence_scores_or_cells_says_so() -> None:
    text = write_card(
        facts(scores={}, columns=None, no_cells="hub.minified is false"), defaults_of(HubOptions)
    )
    for said in (
        "None was given: ask the authors",
        "No licence was given.",
        "It was not scored on held-out cells.",
        "None (hub.minified is false)",
        "hub.load_model(adata=counts)",
    ):
        assert said in text
    assert "# Metrics" not in text
    assert "opened.latent" not in text


def test_another_champion_is_named() -> None:
    champion = {"model": "scanvi", "reason": "scanvi has the best scib_total."}
    assert "The study's champion is another model: scanvi has" in write_card(
        facts(champion=champion), defaults_of(HubOptions)
    )


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_has_a_card(family: str) -> None:
    text = write_card(facts(family=family), defaults_of(HubOptions))
    assert f"model_cls_name:{family}" in text
    assert ("trained on the study's labels" in text) == (family == "SCANVI")


def test_the_words_of_a_family_are_those_of_its_record(monkeypatch: pytest.MonkeyPatch) -> None:
    class NewSpec(ModelSpec):
        family: Literal["NEW"] = "NEW"
        title = "newVI"
        description = "newVI [@lopez2018]"
        paper = "Doe (2027), doi:10.1/new"
        obsm_key = "X_newVI"
        needs = frozenset({"labels"})
        can = frozenset({"proteins"})

    monkeypatch.setitem(FAMILIES, "NEW", NewSpec)
    text = write_card(facts(family="NEW"), defaults_of(HubOptions))
    for said in (
        "# newVI model 'scvi'",
        "- newVI: Doe (2027), doi:10.1/new",
        "modality:protein",
        "trained on the study's labels",
        "The encoder sees no batch",
    ):
        assert said in text


def test_only_numbers_are_scores() -> None:
    assert tabulate_card_scores({"scib_note": "left out", "seconds": 3.0}) == ""


def test_an_address_that_a_hub_refuses_is_refused() -> None:
    with pytest.raises(ValidationError, match="training_data_url"):
        defaults_of(HubOptions, training_data_url="ftp.example")
