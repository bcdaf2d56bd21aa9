"""Interferon-treated and control cells of eight donors (Kang et al. 2018): what is known to change leads the list."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.cells.samples import find_samples
from scvi_downstream.pipelines.metadata.annotations import join_annotations
from scvi_downstream.pipelines.metadata.expression import compare_expression
from scvi_downstream.pipelines.metadata.options import MetadataAnalysisOptions
from scvi_downstream.pipelines.preparation.options import PreparationOptions
from scvi_downstream.statistics.designs import condition_column
from scvi_downstream.statistics.pseudobulk import test_cells
from scvi_downstream.study.defaults import defaults_of, replicates_of

DATA = Path(os.environ.get("SCVI_DOWNSTREAM_DATA", Path(__file__).resolve().parents[4] / "shared" / "data"))
test_cells.__test__ = False  # a test of statistics, not of pytest
FILE = DATA / "kang_ifnb.h5ad"
INTERFERON = {"ISG15", "ISG20", "IFI6", "IFIT1", "IFIT2", "IFIT3", "LY6E", "OAS1", "RSAD2", "IRF7", "MX1"}
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FILE.exists(), reason=f"{FILE.name} is not in {DATA} (set SCVI_DOWNSTREAM_DATA)"),
]
KEYS = replicates_of(
    sample_key="sample", condition_key="condition", label_key="cell_type_transferred", block_key="donor"
)
OPTIONS = defaults_of(MetadataAnalysisOptions)


@pytest.fixture(scope="module")
def counts():
    import anndata

    from scvi_downstream.pipelines.preparation.nodes import prepare_counts

    cells = anndata.read_h5ad(FILE)
    cells.obs["sample"] = cells.obs["donor"].astype(str) + "_" + cells.obs["condition"].astype(str)
    return prepare_counts(cells, None, KEYS, defaults_of(PreparationOptions))[0]


def genes_by(counts, condition: pd.Series) -> pd.DataFrame:
    changed = counts.copy()
    changed.obs["condition"] = pd.Categorical(condition)
    changed.obs["sample"] = pd.Categorical(changed.obs["donor"].astype(str) + "_" + condition.astype(str))
    annotations, _, _ = join_annotations(changed, None, KEYS, defaults_of(PreparationOptions), OPTIONS)
    clusters = pd.DataFrame({"leiden": changed.obs["cell_type_transferred"]}, index=changed.obs_names)
    genes = compare_expression(changed, clusters, annotations, KEYS, OPTIONS)
    return genes[genes["group"] == "all"]


def test_interferon_genes_lead_with_donors_as_replicates(counts) -> None:
    genes = genes_by(counts, counts.obs["condition"])
    called = genes[genes["p_adjusted"] <= OPTIONS.fdr]
    assert (genes["unit"] == "sample").all()
    assert len(called) > 200
    assert len(INTERFERON & set(genes["gene"].head(15))) >= 6
    response = genes.set_index("gene").loc[sorted(INTERFERON & set(genes["gene"]))]
    assert (response["effect"] > 2).all()


def test_cells_divided_at_random_give_no_genes(counts) -> None:
    halves = np.random.default_rng(0).permuted(np.resize(["ctrl", "stim"], counts.n_obs))
    genes = genes_by(counts, pd.Series(halves, index=counts.obs_names))
    assert (genes["p_adjusted"] <= OPTIONS.fdr).sum() <= 2
    assert 0.02 < (genes["p"] <= 0.05).mean() < 0.09


def changes(counts, block_key: str | None) -> pd.DataFrame:
    keys = KEYS.model_copy(update={"block_key": block_key})
    column = condition_column(counts.obs, find_samples(counts.obs, keys), keys)
    return test_cells(counts, column, np.ones(counts.n_obs, dtype=bool))["stim vs ctrl"]


def test_donors_are_found_as_pairs_and_more_is_found_within_them(counts) -> None:
    found, unpaired = changes(counts, None), changes(counts, "")
    pd.testing.assert_frame_equal(found, changes(counts, "donor"))
    assert set(found["n_blocks"]) == {8}
    assert (found["p_adjusted"] <= 0.05).sum() > 1.15 * (unpaired["p_adjusted"] <= 0.05).sum() > 0


def test_conditions_exchanged_in_half_of_the_donors_change_few_genes(counts) -> None:
    donors, other = sorted(set(counts.obs["donor"])), {"ctrl": "stim", "stim": "ctrl"}
    shares = []
    for seed in range(5):
        turned = counts.obs["donor"].isin(np.random.default_rng(seed).permutation(donors)[:4])
        condition = counts.obs["condition"].astype(str)
        exchanged = counts.copy()
        exchanged.obs["condition"] = condition.where(~turned, condition.map(other)).astype("category")
        shares.append((changes(exchanged, None)["p"] <= 0.05).mean())
    assert np.mean(shares) < 0.06
