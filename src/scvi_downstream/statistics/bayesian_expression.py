"""Bayesian differential expression with scvi-tools' own test."""

from __future__ import annotations

import logging
import time
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import pandas as pd

from scvi_downstream.runtime.progress import duration, track
from scvi_downstream.runtime.slow_types import BaseModelClass
from scvi_downstream.statistics.comparisons import Comparison

logger = logging.getLogger(__name__)
# Samples of the small test by which the duration is forecast: enough to be timed, few enough to cost a second.
PROBE_SAMPLES = {"uniform": 1000, "importance": 100}
MAX_ANCHORS = 1024  # cells over which scvi-tools evaluates importance weights
COLUMNS = (
    "grouping", "comparison", "group1", "group2", "gene",
    "lfc_mean", "lfc_median", "lfc_std", "lfc_lower", "lfc_upper",
    "proba_de", "bayes_factor", "expected_fdr", "is_de",
    "mean1", "mean2", "fraction1", "fraction2", "n1", "n2",
)  # fmt: skip


@dataclass(frozen=True)
class BayesianTest:
    """How the posterior is asked for differences.

    Attributes
    ----------
    mode
        ``change``: probability that the fold change is larger than ``delta``; ``vanilla``: of its direction.
    delta
        Least absolute log2 fold change that counts; ``None``: derived from the data.
    fdr
        Expected false discovery rate at which genes are called.
    credible_interval
        Mass of the interval of the fold change.
    n_samples
        Posterior samples of each group.
    weights
        Whether samples count alike or by importance weights.
    batch_correction
        Whether expression is averaged over the batches of both groups.
    """

    mode: Literal["change", "vanilla"]
    delta: float | None
    fdr: float
    credible_interval: float
    n_samples: int
    weights: Literal["uniform", "importance"]
    batch_correction: bool


def expected_fdr(probability: np.ndarray) -> np.ndarray:
    """Posterior expected false discovery rate of calling each feature and all at least as probable.

    Parameters
    ----------
    probability
        ``(n_features,)`` posterior probabilities of a difference.

    References
    ----------
    Newton et al. (2004), doi:10.1093/biostatistics/5.2.155.
    """
    order = np.argsort(-probability, kind="stable")
    running = np.cumsum(1 - probability[order]) / np.arange(1, len(order) + 1)
    last_of_tie = np.searchsorted(-probability[order], -probability, side="right") - 1
    return running[last_of_tie]


def compare_bayesian(
    model: BaseModelClass, comparisons: list[Comparison], test: BayesianTest, seed: int
) -> pd.DataFrame:
    """Posterior of the log fold change of each gene in each comparison.

    Parameters
    ----------
    model
        Fitted scvi-tools model with ``differential_expression``; its cells are those of the masks.
    comparisons
        Pairs of groups, large enough to compare.
    test
        How it is asked.
    seed
        Together with a comparison's name it fixes that comparison's samples, whatever else is compared.

    Returns
    -------
    One row a gene and comparison, the most probable genes first. ``lfc_*`` are log2 fold
    changes of normalised expression, ``lfc_lower`` and ``lfc_upper`` the highest-density interval;
    ``proba_de`` and ``bayes_factor`` (natural logarithm) are scvi-tools' own; ``expected_fdr`` is the
    posterior expected share of false calls if this gene and all at least as probable are called; ``mean*``
    are raw counts per 10,000 of the modelled genes, ``fraction*`` shares of cells with a count, ``n*``
    numbers of cells. In mode ``vanilla`` the probability is that of the likelier direction and the sign of
    the Bayes factor is its direction.

    References
    ----------
    Lopez et al. (2018), doi:10.1038/s41592-018-0229-2; Boyeau et al. (2023), doi:10.1073/pnas.2209124120.
    """
    if not comparisons:
        return pd.DataFrame(columns=list(COLUMNS))
    logger.info(
        "Bayesian differential expression: %d comparisons, about %s",
        len(comparisons),
        duration(_forecast(model, comparisons, test, seed)),
    )
    pairs = zip(comparisons, _raw_averages(model, comparisons), strict=True)
    tables = [
        _compare(model, comparison, test, seed).join(average).rename_axis("gene").reset_index()
        for comparison, average in track(pairs, "Bayesian differential expression", len(comparisons))
    ]
    return pd.concat(tables, ignore_index=True)[list(COLUMNS)]


def comparison_seed(comparison: Comparison, seed: int) -> int:
    """A seed of its own for each comparison, so that its numbers do not hang on which others run."""
    return zlib.crc32(f"{seed}/{comparison.grouping}/{comparison.name}".encode())


