"""What models are judged by: names, groups, directions and units of the leaderboard's columns."""

from __future__ import annotations

AGGREGATES = ("scib_total", "scib_bio_conservation", "scib_batch_correction")
BIO_CONSERVATION = tuple(
    f"scib_{name}"
    for name in (
        "isolated_labels",
        "leiden_nmi",
        "leiden_ari",
        "kmeans_nmi",
        "kmeans_ari",
        "silhouette_label",
        "clisi",
    )
)
BATCH_CORRECTION = tuple(
    f"scib_{name}" for name in ("bras", "ilisi", "kbet", "graph_connectivity", "pcr_comparison")
)
LIKELIHOOD = (
    "elbo_test",
    "elbo_test_se",
    "marginal_ll_test",
    "marginal_ll_test_se",
    "reconstruction_error_test",
    "elbo_train",
    "elbo_validation",
    "generalisation_gap",
)
CLUSTERS = tuple(
    f"{name}_{score}_labels" for name in ("leiden", "kmeans", "hierarchical") for score in ("ari", "nmi")
)
COSTS = ("seconds", "peak_memory_mb", "epochs", "best_epoch", "n_parameters", "device")
RANKED = (*AGGREGATES, "elbo_test", "marginal_ll_test", "seconds", "peak_memory_mb")
# The total is made of the other two, and costs are no quality: neither enters the mean rank.
QUALITIES = ("scib_bio_conservation", "scib_batch_correction", "elbo_test", "marginal_ll_test")
SAW_LABELS = ("SCANVI",)
JUDGED_BY_LABELS = ("scib_total", "scib_bio_conservation")
_LOWER_IS_BETTER = (
    "n_latent",
    "seconds",
    "peak_memory_mb",
    "epochs",
    "best_epoch",
    "n_parameters",
    "generalisation_gap",
    "reconstruction_error_train",
    "reconstruction_error_validation",
    "reconstruction_error_test",
    "elbo_test_se",
    "marginal_ll_test_se",
    "mean_rank",
)
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
