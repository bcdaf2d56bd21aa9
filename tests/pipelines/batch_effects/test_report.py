"""The verdict says what the numbers say."""

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.batch_effects import structure, variance
from scvi_downstream.pipelines.batch_effects.options import BatchEffectOptions
from scvi_downstream.pipelines.batch_effects.report import judge, separation_sentence, summarize_batch_effects
from scvi_downstream.study.defaults import defaults_of

KEYS = Keys(batch_key="batch", label_key="cell_type")


def stage(name, auc, p, null=0.5, **changed):
    row = dict.fromkeys(structure.COLUMNS, np.nan) | {
        "stage": name,
        "n_cells": 500,
        "n_batches": 3,
        "exchangeable_share": 1.0,
        "unit": "cell",
    }
    for classifier in ("linear", "neighbor"):
        row |= {
            f"{classifier}_auc": auc - (classifier == "neighbor") * 0.01,
            f"{classifier}_null_mean": null,
            f"{classifier}_null_sd": 0.02,
            f"{classifier}_p": p,
            f"{classifier}_permutations": 100,
        }
    return row | changed


def verdict(before, after):
    return judge({"before": before, "after": after}, 0.05)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ((0.98, 0.01), (0.5, 0.6), "removed"),
        ((0.98, 0.01), (0.56, 0.01), "weaker"),
        ((0.98, 0.01), (0.97, 0.01), "kept"),
        ((0.70, 0.01), (0.80, 0.01), "stronger"),
        ((0.51, 0.30), (0.5, 0.6), "none"),
        ((0.51, 0.30), (0.7, 0.01), "brought in"),
        ((0.515, 0.01), (0.5, 0.6), "none"),  # detectable in many cells, but negligible
    ],
)
def test_outcomes(before, after, expected):
    assert verdict(stage("before", *before), stage("after", *after)) == expected


def test_one_batch_and_full_confounding_are_outcomes_of_their_own():
    row = stage("after", 0.9, 0.01)
    assert verdict(stage("before", 0.9, 0.01, n_batches=1), row) == "one batch"
    assert verdict(stage("before", 0.9, 1.0, exchangeable_share=0.0), row) == "confounded"


def tables(rows, *, shared=0.0, vanishing=()):
    shares = pd.DataFrame(
        [
            {"representation": name, "source": source, "share": share, "low": share, "high": share}
            for name in ("expression", "pca", "latent")
            for source, share in zip(variance.SOURCES, (0.12, 0.3, shared, 0.58 - shared), strict=True)
        ]
    )
    genes = pd.DataFrame(
        {"gene": ["G1", "G2"], "batch_p_adjusted": [0.001, 0.7], "batch_unit": "cell"},
    ).reindex(columns=list(variance.GENE_COLUMNS))
    labels = pd.DataFrame(
        [
            {"label": name, "stage": "after", "n_cells": 80, "recall": 0.4, "change": -0.5, "merges_into": "T",
             "vanishes": name in vanishing, "main_batch": "b1", "main_batch_share": 0.99}
            for name in ("B", "T")
        ]
    ).reindex(columns=list(structure.SEPARATION_COLUMNS))  # fmt: skip
    return pd.DataFrame(rows), shares, genes, labels


def sentences(rows, keys=KEYS, *, confounded=False, **planted):
    each = {name: pd.Categorical(["x", "y"] * 10) for name in filter(None, keys.categorical.values())}
    each[keys.batch_key] = pd.Categorical(["x", "y"] * 10 if confounded else ["x", "x", "y", "y"] * 5)
    counts = AnnData(np.zeros((20, 1)), obs=pd.DataFrame(each, index=[f"cell{i}" for i in range(20)]))
    summary = summarize_batch_effects(*tables(rows, **planted), counts, keys, defaults_of(BatchEffectOptions))
    return summary, summary["sentences"]


