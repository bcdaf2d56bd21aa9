"""What models are judged by: names, groups, directions and units of the leaderboard's columns, and its best rows."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from scvi_downstream.models.families import FAMILIES

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

AGGREGATES = ("scib_total", "scib_bio_conservation", "scib_batch_correction")
BIO_METRICS = (
    "isolated_labels", "leiden_nmi", "leiden_ari", "kmeans_nmi", "kmeans_ari", "silhouette_label", "clisi",
)  # fmt: skip
BATCH_METRICS = ("bras", "ilisi", "kbet", "graph_connectivity", "pcr_comparison")
BIO_CONSERVATION = tuple(f"scib_{name}" for name in BIO_METRICS)
BATCH_CORRECTION = tuple(f"scib_{name}" for name in BATCH_METRICS)
LIKELIHOOD = (
    "elbo_test", "elbo_test_se", "marginal_ll_test", "marginal_ll_test_se", "reconstruction_error_test",
    "elbo_train", "elbo_validation", "generalisation_gap",
)  # fmt: skip
CLUSTERINGS = {
    "leiden": "Leiden (recommended resolution)",
    "kmeans": "k-means",
    "hierarchical": "hierarchical (Ward)",
}
"""Column of ``clusters`` → title."""
CLUSTERS = tuple(f"{name}_{score}_labels" for name in CLUSTERINGS for score in ("ari", "nmi"))
COSTS = ("seconds", "peak_memory_mb", "epochs", "best_epoch", "n_parameters", "device")
RANKED = (*AGGREGATES, "elbo_test", "marginal_ll_test", "seconds", "peak_memory_mb")
# The total is made of the other two, and costs are no quality: neither enters the mean rank.
QUALITIES = ("scib_bio_conservation", "scib_batch_correction", "elbo_test", "marginal_ll_test")
SAW_LABELS = tuple(name for name, spec in FAMILIES.items() if "labels" in spec.needs)
JUDGED_BY_LABELS = ("scib_total", "scib_bio_conservation")
_LOWER_IS_BETTER = (
    "n_latent", "seconds", "peak_memory_mb", "epochs", "best_epoch", "n_parameters", "generalisation_gap",
    "reconstruction_error_train", "reconstruction_error_validation", "reconstruction_error_test", "elbo_test_se",
    "marginal_ll_test_se", "mean_rank",
)  # fmt: skip
_NATS = ("elbo_", "marginal_ll_", "reconstruction_error_", "generalisation_gap")


def direction(criterion: str) -> float:
    """1 where more is better, -1 where less is."""
    return -1.0 if criterion in _LOWER_IS_BETTER or criterion.startswith("rank_") else 1.0


def unit(criterion: str) -> str:
    """What stands behind a number, with a space before it; empty for shares."""
    if criterion.startswith(_NATS):
        return " nats per cell"
    return {"seconds": " s", "peak_memory_mb": " MB"}.get(criterion, "")


def of_cells(criterion: str) -> tuple[str, str] | None:
    """Share and column of the per-cell likelihoods whose mean a criterion is.

    ``("test", "elbo")`` for ``elbo_test``; ``None`` for what is no mean over cells.
    """
    column, _, share = criterion.rpartition("_")
    known = column in ("elbo", "reconstruction_error", "marginal_ll")
    return (share, column) if known and share in ("train", "validation", "test") else None


def rows_by_model(leaderboard: pd.DataFrame) -> pd.DataFrame:
    """The leaderboard indexed by ``model``, which is a column when it was read from a file."""
    return leaderboard.set_index("model") if "model" in leaderboard else leaderboard


def pareto_front(scores: np.ndarray) -> np.ndarray:
    """Rows that no other row dominates: none is at least as good everywhere and better somewhere.

    Of ``(n_rows, n_criteria)`` scores, higher is better: ``(n_rows,)`` booleans. A row with NaN is never on the
    front; equal rows are on it together.
    """
    import numpy as np

    known = np.isfinite(scores).all(axis=1)
    front = np.zeros(len(scores), dtype=bool)
    rows = scores[known]
    at_least = (rows[:, None] >= rows[None]).all(axis=2)
    front[known] = ~(at_least & ~at_least.T).any(axis=0)
    return front


_TEN_RESOLUTIONS = tuple(2 * step / 10 for step in range(1, 11))


@dataclass(frozen=True)
class Profile:
    """What integration metrics look at.

    Attributes
    ----------
    max_cells
        Beyond this, a sample stratified by label and batch is scored.
    resolutions
        Leiden resolutions of which the best counts; none: k-means with as many clusters as labels.
    """

    max_cells: int
    resolutions: tuple[float, ...]


_FULL = Profile(max_cells=50_000, resolutions=_TEN_RESOLUTIONS)
_FAST = Profile(max_cells=5_000, resolutions=(0.2, 0.6, 1.0, 1.6))
_PROFILES = {"full": _FULL, "stock": _FULL, "fast": _FAST}


def choose_profile(
    name: str, *, max_cells: int | None = None, leiden_optimisation: bool | None = None
) -> Profile:
    """The profile that is asked for, with what is given explicitly in place of its own.

    Parameters
    ----------
    name
        ``full``, ``fast``, or ``stock``, which is ``full`` with scib-metrics' own Benchmarker beside it.
    max_cells
        Cells to score at most; ``None``: as many as the profile has.
    leiden_optimisation
        Whether the best of ten Leiden resolutions counts, or k-means; ``None``: what the profile has.
    """
    profile = _PROFILES[name]
    if max_cells is not None:
        profile = replace(profile, max_cells=max_cells)
    if leiden_optimisation is None:
        return profile
    return replace(profile, resolutions=_TEN_RESOLUTIONS if leiden_optimisation else ())
