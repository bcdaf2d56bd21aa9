"""Folds have the composition of the whole, and what is held out of a fit stays unseen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.specification import TrainingOptions
from scvi_downstream.pipelines.cross_validation import refit
from scvi_downstream.pipelines.cross_validation.options import CrossValidationOptions
from scvi_downstream.pipelines.cross_validation.refit import (
    Recipe,
    assign_folds,
    fit_fold,
    fit_on,
    fit_without_batches,
    held_out_cells,
    marginal_cells,
    split_seen,
)
from scvi_downstream.pipelines.cross_validation.summary import summarise_cross_validation
from scvi_downstream.pipelines.evaluation.options import EvaluationOptions
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.study.defaults import defaults_of

from .conftest import KEYS, SMALL, parts, recipe

if TYPE_CHECKING:
    from anndata import AnnData

FEW = defaults_of(EvaluationOptions, marginal_ll_samples=30)


def leave_batches_out(
    counts: AnnData, how: Recipe, folder: Path, most: int = 20
) -> tuple[pd.DataFrame, dict[str, Any]]:
    raw = how.spec.model_dump()
    start = how.initial.model_dump() if how.initial else None
    options = defaults_of(CrossValidationOptions, max_batches=most)
    return fit_without_batches(counts, raw, how.keys, options, FEW, 0, "cpu", CheckpointStore(folder), start)


@pytest.mark.thorough
@given(
    st.integers(20, 200),
    st.integers(2, 6),
    st.integers(1, 5),
    st.integers(1, 6),
    st.integers(0, 2**32 - 1),
)
def test_every_combination_of_categories_is_shared_out_equally(
    n_cells: int, n_folds: int, n_batches: int, n_labels: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    batches = pd.Series(rng.integers(n_batches, size=n_cells)).astype(str)
    labels = pd.Series(rng.geometric(0.5, size=n_cells).clip(max=n_labels)).astype(str)
    folds = assign_folds([batches, labels], n_cells, n_folds, seed)
    assert set(folds) <= set(range(1, n_folds + 1))
    by_fold = pd.crosstab([batches, labels], folds).reindex(columns=range(1, n_folds + 1), fill_value=0)
    assert (by_fold.max(axis=1) - by_fold.min(axis=1) <= 1).all()
    assert np.array_equal(folds, assign_folds([batches, labels], n_cells, n_folds, seed))


def test_left_over_cells_even_out_batches_labels_and_sizes() -> None:
    rng = np.random.default_rng(1)
    batches = pd.Series(rng.integers(8, size=700)).astype(str)
    labels = pd.Series(rng.choice(10, p=np.arange(1, 11) / 55, size=700)).astype(str)
    folds = assign_folds([batches, labels], 700, 5, 0)
    for column in (batches, labels, pd.Series(["all"] * 700)):
        by_fold = pd.crosstab(column, folds)
        assert (by_fold.max(axis=1) - by_fold.min(axis=1)).max() <= 3


def test_another_seed_gives_other_folds_and_no_strata_are_needed() -> None:
    first, second = (assign_folds([], 101, 4, seed) for seed in (0, 1))
    assert not np.array_equal(first, second)
    assert sorted(np.bincount(first)[1:]) == [25, 25, 25, 26]


def test_too_few_cells_are_refused() -> None:
    with pytest.raises(InputError, match="n_folds is 5, but 9 cells"):
        assign_folds([], 9, 5, 0)


@given(st.integers(20, 500), st.floats(0.5, 0.9), st.floats(0.05, 0.1))
def test_seen_cells_are_training_and_validation_in_the_studys_proportion(
    n_cells: int, train_size: float, validation_size: float
) -> None:
    split = split_seen(
        n_cells, defaults_of(TrainingOptions, train_size=train_size, validation_size=validation_size), 0
    )
    together = np.concatenate([split.train, split.validation])
    assert sorted(together) == list(range(n_cells))
    assert len(split.test) == 0
    expected = n_cells * validation_size / (train_size + validation_size)
    assert abs(len(split.validation) - expected) <= 1


def test_marginal_likelihoods_are_of_the_same_share_of_every_batch() -> None:
    obs = pd.DataFrame({"batch": ["a"] * 900 + ["b"] * 100})
    chosen = marginal_cells(obs, Keys(batch_key="batch"), 100, 0)
    assert chosen.sum() == 100
    assert chosen[900:].sum() == 10
    assert marginal_cells(obs, Keys(), 5000, 0).all()


@pytest.mark.slow
def test_a_batch_that_differs_costs_most_and_folds_go_on_alone(small_counts: AnnData, tmp_path: Path) -> None:
    raw = recipe(epochs=25, **SMALL).spec.model_dump()
    options = defaults_of(CrossValidationOptions, n_folds=2)
    store = CheckpointStore(tmp_path)
    given: dict[str, Any] = {}
    for fold in (1, 2):
        cells, training = fit_fold(small_counts, raw, KEYS, options, FEW, 0, "cpu", store, fold=fold)
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


@pytest.mark.slow
def test_an_interrupted_run_goes_on_with_the_next_batch(
    small_counts: AnnData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw, options = recipe(epochs=2, **SMALL).spec.model_dump(), defaults_of(CrossValidationOptions)
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


@pytest.mark.slow
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
    table, training = leave_batches_out(counts, how, tmp_path)
    assert np.isfinite(table["elbo"]).all()
    assert training["left_out"] == {}


@pytest.mark.slow
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
    options_of_folds, store = defaults_of(CrossValidationOptions), CheckpointStore(tmp_path)
    cells, training = fit_fold(small_counts, raw, keys, options_of_folds, FEW, 0, "cpu", store, fold=2)
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


@pytest.mark.slow
def test_what_cannot_be_asked_is_refused_or_left_out_with_the_reason(
    small_counts: AnnData, tmp_path: Path
) -> None:
    def leave_out(how: Recipe, counts: AnnData = small_counts) -> dict[str, Any]:
        return leave_batches_out(counts, how, tmp_path)[1]

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


@pytest.mark.slow
def test_no_more_batches_are_left_out_than_asked_for(small_counts: AnnData, tmp_path: Path) -> None:
    how = recipe(epochs=1, **SMALL)
    table, record = leave_batches_out(small_counts, how, tmp_path, most=2)
    assert table["batch"].nunique() == len(record["trainings"]) == 2
    assert list(record["left_out"].values()) == ["not drawn", "not drawn"]