def test_first_sentence_holds_the_numbers_and_the_outcome():
    summary, said = sentences([stage("before", 0.98, 0.01), stage("after", 0.56, 0.01)])
    assert said[0] == (
        "Before correction (PCA of log counts) the batch can be predicted with AUC 0.98 by a linear classifier "
        "(null 0.50 ± 0.02, batches permuted within cell_type; p = 0.01); on the latent with AUC 0.56 by a "
        "linear classifier (null 0.50 ± 0.02; p = 0.01): batch structure is weaker but still there (13 % of the "
        "excess over the null is left)."
    )
    assert "batch alone 12 %, cell_type alone 30 %, both together 0.0 %" in said[1]
    assert "1 of 2 genes differ between batches given cell_type (FDR 5 %), most of all G1." in said[1]
    assert said[2] == (
        "No sign of over-correction: none of 2 values of cell_type loses its neighbourhood in the latent."
    )
    assert "count cells as replicates" in said[3]
    assert summary["before"]["linear_auc"] == 0.98
    assert summary["verdict"] == "weaker"
    assert summary["variance"]["pca"]["batch"] == 0.12
    assert "kbet" not in summary["before"], "NaN is no number to log"


def test_without_structure_no_correction_is_needed():
    _, said = sentences([stage("before", 0.5, 0.5), stage("after", 0.5, 0.5), stage("corrected", 0.5, 0.4)])
    assert said[0].startswith("On PCA of log counts no batch structure was found")
    assert "no correction is needed. Corrected expression does not tell the batch" in said[0]


def test_vanishing_labels_confounding_and_overlap_are_said():
    summary, said = sentences(
        [stage("before", 0.9, 0.01), stage("after", 0.5, 0.4)],
        confounded=True,
        shared=0.2,
        vanishing=("B",),
    )
    text = " ".join(said)
    assert (
        "'B' (recall 0.90 → 0.40, 80 cells, 99 % of them in batch 'b1') merges into 'T' in the latent" in text
    )
    assert (
        "each batch of 'batch' has one value of 'cell_type' only, so the two are confounded" in text.lower()
    )
    assert "overlap: 20 % of the variance" in text
    assert summary["n_labels_vanished"] == 1


@pytest.mark.parametrize(
    ("keys", "rows", "expected"),
    [
        (Keys(batch_key="batch"), {}, "Without labels a difference in composition counts"),
        (
            Keys(batch_key="batch", label_key="cell_type", condition_key="batch"),
            {},
            "batch_key and condition_key are both 'batch'",
        ),
        (
            KEYS,
            {"exchangeable_share": 0.2},
            "Only 20 % of the cells have a cell_type that is found in several",
        ),
        (KEYS, {"linear_permutations": 39}, "null has 39 permutations in place of 100"),
        (KEYS, {}, "Corrected expression was not measured: the primary model does not decode it"),
        (KEYS, {"exchangeable_share": 0.0}, "batch and biology cannot be told apart: no test"),
        (KEYS, {"n_batches": 1}, "obs['batch'] holds one batch"),
    ],
)
def test_what_limits_the_verdict_is_said(keys, rows, expected):
    _, said = sentences([stage("before", 0.9, 0.01, **rows), stage("after", 0.5, 0.4, **rows)], keys)
    assert expected in " ".join(said)


@pytest.mark.parametrize("missing", ["before", "after"])
def test_missing_results_are_not_an_absence_of_structure(missing):
    nothing = {"exchangeable_share": np.nan, "n_cells": 500}
    rows = [
        stage(
            name,
            *((np.nan, np.nan) if name == missing else (0.5, 0.5)),
            **(nothing if name == missing else {}),
        )
        for name in ("before", "after")
    ]
    summary, said = sentences(rows)
    assert summary["verdict"] == "not testable"
    assert "fewer than two batches" in said[0]
    assert "no correction is needed" not in said[0]


def test_labels_that_are_too_small_are_not_cleared():
    *_, labels = tables([])
    labels.loc[0, "n_cells"] = 9
    said = separation_sentence(labels, KEYS)
    assert "none of 1 values" in said
    assert "1 with fewer than 10 cells could not be judged" in said
    assert "No sign" not in separation_sentence(labels.assign(n_cells=9), KEYS)
