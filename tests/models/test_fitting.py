from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.fitting import (
    Fit,
    batch_size_without_remainder_of_one,
    epochs_for,
    fit,
    reproducible,
    split_cells,
)
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.study.defaults import model_spec

if TYPE_CHECKING:
    from anndata import AnnData

    from scvi_downstream.cells.keys import Keys


@given(
    n_cells=st.integers(20, 3000),
    train=st.floats(0.2, 0.85),
    validation=st.floats(0.1, 0.15),
    seed=st.integers(0, 2**32 - 1),
)
def test_every_cell_is_in_exactly_one_share(n_cells: int, train: float, validation: float, seed: int) -> None:
    split = split_cells(n_cells, train, validation, seed)
    assert sorted(np.concatenate([split.train, split.validation, split.test])) == list(range(n_cells))


def test_too_few_cells_are_refused() -> None:
    with pytest.raises(InputError, match="5 cells leave 4 for training and 0 for validation"):
        split_cells(5, 0.8, 0.1, 0)


@given(batch_size=st.integers(3, 500), sizes=st.lists(st.integers(2, 5000), min_size=1, max_size=3))
def test_no_last_mini_batch_of_one_cell(batch_size: int, sizes: list[int]) -> None:
    chosen = batch_size_without_remainder_of_one(batch_size, sizes)
    possible = any(all(size % candidate != 1 for size in sizes) for candidate in range(2, batch_size + 1))
    assert chosen <= batch_size
    assert not possible or all(size % chosen != 1 for size in sizes)


@pytest.mark.slow
def test_shares_are_those_of_scvi_tools() -> None:
    import scvi
    from anndata import AnnData
    from scvi.dataloaders import DataSplitter

    cells = AnnData(np.ones((103, 3), dtype=np.float32))
    scvi.model.SCVI.setup_anndata(cells)
    scvi.settings.seed = 7
    splitter = DataSplitter(scvi.model.SCVI(cells).adata_manager, train_size=0.8, validation_size=0.1)
    splitter.setup()
    split = split_cells(103, 0.8, 0.1, 7)
    assert np.array_equal(split.train, splitter.train_idx)
    assert np.array_equal(split.validation, splitter.val_idx)
    assert np.array_equal(split.test, splitter.test_idx)


def fit_briefly(
    counts: AnnData, keys: Keys, folder: Path, *, seed: int = 0, family: str = "SCVI", **training: Any
) -> Fit:
    spec = model_spec(
        {
            "name": "brief",
            "family": family,
            "n_latent": 4,
            "n_hidden": 16,
            "training": {"max_epochs": 6, **training},
        }
    )
    genes = counts[:, counts.var["highly_variable"]].copy()
    with reproducible(seed):
        model = spec.build(genes, keys)
    label_key = keys.label_key if spec.needs else None
    return fit(
        model, spec, seed=seed, accelerator="cpu", checkpoints=CheckpointStore(folder), label_key=label_key
    )


def weights(result: Fit) -> np.ndarray:
    return np.concatenate([tensor.numpy().ravel() for tensor in result.model.module.state_dict().values()])


def test_epochs_fall_with_the_number_of_cells() -> None:
    assert epochs_for(700) == 400
    assert epochs_for(20_000) == 400
    assert epochs_for(200_000) == 40
    assert epochs_for(10_000_000) == 20


@pytest.mark.slow
@pytest.mark.parametrize("family", ["SCVI", "SCANVI", "LinearSCVI", "DRVI"])
def test_the_same_seed_gives_the_same_bits(
    pbmc_counts: AnnData, keys: Keys, tmp_path: Path, family: str
) -> None:
    first = fit_briefly(pbmc_counts, keys, tmp_path, family=family, max_epochs=2)
    second = fit_briefly(pbmc_counts, keys, tmp_path, family=family, max_epochs=2)
    other = fit_briefly(pbmc_counts, keys, tmp_path, family=family, max_epochs=2, seed=1)
    assert np.array_equal(weights(first), weights(second))
    pd.testing.assert_frame_equal(first.history, second.history)
    assert not np.array_equal(weights(first), weights(other))


