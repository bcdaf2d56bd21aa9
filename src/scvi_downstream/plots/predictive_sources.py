"""Colours and names of what generates counts."""

from __future__ import annotations

from scvi_downstream.plots.style import OKABE_ITO

SOURCE_COLORS = {
    "model": OKABE_ITO[0],
    "population": OKABE_ITO[2],
    "nb": OKABE_ITO[1],
    "poisson": OKABE_ITO[3],
}
SOURCE_NAMES = {
    "model": "model",
    "population": "model without the cell's state",
    "nb": "negative binomial",
    "poisson": "Poisson",
}
SOURCE_MARKERS = {"model": "o", "population": "D", "nb": "s", "poisson": "^"}
