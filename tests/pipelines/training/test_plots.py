import numpy as np
import pandas as pd

from scvi_downstream.pipelines.training.plots import plot_history


def test_curves_carry_both_shares_and_mark_the_kept_epoch() -> None:
    epochs = pd.Index(np.arange(1, 41), name="epoch")
    history = pd.DataFrame(
        {
            f"{curve}_{part}": np.linspace(9, 5, 40)
            for curve in ("elbo", "kl_local")
            for part in ("train", "validation")
        },
        index=epochs,
    )
    figure = plot_history(history, {"model": "mine", "family": "SCVI", "best_epoch": 33})
    panels = figure.axes
    assert "mine (SCVI)" in figure.get_suptitle()
    assert [axes.get_xlabel() for axes in panels] == ["epoch"] * 3
    assert all("nats per cell" in axes.get_ylabel() for axes in panels)
    assert {line.get_label() for line in panels[0].lines} == {"training", "validation", "kept epoch"}
    assert 33 in [line.get_xdata()[0] for line in panels[0].lines]
