from __future__ import annotations

import logging

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from scvi_downstream.pipelines.preparation.genes import (
    G2M_GENES,
    RENAMED,
    S_GENES,
    find_genes,
    score_cell_cycle,
)

N_CELLS = 90
PHASES = np.repeat(["G1", "S", "G2M"], N_CELLS // 3)


def _cells(genes: list[str]) -> ad.AnnData:
    random = np.random.default_rng(0)
    means = np.full((N_CELLS, len(genes)), 1.0)
    for phase, cycling in (("S", S_GENES), ("G2M", G2M_GENES)):
        inside = np.isin([gene.upper() for gene in genes], [*cycling, *RENAMED.values()])
        means[np.ix_(phase == PHASES, inside)] = 4.0
    counts = random.poisson(means)
    cells = pd.DataFrame(index=[f"cell{i}" for i in range(N_CELLS)])
    return ad.AnnData(sparse.csr_matrix(counts, dtype=np.float32), obs=cells, var=pd.DataFrame(index=genes))


BACKGROUND = [f"GENE{i}" for i in range(300)]


def test_the_lists_are_complete() -> None:
    assert (len(set(S_GENES)), len(set(G2M_GENES))) == (43, 54)
    assert not set(S_GENES) & set(G2M_GENES)


@pytest.mark.slow
def test_scores_are_those_of_scanpy_and_find_the_phases() -> None:
    import scanpy as sc

    counts = _cells([*S_GENES[:20], *G2M_GENES[:25], *BACKGROUND])
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    scores = score_cell_cycle(counts, seed=3)
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    assert scores["phase"].cat.categories.tolist() == ["G1", "S", "G2M"]
    cycling = PHASES != "G1"
    assert (scores["phase"].astype(str).to_numpy() == PHASES)[cycling].all()
    expected = counts.copy()
    sc.pp.normalize_total(expected, target_sum=1e4)
    sc.pp.log1p(expected)
    sc.tl.score_genes_cell_cycle(
        expected, s_genes=list(S_GENES[:20]), g2m_genes=list(G2M_GENES[:25]), random_state=3
    )
    np.testing.assert_allclose(scores["S_score"], expected.obs["S_score"], atol=1e-5)
    np.testing.assert_allclose(scores["G2M_score"], expected.obs["G2M_score"], atol=1e-5)
    pd.testing.assert_frame_equal(scores, score_cell_cycle(counts, seed=3))


@pytest.mark.slow
def test_symbols_of_mouse_and_beside_identifiers_are_found() -> None:
    mouse = [name.title() for name in [*S_GENES[:12], *G2M_GENES[:12]]]
    human = score_cell_cycle(_cells([*S_GENES[:12], *G2M_GENES[:12], *BACKGROUND]), 0)
    counts = _cells([*mouse, *BACKGROUND])
    pd.testing.assert_frame_equal(score_cell_cycle(counts, 0), human)
    counts.var["symbol"] = counts.var_names.to_numpy()
    counts.var_names = [f"ENSMUSG{i:011d}" for i in range(counts.n_vars)]
    assert score_cell_cycle(counts, 0)["phase"].notna().all()


def test_renamed_genes_are_found_once() -> None:
    var = pd.DataFrame(index=["CENPU", "JPT1", "HN1", "PIMREG", "PCNA", "pcna"])
    assert find_genes(var, S_GENES).tolist() == [4, 0]
    assert find_genes(var, G2M_GENES).tolist() == [3, 2]


@pytest.mark.parametrize(
    ("genes", "obs", "said"),
    [
        ([*S_GENES[:9], *G2M_GENES], {}, "9 of 43 S genes and 54 of 54 G2/M genes found"),
        ([*S_GENES, *G2M_GENES], {"G2M_score": 0.0, "phase": "G1"}, "G2M_score, phase of obs used"),
    ],
)
def test_nothing_is_computed_without_genes_or_when_it_is_there(
    genes: list[str], obs: dict[str, object], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    counts = _cells([*genes, *BACKGROUND])
    counts.obs = counts.obs.assign(**obs)
    with caplog.at_level(logging.INFO):
        scores = score_cell_cycle(counts, 0)
    assert scores.shape == (N_CELLS, 0)
    assert scores.index.equals(counts.obs_names)
    assert said in caplog.text
