"""How good predicted types are on held-out cells, and how far clusters agree with labels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.annotation.label_split import chosen_clustering, study_labels
from scvi_downstream.pipelines.annotation.options import AnnotationOptions
from scvi_downstream.runtime.options import UNKNOWN
from scvi_downstream.runtime.slow_types import AnnData

AGREEMENT_COLUMNS = (
    "clustering", "n_clusters", "ari", "nmi", "homogeneity", "completeness", "v_measure", "n_cells",
)  # fmt: skip
CONTINGENCY_COLUMNS = ("clustering", "cluster", "label", "n", "share_of_cluster", "share_of_label")
BY_TYPE_COLUMNS = ("method", "type", "n_held_out", "n_given", "precision", "recall", "f1", "share_called")
CONFUSION_COLUMNS = ("method", "true", "predicted", "n")
CALIBRATION_COLUMNS = (
    "method", "probabilities", "low", "high", "confidence", "accuracy", "accuracy_low", "accuracy_high", "n",
)  # fmt: skip
N_RESAMPLES = 500  # Resamples of the held-out cells: enough for quantiles of 2.5 and 97.5 %.
CONSENSUS = "consensus"  # Name of the mean of all methods among the methods.
PREFIX = "cell_type_"  # Before the names of all that is known of each cell's type.
FEWEST_TO_CALIBRATE = 30  # Held-out cells from which temperatures are fitted: each is fitted to half of them.
SUSPECT_FROM = 0.9  # Probability of another type from which a held-out cell's own label is suspect.


def compare_with_labels(
    clusters: pd.DataFrame, counts: AnnData, keys: Keys, annotation: AnnotationOptions
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Agreement of every clustering with the labels; cells of each cluster and label of the chosen one.

    Returns
    -------
    Tables of :func:`score_clusterings` and :func:`contingency`.
    """
    labels = study_labels(counts, keys).loc[clusters.index]
    return score_clusterings(clusters, labels), contingency(chosen_clustering(clusters, annotation), labels)


def score_clusterings(clusters: pd.DataFrame, labels: pd.Series) -> pd.DataFrame:
    """Agreement of every clustering, a column of ``clusters``, with the labels, over the labelled cells.

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

    known = _labelled_cells(labels)
    if known.nunique() < 2:
        return pd.DataFrame(columns=list(AGREEMENT_COLUMNS))
    rows = []
    for name in clusters.columns:
        found = clusters.loc[known.index, name].astype(str)
        ari, nmi = adjusted_rand_score(known, found), normalized_mutual_info_score(known, found)
        others = homogeneity_completeness_v_measure(known, found)
        rows.append((name, found.nunique(), ari, nmi, *others, len(known)))
    return pd.DataFrame(rows, columns=list(AGREEMENT_COLUMNS))


def contingency(clusters: pd.Series, labels: pd.Series) -> pd.DataFrame:
    """Labelled cells of every cluster and label, zeros left out, and their shares of either."""
    known = _labelled_cells(labels)
    if known.empty:
        return pd.DataFrame(columns=list(CONTINGENCY_COLUMNS))
    found = clusters.loc[known.index].astype("category")
    found = found.cat.rename_categories(found.cat.categories.astype(str))
    pairs = pd.DataFrame({"cluster": found, "label": known})
    table = pairs.groupby(["cluster", "label"], observed=True).size().reset_index(name="n")
    table["cluster"] = table["cluster"].astype(str)
    table["clustering"] = clusters.name
    for side in ("cluster", "label"):
        table[f"share_of_{side}"] = table["n"] / table.groupby(side)["n"].transform("sum")
    return table[list(CONTINGENCY_COLUMNS)]


def _labelled_cells(labels: pd.Series) -> pd.Series:
    """Labels as text, of the cells that have one."""
    texts = labels[labels.notna()].astype(str)
    return texts[texts != UNKNOWN]


def score_methods(
    raw: dict[str, pd.DataFrame],
    calibrated: dict[str, pd.DataFrame],
    held_out: np.ndarray,
    truth: np.ndarray,
    n_given: pd.Series,
    options: AnnotationOptions,
    seed: int,
) -> tuple[dict[str, dict[str, Any]], pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Scores by method, and three tables: by type, confusion, and calibration before and after.

    ``raw`` and ``calibrated`` are method → `n_cells` × types, the same tables where nothing was calibrated;
    ``held_out`` and ``truth`` positions and true columns of the held-out cells; ``n_given`` the number of given
    cells by type.
    """
    scores: dict[str, dict[str, Any]] = {}
    by_type, confusions, reliabilities = [], [], []
    fewest, n_bins = options.min_probability, options.calibration_bins
    for method, table in calibrated.items():
        types = list(table.columns)
        own, before = table.to_numpy()[held_out], raw[method].to_numpy()[held_out]
        scores[method] = score(own, truth, min_probability=fewest, n_bins=n_bins, seed=seed)
        right_before = before.argmax(axis=1) == truth
        scores[method]["ece_raw"] = calibration_error(before.max(axis=1), right_before, n_bins)
        by_type.append(score_types(own, truth, types, fewest).assign(method=method))
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


