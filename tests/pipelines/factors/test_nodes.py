from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.factors.nodes import (
    associate_factors,
    associate_latent,
    gather_associations,
    gather_factors,
    summarize_factors,
)
from scvi_downstream.pipelines.factors.options import FactorOptions

OPTIONS = FactorOptions()
CELL_CYCLE = ["S_score", "G2M_score"]


@pytest.fixture
def latent() -> pd.DataFrame:
    random = np.random.default_rng(0)
    return pd.DataFrame(
        random.normal(size=(200, 3)),
        index=pd.Index([f"cell{i}" for i in range(200)], name="cell"),
        columns=["latent_1", "latent_2", "latent_3"],
    )


@pytest.fixture
def covariates(latent: pd.DataFrame) -> pd.DataFrame:
    random = np.random.default_rng(1)
    return pd.DataFrame(
        {
            "batch": pd.Categorical(np.repeat(["x", "y"], 100)),
            "donor": pd.Categorical(np.repeat(list("abcdefghij"), 20)),
            "log10_n_counts": -latent["latent_1"] + 0.3 * random.normal(size=200),
            "G2M_score": latent["latent_3"] + random.normal(size=200),
            "cell_type": pd.cut(latent["latent_2"], 3, labels=["B", "T", "NK"]),
            "age": np.repeat(random.normal(size=10), 20),
        },
        index=latent.index,
    )


@pytest.fixture
def factor_variance() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "factor": ["factor_1", "factor_2", "factor_3"],
            "dimension": ["latent_3", "latent_1", "latent_2"],
            "sign": [-1, 1, 1],
            "active": [True, True, False],
        }
    )


def test_planted_associations_are_put_into_sentences(
    latent: pd.DataFrame, covariates: pd.DataFrame, factor_variance: pd.DataFrame
) -> None:
    keys = Keys(batch_key="batch")
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


def test_covariates_of_samples_are_tested_on_samples(latent: pd.DataFrame, covariates: pd.DataFrame) -> None:
    table = associate_latent(latent, covariates, Keys(sample_key="donor"), OPTIONS)
    units = table.drop_duplicates("covariate").set_index("covariate")
    assert units["unit"].to_dict() == {
        "batch": "sample", "donor": "cell", "log10_n_counts": "cell", "G2M_score": "cell", "cell_type": "cell",
        "age": "sample",
    }  # fmt: skip
    assert units.loc["age", "n"] == 10
    assert not table.loc[table["unit"] == "sample", "follows"].any()
    sentences = summarize_factors(gather_associations(scvi=table), "scvi", Keys(sample_key="donor"), OPTIONS)[
        "sentences"
    ]
    assert "within samples of 'donor', and which sample it is, was tested on cells" in sentences[-1]
    assert "cell_type" in sentences[-1]
    assert "age" not in sentences[-1]


def test_a_condition_within_donors_is_tested_on_donors_by_condition(
    latent: pd.DataFrame, covariates: pd.DataFrame
) -> None:
    condition = pd.Categorical(np.tile(np.repeat(["control", "treated"], 10), 10))
    keys = Keys(sample_key="donor", condition_key="condition")
    table = associate_latent(latent, covariates.assign(condition=condition), keys, OPTIONS)
    units = table.drop_duplicates("covariate").set_index("covariate")
    assert units.loc["condition", ["unit", "n"]].tolist() == ["sample", 20]
    assert units.loc["age", ["unit", "n"]].tolist() == ["sample", 10]
    assert units.loc["donor", "unit"] == "cell"


def test_nothing_to_follow_is_said(latent: pd.DataFrame) -> None:
    noise = pd.DataFrame({"x": np.random.default_rng(5).normal(size=200)}, index=latent.index)
    for covariates in (noise, noise[[]]):
        table = gather_associations(scvi=associate_latent(latent, covariates, Keys(), OPTIONS))
        summary = summarize_factors(table, "scvi", Keys(), OPTIONS)
        assert summary["sentences"][0].startswith("No dimension of scvi follows any")


