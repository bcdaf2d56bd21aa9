"""Which checks of counts the model passes, and in which direction it fails the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

LEVELS = {
    "zero_fraction": ("too few zeros", "too many zeros"),
    "zero_fraction_sd": (
        "zeros that vary too little between cells",
        "zeros that vary too much between cells",
    ),
    "library_size": ("too few counts of a cell", "too many counts of a cell"),
    "overdispersion": ("too little overdispersion", "too much overdispersion"),
    "correlation_strength": ("too weak gene–gene correlations", "too strong gene–gene correlations"),
}
"""Statistics, and what they are called when they are generated too low or too high."""
DISTANCES = {
    "gene_mean": "means of genes",
    "gene_variance": "variances of genes",
    "gene_zero_fraction": "zeros of genes",
    "correlation_error": "gene–gene correlations",
}
"""What can lie too far from the average of the draws."""
COUNT_CHECKS = (*LEVELS, *DISTANCES)


def describe_missed(checks: pd.DataFrame, primary: str) -> str:
    """How many checks are passed, and how the others are missed, the largest ratio first.

    Parameters
    ----------
    checks
        Of the model and held-out cells.
    primary
        Name of the model.
    """
    own = checks[checks["check"].isin(COUNT_CHECKS)]
    missed = own[~own["inside"].astype(bool)]
    levels = missed[missed["check"].isin(LEVELS)]
    ratio = np.maximum(levels["expected"], 1e-12) / np.maximum(levels["observed"], 1e-12)
    order = np.argsort(-np.abs(np.log(ratio.to_numpy(np.float64))), kind="stable")
    said = [_level(row) for row in levels.iloc[order].itertuples()]
    if further := [DISTANCES[name] for name in missed["check"] if name in DISTANCES]:
        said.append(f"{_listed(further)} further off than sets of its own draws are")
    named = "test cells" if own["share"].iloc[0] == "test" else "test and validation cells"
    missing = f": {'; '.join(said)}" if said else ""
    return (
        f"Counts that {primary} generates for {own['n_cells'].iloc[0]:,} {named} pass {len(own) - len(missed)} of "
        f"{len(own)} checks{missing}."
    )


def _level(row: Any) -> str:
    words = LEVELS[row.check][int(row.expected > row.observed)]
    if row.check == "zero_fraction":
        return f"{words} ({row.expected:.1%} against {row.observed:.1%} observed)"
    return f"{words} ({row.expected:.3g} against {row.observed:.3g} observed)"


def _listed(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
