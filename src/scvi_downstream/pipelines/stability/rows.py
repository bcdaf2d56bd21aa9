"""One number of agreement between two fits."""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """How far two fits agree.

    Attributes
    ----------
    measure
        ``leiden_ari``, ``leiden_nmi``, ``cluster_jaccard``, ``neighbor_overlap``, ``cka``, ``gene_jaccard`` or
        ``gene_rbo``.
    fit_a, fit_b
        Names of the fits; the same where a fit is compared with a repetition of what follows it: Leiden with other
        seeds, or other posterior draws.
    group
        Cluster, or group of cells; empty where there is none.
    value
        0 (or what chance gives) to 1.
    chance
        What two unrelated fits would give; NaN where it is 0 or not known.
    """

    measure: str
    fit_a: str
    fit_b: str
    group: str
    value: float
    chance: float = float("nan")
