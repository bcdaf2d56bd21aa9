"""Bayesian differential expression with scvi-tools' own test."""

from __future__ import annotations

import logging
import time
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, Literal

import numpy as np
import pandas as pd

from scvi_downstream.runtime.progress import Progress, duration, track
from scvi_downstream.runtime.slow_types import BaseModelClass
from scvi_downstream.statistics.comparisons import Comparison
from scvi_downstream.statistics.shared_draws import DecodedPairs, decode_pairs

logger = logging.getLogger(__name__)
LABEL = "Bayesian differential expression"
# As in scvi-tools: a gene of a lower mean count is not expressed in a group. This quantile of such genes' highest
# shares, by the number of genes, is the pseudocount; by this factor it is smaller where fold changes are described.
SILENT_MEAN, SILENT_QUANTILE, LEAST_PSEUDOCOUNT, OF_PSEUDOCOUNT = 0.01, 0.9, 1e-10, 1e-3
_EPS = 1e-8
AVERAGES = ("mean1", "fraction1", "raw1", "mean2", "fraction2", "raw2")
GENES_AT_ONCE = 100  # between two looks at the progress
PROBE_SAMPLES = 100  # by which the duration is forecast: enough to be timed, few enough to cost a second
MAX_ANCHORS = 1024  # cells over which scvi-tools evaluates importance weights
LFC_COLUMNS = ("lfc_mean", "lfc_median", "lfc_std", "lfc_lower", "lfc_upper")
COLUMNS = (
    "grouping", "comparison", "group1", "group2", "gene",
    *LFC_COLUMNS,
    "proba_de", "bayes_factor", "expected_fdr", "is_de",
    "mean1", "mean2", "fraction1", "fraction2", "n1", "n2",
)  # fmt: skip

type Columns = dict[str, np.ndarray]


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

    With uniform weights this is scvi-tools' test on draws that all comparisons share: a cell is encoded once and a draw
    of it decoded once. Which draws there are hangs on the seed and the cell, and which of them make pairs on the seed
    and the comparison. Importance weights are left to scvi-tools' own function.

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
    ``proba_de`` and ``bayes_factor`` (natural logarithm) are as scvi-tools defines them; ``expected_fdr`` is the
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
    averages = _raw_averages(model, comparisons)
    sample = _by_importance if test.weights == "importance" else _by_shared_draws
    posteriors = sample(model, comparisons, test, seed, averages)
    genes = model.adata.var_names.to_numpy(dtype=object)
    each = zip(comparisons, posteriors, averages, strict=True)
    ranked = [_ranked(comparison, genes, found | average, test) for comparison, found, average in each]
    return pd.DataFrame({name: np.concatenate([each[name] for each in ranked]) for name in COLUMNS})


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


def _ranked(comparison: Comparison, genes: np.ndarray, columns: Columns, test: BayesianTest) -> Columns:
    """All columns of one comparison, the most probable genes first."""
    order = np.lexsort((-np.abs(columns["lfc_median"]), -columns["proba_de"]))
    expected = expected_fdr(columns["proba_de"])
    columns |= {"gene": genes, "expected_fdr": expected, "is_de": expected <= test.fdr}
    facts = {name: getattr(comparison, name) for name in ("grouping", "group1", "group2", "n1", "n2")}
    repeated = {
        name: np.full(len(genes), fact) for name, fact in (facts | {"comparison": comparison.name}).items()
    }
    return {name: values[order] for name, values in columns.items()} | repeated


def _by_shared_draws(
    model: Any, comparisons: list[Comparison], test: BayesianTest, seed: int, averages: list[Columns]
) -> Iterator[Columns]:
    from scvi_downstream.statistics.fold_changes import CHANGE_COLUMNS

    seeds = [comparison_seed(each, seed) for each in comparisons]
    how: dict[str, Any] = {"n_samples": test.n_samples, "as_each_batch": test.batch_correction}
    # to describe a pair takes about as long as to decode a draw
    progress = Progress(LABEL, test.n_samples * len(comparisons))
    for pairs in decode_pairs(model, comparisons, seeds, seed, progress=progress, **how):
        own = [(seeds[i], averages[i]) for i in pairs.places]
        for changes in _describe_pairs(pairs, own, test, progress):
            yield _weigh_hypotheses(dict(zip(CHANGE_COLUMNS, changes.T, strict=True)), test)


