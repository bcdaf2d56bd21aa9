"""Effects of latent dimensions on genes, the factors made of them, and covariates that they follow."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from anndata import AnnData
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.factors import effects as effects_module
from scvi_downstream.pipelines.factors.effects import (
    LatentEffects,
    associate_latent,
    gather_associations,
    gather_factors,
    latent_effects,
    linear_effects,
    order_factors,
    read_loadings,
    split_differences,
)
from scvi_downstream.pipelines.factors.options import FactorOptions
from scvi_downstream.pipelines.factors.report import summarize_factors
from scvi_downstream.study.defaults import defaults_of, model_spec, replicates_of

OPTIONS = defaults_of(FactorOptions)
CELL_CYCLE = ["S_score", "G2M_score"]
N_CELLS, N_GENES, N_DIMENSIONS = 80, 30, 4


def _centred(log_expression: np.ndarray) -> np.ndarray:
    return log_expression - log_expression.mean(axis=-1, keepdims=True)


def test_effects_of_a_linear_decoder_are_those_of_its_softmax() -> None:
    from scipy.special import log_softmax

    random = np.random.default_rng(0)
    weights, bias = random.normal(size=(20, 3)), random.normal(size=20)
    latent = random.normal(size=(50, 3)) @ random.normal(size=(3, 3)) + 1
    effects = linear_effects(weights, latent)
    decoded = _centred(log_softmax(latent @ weights.T + bias, axis=1))
    assert effects.total == pytest.approx(decoded.var(axis=0).sum())
    for k in range(3):
        moved = latent.copy()
        moved[:, k] = latent[:, k].mean()
        effect = decoded - _centred(log_softmax(moved @ weights.T + bias, axis=1))
        assert effects.variance[k] == pytest.approx(effect.var(axis=0).sum())
        slopes = np.linalg.lstsq(
            moved[:, [k]] * 0 + latent[:, [k]] - latent[:, k].mean(), effect, rcond=None
        )[0]
        np.testing.assert_allclose(effects.slopes[:, k], slopes[0] * latent[:, k].std(), atol=1e-12)


@pytest.mark.parametrize("aggregation", ["logsumexp", "mean"])
def test_effects_of_splits_are_those_of_decoding_with_one_moved(aggregation: str) -> None:
    import torch

    random = torch.Generator().manual_seed(0)
    here, moved = (3 * torch.randn(6, 4, 9, generator=random, dtype=torch.float64) for _ in range(2))

    def decode(splits: torch.Tensor) -> torch.Tensor:
        whole = splits.logsumexp(dim=1) if aggregation == "logsumexp" else splits.mean(dim=1)
        return whole - whole.mean(dim=-1, keepdim=True)

    each, together = split_differences(here, moved, aggregation)
    torch.testing.assert_close(together, decode(here) - decode(moved))
    for k in range(4):
        replaced = here.clone()
        replaced[:, k] = moved[:, k]
        torch.testing.assert_close(each[:, k], decode(here) - decode(replaced))


def _untrained(family: str, counts: AnnData, **options: Any) -> Any:
    import torch
    from scvi.external import DRVI
    from scvi.model import LinearSCVI

    torch.manual_seed(0)
    model_class = {"DRVI": DRVI, "LinearSCVI": LinearSCVI}[family]
    cells = counts[:60, :40].copy()
    cells.obs["age"] = np.linspace(-1, 1, 60)
    cells.obs["sex"] = pd.Categorical(np.tile(["f", "m"], 30))
    covariates = (
        {"continuous_covariate_keys": ["age"], "categorical_covariate_keys": ["sex"]}
        if family == "DRVI"
        else {}
    )
    model_class.setup_anndata(cells, batch_key="batch", **covariates)
    model = model_class(cells, n_latent=4, n_hidden=16, **options)
    for parameter in model.module.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.module.eval()
    model.is_trained_ = True
    return model


def _decode(model: Any, latent: np.ndarray) -> np.ndarray:
    """Centred log-expression by scvi-tools' own generative model, each cell with its own batch and covariates."""
    import torch
    from scvi.dataloaders import AnnDataLoader

    (tensors,) = AnnDataLoader(model.adata_manager, batch_size=model.adata.n_obs)
    with torch.inference_mode():
        inference = model.module.inference(**model.module._get_inference_input(tensors))
        inference["z"] = torch.as_tensor(latent, dtype=torch.float32)
        generative = model.module.generative(**model.module._get_generative_input(tensors, inference))
    scale = generative["px"].get_normalized("scale")
    return _centred(np.log(scale.double().numpy()))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "options"),
    [
        ("LinearSCVI", {}),
        ("DRVI", {}),
        ("DRVI", {"split_aggregation": "mean", "gene_likelihood": "nb"}),
        ("DRVI", {"decoder_reuse_weights": "nowhere", "deeply_inject_covariates": True}),
    ],
)
def test_effects_are_those_of_the_models_own_decoder(
    pbmc_counts: AnnData, monkeypatch: pytest.MonkeyPatch, family: str, options: dict[str, Any]
) -> None:
    monkeypatch.setattr(effects_module, "CHUNK_VALUES", 17 * 4 * 40)
    model = _untrained(family, pbmc_counts, **options)
    latent = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32).astype(np.float64)
    effects = latent_effects(model, latent)
    decoded = _decode(model, latent)
    at_mean = _decode(model, np.broadcast_to(latent.mean(axis=0), latent.shape))
    assert effects.total == pytest.approx((decoded - at_mean).var(axis=0).sum(), rel=1e-3)
    for k in range(4):
        moved = latent.copy()
        moved[:, k] = latent[:, k].mean()
        effect = decoded - _decode(model, moved)
        assert effects.variance[k] == pytest.approx(effect.var(axis=0).sum(), rel=1e-3)
        direction = (latent[:, k] - latent[:, k].mean()) / latent[:, k].std()
        np.testing.assert_allclose(effects.slopes[:, k], direction @ effect / 60, atol=1e-4)