def no_scores() -> tuple[dict[str, dict[str, Any]], pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """What :func:`score_methods` returns of no method: nothing was held out, or nothing transferred."""
    by_type, confusions, reliabilities = (
        pd.DataFrame(columns=list(columns))
        for columns in (BY_TYPE_COLUMNS, CONFUSION_COLUMNS, CALIBRATION_COLUMNS)
    )
    return {}, by_type, confusions, reliabilities


def score(
    probabilities: np.ndarray, truth: np.ndarray, *, min_probability: float, n_bins: int, seed: int
) -> dict[str, float]:
    """Accuracy, macro F1, coverage, Brier score, log loss and calibration error of one method.

    ``probabilities`` are ``(n, n_types)`` of held-out cells, ``truth`` the ``(n,)`` columns of their true types.

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
    macro_f1 = f1_score(truth, predicted, labels=np.unique(truth), average="macro", zero_division=0)
    low, high = wilson_interval(is_right.sum(), len(truth))
    ece_low, ece_high = calibration_error_interval(confidence, is_right, n_bins, seed)
    return {
        "accuracy": float(is_right.mean()),
        "accuracy_low": float(low),
        "accuracy_high": float(high),
        "macro_f1": float(macro_f1),
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


def _bin_of(confidence: np.ndarray, n_bins: int) -> np.ndarray:
    """Bin, from 0, of each confidence; bins are equally wide between 0 and 1."""
    return np.clip((confidence * n_bins).astype(int), 0, n_bins - 1)


def calibration_error(confidence: np.ndarray, is_right: np.ndarray, n_bins: int) -> float:
    """Expected calibration error: mean distance of confidence and accuracy in bins, weighted by cells."""
    bins = _bin_of(confidence, n_bins)
    gaps = np.bincount(bins, weights=confidence - is_right, minlength=n_bins)
    return float(np.abs(gaps).sum() / len(confidence))


def calibration_error_interval(
    confidence: np.ndarray, is_right: np.ndarray, n_bins: int, seed: int
) -> tuple[float, float]:
    """95 % interval of :func:`calibration_error` by the bootstrap over cells."""
    rng = np.random.default_rng(seed)
    n_cells = len(confidence)
    resamples = (rng.integers(n_cells, size=n_cells) for _ in range(N_RESAMPLES))
    errors = [calibration_error(confidence[drawn], is_right[drawn], n_bins) for drawn in resamples]
    low, high = np.quantile(errors, [0.025, 0.975])
    return float(low), float(high)


def error_of_exact_probabilities(confidence: np.ndarray, n_bins: int, seed: int) -> float:
    """Mean of :func:`calibration_error` if each cell were right with exactly its probability.

    With few cells even exact probabilities do not show 0.

    References
    ----------
    Bröcker & Smith (2007), doi:10.1175/WAF993.1.
    """
    rng = np.random.default_rng(seed)
    drawn = (rng.random(len(confidence)) < confidence for _ in range(N_RESAMPLES))
    return float(np.mean([calibration_error(confidence, is_right, n_bins) for is_right in drawn]))


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
    bins = _bin_of(confidence, n_bins)
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
