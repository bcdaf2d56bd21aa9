"""What the next finer clustering would split: planted parts are supported, halves of noise are not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from scipy import sparse

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.clustering.splits import describe_splits, find_splits, next_finer

N_CELLS, N_GENES, N_SEEN = 400, 600, 100
PARTS = np.repeat([0, 1, 2], (150, 100, 150))


def counts_of(changed: int, *, seed: int = 0, seen: int = N_SEEN) -> AnnData:
    """Of 400 cells, 100 differ from 150 of the others in so many of the genes that the model has not seen."""
    rng = np.random.default_rng(seed)
    rates = np.tile(rng.gamma(2, 0.5, N_GENES), (N_CELLS, 1))
    rates[PARTS == 1, N_SEEN : N_SEEN + changed] *= 4
    rates *= rng.lognormal(0, 0.5, (N_CELLS, 1))
    seen_genes = np.arange(N_GENES) < seen
    obs = pd.DataFrame({"batch": rng.choice(["a", "b"], N_CELLS)}, index=[f"c{i}" for i in range(N_CELLS)])
    var = pd.DataFrame({"highly_variable": seen_genes}, index=[f"g{i}" for i in range(N_GENES)])
    return AnnData(sparse.csr_matrix(rng.poisson(rates).astype(np.float32)), obs, var)


def clusters_of(counts: AnnData) -> tuple[pd.DataFrame, dict[str, Any]]:
    coarse, fine = np.where(PARTS == 2, "1", "0"), np.array(["0", "2", "1"])[PARTS]
    table = pd.DataFrame(
        {"leiden_0.5": coarse, "leiden_1": coarse, "leiden_1.5": fine}, index=counts.obs_names
    )
    sizes = {"leiden_0.5": 2, "leiden_1": 2, "leiden_1.5": 3, "leiden": 2, "kmeans": 9}
    return table, {"recommended_resolution": 0.5, "recommended_column": "leiden_0.5", "n_clusters": sizes}


def test_a_planted_split_is_supported_by_its_genes() -> None:
    counts = counts_of(30)
    splits = find_splits(counts, *clusters_of(counts), Keys(batch_key="batch"))
    assert list(splits["cluster"]) == ["0", "0"]
    assert list(splits["part"]) == ["0", "2"]
    assert list(splits["n_cells"]) == [150, 100]
    assert splits["supported"].all()
    assert splits["n_genes"].between(25, 32).all()
    planted = {f"g{i}" for i in range(N_SEEN, N_SEEN + 30)}
    assert all(set(genes.split(", ")) <= planted for genes in splits["top_genes"])
    assert describe_splits(splits).startswith(
        "The next finer resolution, 1.5, splits cluster 0 into 150 + 100 cells (supported by"
    )


@pytest.mark.parametrize("seed", range(5))
def test_a_split_of_noise_is_not_supported(seed: int) -> None:
    counts = counts_of(0, seed=seed)
    splits = find_splits(counts, *clusters_of(counts), Keys())
    assert not splits["supported"].any()
    assert "not supported" in describe_splits(splits)


def test_without_genes_that_the_model_has_not_seen_nothing_is_said_of_support() -> None:
    counts = counts_of(30, seen=N_GENES)
    splits = find_splits(counts, *clusters_of(counts), Keys())
    assert splits["supported"].isna().all()
    assert "no genes are left that the model has not seen" in describe_splits(splits)


def test_where_nothing_is_finer_nothing_is_split() -> None:
    counts = counts_of(0)
    table, summary = clusters_of(counts)
    assert next_finer(summary) == 1.5
    summary["recommended_resolution"], summary["recommended_column"] = 1.5, "leiden_1.5"
    splits = find_splits(counts, table, summary, Keys())
    assert splits.empty
    assert describe_splits(splits) == ""