@pytest.mark.slow
def test_slopes_of_drvi_agree_with_its_own_scores(pbmc_counts: AnnData) -> None:
    from scipy.stats import spearmanr

    model = _untrained("DRVI", pbmc_counts)
    latent = model.get_latent_representation().astype(np.float64)
    up, down = model.get_effect_of_splits_within_distribution(
        aggregations="linear_weighted_mean", skip_threshold=0.0
    )["linear_weighted_mean"]
    slopes = latent_effects(model, latent).slopes
    agreement = [spearmanr(slopes[:, k], up[k] - down[k]).statistic for k in range(4)]
    assert np.mean(agreement) > 0.5


def _planted(seed: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    mixed = random.normal(size=(N_CELLS, N_DIMENSIONS)) @ random.normal(size=(N_DIMENSIONS, N_DIMENSIONS))
    return random.gamma(1, 1, size=(N_GENES, N_DIMENSIONS)) * random.choice([-1, 1], N_DIMENSIONS), mixed


def _ordered(weights: np.ndarray, latent: np.ndarray, seed: int = 0) -> tuple[pd.DataFrame, pd.DataFrame]:
    expression = sparse.random(N_CELLS, N_GENES, 0.4, "csr", np.float32, rng=np.random.default_rng(seed))
    names = [f"latent_{k}" for k in range(1, latent.shape[1] + 1)]
    genes = pd.Index([f"gene{g}" for g in range(N_GENES)])
    table = pd.DataFrame(latent, columns=names)
    return order_factors(linear_effects(weights, latent), table, genes, expression)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 1000),
    order=st.permutations(range(N_DIMENSIONS)),
    signs=st.lists(st.sampled_from([-1.0, 1.0]), min_size=N_DIMENSIONS, max_size=N_DIMENSIONS),
)
def test_order_and_signs_of_the_latent_change_no_bit_of_the_loadings(
    seed: int, order: list[int], signs: list[float]
) -> None:
    weights, latent = _planted(seed)
    loadings, variance = _ordered(weights, latent)
    turned, turned_variance = _ordered(weights[:, order] * signs, latent[:, order] * signs)
    pd.testing.assert_frame_equal(turned, loadings, check_exact=True)
    shares = ["factor", "sd", "variance_share", "unique_share", "observed_share", "observed_cumulative"]
    pd.testing.assert_frame_equal(turned_variance[shares], variance[shares])
    at = [order.index(int(name.removeprefix("latent_")) - 1) for name in variance["dimension"]]
    assert turned_variance["dimension"].tolist() == [f"latent_{position + 1}" for position in at]
    flips = np.array([signs[position] for position in at])
    assert (turned_variance["sign"] == variance["sign"] * flips).all()


