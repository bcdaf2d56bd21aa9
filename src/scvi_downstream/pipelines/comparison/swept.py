"""Options in which the models of a family differ, as columns of the leaderboard."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

_IDENTITY = ("name", "family", "init_from", "trial_of")


def differing_options(names: pd.Index, models: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """One column for each option that two models of one family set differently.

    Parameters
    ----------
    names
        Rows of the leaderboard.
    models
        Complete options by model; those of ``training`` become ``training.<option>``.

    Returns
    -------
    One row a name; missing where a family does not have the option, or the row is no model.
    """
    options = {name: _flat(models[name]) for name in names if name in models}
    values: dict[tuple[str, str], set[str]] = {}
    for name, given in options.items():
        for option, value in given.items():
            values.setdefault((str(models[name].get("family")), option), set()).add(repr(value))
    swept = dict.fromkeys(option for (_, option), seen in values.items() if len(seen) > 1)
    return pd.DataFrame(
        {option: [options.get(name, {}).get(option) for name in names] for option in swept}, index=names
    )


def _flat(options: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers and words; lists and mappings are written as text."""
    flat = {
        **{name: value for name, value in options.items() if name not in (*_IDENTITY, "training")},
        **{f"training.{name}": value for name, value in (options.get("training") or {}).items()},
    }
    return {name: str(value) if isinstance(value, list | dict) else value for name, value in flat.items()}
