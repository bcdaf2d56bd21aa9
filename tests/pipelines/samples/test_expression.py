from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse

from scvi_downstream.pipelines.samples.design import make_contrast, make_contrasts, sample_design
from scvi_downstream.pipelines.samples.expression import change_of_expression, pseudobulk_tests
from scvi_downstream.runtime.threads import quiet

CONDITIONS = ("ctrl", "stim") * 5
BLOCKS = tuple(f"d{i // 2}" for i in range(10))


def counts_of(effect: float, seed: int) -> tuple[sparse.csr_matrix, np.ndarray]:
    """10 samples × 30 cells × 200 genes with differences of samples; the first 20 genes respond."""
    random = np.random.default_rng(seed)
    rate = random.gamma(2, 1, size=200) * np.exp(random.normal(scale=0.1, size=(10, 200)))
    rate[1::2, :20] *= 2**effect
    of_cell = np.repeat(np.arange(10), 30)
    return sparse.csr_matrix(random.poisson(rate[of_cell]).astype(np.float32)), of_cell


@pytest.mark.parametrize("blocks", [BLOCKS, ()])
def test_sums_by_sample_find_planted_genes_only(blocks: tuple[str, ...]) -> None:
    made = make_contrast(CONDITIONS, blocks, np.arange(10), "stim", "ctrl", n_permutations=100, seed=0)
    matrix, of_cell = counts_of(1.0, 0)
    table = pseudobulk_tests(matrix, of_cell, made)
    assert (table["pseudobulk_p_adjusted"][:20] < 0.05).mean() > 0.9
    assert abs(table["pseudobulk_lfc"][:20].mean() - table["pseudobulk_lfc"][20:].mean() - 1) < 0.15
    assert (table["pseudobulk_p_adjusted"][20:] < 0.05).mean() < 0.1


def test_sums_by_sample_of_noise_have_uniform_p_values() -> None:
    made = make_contrast(CONDITIONS, BLOCKS, np.arange(10), "stim", "ctrl", n_permutations=100, seed=0)
    p = np.concatenate(
        [pseudobulk_tests(*counts_of(0.0, seed), made)["pseudobulk_p"].to_numpy() for seed in range(5)]
    )
    p = p[np.isfinite(p)]  # genes of few counts have none
    assert len(p) > 900
    assert abs(np.mean(p <= 0.05) - 0.05) < 0.025
    assert abs(np.mean(p) - 0.5) < 0.04


def test_genes_of_few_counts_are_not_tested() -> None:
    made = make_contrast(CONDITIONS[:4], BLOCKS[:4], np.arange(4), "stim", "ctrl", n_permutations=100, seed=0)
    matrix, of_cell = counts_of(0.0, 0)
    kept = of_cell < 4
    assert pseudobulk_tests(matrix[kept], of_cell[kept], made)["pseudobulk_p"].notna().any()
    alone = make_contrast(
        CONDITIONS[:4], (), np.array([0, 1, 2, 3]), "stim", "ctrl", n_permutations=9, seed=0
    )
    rare = sparse.csr_matrix(np.minimum(matrix[kept].toarray(), np.arange(200) >= 10))
    assert pseudobulk_tests(rare, of_cell[kept], alone)["pseudobulk_p"][:10].isna().all()


@pytest.mark.slow
def test_the_contrast_is_twice_that_of_scvi_tools_without_a_constant(study: Any) -> None:
    """Conditions are balanced here: half of the difference lies on each side of the mean that scvi-tools leaves out."""
    design = sample_design(study.counts, study.clusters, study.keys, study.options)
    contrast = make_contrasts(design, study.options, 0)["A", "stim"]
    cells = np.flatnonzero(design.members[1])[:60]
    mine = change_of_expression(study.model, cells, contrast, 0.5)
    with quiet():
        z = study.model.get_local_sample_representation(indices=cells)
        some = study.model.adata[cells].copy()
        theirs = study.model.differential_expression(
            some, sample_cov_keys=["condition"], mc_samples=60, store_lfc=True
        )
    stim = [
        name for name, condition in zip(design.samples, design.conditions, strict=True) if condition == "stim"
    ]
    ctrl = [name for name in design.samples if name not in stim]
    difference = (z.sel(sample=stim).mean("sample") - z.sel(sample=ctrl).mean("sample")).values
    beta = theirs["beta"].values[:, 0]
    slope = (beta * difference).sum() / (difference**2).sum()
    assert slope == pytest.approx(0.5, abs=0.05)
    assert np.corrcoef(beta.ravel(), difference.ravel())[0, 1] > 0.95
    lfc = theirs["lfc"].values[:, 0].mean(axis=0)
    assert np.corrcoef(lfc, mine["lfc"])[0, 1] > 0.95
    assert np.abs(mine["lfc"]).max() > 1.3 * np.abs(lfc).max()
