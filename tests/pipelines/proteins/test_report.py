from __future__ import annotations

import json

import numpy as np
import pandas as pd

from scvi_downstream.pipelines.proteins.imputation import COLUMNS as SCORE_COLUMNS
from scvi_downstream.pipelines.proteins.imputation import METHODS, score_predictions
from scvi_downstream.pipelines.proteins.markers import COLUMNS as MARKER_COLUMNS
from scvi_downstream.pipelines.proteins.markers import GENE_COLUMNS
from scvi_downstream.pipelines.proteins.options import ProteinsOptions
from scvi_downstream.pipelines.proteins.report import summarize_proteins
from scvi_downstream.study.defaults import defaults_of

from .conftest import KEYS, OPTIONS, simulate

NO_SCORES = pd.DataFrame(columns=list(SCORE_COLUMNS))
NO_MARKERS = pd.DataFrame(columns=list(MARKER_COLUMNS))
NO_GENES = pd.DataFrame(columns=list(GENE_COLUMNS))


def scores(noise: dict[str, float]) -> pd.DataFrame:
    random = np.random.default_rng(0)
    measured = pd.DataFrame(random.normal(size=(200, 4)), columns=list("wxyz"))
    predicted = {name: measured + noise.get(name, 1.0) * random.normal(size=(200, 4)) for name in METHODS}
    table = score_predictions(predicted | {"measured": measured}, 200, 0)
    return table.assign(held_out="one", kind="batch", seconds=61.0, peak_memory_mb=10.0)


def test_it_says_how_well_hidden_proteins_were_imputed() -> None:
    found = summarize_proteins(simulate(60), scores({"totalvi": 0.3}), NO_MARKERS, NO_GENES, KEYS, OPTIONS)
    (score,) = found["imputation"]
    assert score["better_than_knn"] == 4
    assert score["worse_than_knn"] == 0
    assert score["median_pearson"]["totalvi"] > 0.9
    text = " ".join(found["sentences"])
    assert "With the proteins of batch 'one' hidden (200 cells)" in text
    assert "better than the neighbours in PCA for 4 and worse for 0" in text
    assert found["imputed_by"] == "totalvi"
    assert found["sentences"][0].startswith(
        "Proteins that a batch did not measure are imputed by totalVI, chosen by"
    )
    json.dumps(found)


def test_it_says_where_neighbours_do_better_and_where_nothing_does_well() -> None:
    behind = summarize_proteins(simulate(60), scores({"knn_pca": 0.3}), NO_MARKERS, NO_GENES, KEYS, OPTIONS)
    assert behind["imputed_by"] == "knn_pca"
    assert "imputed by nearest neighbours in PCA of RNA, chosen by" in behind["sentences"][0]
    assert "totalVI 0.7" in behind["sentences"][0]
    noise = dict.fromkeys(METHODS, 20.0)
    poor = summarize_proteins(simulate(60), scores(noise), NO_MARKERS, NO_GENES, KEYS, OPTIONS)
    assert poor["sentences"][0].endswith("Imputed proteins are not to be relied on.")


def test_it_says_what_was_not_measured_and_why_nothing_was_scored() -> None:
    counts = simulate(30, unmeasured=True)
    found = summarize_proteins(counts, NO_SCORES, NO_MARKERS, NO_GENES, KEYS, OPTIONS)
    assert found["batches_without_proteins"] == ["two"]
    assert found["imputed_by"] == "totalvi"
    text = " ".join(found["sentences"])
    assert "those of 'two', which measured none, are imputed" in text
    assert "the only batch of 'batch' with proteins has too few cells to hide a third of them" in text
    assert "No protein has the name of a gene" in text
    off = summarize_proteins(
        counts, NO_SCORES, NO_MARKERS, NO_GENES, KEYS, defaults_of(ProteinsOptions, max_held_out_batches=0)
    )
    assert off["imputation_reason"] == "proteins.max_held_out_batches is 0"
    no_batch = KEYS.model_copy(update={"batch_key": None})
    assert "the only data set without batch_key" in " ".join(
        summarize_proteins(counts, NO_SCORES, NO_MARKERS, NO_GENES, no_batch, OPTIONS)["sentences"]
    )


def test_markers_are_named_by_group() -> None:
    rows = [
        {"grouping": "labels", "group": group, "protein": protein, "both": group == "A", "lfc_median": lfc}
        for group in "AB"
        for protein, lfc in (("CD3", 2.0), ("CD4", 3.0), ("CD19", -2.0))
    ]
    markers = pd.DataFrame(rows).reindex(columns=list(MARKER_COLUMNS))
    found = summarize_proteins(simulate(60), NO_SCORES, markers, NO_GENES, KEYS, OPTIONS)
    assert found["markers"] == {"labels": {"A": ["CD4", "CD3"], "B": []}}
    assert "A: CD4, CD3" in " ".join(found["sentences"])
    assert "p-values describe" not in " ".join(found["sentences"])  # labels are not made from the proteins


def test_one_protein_says_little() -> None:
    counts = simulate(60)
    counts.obsm["protein_expression"] = counts.obsm["protein_expression"][["CD3"]]
    text = summarize_proteins(counts, NO_SCORES, NO_MARKERS, NO_GENES, KEYS, OPTIONS)["sentences"][0]
    assert text.startswith("1 protein of 60 cells")
    assert "one protein says little beyond the RNA" in text
