"""What the figures of batch effects show."""

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.pipelines.batch_effects.options import BatchEffectOptions
from scvi_downstream.pipelines.batch_effects.plots import (
    plot_batch_effects,
    plot_batch_genes,
    plot_batch_variance,
)
from scvi_downstream.study.defaults import defaults_of

SUMMARY = {"n_batches": 3, "sentences": ["The batch can be predicted."]}


@pytest.fixture
def structure():
    table = pd.DataFrame({"stage": ["before", "after", "corrected"]})
    for classifier in ("linear", "neighbor"):
        table[f"{classifier}_auc"] = [0.98, 0.55, 0.6]
        table[f"{classifier}_p"] = [0.0099, 0.2, 0.05]
        for part, value in (("null_mean", 0.5), ("null_low", 0.46), ("null_high", 0.54)):
            table[f"{classifier}_{part}"] = value
    for name in ("kbet", "kbet_mixed", "kbet_within_labels", "ilisi", "ilisi_mixed", "batch_asw", "bras"):
        table[name] = [0.2, 0.7, 0.8]
    return table.assign(pcr=[0.2, 0.01, 0.02])


@pytest.mark.thorough
def test_aucs_stand_over_their_nulls(structure):
    figure = plot_batch_effects(structure, SUMMARY)
    linear, neighbor, mixing, explained = figure.axes
    assert figure.get_suptitle() == SUMMARY["sentences"][0]
    for axes in (linear, neighbor):
        bands = [(bar.get_y(), bar.get_y() + bar.get_height()) for bar in axes.patches]
        np.testing.assert_allclose(bands, [(0.46, 0.54)] * 3)
        np.testing.assert_allclose(
            [points.get_offsets()[0][1] for points in axes.collections], [0.98, 0.55, 0.6]
        )
    assert "0.98\np = 0.01" in [text.get_text() for text in linear.texts]
    assert len(mixing.patches) == 15
    assert [bar.get_height() for bar in explained.patches] == pytest.approx([20, 1, 2])


def test_metrics_that_are_missing_take_no_room(structure):
    missing = structure.assign(kbet_within_labels=np.nan, batch_asw=np.nan, bras=np.nan).head(2)
    mixing = plot_batch_effects(missing, SUMMARY).axes[2]
    assert [text.get_text() for text in mixing.get_xticklabels()] == ["kBET", "iLISI"]


def test_without_classifiers_the_reason_is_written(structure):
    figure = plot_batch_effects(structure.assign(linear_auc=np.nan), SUMMARY)
    assert figure.texts[0].get_text() == SUMMARY["sentences"][0]


def shares(biology=0.3):
    rows = [
        {"representation": name, "source": source, "share": share, "low": share - 0.01, "high": share + 0.01}
        for name in ("expression", "pca", "latent")
        for source, share in (
            ("batch", 0.1),
            ("biology", biology),
            ("shared", biology * 0),
            ("residual", 0.6),
        )
    ]
    return pd.DataFrame(rows)


def test_shares_are_stacked_to_the_whole():
    figure = plot_batch_variance(shares(), SUMMARY)
    stacked, alone = figure.axes
    assert [text.get_text() for text in stacked.get_yticklabels()][1] == "PCA of log counts"
    assert sum(bar.get_width() for bar in stacked.patches) == pytest.approx(300)
    assert [text.get_text() for text in alone.texts] == ["10.0"] * 3
    without = plot_batch_variance(shares(np.nan), SUMMARY)
    assert [text.get_text() for text in without.legends[0].get_texts()] == ["batch alone", "neither"]
    assert (
        plot_batch_variance(shares(), SUMMARY | {"n_batches": 1}).texts[0].get_text() in SUMMARY["sentences"]
    )


@pytest.fixture
def genes():
    return pd.DataFrame(
        {
            "gene": [f"g{i}" for i in range(50)],
            "batch_variance": np.linspace(0.6, 0, 50),
            "biology_variance": 0.2,
            "batch_f": 10.0,
            "batch_p_adjusted": [0.001] * 30 + [0.5] * 20,
            "batch_variance_corrected": 0.01,
        }
    )


def test_leading_genes_are_named_and_called_ones_counted(genes):
    leading, everyone = plot_batch_genes(genes, defaults_of(BatchEffectOptions, top_genes=7)).axes
    assert [text.get_text() for text in leading.get_yticklabels()] == [f"g{i}" for i in range(7)]
    assert "30 of 50 genes differ between batches" in everyone.get_title()
    bare = genes.assign(biology_variance=np.nan, batch_variance_corrected=np.nan)
    _, distribution = plot_batch_genes(bare, defaults_of(BatchEffectOptions)).axes
    assert distribution.get_ylabel() == "genes"


def test_genes_without_a_test_give_the_reason(genes):
    figure = plot_batch_genes(genes.assign(batch_f=np.nan), defaults_of(BatchEffectOptions))
    assert "cannot be told apart" in figure.texts[0].get_text()
