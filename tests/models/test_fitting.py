from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.models.between_epochs import DivergedError, Watch
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.fitting import Fit, fit, reproducible
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.study.defaults import model_spec

if TYPE_CHECKING:
    from anndata import AnnData

    from scvi_downstream.cells.keys import Keys


ENGINES = pytest.mark.parametrize("engine", ["fast", "stock"])


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


@pytest.mark.slow
@ENGINES
@pytest.mark.parametrize("family", ["SCVI", "SCANVI", "LinearSCVI", "DRVI"])
def test_the_same_seed_gives_the_same_bits(
    pbmc_counts: AnnData, keys: Keys, tmp_path: Path, family: str, engine: str
) -> None:
    options: dict[str, Any] = {"family": family, "engine": engine, "max_epochs": 2}
    first = fit_briefly(pbmc_counts, keys, tmp_path, **options)
    second = fit_briefly(pbmc_counts, keys, tmp_path, **options)
    other = fit_briefly(pbmc_counts, keys, tmp_path, **options, seed=1)
    assert np.array_equal(weights(first), weights(second))
    pd.testing.assert_frame_equal(first.history, second.history)
    assert not np.array_equal(weights(first), weights(other))


@pytest.mark.slow
@ENGINES
@pytest.mark.parametrize(
    ("family", "early_stopping"), [("SCVI", True), ("SCVI", False), ("SCANVI", True), ("LinearSCVI", True)]
)
def test_a_killed_training_goes_on_bit_for_bit(
    pbmc_counts: AnnData, keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str, family: str,
    *, early_stopping: bool,
) -> None:  # fmt: skip
    options = {
        "engine": engine,
        "family": family,
        "early_stopping": early_stopping,
        "reduce_lr_on_plateau": True,
    }
    whole = fit_briefly(pbmc_counts, keys, tmp_path / "whole", **options)

    def kill(self: object, epoch: int, values: object) -> None:
        if epoch == 3:
            raise KeyboardInterrupt

    options |= {"checkpoint_every_seconds": 1e-6}
    with monkeypatch.context() as patched:
        patched.setattr(Watch, "tell", kill)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            fit_briefly(pbmc_counts, keys, tmp_path / "killed", **options)
    assert CheckpointStore(tmp_path / "killed").exists()
    resumed = fit_briefly(pbmc_counts, keys, tmp_path / "killed", **options)
    assert len(resumed.history) == len(whole.history)
    pd.testing.assert_frame_equal(resumed.history, whole.history)
    assert np.array_equal(weights(resumed), weights(whole))
    assert not CheckpointStore(tmp_path / "killed").exists()


@pytest.mark.slow
@ENGINES
def test_keeps_the_epoch_with_the_lowest_validation_loss_and_stops(
    pbmc_counts: AnnData, keys: Keys, tmp_path: Path, engine: str
) -> None:
    options: dict[str, Any] = {
        "lr": 0.05,
        "max_epochs": 30,
        "early_stopping_patience": 5,
        "n_epochs_kl_warmup": 1,
    }
    result = fit_briefly(pbmc_counts, keys, tmp_path, engine=engine, **options)
    best = int(result.history["elbo_validation"].idxmin())
    assert len(result.history) == min(30, best + 5)
    assert result.summary["best_epoch"] == best
    at_best = -float(result.model.get_elbo(indices=result.model.validation_indices))
    assert abs(at_best / result.history.loc[best, "elbo_validation"] - 1) < 0.02


@pytest.mark.slow
@ENGINES
def test_a_last_mini_batch_of_one_cell_is_avoided(
    pbmc_counts: AnnData, keys: Keys, tmp_path: Path, engine: str
) -> None:
    result = fit_briefly(pbmc_counts[:171].copy(), keys, tmp_path, max_epochs=1, batch_size=17, engine=engine)
    assert result.summary["n_train"] % 17 == 1
    assert result.summary["batch_size"] == 16


@pytest.mark.slow
@ENGINES
def test_a_loss_that_always_becomes_nan_says_so(
    pbmc_counts: AnnData, keys: Keys, tmp_path: Path, engine: str
) -> None:
    with pytest.raises(InputError, match=r"models\.brief: the loss becomes NaN at learning rates 1e\+08"):
        fit_briefly(pbmc_counts, keys, tmp_path, lr=1e8, max_epochs=10, engine=engine)


@pytest.mark.slow
@ENGINES
def test_a_training_that_diverges_starts_again_more_slowly(
    pbmc_counts: AnnData, keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    slow = fit_briefly(pbmc_counts, keys, tmp_path, lr=0.001, max_epochs=3, engine=engine)
    judge = Watch.judge
    diverged = []

    def diverge_once(self: Watch, module: Any, epoch: int, value: float) -> bool:
        if not diverged and epoch == 1:
            diverged.append(epoch)
            raise DivergedError("the validation loss became nan")
        return judge(self, module, epoch, value)

    monkeypatch.setattr(Watch, "judge", diverge_once)
    restarted = fit_briefly(pbmc_counts, keys, tmp_path, lr=0.005, max_epochs=3, engine=engine)
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
