"""Models that are really trained: what is held out stays unseen, and likelihoods are those of scvi-tools."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.families import parse_spec
from scvi_downstream.pipelines.cross_validation import refit
from scvi_downstream.pipelines.cross_validation.held_out import score_cells, score_cells_of_unknown_batch
from scvi_downstream.pipelines.cross_validation.nodes import (
    fit_without_batches,
    of_fold,
    summarise_cross_validation,
)
from scvi_downstream.pipelines.cross_validation.options import CrossValidationOptions
from scvi_downstream.pipelines.cross_validation.refit import Recipe, fit_on, held_out_cells
from scvi_downstream.pipelines.evaluation.options import EvaluationOptions
from scvi_downstream.runtime.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData

KEYS = Keys(batch_key="batch", label_key="cell_type")
FEW = EvaluationOptions(marginal_ll_samples=30)
SMALL = {"n_latent": 3, "n_hidden": 16}
pytestmark = pytest.mark.slow


def recipe(family: str = "SCVI", keys: Keys = KEYS, epochs: int = 4, **options: Any) -> Recipe:
    training = {"max_epochs": epochs, "n_epochs_kl_warmup": 5, "batch_size": 64, "lr": 0.01}
    spec = parse_spec({"name": "model", "family": family, "training": training, **options})
    return Recipe(spec, None, keys, 0, "cpu")


def parts(counts: AnnData, batch: str) -> tuple[np.ndarray, np.ndarray]:
    inside = (counts.obs["batch"] == batch).to_numpy()
    return np.flatnonzero(~inside), np.flatnonzero(inside)


def test_likelihoods_are_those_of_scvi_tools_and_cells_were_never_seen(
    small_counts: AnnData, tmp_path: Path
) -> None:
    import scvi

    genes = small_counts[:, small_counts.var["highly_variable"]].copy()
    held_out = np.arange(0, 240, 5)
    seen = np.setdiff1d(np.arange(240), held_out)
    how = recipe(**SMALL)
    model = fit_on(genes, seen, how, CheckpointStore(tmp_path)).model
    assert list(model.adata.obs_names) == list(genes.obs_names[seen])
    own = model.adata
    cells = held_out_cells(genes, seen, held_out, how)
    table = score_cells(model, cells, np.ones(len(held_out), dtype=bool), 100, seed=3)
    scvi.settings.seed = 3
    by_hand = model.get_elbo(genes[held_out].copy(), return_mean=False).numpy()
    np.testing.assert_allclose(table["elbo"], by_hand, rtol=1e-5)
    assert table["marginal_ll"].mean() >= table["elbo"].mean()
    assert model.adata is own

    changed = genes.copy()
    changed.X[held_out] = changed.X[held_out] * 7
    other = fit_on(changed, seen, how, CheckpointStore(tmp_path)).model
    for name, weights in model.module.state_dict().items():
        assert np.array_equal(weights.numpy(), other.module.state_dict()[name].numpy()), name


def test_a_model_that_ignores_batches_says_the_same_whatever_the_batch(
    small_counts: AnnData, tmp_path: Path
) -> None:
    import torch

    seen, held_out = parts(small_counts, "near1")
    how = recipe(**SMALL)
    model = fit_on(small_counts, seen, how, CheckpointStore(tmp_path)).model
    known = ["far", "near2", "near3"]
    assert model.summary_stats.n_batch == 3
    with torch.no_grad():
        for layer in model.module.decoder.px_decoder.fc_layers[0]:
            if isinstance(layer, torch.nn.Linear):
                layer.weight[:, 3:] = 0
    everyone = np.ones(len(held_out), dtype=bool)
    cells = held_out_cells(small_counts, seen, held_out, how)
    table, weights = score_cells_of_unknown_batch(model, cells, "batch", known, everyone, 60, seed=0)
    np.testing.assert_allclose(weights, 1 / 3, rtol=1e-4)
    cells.obs["batch"] = "near2"
    told = score_cells(model, cells, everyone, 20, seed=0)
    np.testing.assert_allclose(table["elbo"], told["elbo"], rtol=1e-5)
    np.testing.assert_allclose(table["marginal_ll"], told["marginal_ll"], rtol=1e-5)


def test_a_batch_that_differs_costs_most_and_folds_go_on_alone(small_counts: AnnData, tmp_path: Path) -> None:
    raw = recipe(epochs=25, **SMALL).spec.model_dump()
    options = CrossValidationOptions(n_folds=2)
    store = CheckpointStore(tmp_path)
    given: dict[str, Any] = {}
    for fold in (1, 2):
        cells, training = of_fold(fold)(small_counts, raw, KEYS, options, FEW, 0, "cpu", store)
        assert (cells["role"] == "held_out").sum() == training["n_held_out"] == 120
        given |= {f"cells_{fold}": cells, f"training_{fold}": training}
    given["batch_cells"], given["batch_trainings"] = fit_without_batches(
        small_counts, raw, KEYS, options, FEW, 0, "cpu", store
    )
    assert not list(tmp_path.rglob("*.ckpt"))
    scores, summary = summarise_cross_validation(raw, KEYS, small_counts, **given)
    assert {
        record["n_train"] + record["n_validation"] for record in given["batch_trainings"]["trainings"]
    } == {120}
    assert summary["unseen_batches"]["worst"] == "far"
    cost = scores.set_index("held_out").loc[["far", "near1", "near2", "near3"], "cost"]
    assert cost["far"] > 10 + cost.drop("far").max()
    assert abs(cost.drop("far")).max() < 8
    held_out = scores[scores["held_out_by"] == "fold"]
    assert (held_out["marginal_ll"] >= held_out["elbo"]).all()


def test_an_interrupted_run_goes_on_with_the_next_batch(
    small_counts: AnnData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw, options = recipe(epochs=2, **SMALL).spec.model_dump(), CrossValidationOptions()
    fitted: list[int] = []

    def counting(*arguments: Any, **options: Any) -> Any:
        if len(fitted) == 2:
            raise KeyboardInterrupt
        fitted.append(len(arguments[1]))
        return fit_on(*arguments, **options)

    def run(folder: str) -> tuple[pd.DataFrame, dict[str, Any]]:
        return fit_without_batches(
            small_counts, raw, KEYS, options, FEW, 0, "cpu", CheckpointStore(tmp_path / folder)
        )

    whole, _ = run("whole")
    monkeypatch.setattr(refit, "fit_on", counting)
    with pytest.raises(KeyboardInterrupt):
        run("interrupted")
    fitted.clear()
    resumed, record = run("interrupted")
    assert len(fitted) == 2
    pd.testing.assert_frame_equal(whole, resumed)
    assert [training["batch"] for training in record["trainings"]] == ["far", "near1", "near2", "near3"]
    assert not list((tmp_path / "interrupted").rglob("*.ckpt"))


def test_scanvi_starts_from_a_model_of_the_same_cells_and_meets_new_labels_as_unknown(
    small_counts: AnnData, tmp_path: Path
) -> None:
    counts = small_counts.copy()
    labels = counts.obs["cell_type"].astype(str).where(counts.obs["batch"] != "far", "only here")
    counts.obs["cell_type"] = labels.astype("category")
    seen, held_out = parts(counts, "far")
    start = recipe(epochs=2, **SMALL).spec
    how = Recipe(recipe("SCANVI", epochs=2, init_from="model", **SMALL).spec, start, KEYS, 0, "cpu")
    assert set(held_out_cells(counts, seen, held_out, how).obs["cell_type"]) == {"unknown"}
    fitted = fit_on(counts, seen, how, CheckpointStore(tmp_path))
    assert "only here" not in set(fitted.model.predict())
    table, training = refit.leave_batches_out(counts, 20, 192, how, FEW, CheckpointStore(tmp_path))
    assert np.isfinite(table["elbo"]).all()
    assert training["left_out"] == {}


@pytest.mark.parametrize(
    ("family", "keys", "options"),
    [
        ("LinearSCVI", KEYS, SMALL | {"correct_batch": False}),
        ("DRVI", KEYS, SMALL),
        ("MRVI", KEYS.model_copy(update={"sample_key": "donor"}), {"n_latent": 6, "n_latent_u": 3}),
        ("TOTALVI", KEYS.model_copy(update={"protein_key": "protein_expression"}), SMALL),
    ],
)
def test_every_family_has_held_out_likelihoods(
    small_counts: AnnData, tmp_path: Path, family: str, keys: Keys, options: dict[str, Any]
) -> None:
    raw = recipe(family, keys, epochs=2, **options).spec.model_dump()
    run = of_fold(2)
    cells, training = run(
        small_counts, raw, keys, CrossValidationOptions(), FEW, 0, "cpu", CheckpointStore(tmp_path)
    )
    held_out = cells[cells["role"] == "held_out"]
    scores = [
        "elbo",
        "marginal_ll",
        "reconstruction_error",
        "elbo_batch_unknown",
        "marginal_ll_batch_unknown",
    ]
    assert np.isfinite(held_out[scores].to_numpy()).all()
    assert held_out["marginal_ll"].mean() > held_out["elbo"].mean()
    assert len(training["curves"]["elbo_validation"]) == 2


def test_what_cannot_be_asked_is_refused_or_left_out_with_the_reason(
    small_counts: AnnData, tmp_path: Path
) -> None:
    store = CheckpointStore(tmp_path)

    def leave_out(how: Recipe, counts: AnnData = small_counts) -> dict[str, Any]:
        return refit.leave_batches_out(counts, 20, 192, how, FEW, store)[1]

    of_samples = recipe("MRVI", KEYS.model_copy(update={"sample_key": "donor"}))
    with pytest.raises(InputError, match=r"models\.model cannot be cross-validated over batches, as MRVI"):
        leave_out(of_samples)
    with pytest.raises(InputError, match="there is no batch_key"):
        leave_out(recipe(keys=Keys()))
    nested = KEYS.model_copy(update={"categorical_covariates": ("site",)})
    counts = small_counts.copy()
    counts.obs["site"] = counts.obs["batch"]
    left_out = leave_out(recipe(keys=nested), counts)["left_out"]
    assert set(left_out) == {"far", "near1", "near2", "near3"}
    assert "'far' of 'site' is found in held-out cells only" in left_out["far"]
    one = small_counts[small_counts.obs["batch"] == "far"].copy()
    assert leave_out(recipe(), one)["left_out"] == {"far": "it is the only batch"}


def test_no_more_batches_are_left_out_than_asked_for(small_counts: AnnData, tmp_path: Path) -> None:
    how = recipe(epochs=1, **SMALL)
    table, record = refit.leave_batches_out(small_counts, 2, 192, how, FEW, CheckpointStore(tmp_path))
    assert table["batch"].nunique() == len(record["trainings"]) == 2
    assert list(record["left_out"].values()) == ["not drawn", "not drawn"]
