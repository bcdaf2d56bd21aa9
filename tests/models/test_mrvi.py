"""The family MRVI: its samples, training, files, read-outs and likelihood."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.cells.keys import Keys
from scvi_downstream.cells.obs import sample_column, with_crossed_samples
from scvi_downstream.models.between_epochs import Watch
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.fitting import Fit, fit, reproducible
from scvi_downstream.models.mrvi import (
    decode_as_sample,
    local_states,
    nuisance_batch,
    read_out_forecast,
    sample_names,
    sample_warnings,
)
from scvi_downstream.pipelines.evaluation.options import EvaluationOptions
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.threads import quiet
from scvi_downstream.study.defaults import defaults_of, model_spec

if TYPE_CHECKING:
    from anndata import AnnData
    from scvi.external import MRVI

KEYS = Keys(sample_key="donor", condition_key="condition", batch_key="pool")
SIZES = {"n_latent": 6, "n_latent_u": 3, "encoder_n_hidden": 16, "u_prior_mixture_k": 3}


def obs_of(n_cells: int = 240) -> pd.DataFrame:
    """3 donors × 2 conditions × 2 pools, crossed."""
    i = np.arange(n_cells)
    columns = {"donor": i % 3, "condition": i // 3 % 2, "pool": i // 6 % 2}
    obs = pd.DataFrame(
        {name: pd.Categorical([f"{name[0]}{v}" for v in values]) for name, values in columns.items()}
    )
    obs.index = pd.Index([f"cell{k}" for k in i], dtype=str)
    return obs


def counts_of(keys: Keys = KEYS) -> AnnData:
    from anndata import AnnData
    from scipy import sparse

    random = np.random.default_rng(0)
    obs = with_crossed_samples(obs_of(), keys)
    rate = random.gamma(1, 2, size=30) * np.exp(0.4 * random.normal(size=(3, 30)))[obs["donor"].cat.codes]
    genes = pd.Index([f"gene{i}" for i in range(30)], dtype=str)
    return AnnData(
        sparse.csr_matrix(random.poisson(rate).astype(np.float32)), obs=obs, var=pd.DataFrame(index=genes)
    )


def fit_briefly(folder: Path, *, seed: int = 0, **training: Any) -> Fit:
    spec = model_spec(
        {"name": "mrvi", "family": "MRVI", **SIZES, "training": {"max_epochs": 5, "eps": 1e-8, **training}}
    )
    with reproducible(seed), quiet():
        model = spec.build(counts_of(), KEYS)
    return fit(model, spec, seed=seed, accelerator="cpu", checkpoints=CheckpointStore(folder))


def weights(result: Fit) -> np.ndarray:
    return np.concatenate([tensor.numpy().ravel() for tensor in result.model.module.state_dict().values()])


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> MRVI:
    """Saved, and attached to its counts again."""
    from scvi_downstream.datasets.scvi_model_dataset import ScviModelDataset

    folder = tmp_path_factory.mktemp("mrvi")
    dataset = ScviModelDataset(filepath=str(folder / "model"))
    dataset.save(fit_briefly(folder / "checkpoint", max_epochs=15, lr=5e-3, n_epochs_kl_warmup=5).model)
    return dataset.load().attach(counts_of())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_layers": 2}, "models.m.n_layers is not an option"),
        ({"u_prior_mixture": False}, "fails without the mixture prior of u"),
        ({"n_latent": 4, "n_latent_u": 8}, r"n_latent \(4\) is below n_latent_u \(8\)"),
    ],
)
def test_what_cannot_be_built_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        model_spec({"name": "m", "family": "MRVI", **options})


def test_samples_of_several_conditions_are_crossed() -> None:
    obs = obs_of()
    with pytest.raises(InputError, match="has no column 'donor_x_condition'; run the preparation again"):
        sample_column(obs, KEYS)
    crossed = with_crossed_samples(obs, KEYS)
    assert sample_column(crossed, KEYS) == "donor_x_condition"
    assert crossed["donor_x_condition"].iloc[4] == "d1 × c1"
    assert crossed["donor_x_condition"].dtype == "category"
    pd.testing.assert_frame_equal(with_crossed_samples(crossed, KEYS), crossed)


def test_samples_of_one_condition_stay_as_they_are() -> None:
    obs = obs_of()
    obs["condition"] = obs["donor"].map({"d0": "c0", "d1": "c1", "d2": "c1"})
    assert with_crossed_samples(obs, KEYS) is obs
    assert sample_column(obs, KEYS) == "donor"
    with pytest.raises(InputError, match="sample_key is empty"):
        sample_column(obs, Keys(condition_key="condition"))


def test_another_column_of_the_crossed_name_is_refused() -> None:
    with pytest.raises(InputError, match="a column 'donor_x_condition' already"):
        with_crossed_samples(obs_of().assign(donor_x_condition="x"), KEYS)


@pytest.mark.parametrize(
    ("batch", "kind"), [("pool", None), ("donor", "sample"), ("condition", "condition"), ("lane", "sample")]
)
def test_a_batch_that_is_what_is_asked_for_is_not_corrected(batch: str, kind: str | None) -> None:
    obs = obs_of()
    obs["lane"] = (obs["donor"].astype(str) + obs["pool"].astype(str)).astype("category")
    column, reason = nuisance_batch(obs, KEYS.model_copy(update={"batch_key": batch}))
    assert (column is None) == (kind is not None)
    assert (reason or "").count(f"one {kind} of") == (kind is not None)


def test_one_sample_is_refused_and_small_ones_are_named() -> None:
    with pytest.raises(InputError, match="holds 1 sample, and MrVI compares at least 2"):
        sample_warnings(pd.DataFrame({"donor": pd.Categorical(["a"] * 20)}), "donor")
    (warning,) = sample_warnings(pd.DataFrame({"donor": pd.Categorical(["a"] * 20 + ["b"] * 3)}), "donor")
    assert "1 of 2 samples of 'donor' have fewer than 10 cells" in warning
    assert "'b' (3)" in warning


def test_the_cost_of_the_read_out_is_told_before() -> None:
    assert "100 samples in 1,000,000 cells take about 9 min 10 s" in read_out_forecast(1_000_000, 100)


def test_covariates_that_mrvi_cannot_take_are_named(caplog: pytest.LogCaptureFixture) -> None:
    keys = KEYS.model_copy(update={"categorical_covariates": ("pool",), "batch_key": None})
    spec = model_spec({"name": "m", "family": "MRVI", **SIZES})
    with caplog.at_level(logging.WARNING), quiet():
        built = spec.build(counts_of(), keys)
    assert "takes no covariates; it does not see pool" in caplog.text
    assert built.summary_stats.n_batch == 1


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits(tmp_path: Path) -> None:
    first, second, other = (fit_briefly(tmp_path, seed=seed, max_epochs=2) for seed in (0, 0, 1))
    assert np.array_equal(weights(first), weights(second))
    pd.testing.assert_frame_equal(first.history, second.history)
    assert not np.array_equal(weights(first), weights(other))


@pytest.mark.slow
def test_a_killed_training_goes_on_bit_for_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def kill(self: object, epoch: int, values: object) -> None:
        if epoch == 2:
            raise KeyboardInterrupt

    whole = fit_briefly(tmp_path / "whole")
    with monkeypatch.context() as patched:
        patched.setattr(Watch, "tell", kill)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            fit_briefly(tmp_path / "killed", checkpoint_every_seconds=1e-6)
    assert CheckpointStore(tmp_path / "killed").exists()
    resumed = fit_briefly(tmp_path / "killed", checkpoint_every_seconds=1e-6)
    curves = [
        name for name in whole.history if name != "kl_weight"
    ]  # Lightning draws it every tenth step only
    pd.testing.assert_frame_equal(resumed.history[curves], whole.history[curves])
    assert np.array_equal(weights(resumed), weights(whole))


@pytest.mark.slow
def test_scvi_tools_never_reads_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from scvi_downstream.datasets.scvi_model_dataset import ScviModelDataset

    trained = fit_briefly(tmp_path / "checkpoint", max_epochs=2).model
    dataset = ScviModelDataset(filepath=str(tmp_path / "model"))
    dataset.save(trained)
    load = torch.load

    def safely(file: Any, *arguments: Any, **options: Any) -> Any:
        assert options.get("weights_only") is True or Path(file).parent != tmp_path / "model"
        return load(file, *arguments, **options)

    monkeypatch.setattr(torch, "load", safely)
    saved = dataset.load()
    attached = saved.attach(counts_of())
    assert saved.family == "MRVI"
    assert saved.settings["n_latent_u"] == 3
    assert saved.setup["sample_key"] == "donor_x_condition"
    assert saved.setup["batch_key"] == "pool"
    for z in (False, True):
        mine, theirs = (m.get_latent_representation(give_z=z) for m in (attached, trained))
        assert np.array_equal(mine, theirs)


@pytest.mark.slow
def test_what_is_saved_opens_in_scvi_tools(tmp_path: Path) -> None:
    from scvi.external import MRVI

    from scvi_downstream.datasets.scvi_model_dataset import ScviModelDataset

    trained = fit_briefly(tmp_path / "checkpoint", max_epochs=1).model
    ScviModelDataset(filepath=str(tmp_path / "model")).save(trained)
    with quiet():
        loaded = MRVI.load(str(tmp_path / "model"), adata=counts_of(), accelerator="cpu")
    assert np.array_equal(loaded.get_latent_representation(), trained.get_latent_representation())


@pytest.mark.slow
def test_counts_without_the_crossed_column_say_so(model: MRVI, tmp_path: Path) -> None:
    from scvi_downstream.datasets.scvi_model_dataset import ScviModelDataset

    dataset = ScviModelDataset(filepath=str(tmp_path / "model"))
    dataset.save(model)
    counts = counts_of()
    del counts.obs["donor_x_condition"]
    with pytest.raises(InputError, match="the counts do not fit the model"):
        dataset.load().attach(counts)


@pytest.mark.slow
def test_states_are_those_of_scvi_tools(model: MRVI) -> None:
    cells = np.array([5, 3, 200, 17])
    (states,) = local_states(model, cells)
    with quiet():
        theirs = model.get_local_sample_representation(indices=cells)
    assert list(theirs.sample.values) == sample_names(model)
    assert np.allclose((states.base[:, None] + states.shifts).numpy(), theirs.values, atol=1e-6)
    own = (states.base + states.shifts[np.arange(4), states.own]).numpy()
    assert np.allclose(own, model.get_latent_representation(indices=cells, give_z=True), atol=1e-6)
    assert np.allclose(states.u.numpy(), model.get_latent_representation(indices=cells), atol=1e-6)


@pytest.mark.slow
def test_counterfactual_expression_is_that_of_the_module(model: MRVI) -> None:
    import torch
    from scvi import REGISTRY_KEYS
    from scvi.dataloaders import AnnDataLoader

    cells, sample = np.array([8, 1, 120]), "d1 × c1"
    mine = decode_as_sample(model, cells, sample, batch_size=2)
    (tensors,) = AnnDataLoader(model.adata_manager, indices=cells, batch_size=3)
    code = torch.full((3, 1), sample_names(model).index(sample))
    own = tensors[REGISTRY_KEYS.SAMPLE_KEY]
    with torch.inference_mode():
        z = model.module.inference(tensors["X"], own, cf_sample=code, use_mean=True)
        h = model.module.generative(z["z"], z["library"], tensors["batch"], tensors["labels"])["h"]
    assert mine.dtype == np.float32
    assert np.allclose(mine, 1e4 * h.numpy(), rtol=1e-4)
    assert np.allclose(mine.sum(axis=1), 1e4, rtol=1e-4)
    some = decode_as_sample(model, cells, sample, genes=["gene7", "gene2"], library_size=1.0)
    assert np.allclose(some, mine[:, [7, 2]] / 1e4, rtol=1e-4)
    assert np.array_equal(mine, decode_as_sample(model, cells, sample, batch_size=2))
    with pytest.raises(InputError, match="knows no sample 'd1 × c9'; the closest is 'd1 × c"):
        decode_as_sample(model, cells, "d1 × c9")
    with pytest.raises(InputError, match="gene 'gen7' is not among the 30 modelled genes"):
        decode_as_sample(model, cells, sample, genes=["gen7"])


@pytest.mark.slow
def test_the_likelihood_is_a_bound_without_the_penalty_of_shifts(model: MRVI) -> None:
    from torch.distributions import Normal

    from scvi_downstream.scoring.likelihood import cell_likelihoods, score_likelihood

    cells = np.asarray(model.train_indices)[:100]
    bound = cell_likelihoods(model, cells, 0)[0]
    with reproducible(0):
        theirs = model.get_elbo(indices=cells, return_mean=False, batch_size=100).numpy()
    (states,) = local_states(model, cells)
    shifts = states.shifts[np.arange(100), states.own]
    penalty = -Normal(0.0, model.module.pz_scale.exp()).log_prob(shifts).sum(-1).numpy()
    assert (penalty >= 0.5 * np.log(2 * np.pi) * 6 - 1e-4).all()
    assert np.mean(theirs) == pytest.approx(np.mean(bound - penalty), abs=1.0)
    assert np.mean(bound) > np.mean(theirs)
    scores, _ = score_likelihood(
        model, defaults_of(EvaluationOptions, marginal_ll_samples=100).sampling, seed=0
    )
    assert scores["warning"] is None
    assert scores["marginal_ll_test"] >= scores["elbo_test"]
    assert scores["reconstruction_error_test"] > 0


@pytest.mark.slow
def test_two_halves_of_the_draws_give_the_same_marginal_likelihood(model: MRVI) -> None:
    from scvi_downstream.scoring.marginal_likelihood import log_weights

    cells = np.asarray(model.test_indices)[:8]
    with reproducible(0):
        drawn = log_weights(model, cells, 4000)
    first, second = (np.logaddexp.reduce(half, axis=0) - np.log(2000) for half in np.split(drawn, 2))
    assert np.abs(first - second).max() < 0.5  # two independent estimates of log p(x | s)