@pytest.mark.slow
@pytest.mark.parametrize("early_stopping", [True, False])
def test_a_killed_training_goes_on_bit_for_bit(
    pbmc_counts: AnnData, keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, early_stopping: bool
) -> None:
    from scvi_downstream.models import callbacks

    whole = fit_briefly(pbmc_counts, keys, tmp_path / "whole", early_stopping=early_stopping)

    def kill(self: object, trainer: Any, pl_module: Any) -> None:
        if trainer.current_epoch == 3:
            raise KeyboardInterrupt

    options = {"early_stopping": early_stopping, "checkpoint_every_seconds": 1e-6}
    with monkeypatch.context() as patched:
        patched.setattr(callbacks.EpochProgress, "on_train_epoch_end", kill)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            fit_briefly(pbmc_counts, keys, tmp_path / "killed", **options)
    assert CheckpointStore(tmp_path / "killed").exists()
    resumed = fit_briefly(pbmc_counts, keys, tmp_path / "killed", **options)
    assert len(resumed.history) == len(whole.history)
    pd.testing.assert_frame_equal(resumed.history, whole.history)
    assert np.array_equal(weights(resumed), weights(whole))
    assert not CheckpointStore(tmp_path / "killed").exists()


@pytest.mark.slow
def test_keeps_the_epoch_with_the_lowest_validation_loss(
    pbmc_counts: AnnData, keys: Keys, tmp_path: Path
) -> None:
    result = fit_briefly(
        pbmc_counts, keys, tmp_path, lr=0.05, max_epochs=30, early_stopping_patience=5, n_epochs_kl_warmup=1
    )
    best = int(result.history["elbo_validation"].idxmin())
    assert result.summary["best_epoch"] == best
    at_best = -float(result.model.get_elbo(indices=result.model.validation_indices))
    assert abs(at_best / result.history.loc[best, "elbo_validation"] - 1) < 0.02


@pytest.mark.slow
def test_a_last_mini_batch_of_one_cell_is_avoided(pbmc_counts: AnnData, keys: Keys, tmp_path: Path) -> None:
    result = fit_briefly(pbmc_counts[:171].copy(), keys, tmp_path, max_epochs=1, batch_size=17)
    assert result.summary["n_train"] % 17 == 1
    assert result.summary["batch_size"] == 16


@pytest.mark.slow
def test_a_loss_that_always_becomes_nan_says_so(pbmc_counts: AnnData, keys: Keys, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"models\.brief: the loss becomes NaN at learning rates 1e\+08"):
        fit_briefly(pbmc_counts, keys, tmp_path, lr=1e8, max_epochs=10)


@pytest.mark.slow
def test_a_training_that_diverges_starts_again_more_slowly(
    pbmc_counts: AnnData, keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from scvi_downstream.models import callbacks

    slow = fit_briefly(pbmc_counts, keys, tmp_path, lr=0.001, max_epochs=3)
    look = callbacks.StopWhenDiverged.on_validation_end

    def diverge_when_fast(self: object, trainer: Any, pl_module: Any) -> None:
        if pl_module.lr > 0.001 and trainer.current_epoch == 1:
            raise callbacks.DivergedError("the validation loss became nan")
        look(self, trainer, pl_module)

    monkeypatch.setattr(callbacks.StopWhenDiverged, "on_validation_end", diverge_when_fast)
    restarted = fit_briefly(pbmc_counts, keys, tmp_path, lr=0.005, max_epochs=3)
    assert restarted.summary["lr"] == 0.001
    assert np.array_equal(weights(restarted), weights(slow))
    pd.testing.assert_frame_equal(restarted.history, slow.history)


@pytest.mark.slow
def test_the_summary_says_what_was_done(pbmc_counts: AnnData, keys: Keys, tmp_path: Path) -> None:
    summary = fit_briefly(pbmc_counts, keys, tmp_path, max_epochs=2).summary
    assert (summary["n_train"], summary["n_validation"], summary["n_test"]) == (560, 70, 70)
    assert summary["epochs"] == 2
    assert not summary["stopped_early"]
    assert summary["seconds"] > 0
    assert summary["peak_memory_mb"] > 100
    assert summary["device"] == "cpu"


# In a process of its own, where no memory that other tests have freed is waiting to be used again.
SCRIPT = """
import time
import numpy as np
from scvi_downstream.models.fitting import ResourceMeter
with ResourceMeter() as before:
    time.sleep(0.1)
with ResourceMeter() as meter:
    block = np.ones(30_000_000)
    time.sleep(0.3)
    del block
print(meter.seconds, meter.peak_memory_mb - before.peak_memory_mb)
"""


@pytest.mark.slow
def test_measures_seconds_and_the_peak_of_memory() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    seconds, megabytes = map(float, done.stdout.split())
    assert 0.3 <= seconds < 30
    assert 200 < megabytes < 300
