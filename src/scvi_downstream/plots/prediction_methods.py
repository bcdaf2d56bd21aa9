"""Names, order and colours of the methods of prediction, the same in every figure."""

from __future__ import annotations

from collections.abc import Iterable

from scvi_downstream.plots.style import MISSING, OKABE_ITO

LABELS = {
    "scvi": "scVI",
    "mrvi": "MrVI",
    "mean_shift": "mean shift",
    "pooled_shift": "mean shift of all types",
    "target_mean": "training target mean",
    "scvi_unchanged": "scVI, no change",
    "mrvi_unchanged": "MrVI, no change",
    "no_change": "no change",
    "measured_half": "another measured half",
}
COLORS = {
    "scvi": OKABE_ITO[0],
    "mrvi": OKABE_ITO[2],
    "mean_shift": OKABE_ITO[1],
    "pooled_shift": OKABE_ITO[3],
    "target_mean": OKABE_ITO[4],
    "scvi_unchanged": MISSING,
    "mrvi_unchanged": MISSING,
    "no_change": MISSING,
    "measured_half": OKABE_ITO[6],
}
MODELS = ("scvi", "mrvi")
NOTHING = "Nothing was predicted; the summary of the prediction says why."


def in_order(methods: Iterable[str]) -> list[str]:
    """Models first, then baselines, then what a second measurement achieves."""
    there = set(methods)
    return [name for name in LABELS if name in there]