def test_the_heavier_tail_is_positive() -> None:
    loadings, _ = _ordered(*_planted(3))
    assert ((loadings**3).sum() > 0).all()
    assert (loadings.max() > -loadings.min()).all()


def test_loadings_without_a_heavier_tail_have_a_sign_all_the_same() -> None:
    slopes = np.zeros((N_GENES, 2))
    slopes[[0, 1], 0] = [-2, 2]
    effects = LatentEffects(slopes, np.array([8.0, 0.0]), 8.0)
    latent = pd.DataFrame(
        np.random.default_rng(0).normal(size=(N_CELLS, 2)), columns=["latent_1", "latent_2"]
    )
    expression = sparse.csr_matrix((N_CELLS, N_GENES), dtype=np.float32)
    loadings, variance = order_factors(effects, latent, pd.RangeIndex(N_GENES).astype(str), expression)
    assert loadings["factor_1"].iloc[0] == 2
    assert variance["sign"].tolist() == [-1, 1]
    assert variance["active"].tolist() == [True, False]
    assert variance["observed_share"].tolist() == [0, 0]


def test_shares_of_variance_are_those_of_linear_regression() -> None:
    from sklearn.linear_model import LinearRegression
    from sklearn.metrics import r2_score

    weights, latent = _planted(5)
    loadings, variance = _ordered(weights, latent)
    values = latent[:, [int(name.split("_")[1]) - 1 for name in variance["dimension"]]]
    decoded = latent @ weights.T
    decoded -= decoded.mean(axis=1, keepdims=True)
    assert variance["variance_share"].is_monotonic_decreasing
    for k, row in variance.iterrows():
        own = np.outer((values[:, k] - values[:, k].mean()) / values[:, k].std(), loadings[row["factor"]])
        assert row["variance_share"] == pytest.approx(own.var(axis=0).sum() / decoded.var(axis=0).sum())
        others = np.delete(values, k, axis=1)
        rest = 1 - LinearRegression().fit(others, values[:, k]).score(others, values[:, k])
        assert row["unique_share"] == pytest.approx(row["variance_share"] * rest)
    # without the mean gene, what a factor explains beyond the others is its unique share
    residual = decoded - LinearRegression().fit(values[:, 1:], decoded).predict(values[:, 1:])
    assert variance["unique_share"].iloc[0] == pytest.approx(
        residual.var(axis=0).sum() / decoded.var(axis=0).sum()
    )

    expression = sparse.random(
        N_CELLS, N_GENES, 0.4, "csr", np.float32, rng=np.random.default_rng(0)
    ).toarray()
    for k in range(N_DIMENSIONS):
        first, alone = values[:, : k + 1], values[:, [k]]
        for column, predictors in (("observed_cumulative", first), ("observed_share", alone)):
            predicted = LinearRegression().fit(predictors, expression).predict(predictors)
            score = r2_score(expression, predicted, multioutput="variance_weighted")
            assert variance[column].iloc[k] == pytest.approx(score, abs=1e-6)