def _describe_pairs(
    pairs: DecodedPairs, own: list[tuple[int, Columns]], test: BayesianTest, progress: Progress
) -> np.ndarray:
    """Distributions of fold changes, ``(n_comparisons, n_genes, len(CHANGE_COLUMNS))``."""
    from scvi_downstream.models.scvi_internals import estimated_delta
    from scvi_downstream.statistics.fold_changes import CHANGE_COLUMNS, describe_changes

    n_genes, (n_comparisons, n_pairs) = len(pairs.shares), pairs.first.shape
    n_outside = n_pairs - int(np.floor(test.credible_interval * n_pairs))
    changes = np.empty((n_comparisons, n_genes, len(CHANGE_COLUMNS)))
    averages = [each for _, each in own]
    sides = zip(pairs.first, pairs.second, averages, strict=True)
    pseudocounts = np.array([_pseudocount(pairs.shares, *each) for each in sides])

    def describe(offsets: np.ndarray, deltas: np.ndarray) -> None:
        for genes in np.array_split(np.arange(n_genes), ceil(n_genes / GENES_AT_ONCE)):
            some = slice(genes[0], genes[-1] + 1)
            limits = pseudocounts, offsets, np.exp2(deltas), n_outside
            describe_changes(pairs.shares[some], pairs.first, pairs.second, *limits, changes[:, some])
            progress.advance(n_comparisons * n_pairs * len(genes) // n_genes)

    deltas = np.full(n_comparisons, test.delta or 0.0)
    if test.delta is None:
        describe(pseudocounts, deltas)
        means = changes[:, :, CHANGE_COLUMNS.index("lfc_mean")]
        for i, (own_seed, _) in enumerate(own):
            with _seeded(own_seed):
                deltas[i] = estimated_delta(means[i])
    describe(OF_PSEUDOCOUNT * pseudocounts, deltas)
    return changes


def _pseudocount(shares: np.ndarray, first: np.ndarray, second: np.ndarray, averages: Columns) -> float:
    """What keeps genes that a group does not express from changes: scvi-tools' rule."""
    highest = [LEAST_PSEUDOCOUNT]
    for name, own in (("raw1", first), ("raw2", second)):
        silent = np.flatnonzero(averages[name] < SILENT_MEAN)
        if len(silent):
            highest.append(float(np.quantile([shares[gene, own].max() for gene in silent], SILENT_QUANTILE)))
    return max(LEAST_PSEUDOCOUNT, max(highest) / len(shares))


def _weigh_hypotheses(changes: Columns, test: BayesianTest) -> Columns:
    """Probability and Bayes factor of what the mode asks, beside the fold changes."""
    if test.mode == "vanilla":
        probability = changes["higher"]
        likelier = np.maximum(probability, 1 - probability)
    else:
        likelier = probability = np.maximum(changes["up"], changes["down"])
    bayes_factor = np.log(probability + _EPS) - np.log(1 - probability + _EPS)
    posterior = {"proba_de": likelier, "bayes_factor": bayes_factor}
    return posterior | {name: changes[name] for name in LFC_COLUMNS}


def _by_importance(
    model: Any, comparisons: list[Comparison], test: BayesianTest, seed: int, averages: list[Columns]
) -> Iterator[Columns]:
    logger.info(
        "Bayesian differential expression with importance weights: %d comparisons, about %s",
        len(comparisons),
        duration(_forecast(model, comparisons, test, seed)),
    )
    genes = model.adata.var_names
    for comparison in track(comparisons, LABEL, len(comparisons)):
        own_seed = comparison_seed(comparison, seed)
        cells = sampled_cells(comparison, test.n_samples, seed)
        level = f"lfc_confidence_interval_{str(test.credible_interval)[:5]}"
        found = differential_expression(model, *cells, test, mode="change", seed=own_seed).loc[genes]
        found = found.rename(columns={f"{level}_min": "lfc_lower", f"{level}_max": "lfc_upper"})
        posterior = {name: found[name].to_numpy() for name in (*LFC_COLUMNS, "proba_de", "bayes_factor")}
        if test.mode == "vanilla":
            # The same seed gives the same draws, so that the fold changes above belong to these probabilities.
            direction = differential_expression(model, *cells, test, mode="vanilla", seed=own_seed).loc[genes]
            posterior["proba_de"] = direction[["proba_m1", "proba_m2"]].max(axis=1).to_numpy()
            posterior["bayes_factor"] = direction["bayes_factor"].to_numpy()
        yield posterior


def _raw_averages(model: Any, comparisons: list[Comparison]) -> list[Columns]:
    """Means of counts per 10,000 of the modelled genes and shares of cells with a count, as in scvi-tools.

    ``raw*``, means of the counts as they are, say which genes are not expressed.
    """
    from scipy import sparse

    from scvi_downstream.statistics.fold_changes import add_rows

    counts = sparse.csr_array(model.get_from_registry(model.adata, "X"))
    totals = counts.sum(axis=1, dtype=np.float64)
    per_cell = np.divide(1e4, totals, out=np.zeros(len(totals)), where=totals > 0)

    def add_up(cells: np.ndarray) -> np.ndarray:
        sums = np.zeros((counts.shape[1], 3))
        add_rows(counts.indptr, counts.indices, counts.data, np.flatnonzero(cells), per_cell, sums)
        return sums.T

    averages = []
    wholes: dict[bytes, np.ndarray] = {}  # a group and its rest have the same cells together as the next ones
    for comparison in comparisons:
        whole = comparison.cells1 | comparison.cells2
        if (key := whole.tobytes()) not in wholes:
            wholes[key] = add_up(whole)
        first = add_up(comparison.cells1)
        means = np.concatenate([first / comparison.n1, (wholes[key] - first) / comparison.n2])
        averages.append(dict(zip(AVERAGES, means, strict=True)))
    return averages


def _forecast(model: Any, comparisons: list[Comparison], test: BayesianTest, seed: int) -> float:
    """Seconds that all comparisons need with importance weights, from a small part of the first one."""
    few = replace(test, n_samples=min(PROBE_SAMPLES, test.n_samples))
    cells = sampled_cells(comparisons[0], few.n_samples // 2, seed)
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
    return max(n_cells, test.n_samples) * min(n_cells, MAX_ANCHORS)


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
