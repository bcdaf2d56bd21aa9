"""totalVI trains, resumes, is saved and is scored like every other family."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from anndata import AnnData
from scipy import sparse

from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.fitting import Fit, fit, reproducible
from scvi_downstream.models.saved import SavedModel
from scvi_downstream.models.totalvi import TotalviSpec
from scvi_downstream.pipelines.evaluation.options import EvaluationOptions
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.threads import quiet
from scvi_downstream.scoring.likelihood import cell_likelihoods, score_likelihood
from scvi_downstream.study.defaults import defaults_of, model_spec

KEYS = Keys(batch_key="batch", protein_key="protein_expression")


def cells_with_proteins(n_cells: int = 120, n_proteins: int = 6, *, missing: bool = False) -> AnnData:
    """Two cell types in two batches; half of the proteins mark the first type."""
    rng = np.random.default_rng(0)
    first = rng.random(n_cells) < 0.5
    batch = np.where(np.arange(n_cells) % 2 == 0, "a", "b")
    rates = np.where(first[:, None] == (np.arange(40) < 20), 6.0, 0.5)
    protein_rates = np.where(first[:, None] == (np.arange(n_proteins) < n_proteins // 2), 60.0, 4.0)
    proteins = rng.poisson(protein_rates).astype(np.float32)
    if missing:
        proteins[batch == "b"] = 0
    counts = AnnData(
        sparse.csr_matrix(rng.poisson(rates).astype(np.float32)),
        obs=pd.DataFrame(
            {"batch": pd.Categorical(batch)}, index=pd.Index([f"cell{i}" for i in range(n_cells)])
        ),
        var=pd.DataFrame(index=[f"gene{i}" for i in range(40)]),
    )
    names = [f"P{i}" for i in range(n_proteins)]
    counts.obsm["protein_expression"] = pd.DataFrame(proteins, index=counts.obs_names, columns=names)
    return counts


def small_spec(epochs: int = 4, **options: object) -> TotalviSpec:
    spec = model_spec(
        {
            "name": "totalvi",
            "family": "TOTALVI",
            "n_latent": 4,
            "n_hidden": 16,
            "training": {
                "max_epochs": epochs,
                "lr": 0.004,
                "batch_size": 32,
                "reduce_lr_on_plateau": True,
                "checkpoint_every_seconds": 1e-6,
            },
            **options,
        }
    )
    assert isinstance(spec, TotalviSpec)
    return spec


def fitted(counts: AnnData, spec: TotalviSpec, checkpoints: CheckpointStore) -> Fit:
    with reproducible(0), quiet():
        model = spec.build(counts.copy(), KEYS)
    return fit(model, spec, seed=0, accelerator="cpu", checkpoints=checkpoints)


def weights_of(result: Fit) -> dict[str, torch.Tensor]:
    return dict(result.model.module.state_dict())


class KilledError(Exception):
    """As if the process were killed."""


class KilledAfter(CheckpointStore):
    """A store whose process dies once it has written its second checkpoint."""

    def write(self, writer, identity):  # type: ignore[no-untyped-def]
        super().write(writer, identity)
        count = self.path / "count"
        count.write_text(count.read_text() + "x" if count.exists() else "x")
        if len(count.read_text()) == 2:
            raise KilledError


def test_what_cannot_be_trained_is_refused_before_training() -> None:
    with pytest.raises(InputError, match="leave correct_batch at true"):
        small_spec(correct_batch=False)
    with pytest.raises(InputError, match="gradient_clip_val must be null"):
        small_spec(training={"gradient_clip_val": 1.0})


def test_data_without_proteins_or_with_too_few_for_the_prior_are_refused() -> None:
    counts = cells_with_proteins(n_proteins=3)
    with pytest.raises(InputError, match="at least 5 proteins, but there are 3"):
        small_spec(empirical_protein_background_prior=True).build(counts, KEYS)
    del counts.obsm["protein_expression"]
    with pytest.raises(InputError, match="needs counts of proteins"):
        small_spec().build(counts, KEYS)


def test_arguments_go_where_totalvi_reads_them() -> None:
    given = {
        "plan_kwargs": {"lr": 0.1, "n_epochs_kl_warmup": 7, "reduce_lr_on_plateau": False, "eps": 0.5},
        "datasplitter_kwargs": {"external_indexing": [1, 2, 3]},
    }
    assert small_spec().train_arguments(given) == {
        "plan_kwargs": {"eps": 0.5},
        "datasplitter_kwargs": {},
        "external_indexing": [1, 2, 3],
        "lr": 0.1,
        "n_epochs_kl_warmup": 7,
        "reduce_lr_on_plateau": False,
    }


@pytest.mark.slow
@pytest.mark.parametrize("missing", [False, True])
def test_a_killed_training_goes_on_bit_for_bit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, *, missing: bool
) -> None:
    counts, spec = cells_with_proteins(missing=missing), small_spec()
    whole = fitted(counts, spec, CheckpointStore(tmp_path / "whole"))
    store = tmp_path / "killed"
    with pytest.raises(KilledError):
        fitted(counts, spec, KilledAfter(store))
    with caplog.at_level("INFO"):
        resumed = fitted(counts, spec, CheckpointStore(store))
    assert "going on with an interrupted training" in caplog.text
    for name, tensor in weights_of(whole).items():
        assert torch.equal(tensor, weights_of(resumed)[name]), name
    pd.testing.assert_frame_equal(
        whole.history[["elbo_validation"]], resumed.history[["elbo_validation"]], check_exact=True
    )


@pytest.mark.slow
def test_a_checkpoint_of_other_proteins_is_not_taken_up(tmp_path: Path) -> None:
    counts, spec = cells_with_proteins(), small_spec()
    with pytest.raises(KilledError):
        fitted(counts, spec, KilledAfter(tmp_path / "store"))
    other = counts.copy()
    other.obsm["protein_expression"] = other.obsm["protein_expression"] + 1
    alone = fitted(other, spec, CheckpointStore(tmp_path / "alone"))
    after = fitted(other, spec, CheckpointStore(tmp_path / "store"))
    assert len(after.history) == len(alone.history) == 4
    for name, tensor in weights_of(alone).items():
        assert torch.equal(tensor, weights_of(after)[name]), name


@pytest.mark.slow
def test_saved_attached_and_scored(tmp_path: Path) -> None:
    counts = cells_with_proteins(missing=True)
    result = fitted(counts, small_spec(epochs=8), CheckpointStore(tmp_path / "checkpoints"))
    with quiet():
        result.model.save(str(tmp_path / "model"))
    more_genes = AnnData(
        sparse.hstack([sparse.csr_matrix(np.ones((counts.n_obs, 1), np.float32)), counts.X], format="csr"),
        obs=counts.obs,
        var=pd.DataFrame(index=["another", *counts.var_names]),
        obsm={"protein_expression": counts.obsm["protein_expression"]},
    )
    saved = SavedModel(tmp_path / "model")
    assert saved.family == "TOTALVI"
    assert saved.settings["n_latent"] == 4
    model = saved.attach(more_genes)
    np.testing.assert_array_equal(model.get_latent_representation(), result.model.get_latent_representation())
    assert model.module.protein_batch_mask is not None
    assert not model.module.protein_batch_mask["1"].any()
    scores, _ = score_likelihood(
        model, defaults_of(EvaluationOptions, marginal_ll_samples=50).sampling, seed=0
    )
    assert scores["warning"] is None or "poor proposal" in scores["warning"]
    # more draws tighten the bound: the ELBO is that of one
    assert scores["elbo_test"] - 3 * scores["elbo_test_se"] < scores["marginal_ll_test"] < 0
    assert scores["reconstruction_error_test"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("likelihood", ["nb", "zinb"])
def test_the_bound_is_scvi_tools_terms_of_the_rna(tmp_path: Path, likelihood: str) -> None:
    """One draw of z: log p(x | z) is scvi-tools' loss of genes, and the KL term averages to theirs."""
    counts = cells_with_proteins()
    model = fitted(
        counts,
        small_spec(gene_likelihood=likelihood, latent_distribution="ln"),
        CheckpointStore(tmp_path / "c"),
    ).model
    cells = np.arange(30)
    bounds = np.mean([cell_likelihoods(model, cells, seed)[0] for seed in range(300)], axis=0)
    from scvi.dataloaders import AnnDataLoader

    expected = []
    with reproducible(0), torch.inference_mode():
        (tensors,) = AnnDataLoader(model.adata_manager, indices=cells, batch_size=30)
        for _ in range(300):
            _, _, losses = model.module.forward(tensors)
            terms = losses.reconstruction_loss["reconst_loss_gene"] + losses.kl_local["kl_div_z"]
            expected.append(-terms.numpy())
    difference = bounds - np.mean(expected, axis=0)
    noise = np.std(expected, axis=0) / np.sqrt(300)
    assert np.abs(difference.mean()) < 1.0
    assert (np.abs(difference) < 8 * noise + 1.0).all()
