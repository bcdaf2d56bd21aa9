"""Training curves."""

from __future__ import annotations

from typing import Any

import pandas as pd

from scvi_downstream.plots.style import OKABE_ITO, TWO_COLUMNS, new_figure
from scvi_downstream.runtime.slow_types import Figure

_PANELS = (
    ("elbo", "negative ELBO (nats per cell)"),
    ("reconstruction_loss", "reconstruction loss (nats per cell)"),
    ("kl_local", "KL of the latent (nats per cell)"),
)


def plot_history(history: pd.DataFrame, training_summary: dict[str, Any]) -> Figure:
    """Negative ELBO, reconstruction loss and KL by epoch, training beside validation.

    Parameters
    ----------
    history
        One row an epoch, columns ``elbo_train``, ``elbo_validation``, ….
    training_summary
        Holds ``model``, ``family`` and ``best_epoch``.
    """
    figure = new_figure(TWO_COLUMNS, 3.2)
    for axes, (curve, label) in zip(figure.subplots(1, len(_PANELS)), _PANELS, strict=True):
        for part, color in zip(("train", "validation"), OKABE_ITO, strict=False):
            name = f"{curve}_{part}"
            if name in history:
                part_name = "training" if part == "train" else part
                axes.plot(history.index, history[name], color=color, label=part_name, lw=1.3)
        axes.axvline(training_summary["best_epoch"], color="#666666", ls=":", lw=1, label="kept epoch")
        # the first epochs are so far off that they would flatten all that follows
        drawn = [name for name in history if name.startswith(f"{curve}_")]
        settled = history.loc[history.index >= max(2, len(history) // 20), drawn]
        if settled.size and curve != "kl_local":
            low, high = float(settled.min().min()), float(settled.max().max())
            axes.set_ylim(low - 0.05 * (high - low), high + 0.05 * (high - low))
        axes.set(xlabel="epoch", ylabel=label)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    model, family = training_summary["model"], training_summary["family"]
    figure.suptitle(f"{model} ({family}): training curves")
    return figure
