"""One row a model or baseline, the best first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

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
LOWER_IS_BETTER = (
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
)
_ORDER = ("family", *AGGREGATES, *BIO_CONSERVATION, *BATCH_CORRECTION, *LIKELIHOOD, *CLUSTERS, *COSTS)
_LAST = ("left_out",)
_SORT_BY = ("scib_total", "scib_bio_conservation", "elbo_test", "scib_batch_correction")


def tabulate_scores(scores: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Rows by ``scib_total``, else bio conservation, held-out ELBO or batch correction; columns grouped.

    Parameters
    ----------
    scores
        One flat record each, with at least ``model``.

    Returns
    -------
    Indexed by ``model``; NaN where a metric does not exist for a row.
    """
    table = pd.DataFrame(list(scores)).set_index("model").dropna(axis="columns", how="all")
    named = [column for column in _ORDER if column in table]
    others = [column for column in table if column not in (*_ORDER, *_LAST)]
    table = table[[*named, *others, *(column for column in _LAST if column in table)]]
    criterion = next((column for column in _SORT_BY if column in table), None)
    if criterion is None:
        return table.sort_index()
    return table.sort_index().sort_values(criterion, ascending=False, na_position="last", kind="stable")