def test_what_the_decoder_does_not_use_predicts_nothing() -> None:
    weights, latent = _planted(1)
    echo = 1e-3 * latent[:, [0]]
    loadings, variance = _ordered(np.column_stack([weights, weights[:, 0]]), np.column_stack([latent, echo]))
    assert variance["active"].tolist() == [True] * N_DIMENSIONS + [False]
    without = _ordered(weights, latent)[1]
    np.testing.assert_allclose(variance["unique_share"][:-1], without["unique_share"], rtol=0.01)
    assert loadings.shape == (N_GENES, N_DIMENSIONS + 1)


def test_covariates_of_samples_are_tested_on_samples(latent: pd.DataFrame, covariates: pd.DataFrame) -> None:
    table = associate_latent(latent, covariates, replicates_of(sample_key="donor"), OPTIONS)
    units = table.drop_duplicates("covariate").set_index("covariate")
    assert units["unit"].to_dict() == {
        "batch": "sample", "donor": "cell", "log10_n_counts": "cell", "G2M_score": "cell", "cell_type": "cell",
        "age": "sample",
    }  # fmt: skip
    assert units.loc["age", "n"] == 10
    assert not table.loc[table["unit"] == "sample", "follows"].any()
    sentences = summarize_factors(
        gather_associations(scvi=table), "scvi", replicates_of(sample_key="donor"), OPTIONS
    )["sentences"]
    assert "within samples of 'donor' was tested on cells within samples" in sentences[-1]
    assert "cell_type" in sentences[-1]
    assert "age" not in sentences[-1]


def test_a_condition_within_donors_is_tested_on_donors_by_condition(
    latent: pd.DataFrame, covariates: pd.DataFrame
) -> None:
    condition = pd.Categorical(np.tile(np.repeat(["control", "treated"], 10), 10))
    keys = replicates_of(sample_key="donor", condition_key="condition")
    table = associate_latent(latent, covariates.assign(condition=condition), keys, OPTIONS)
    units = table.drop_duplicates("covariate").set_index("covariate")
    assert units.loc["condition", ["unit", "n"]].tolist() == ["sample", 20]
    assert units.loc["age", ["unit", "n"]].tolist() == ["sample", 10]
    assert units.loc["donor", "unit"] == "cell"


def test_found_pairs_of_samples_give_the_numbers_of_samples_that_hold_both(
    latent: pd.DataFrame, covariates: pd.DataFrame
) -> None:
    obs = covariates.assign(condition=pd.Categorical(np.tile(np.repeat(["control", "treated"], 10), 10)))
    obs["sample"] = (obs["donor"].astype(str) + "_" + obs["condition"].astype(str)).astype("category")
    tables = [
        associate_latent(latent, obs, replicates_of(condition_key="condition", **keys), OPTIONS)
        .query("covariate in ('condition', 'age')")
        .reset_index(drop=True)
        for keys in (
            {"sample_key": "donor"},
            {"sample_key": "sample"},
            {"sample_key": "sample", "block_key": "donor"},
            {"sample_key": "sample", "block_key": ""},
        )
    ]
    pd.testing.assert_frame_equal(tables[0], tables[1])
    pd.testing.assert_frame_equal(tables[1], tables[2])
    assert tables[0].groupby("covariate")["n"].first().to_dict() == {"age": 10, "condition": 20}
    assert (tables[3]["n"] == 20).all()


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
    found = associate_latent(latent, scores, replicates_of(), OPTIONS)
    assert set(found.loc[found["follows"], "covariate"]) == set(CELL_CYCLE)

    random = np.random.default_rng(0)
    permuted = [
        associate_latent(
            latent,
            scores.sample(frac=1, random_state=random).set_axis(scores.index),
            replicates_of(),
            OPTIONS,
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

    cells = pbmc_counts[:, pbmc_counts.var["highly_variable"]].copy()
    model = model_spec({"name": "ldvae", "family": "LinearSCVI", "n_latent": 4, "n_hidden": 16}).build(
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