def test_all_loadings_are_listed_with_rank_and_symbol() -> None:
    genes = pd.Index(["ENSG1", "ENSG2", "ENSG3"], name="gene")
    counts = AnnData(
        np.zeros((2, 3), dtype=np.float32), var=pd.DataFrame({"symbol": ["A", "B", "C"]}, index=genes)
    )
    loadings = pd.DataFrame({"factor_1": [0.5, -2.0, 1.0], "factor_2": [0.1, 0.2, 0.3]}, index=genes)
    variance = pd.DataFrame({"factor": loadings.columns, "dimension": ["latent_2", "latent_1"]})
    table = gather_factors(counts, ldvae__loadings=loadings, ldvae__factor_variance=variance)
    assert len(table) == 6
    first = table[table["factor"] == "factor_1"].set_index("symbol")
    assert first["rank"].to_dict() == {"A": 2, "B": 1, "C": 1}
    assert first["direction"].to_dict() == {"A": "up", "B": "down", "C": "up"}
    assert set(first["dimension"]) == {"latent_2"}
    assert set(table["model"]) == {"ldvae"}


@pytest.mark.slow
def test_cell_cycle_is_found_on_real_cells_and_nothing_when_it_is_permuted(pbmc_counts: AnnData) -> None:
    from sklearn.decomposition import PCA

    from scvi_downstream.cells.expression import log_normalize

    values = PCA(10, random_state=0).fit_transform(log_normalize(pbmc_counts).toarray())
    latent = pd.DataFrame(values, pbmc_counts.obs_names).add_prefix("latent_")
    scores = pbmc_counts.obs[CELL_CYCLE].astype(np.float64)
    found = associate_latent(latent, scores, Keys(), OPTIONS)
    assert set(found.loc[found["follows"], "covariate"]) == set(CELL_CYCLE)

    random = np.random.default_rng(0)
    permuted = [
        associate_latent(
            latent, scores.sample(frac=1, random_state=random).set_axis(scores.index), Keys(), OPTIONS
        )
        for _ in range(200)
    ]
    assert (permuted[0]["p_adjusted"] > 0.05).all()
    # under the null, a table holds a false discovery at FDR 0.05 in at most 5 % of the permutations
    false = np.mean([(table["p_adjusted"] <= 0.05).any() for table in permuted])
    assert false < 0.05 + 3 * np.sqrt(0.05 * 0.95 / len(permuted))
    assert np.mean([(table["p"] < 0.1).mean() for table in permuted]) == pytest.approx(0.1, abs=0.03)


@pytest.mark.slow
def test_loadings_of_a_fitted_linear_model(pbmc_counts: AnnData, keys: Keys) -> None:
    from scvi_downstream.models.families import parse_spec
    from scvi_downstream.pipelines.factors.nodes import read_loadings

    cells = pbmc_counts[:, pbmc_counts.var["highly_variable"]].copy()
    model = parse_spec({"name": "ldvae", "family": "LinearSCVI", "n_latent": 4, "n_hidden": 16}).build(
        cells, keys
    )
    model.is_trained_ = True
    latent = pd.DataFrame(
        model.get_latent_representation(), pbmc_counts.obs_names, [f"latent_{k}" for k in range(1, 5)]
    )

    class Fitted:
        genes = pd.Index(cells.var_names, name="gene")

        def attach(self, counts: AnnData, accelerator: str) -> object:
            return model

    loadings, variance = read_loadings(Fitted(), latent, pbmc_counts, "cpu")  # type: ignore[arg-type]
    raw = model.get_loadings().set_axis(latent.columns, axis=1)
    for row in variance.itertuples():
        weights = raw[row.dimension] - raw[row.dimension].mean()
        np.testing.assert_allclose(loadings[row.factor], row.sign * row.sd * weights, rtol=1e-4, atol=1e-6)
    assert variance["observed_cumulative"].is_monotonic_increasing
    assert loadings.index.name == "gene"
