from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.fitting import Fit, fit, reproducible
from scvi_downstream.study.defaults import model_spec

if TYPE_CHECKING:
    from anndata import AnnData

    from scvi_downstream.cells.keys import Keys


def trained(counts: AnnData, keys: Keys, folder: Path, engine: str, **options: Any) -> Fit:
    """A model of few units."""
    training = {"engine": engine, "batch_size": 28, "max_epochs": 3, **options.pop("training", {})}
    spec = model_spec({"name": "brief", "n_latent": 4, "n_hidden": 16, "training": training, **options})
    genes = counts[:, counts.var["highly_variable"]].copy()
    with reproducible(0):
        model = spec.build(genes, keys)
    label_key = keys.label_key if spec.needs else None
    return fit(
        model, spec, seed=0, accelerator="cpu", checkpoints=CheckpointStore(folder), label_key=label_key
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"family": "SCVI"},
        {"family": "SCVI", "gene_likelihood": "nb", "dispersion": "gene-batch", "n_layers": 2},
        {
            "family": "SCVI",
            "training": {"gradient_clip_val": 5.0, "optimizer": "AdamW", "weight_decay": 0.01},
        },
        {"family": "LinearSCVI"},
        {"family": "SCANVI"},
        {"family": "DRVI"},
    ],
    ids=lambda options: "-".join(map(str, options.values()))[:30],
)
def test_the_first_steps_are_those_of_lightning(
    pbmc_counts: AnnData, keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any]
) -> None:
    """Of the same seed: the same mini-batches, draws and weights, until the first validation."""
    from scvi.train import TrainingPlan

    from scvi_downstream.models import fast_training

    found, expected = [], []
    add, compute = fast_training._Sums.add, TrainingPlan.compute_and_log_metrics

    def of_fast(self: Any, losses: Any) -> None:
        if self._mode == "train":
            found.append(float(losses.loss.detach()))
        add(self, losses)

    def of_stock(self: Any, losses: Any, metrics: Any, mode: str) -> None:
        if mode == "train":
            expected.append(float(losses.loss.detach()))
        compute(self, losses, metrics, mode)

    monkeypatch.setattr(fast_training._Sums, "add", of_fast)
    monkeypatch.setattr(TrainingPlan, "compute_and_log_metrics", of_stock)
    fast = trained(pbmc_counts, keys, tmp_path / "fast", "fast", **options)
    stock = trained(pbmc_counts, keys, tmp_path / "stock", "stock", **options)
    assert len(found) == len(expected) == 60
    np.testing.assert_allclose(found[:20], expected[:20], rtol=1e-3)
    others = {
        f"{mode}_{name}" for mode in ("train", "validation") for name in ("f1_score", "calibration_error")
    }
    assert set(fast.history) - {"kl_weight"} == set(stock.history) - {"kl_weight"} - others
    first = fast.history.loc[1].drop(["kl_weight"], errors="ignore")
    first = first[[name for name in first.index if "validation" not in name]]
    np.testing.assert_allclose(first, stock.history.loc[1, first.index], rtol=1e-3, atol=1e-6)
    for name in ("train_indices", "validation_indices", "test_indices"):
        np.testing.assert_array_equal(getattr(fast.model, name), getattr(stock.model, name))


@pytest.mark.slow
@pytest.mark.parametrize("family", ["SCVI", "SCANVI", "LinearSCVI", "DRVI"])
def test_plain_scvi_tools_goes_on_with_a_model_and_the_reverse(
    pbmc_counts: AnnData, keys: Keys, tmp_path: Path, family: str
) -> None:
    from scvi_downstream.models.saved import model_class_of

    result = trained(pbmc_counts, keys, tmp_path / "first", "fast", family=family)
    result.model.save(str(tmp_path / "saved"), save_anndata=False)
    genes = pbmc_counts[:, pbmc_counts.var["highly_variable"]].copy()
    opened = model_class_of(family).load(str(tmp_path / "saved"), adata=genes)
    np.testing.assert_array_equal(
        opened.get_latent_representation(), result.model.get_latent_representation()
    )
    before = float(opened.get_elbo(indices=opened.train_indices))
    opened.train(max_epochs=5, accelerator="cpu", enable_progress_bar=False, plan_kwargs={"lr": 1e-3})
    assert float(opened.get_elbo(indices=opened.train_indices)) > before
    spec = model_spec({"name": "again", "family": family, "training": {"max_epochs": 5}})
    label_key = keys.label_key if spec.needs else None
    store = CheckpointStore(tmp_path / "again")
    again = fit(opened, spec, seed=0, accelerator="cpu", checkpoints=store, label_key=label_key)
    first, last = again.history["elbo_train"].iloc[[0, -1]]
    assert last < first


@given(
    n_rows=st.integers(1, 8),
    n_columns=st.integers(1, 9),
    density=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
def test_rows_are_taken_alike_on_every_device(n_rows: int, n_columns: int, density: float, seed: int) -> None:
    import torch
    from scipy import sparse

    from scvi_downstream.models.count_kernels import take_rows
    from scvi_downstream.models.fast_training import rows_on_device

    rng = np.random.default_rng(seed)
    matrix = sparse.random(n_rows, n_columns, density, "csr", np.float32, rng)
    rows = rng.integers(0, n_rows, 12)
    expected = matrix[rows].toarray()
    out = np.full(expected.shape, np.nan, np.float32)
    take_rows(matrix.indptr, matrix.indices, matrix.data, rows, out)
    np.testing.assert_array_equal(out, expected)
    parts = [torch.from_numpy(part) for part in (matrix.indptr, matrix.indices, matrix.data)]
    np.testing.assert_array_equal(rows_on_device(parts, torch.from_numpy(rows), n_columns), expected)