def sampled_cells(comparison: Comparison, n_samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Masks of at most ``2 * n_samples`` cells a group.

    scvi-tools decodes every cell of a group and then draws ``n_samples`` of the decoded; beyond twice that
    number most are thrown away, so that a random subset gives the same test in bounded time and memory.
    """
    rng = np.random.default_rng(comparison_seed(comparison, seed))
    first = mask_of_enough(comparison.cells1, n_samples, rng)
    return first, mask_of_enough(comparison.cells2, n_samples, rng)


def mask_of_enough(cells: np.ndarray, n_samples: int, rng: np.random.Generator) -> np.ndarray:
    """The mask of cells, or a random ``2 * n_samples`` of them where there are more."""
    inside = np.flatnonzero(cells)
    if len(inside) > 2 * n_samples:
        inside = rng.choice(inside, 2 * n_samples, replace=False)
    mask = np.zeros(len(cells), dtype=bool)
    mask[inside] = True
    return mask


def differential_expression(
    model: Any, cells1: np.ndarray, cells2: np.ndarray, test: BayesianTest, *, mode: str, seed: int
) -> pd.DataFrame:
    """``model.differential_expression`` with seeded draws; genes × its columns.

    scvi-tools draws from the global generators of numpy and torch; their states are given back as they were.
    """
    with _seeded(seed), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.differential_expression(
            idx1=cells1,
            idx2=cells2,
            mode=mode,
            delta=test.delta,
            batch_correction=test.batch_correction,
            weights=test.weights,
            fdr_target=test.fdr,
            n_samples_overall=test.n_samples,
            all_stats=False,
            silent=True,
            **({"cred_interval_lvls": [test.credible_interval]} if mode == "change" else {}),
        )


def _compare(model: Any, comparison: Comparison, test: BayesianTest, seed: int) -> pd.DataFrame:
    own_seed = comparison_seed(comparison, seed)
    cells = sampled_cells(comparison, test.n_samples, seed)
    posterior = differential_expression(model, *cells, test, mode="change", seed=own_seed)
    level = str(test.credible_interval)[:5]
    facts = {name: getattr(comparison, name) for name in ("grouping", "group1", "group2", "n1", "n2")}
    table = posterior[["lfc_mean", "lfc_median", "lfc_std", "proba_de", "bayes_factor"]].assign(
        comparison=comparison.name,
        lfc_lower=posterior[f"lfc_confidence_interval_{level}_min"],
        lfc_upper=posterior[f"lfc_confidence_interval_{level}_max"],
        **facts,
    )
    if test.mode == "vanilla":
        # The same seed gives the same draws, so that the fold changes above belong to these probabilities.
        direction = differential_expression(model, *cells, test, mode="vanilla", seed=own_seed)
        table["proba_de"] = direction[["proba_m1", "proba_m2"]].max(axis=1)
        table["bayes_factor"] = direction["bayes_factor"]
    table["expected_fdr"] = expected_fdr(table["proba_de"].to_numpy())
    table["is_de"] = table["expected_fdr"] <= test.fdr
    return table.iloc[np.lexsort((-table["lfc_median"].abs().to_numpy(), -table["proba_de"].to_numpy()))]


def _raw_averages(model: Any, comparisons: list[Comparison]) -> Iterator[pd.DataFrame]:
    """Means of counts per 10,000 of the modelled genes and shares of cells with a count, as in scvi-tools."""
    from scipy import sparse

    counts = sparse.csr_matrix(model.get_from_registry(model.adata, "X"))
    totals = np.asarray(counts.sum(axis=1)).ravel()
    scaled = sparse.diags_array(np.divide(1e4, totals, out=np.zeros(len(totals)), where=totals > 0)) @ counts
    present = counts.astype(bool).astype(np.float32)
    for comparison in comparisons:
        averages = {}
        for side, cells in (("1", comparison.cells1), ("2", comparison.cells2)):
            weights = cells / cells.sum()
            averages[f"mean{side}"] = weights @ scaled
            averages[f"fraction{side}"] = weights @ present
        yield pd.DataFrame(averages, index=model.adata.var_names)


def _forecast(model: Any, comparisons: list[Comparison], test: BayesianTest, seed: int) -> float:
    """Seconds that all comparisons need, from a small part of the first one."""
    few = replace(test, n_samples=min(PROBE_SAMPLES[test.weights], test.n_samples))
    probe = comparisons[0]
    cells = sampled_cells(probe, few.n_samples // 2, seed)
    seconds = []
    for _ in range(2):  # the first call also pays for imports and memory
        start = time.perf_counter()
        differential_expression(model, *cells, few, mode="change", seed=seed)
        seconds.append(time.perf_counter() - start)
    probed = sum(_work(int(side.sum()), few) for side in cells)
    all_work = sum(_work(n_cells, test) for each in comparisons for n_cells in (each.n1, each.n2))
    return min(seconds) * all_work / probed * (2 if test.mode == "vanilla" else 1)


def _work(n_cells: int, test: BayesianTest) -> int:
    n_cells = min(n_cells, 2 * test.n_samples)
    decoded = max(n_cells, test.n_samples)
    return decoded * min(n_cells, MAX_ANCHORS) if test.weights == "importance" else decoded


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    import torch

    numpy_state = np.random.get_state()  # noqa: NPY002
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(numpy_state)  # noqa: NPY002
