"""What stands for the results of a trial that failed, so that the board has its row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

_DESCRIBING = ("family", "trial_of", "seed", "n_latent", "n_layers", "n_hidden")


def failed_output(dataset: str, spec: Mapping[str, Any], reason: str) -> dict[str, Any] | pd.DataFrame:
    """A record with the reason for ``<trial>.scores``; an empty table for every other dataset.

    Parameters
    ----------
    dataset
        Name in the catalogue, with the trial's.
    spec
        Options of the trial.
    reason
        Why there are no results.
    """
    trial, _, kind = dataset.rpartition(".")
    if kind != "scores":
        return pd.DataFrame()
    described = {name: spec[name] for name in _DESCRIBING if spec.get(name) is not None}
    return {"model": trial, **described, "failed": reason}
