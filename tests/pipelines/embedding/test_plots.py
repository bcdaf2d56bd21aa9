"""Embedding figures: what is drawn, and what is refused."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.embedding.options import EmbeddingOptions
from scvi_downstream.pipelines.embedding.plots import plot_embedding
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.options import UNKNOWN
from scvi_downstream.study.defaults import defaults_of

N_CELLS = 90
KEYS = Keys(batch_key="batch", label_key="cell_type")


@pytest.fixture
def counts() -> ad.AnnData:
    generator = np.random.default_rng(0)
    obs = pd.DataFrame(
        {
            "batch": pd.Categorical(generator.choice(["a", "b"], N_CELLS)),
            "cell_type": pd.Categorical(generator.choice(["B", "T", UNKNOWN], N_CELLS)),
            "score": generator.normal(size=N_CELLS),
            "donor": pd.Categorical([f"donor{i % 60}" for i in range(N_CELLS)]),
        },
        index=[f"cell{i}" for i in range(N_CELLS)],
    )
    return ad.AnnData(np.ones((N_CELLS, 2), dtype=np.float32), obs=obs)


def umap_of(counts: ad.AnnData, n_components: int) -> pd.DataFrame:
    points = np.random.default_rng(1).normal(size=(counts.n_obs, n_components)).astype(np.float32)
    return pd.DataFrame(points, index=counts.obs_names, columns=[f"UMAP{i + 1}" for i in range(n_components)])


def quality_of(counts: ad.AnnData, mitochondrial: float) -> pd.DataFrame:
    return pd.DataFrame(
        {"n_counts": 100, "n_genes": 50, "mitochondrial_percent": mitochondrial}, index=counts.obs_names
    )


def test_one_panel_a_colouring(counts: ad.AnnData) -> None:
    options = defaults_of(EmbeddingOptions, color_by=("score", "donor", "n_genes"))
    figure = plot_embedding(umap_of(counts, 2), counts, quality_of(counts, 3.0), KEYS, options)
    titles = [axes.get_title() for axes in figure.axes if axes.get_title()]
    assert titles == [
        "batch", "cell_type", "score", "donor (39 largest of 60)", "n_genes", "counts per cell (log10)",
        "mitochondrial counts (%)",
    ]  # fmt: skip


def test_without_keys_and_mitochondrial_genes_quality_remains(counts: ad.AnnData) -> None:
    figure = plot_embedding(
        umap_of(counts, 2), counts, quality_of(counts, np.nan), Keys(), defaults_of(EmbeddingOptions)
    )
    assert [axes.get_title() for axes in figure.axes if axes.get_title()] == ["counts per cell (log10)"]


def test_a_misspelt_column_is_named_with_the_closest(counts: ad.AnnData) -> None:
    options = defaults_of(EmbeddingOptions, color_by=("scroe",))
    with pytest.raises(InputError, match="'scroe' is not in obs; the closest is 'score'"):
        plot_embedding(umap_of(counts, 2), counts, quality_of(counts, 1.0), KEYS, options)
