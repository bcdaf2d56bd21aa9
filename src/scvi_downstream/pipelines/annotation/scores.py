"""How good predicted types are, on cells whose labels were held out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from .calibration import (
    calibration_error,
    calibration_error_interval,
    error_of_exact_probabilities,
    reliability,
    wilson_interval,
)

BY_TYPE_COLUMNS = ("method", "type", "n_held_out", "n_given", "precision", "recall", "f1", "share_called")
CONFUSION_COLUMNS = ("method", "true", "predicted", "n")
CALIBRATION_COLUMNS = (
    "method", "probabilities", "low", "high", "confidence", "accuracy", "accuracy_low", "accuracy_high", "n",
)  # fmt: skip


def score(
    probabilities: np.ndarray, truth: np.ndarray, *, min_probability: float, n_bins: int, seed: int
) -> dict[str, float]:
    """Accuracy, macro F1, coverage, Brier score, log loss and calibration error of one method.

    Parameters
    ----------
    probabilities
        ``(n, n_types)`` of held-out cells.
    truth
        ``(n,)`` column of each cell's true type.
    min_probability
        Below it a cell is not called.
    n_bins
        Of the calibration error.
    seed
        Of its bootstrap.

    Returns
    -------
    ``accuracy`` when every cell is called, ``coverage`` (share above ``min_probability``),
    ``accuracy_called`` among those, ``ece_if_exact`` (what exact probabilities would show on as many cells),
    and the rest under their names; intervals are of 95 %.

    References
    ----------
    Brier (1950), doi:10.1175/1520-0493(1950)078<0001:VOFEIT>2.0.CO;2; Guo et al. (2017), arXiv:1706.04599.
    """
    from sklearn.metrics import f1_score

    predicted, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    is_right = predicted == truth
    called = confidence >= min_probability
    own = probabilities[np.arange(len(truth)), truth]
    low, high = wilson_interval(is_right.sum(), len(truth))
    ece_low, ece_high = calibration_error_interval(confidence, is_right, n_bins, seed)
    return {
        "accuracy": float(is_right.mean()),
        "accuracy_low": float(low),
        "accuracy_high": float(high),
        "macro_f1": float(
            f1_score(truth, predicted, labels=np.unique(truth), average="macro", zero_division=0)
        ),
        "coverage": float(called.mean()),
        "accuracy_called": float(is_right[called].mean()) if called.any() else float("nan"),
        "brier": float((np.square(probabilities).sum(axis=1) - 2 * own + 1).mean()),
        "log_loss": float(-np.log(np.maximum(own, 1e-12)).mean()),
        "ece": calibration_error(confidence, is_right, n_bins),
        "ece_low": ece_low,
        "ece_high": ece_high,
        "ece_if_exact": error_of_exact_probabilities(confidence, n_bins, seed),
    }


def score_types(
    probabilities: np.ndarray, truth: np.ndarray, types: list[str], min_probability: float
) -> pd.DataFrame:
    """Precision, recall, F1 and share of called cells of every type that was held out."""
    from sklearn.metrics import precision_recall_fscore_support

    predicted, called = probabilities.argmax(axis=1), probabilities.max(axis=1) >= min_probability
    present = np.unique(truth)
    precision, recall, f1, support = precision_recall_fscore_support(
        truth, predicted, labels=present, zero_division=0
    )
    return pd.DataFrame(
        {
            "type": [types[code] for code in present],
            "n_held_out": support,
            "precision": precision,
            "recall": recall,
            "f1": f1,
            "share_called": [called[truth == code].mean() for code in present],
        }
    )


def confusion(probabilities: np.ndarray, truth: np.ndarray, types: list[str]) -> pd.DataFrame:
    """Number of held-out cells of each true and each predicted type, zeros left out; every cell is called."""
    pairs = pd.DataFrame({"true": truth, "predicted": probabilities.argmax(axis=1)})
    counted = pairs.value_counts(sort=False).rename("n").reset_index()
    names = dict(enumerate(types))
    return counted.assign(true=counted["true"].map(names), predicted=counted["predicted"].map(names))


def score_methods(
    raw: dict[str, pd.DataFrame],
    calibrated: dict[str, pd.DataFrame],
    held_out: np.ndarray,
    truth: np.ndarray,
    n_given: pd.Series,
    *,
    min_probability: float,
    n_bins: int,
    seed: int,
) -> tuple[dict[str, dict[str, Any]], pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Scores by method, and three tables: by type, confusion, and calibration before and after.

    Parameters
    ----------
    raw, calibrated
        Method → `n_cells` × types; the same tables where nothing was calibrated.
    held_out, truth
        Positions and true columns of the held-out cells.
    n_given
        Number of given cells by type.
    min_probability, n_bins, seed
        As for :func:`score`.
    """
    scores: dict[str, dict[str, Any]] = {}
    by_type, confusions, reliabilities = [], [], []
    for method, table in calibrated.items():
        types = list(table.columns)
        own = table.to_numpy()[held_out]
        before = raw[method].to_numpy()[held_out]
        scores[method] = score(own, truth, min_probability=min_probability, n_bins=n_bins, seed=seed)
        right_before = before.argmax(axis=1) == truth
        scores[method]["ece_raw"] = calibration_error(before.max(axis=1), right_before, n_bins)
        by_type.append(score_types(own, truth, types, min_probability).assign(method=method))
        confusions.append(confusion(own, truth, types).assign(method=method))
        stages = {"raw": before} if table is raw[method] else {"raw": before, "calibrated": own}
        for stage, values in stages.items():
            found = reliability(values.max(axis=1), values.argmax(axis=1) == truth, n_bins)
            reliabilities.append(found.assign(method=method, probabilities=stage))
    types_table = pd.concat(by_type, ignore_index=True)
    types_table["n_given"] = types_table["type"].map(n_given)
    return (
        scores,
        types_table[list(BY_TYPE_COLUMNS)],
        pd.concat(confusions, ignore_index=True)[list(CONFUSION_COLUMNS)],
        pd.concat(reliabilities, ignore_index=True)[list(CALIBRATION_COLUMNS)],
    )
