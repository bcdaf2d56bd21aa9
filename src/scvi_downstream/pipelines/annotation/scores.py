"""How good predicted types are, on cells whose labels were held out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.runtime.options import UNKNOWN

AGREEMENT_COLUMNS = (
    "clustering", "n_clusters", "ari", "nmi", "homogeneity", "completeness", "v_measure", "n_cells",
)  # fmt: skip
CONTINGENCY_COLUMNS = ("clustering", "cluster", "label", "n", "share_of_cluster", "share_of_label")


def labelled_cells(labels: pd.Series) -> pd.Series:
    """Labels as text, of the cells that have one."""
    texts = labels[labels.notna()].astype(str)
    return texts[texts != UNKNOWN]


def score_clusterings(clusters: pd.DataFrame, labels: pd.Series) -> pd.DataFrame:
    """Agreement of every clustering with the labels, over the labelled cells.

    Parameters
    ----------
    clusters
        `n_cells` rows, one categorical column a clustering.
    labels
        Of the same cells; ``unknown`` where there is none.

    Returns
    -------
    ``clustering, n_clusters, ari, nmi, homogeneity, completeness, v_measure, n_cells``; no row when there are
    fewer than two labels.

    References
    ----------
    Hubert & Arabie (1985), doi:10.1007/BF01908075; Rosenberg & Hirschberg (2007), ACL D07-1043.
    """
    from sklearn.metrics import (
        adjusted_rand_score,
        homogeneity_completeness_v_measure,
        normalized_mutual_info_score,
    )

    known = labelled_cells(labels)
    if known.nunique() < 2:
        return pd.DataFrame(columns=list(AGREEMENT_COLUMNS))
    rows = []
    for name in clusters.columns:
        found = clusters.loc[known.index, name].astype(str)
        ari = adjusted_rand_score(known, found)
        nmi = normalized_mutual_info_score(known, found)
        rows.append(
            (name, found.nunique(), ari, nmi, *homogeneity_completeness_v_measure(known, found), len(known))
        )
    return pd.DataFrame(rows, columns=list(AGREEMENT_COLUMNS))


def contingency(clusters: pd.Series, labels: pd.Series) -> pd.DataFrame:
    """Labelled cells of every cluster and label, zeros left out, and their shares of either.

    Parameters
    ----------
    clusters
        Cluster of each cell; its name is that of the clustering.
    labels
        Of the same cells; ``unknown`` where there is none.
    """
    known = labelled_cells(labels)
    found = clusters.loc[known.index]
    if known.empty:
        return pd.DataFrame(columns=list(CONTINGENCY_COLUMNS))
    order = {str(name): place for place, name in enumerate(found.astype("category").cat.categories)}
    counted = (
        pd.DataFrame({"cluster": found.astype(str), "label": known}).value_counts(sort=False).rename("n")
    )
    table = counted.reset_index().sort_values(
        ["cluster", "label"], key=lambda column: column.map(order) if column.name == "cluster" else column
    )
    table["clustering"] = clusters.name
    table["share_of_cluster"] = table["n"] / table.groupby("cluster")["n"].transform("sum")
    table["share_of_label"] = table["n"] / table.groupby("label")["n"].transform("sum")
    return table[list(CONTINGENCY_COLUMNS)].reset_index(drop=True)


FEWEST_TO_CALIBRATE = 30
SMOOTHING = 1e-3
COLDEST, HOTTEST = 0.05, 20.0


def temper(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """``p^(1/T)``, normalised: above 1 the probabilities become more alike, below 1 more decided.

    Parameters
    ----------
    probabilities
        ``(n, n_types)``, rows sum to 1. A thousandth of a uniform distribution is mixed in, so that a
        neighbour's 0 is not taken for impossible.
    temperature
        Positive.
    """
    smooth = (1 - SMOOTHING) * probabilities + SMOOTHING / probabilities.shape[1]
    logits = np.log(smooth) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def fit_temperature(probabilities: np.ndarray, truth: np.ndarray) -> float:
    """Temperature of the highest likelihood of the true types, with a standard normal prior on its logarithm.

    Parameters
    ----------
    probabilities
        ``(n, n_types)``.
    truth
        ``(n,)`` column of each cell's true type.
    """
    from scipy.optimize import minimize_scalar

    rows = np.arange(len(truth))

    def loss(log_temperature: float) -> float:
        tempered = temper(probabilities, float(np.exp(log_temperature)))
        likelihood = np.log(np.maximum(tempered[rows, truth], np.finfo(float).tiny)).sum()
        return float(log_temperature**2 / 2 - likelihood)

    bounds = (np.log(COLDEST), np.log(HOTTEST))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded").x))


def halves_of(truth: np.ndarray, seed: int) -> np.ndarray:
    """``(n,)`` 0 or 1: each type is divided as evenly as it can be."""
    shuffled = np.random.default_rng(seed).permutation(len(truth))
    ordered = shuffled[np.argsort(truth[shuffled], kind="stable")]
    halves = np.empty(len(truth), dtype=int)
    halves[ordered] = np.arange(len(truth)) % 2
    return halves


def calibrate(
    probabilities: pd.DataFrame, held_out: np.ndarray, truth: np.ndarray, halves: np.ndarray
) -> tuple[pd.DataFrame, float]:
    """Tempered probabilities: of held-out cells by a temperature that has not seen them, of others by one of all.

    Parameters
    ----------
    probabilities
        `n_cells` × types.
    held_out
        ``(n_held_out,)`` positions of the cells that were held out.
    truth, halves
        ``(n_held_out,)`` columns of their true types; their halves, each of which gets the other's temperature.

    Returns
    -------
    The same shape, and the temperature of all held-out cells.
    """
    values = probabilities.to_numpy(dtype=float)
    temperature = fit_temperature(values[held_out], truth)
    tempered = temper(values, temperature)
    for half in (0, 1):
        cells, others = held_out[halves == half], held_out[halves != half]
        other_temperature = fit_temperature(values[others], truth[halves != half])
        tempered[cells] = temper(values[cells], other_temperature)
    return pd.DataFrame(tempered, index=probabilities.index, columns=probabilities.columns), temperature


def calibrate_mean(
    tables: Sequence[pd.DataFrame], held_out: np.ndarray, truth: np.ndarray, halves: np.ndarray
) -> tuple[pd.DataFrame, float]:
    """Tempered mean of tempered tables; no temperature of a held-out cell, of either step, has seen its half.

    Parameters
    ----------
    tables
        Each `n_cells` × types.
    held_out, truth, halves
        As in :func:`calibrate`.

    Returns
    -------
    `n_cells` × types, and the temperature of the mean of all held-out cells.
    """
    values = [table.to_numpy(dtype=float) for table in tables]

    def fitted_on(seen: np.ndarray) -> tuple[np.ndarray, float]:
        tempered = [temper(table, fit_temperature(table[held_out[seen]], truth[seen])) for table in values]
        mean = np.mean(tempered, axis=0)
        temperature = fit_temperature(mean[held_out[seen]], truth[seen])
        return temper(mean, temperature), temperature

    result, temperature = fitted_on(np.ones(len(held_out), dtype=bool))
    for half in (0, 1):
        cells = held_out[halves == half]
        result[cells] = fitted_on(halves != half)[0][cells]
    first = tables[0]
    return pd.DataFrame(result, index=first.index, columns=first.columns), temperature


def bin_of(confidence: np.ndarray, n_bins: int) -> np.ndarray:
    """Bin, from 0, of each confidence; bins are equally wide between 0 and 1."""
    return np.clip((confidence * n_bins).astype(int), 0, n_bins - 1)


def calibration_error(confidence: np.ndarray, is_right: np.ndarray, n_bins: int) -> float:
    """Expected calibration error: mean distance of confidence and accuracy in bins, weighted by cells."""
    bins = bin_of(confidence, n_bins)
    gaps = np.bincount(bins, weights=confidence - is_right, minlength=n_bins)
    return float(np.abs(gaps).sum() / len(confidence))


def calibration_error_interval(
    confidence: np.ndarray, is_right: np.ndarray, n_bins: int, seed: int, n_samples: int = 500
) -> tuple[float, float]:
    """95 % interval of :func:`calibration_error` by the bootstrap over cells."""
    rng = np.random.default_rng(seed)
    n_cells = len(confidence)
    errors = []
    for _ in range(n_samples):
        drawn = rng.integers(n_cells, size=n_cells)
        errors.append(calibration_error(confidence[drawn], is_right[drawn], n_bins))
    low, high = np.quantile(errors, [0.025, 0.975])
    return float(low), float(high)


def error_of_exact_probabilities(
    confidence: np.ndarray, n_bins: int, seed: int, n_samples: int = 500
) -> float:
    """Mean of :func:`calibration_error` if each cell were right with exactly its probability.

    With few cells even exact probabilities do not show 0.

    References
    ----------
    Bröcker & Smith (2007), doi:10.1175/WAF993.1.
    """
    rng = np.random.default_rng(seed)
    errors = [
        calibration_error(confidence, rng.random(len(confidence)) < confidence, n_bins)
        for _ in range(n_samples)
    ]
    return float(np.mean(errors))


def wilson_interval(n_right: np.ndarray | float, n: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """95 % interval of shares ``n_right / n``: Wilson (1927), doi:10.1080/01621459.1927.10502953."""
    z = 1.959963984540054
    right, total = np.asarray(n_right, dtype=float), np.asarray(n, dtype=float)
    share = right / total
    middle = (share + z**2 / (2 * total)) / (1 + z**2 / total)
    reach = z * np.sqrt(share * (1 - share) / total + z**2 / (4 * total**2)) / (1 + z**2 / total)
    return middle - reach, middle + reach


def reliability(confidence: np.ndarray, is_right: np.ndarray, n_bins: int) -> pd.DataFrame:
    """Bins that hold cells: ``low, high, confidence, accuracy, accuracy_low, accuracy_high, n``."""
    bins = bin_of(confidence, n_bins)
    n = np.bincount(bins, minlength=n_bins)
    filled = np.flatnonzero(n)
    right = np.bincount(bins, weights=is_right, minlength=n_bins)[filled]
    low, high = wilson_interval(right, n[filled])
    return pd.DataFrame(
        {
            "low": filled / n_bins,
            "high": (filled + 1) / n_bins,
            "confidence": np.bincount(bins, weights=confidence, minlength=n_bins)[filled] / n[filled],
            "accuracy": right / n[filled],
            "accuracy_low": low,
            "accuracy_high": high,
            "n": n[filled],
        }
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
