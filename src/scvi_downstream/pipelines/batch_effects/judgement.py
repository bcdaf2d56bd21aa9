"""What became of the batch structure: rules with their thresholds, and a word for each outcome."""

from __future__ import annotations

from math import ceil
from typing import Any, Literal

import numpy as np

Verdict = Literal[
    "none", "removed", "weaker", "kept", "stronger", "brought in", "confounded", "one batch", "not testable"
]
CLASSIFIERS = {"linear": "a linear classifier", "neighbor": "nearest neighbours"}
# An AUC that is this little above its null is detectable in many cells, but matters for nothing.
NEGLIGIBLE_EXCESS = 0.02
# Structure is weaker, or stronger, when its excess changes by more than this share.
CHANGED_SHARE = 0.1


def judge(stages: dict[str, dict[str, Any]], fdr: float) -> Verdict:
    """What became of the batch structure between the uncorrected embedding and the latent.

    Parameters
    ----------
    stages
        Rows of ``batch_effects`` by stage.
    fdr
        Level of the test by both classifiers together.
    """
    before, after = stages["before"], stages["after"]
    if before["n_batches"] < 2:
        return "one batch"
    if before["exchangeable_share"] == 0:
        return "confounded"
    if why_not_testable(before, fdr) or why_not_testable(after, fdr):
        return "not testable"
    return _compare(before, after, fdr)


def _compare(before: dict[str, Any], after: dict[str, Any], fdr: float) -> Verdict:
    if not is_present(before, fdr):
        return "brought in" if is_present(after, fdr) else "none"
    if not is_present(after, fdr):
        return "removed"
    change = relative_excess(after) / relative_excess(before)
    if change < 1 - CHANGED_SHARE:
        return "weaker"
    return "stronger" if change > 1 + CHANGED_SHARE else "kept"


def is_present(row: dict[str, Any], fdr: float) -> bool:
    """Whether either classifier tells batches better than chance, by more than is negligible."""
    return any(
        row[f"{name}_p"] <= fdr / len(CLASSIFIERS)
        and row[f"{name}_auc"] - row[f"{name}_null_mean"] >= NEGLIGIBLE_EXCESS
        for name in CLASSIFIERS
    )


def why_not_testable(row: dict[str, Any], fdr: float) -> str | None:
    """Reason why an absence of batch structure cannot be told from a missing result, if there is one."""
    if row["exchangeable_share"] == 0:
        return "every biology is found in one batch only"
    if is_present(row, fdr) or all(np.isfinite(row[f"{name}_p"]) for name in CLASSIFIERS):
        return None
    if np.isnan(row["exchangeable_share"]):
        return "fewer than two batches have a cell for every fold of the classifiers"
    return "a classifier has no finite result"


def fewest_permutations(fdr: float) -> int:
    """Permutations from which a p-value can be as small as the level of one classifier."""
    least = max(ceil(len(CLASSIFIERS) / fdr) - 1, 1)
    return least if 1 / (1 + least) <= fdr / len(CLASSIFIERS) else least + 1


def better_classifier(row: dict[str, Any]) -> str:
    """The classifier that lies farther above its null."""
    return max(CLASSIFIERS, key=lambda name: _excess(row, name))


def relative_excess(row: dict[str, Any]) -> float:
    """AUC above the null, as a share of what is possible, of the better classifier."""
    name = better_classifier(row)
    return _excess(row, name) / max(1 - row[f"{name}_null_mean"], 1e-9)


def _excess(row: dict[str, Any], name: str) -> float:
    return float(np.nan_to_num(row[f"{name}_auc"] - row[f"{name}_null_mean"], nan=-1.0))
