"""What dimensions follow is put into sentences."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scvi_downstream.pipelines.factors.effects import (
    associate_factors,
    associate_latent,
    gather_associations,
)
from scvi_downstream.pipelines.factors.options import FactorOptions
from scvi_downstream.pipelines.factors.report import summarize_factors
from scvi_downstream.study.defaults import defaults_of, replicates_of

OPTIONS = defaults_of(FactorOptions)


def test_planted_associations_are_put_into_sentences(
    latent: pd.DataFrame, covariates: pd.DataFrame, factor_variance: pd.DataFrame
) -> None:
    keys = replicates_of(batch_key="batch")
    shuffled = covariates.sample(frac=1, random_state=0)
    dimensions = associate_latent(latent, shuffled, keys, OPTIONS)
    factors = associate_factors(latent, factor_variance, shuffled, keys, OPTIONS)
    assert set(factors["dimension"]) == {"factor_1", "factor_2"}
    summary = summarize_factors(gather_associations(scvi=dimensions, ldvae=factors), "scvi", keys, OPTIONS)
    first, second, technical, warning = summary["sentences"]
    assert "dimension 2 follows cell_type (η² = 0." in first
    assert "dimension 3 follows G2M_score (ρ = 0." in first
    assert "factor 1 follows G2M_score (ρ = -0." in second
    assert "dimension 1 follows log10_n_counts (ρ = -0.9" in technical
    assert "log10_n_counts" not in first
    assert "sample_key" in warning
    assert summary["scvi"]["n_followed"] == 3
    assert summary["scvi"]["n_covariates"] == 6
    assert 0.5 < summary["scvi"]["one_to_one"] <= 1


def test_nothing_to_follow_is_said(latent: pd.DataFrame) -> None:
    noise = pd.DataFrame({"x": np.random.default_rng(5).normal(size=200)}, index=latent.index)
    for covariates in (noise, noise[[]]):
        table = gather_associations(scvi=associate_latent(latent, covariates, replicates_of(), OPTIONS))
        summary = summarize_factors(table, "scvi", replicates_of(), OPTIONS)
        assert summary["sentences"][0].startswith("No dimension of scvi follows any")
