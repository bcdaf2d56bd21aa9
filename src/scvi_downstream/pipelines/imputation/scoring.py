"""Molecular cross-validation: part of each cell's molecules is held out and predicted from the rest."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.special import gammaln
from scipy.stats import rankdata

from scvi_downstream.models.fitting import reproducible
from scvi_downstream.models.saved import SavedModel
from scvi_downstream.pipelines.imputation.options import ImputationOptions
from scvi_downstream.pipelines.imputation.report import BASELINES
from scvi_downstream.runtime.progress import track
from scvi_downstream.runtime.slow_types import AnnData, BaseModelClass
from scvi_downstream.runtime.threads import quiet
from scvi_downstream.scoring.likelihood import cells_by_share
from scvi_downstream.scoring.resampling import sample_cells
from scvi_downstream.statistics.correlation import bootstrap_weights

logger = logging.getLogger(__name__)
FEWEST_TEST_CELLS = 20
_POSTERIOR_SAMPLES = 10
# Bounds of memory and time: dense entries of the scored cells, cells that tune the baselines, cells whose variation the
# components are of, cells decoded together.
_MOST_ENTRIES = 10_000_000
_MOST_TUNING_CELLS = 500
_MOST_CELLS_OF_PCA = 10_000
_CELLS_AT_ONCE = 1024
_REPLICATES = 500
_INTERVAL = (2.5, 97.5)
_FEWEST_DETECTIONS = 10  # The correlation of a gene that is seen in fewer cells is noise.
# Tried for each baseline: 3 to 30,000 molecules.
_PRIOR_COUNTS = tuple(float(10**exponent) for exponent in np.arange(0.5, 4.51, 0.5))
_SCALE = 1e4
_MOST_COMPONENTS = 50


def score_imputation(
    fitted: SavedModel, counts: AnnData, options: ImputationOptions, seed: int, accelerator: str
) -> tuple[dict[str, Any], pd.DataFrame]:
    """Score the model and three baselines on the held-out molecules of cells that it was not trained on.

    Every method sees the kept molecules only and predicts a rate per gene; the expected held-out count is the
    rate times the cell's kept library times ``share / (1 - share)``. The model's rate is the mean of ten
    posterior samples.

    Parameters
    ----------
    fitted, counts
        The primary model, and the counts that it was fitted on.
    options
        ``score``: share of the counts held out, neighbours of the smoothing baseline, most cells.
    seed, accelerator
        Seed of the thinning, the posterior samples and the bootstrap; where to compute.

    Returns
    -------
    Scores of each method with 95 % bootstrap intervals over cells, and a verdict; one row per gene with each
    method's correlation and error.
    """
    model, share = fitted.attach(counts, accelerator), options.score.held_out_share
    genes = pd.Index(model.adata.var_names, name="gene")
    most = max(FEWEST_TEST_CELLS, min(options.score.max_cells, _MOST_ENTRIES // len(genes)))
    train, validation, test = cells_by_share(model).values()
    roles = assign_roles(train, validation, test, most, seed)
    if roles.share == "validation":
        logger.warning(
            "imputation is scored on %d validation cells, since fewer than %d cells are in the test set; "
            "they were used for early stopping, so the model's score is a little too good",
            len(roles.scored),
            FEWEST_TEST_CELLS,
        )
    matrix = sparse.csr_matrix(model.adata.X)
    kept, held_out = thin(matrix[roles.scored], share, seed)
    alive = np.flatnonzero(np.asarray(kept.sum(axis=1)).ravel() > 0)
    scored, kept, held_out = roles.scored[alive], kept[alive], held_out[alive]
    baselines = Baselines.fit(matrix[roles.reference], options.score.n_neighbors, seed)
    baselines = baselines.tuned(*thin(matrix[roles.tuning], share, seed + 1), share)
    rates = {"model": _predict_rates(model, counts, scored, kept, seed), **baselines.rates(kept)}
    summary, by_method = compare_methods(rates, kept, held_out, share, seed=seed)
    scores = {
        "cells": roles.share,
        "n_cells": len(scored),
        "n_genes": len(genes),
        "held_out_share": share,
        "posterior_samples": _POSTERIOR_SAMPLES,
        "n_neighbors": baselines.n_neighbors,
        **summary,
    }
    logger.info("imputation: %s", scores["verdict"])
    return scores, _tabulate_by_gene(genes, by_method, held_out)


@dataclass(frozen=True)
class CellRoles:
    """Positions of the cells that are scored, that tune the baselines, and that these may learn from."""

    scored: np.ndarray
    tuning: np.ndarray
    reference: np.ndarray
    share: str


def assign_roles(
    train: np.ndarray, validation: np.ndarray, test: np.ndarray, most: int, seed: int
) -> CellRoles:
    """Score test cells, or validation cells when there are fewer than 20 of the former.

    The baselines are tuned on validation cells, or on training cells taken out of their reference when
    validation cells are scored.

    ``train``, ``validation`` and ``test`` are positions; of more than ``most`` cells to score a sample is taken.
    """
    rng = np.random.default_rng(seed)
    scored, share = (test, "test") if len(test) >= FEWEST_TEST_CELLS else (validation, "validation")
    tuning = validation
    if share == "validation" or len(tuning) < FEWEST_TEST_CELLS:
        tuning = rng.permutation(train)[: max(1, len(train) // 5)]
    tuning = np.sort(sample_cells(tuning, _MOST_TUNING_CELLS, rng))
    scored = np.sort(sample_cells(scored, most, rng))
    return CellRoles(scored=scored, tuning=tuning, reference=np.setdiff1d(train, tuning), share=share)


def thin(
    counts: sparse.csr_matrix, held_out_share: float, seed: int
) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Split molecules at random: each is held out with the probability ``held_out_share``.

    For Poisson counts the two parts are independent, and the expectation of the held-out part is that of the kept
    part times ``held_out_share / (1 - held_out_share)``. The kept and the held-out part, both ``(n_cells, n_genes)``,
    add up to the integers of ``counts``. Batson, Royer & Webber (2019), doi:10.1101/786269.
    """
    held_out, kept = counts.copy(), counts.copy()
    drawn = np.random.default_rng(seed).binomial(counts.data.astype(np.int64), held_out_share)
    held_out.data = drawn.astype(np.float32)
    kept.data = (counts.data - held_out.data).astype(np.float32)
    for part in (held_out, kept):
        part.eliminate_zeros()
    return kept, held_out


@dataclass(frozen=True)
class Baselines:
    """Baselines learned from reference cells, none of which is scored.

    ``reference`` are ``(n_reference, n_genes)`` counts, ``mean_rate`` the ``(n_genes,)`` share of each gene among all
    molecules of the reference, never zero; ``centre`` and ``components`` the PCA of the log-normalised reference,
    ``(n_genes,)`` and ``(n_genes, n_components)``; ``n_neighbors`` reference cells are averaged; ``prior_counts`` say
    per method for how many molecules the gene mean counts beside the observed ones, empty before the baselines are
    tuned.
    """

    reference: sparse.csr_matrix
    mean_rate: np.ndarray
    centre: np.ndarray
    components: np.ndarray
    n_neighbors: int
    prior_counts: dict[str, float] = field(default_factory=dict)

    @classmethod
    def fit(cls, reference: sparse.csr_matrix, n_neighbors: int, seed: int) -> Baselines:
        """Mean rates of the reference cells, and principal components of at most 10,000 of them.

        ``n_neighbors`` is cut to the number of reference cells; ``seed`` is that of the sample and of arpack.
        """
        from sklearn.decomposition import PCA

        totals = np.asarray(reference.sum(axis=0), dtype=np.float64).ravel() + 0.5
        some = sample_cells(np.arange(reference.shape[0]), _MOST_CELLS_OF_PCA, np.random.default_rng(seed))
        normalised = _log_normalise(reference[some])
        n_components = min(_MOST_COMPONENTS, *(side - 1 for side in normalised.shape))
        few_genes = normalised.shape[1] <= 2000
        solver, normalised = (
            ("covariance_eigh", normalised.toarray()) if few_genes else ("arpack", normalised)
        )
        pca = PCA(max(1, n_components), svd_solver=solver, random_state=seed).fit(normalised)
        centre, components = (np.asarray(each, dtype=np.float32) for each in (pca.mean_, pca.components_))
        n_neighbors = min(n_neighbors, reference.shape[0])
        return cls(reference, totals / totals.sum(), centre.ravel(), components.T, n_neighbors)

    def tuned(self, kept: sparse.csr_matrix, held_out: sparse.csr_matrix, held_out_share: float) -> Baselines:
        """The same with the prior counts that predict the held-out molecules of the tuning cells best.

        ``kept`` and ``held_out`` are the ``(n_tuning, n_genes)`` parts of cells that are neither reference nor
        scored.
        """
        library, observed = _library_held_out(kept, held_out_share), held_out.toarray()

        def loss(counts: sparse.csr_matrix, prior: float) -> float:
            return poisson_nll(self._shrink(counts, prior) * library, observed).mean()

        best = {
            method: min(_PRIOR_COUNTS, key=lambda prior: loss(counts, prior))
            for method, counts in self._pool(kept).items()
        }
        return replace(self, prior_counts=best)

    def rates(self, kept: sparse.csr_matrix) -> dict[str, np.ndarray]:
        """Rates ``(n_cells, n_genes)`` of each baseline, rows adding to one, from the kept molecules."""
        rates = {"gene_mean": np.tile(self.mean_rate, (kept.shape[0], 1))}
        for method, counts in self._pool(kept).items():
            rates[method] = self._shrink(counts, self.prior_counts[method])
        return rates

    def _pool(self, kept: sparse.csr_matrix) -> dict[str, sparse.csr_matrix]:
        """Counts from which each smoothing method takes its rates: those of neighbours, or the cell's own."""
        from sklearn.neighbors import NearestNeighbors

        search = NearestNeighbors(n_neighbors=self.n_neighbors, algorithm="brute")
        search.fit(self._project(self.reference))
        nearest = search.kneighbors_graph(self._project(kept), mode="connectivity")
        return {"knn_smoothing": (nearest.astype(np.float32) @ self.reference).tocsr(), "thinned_cell": kept}

    def _shrink(self, counts: sparse.csr_matrix, prior: float) -> np.ndarray:
        totals = np.asarray(counts.sum(axis=1), dtype=np.float64).reshape(-1, 1)
        return ((counts.toarray() + prior * self.mean_rate) / (totals + prior)).astype(np.float32)

    def _project(self, counts: sparse.csr_matrix) -> np.ndarray:
        scores = _log_normalise(counts) @ self.components - self.centre @ self.components
        return np.asarray(scores, dtype=np.float32)


def _log_normalise(counts: sparse.csr_matrix) -> sparse.csr_matrix:
    totals = np.maximum(np.asarray(counts.sum(axis=1)).ravel(), 1)
    return (sparse.diags_array(_SCALE / totals) @ counts).tocsr().astype(np.float32).log1p()


def _predict_rates(
    model: BaseModelClass, counts: AnnData, cells: np.ndarray, kept: sparse.csr_matrix, seed: int
) -> np.ndarray:
    from anndata import AnnData

    thinned = AnnData(kept, obs=counts.obs.iloc[cells].copy(), var=pd.DataFrame(index=model.adata.var_names))
    starts = range(0, len(cells), _CELLS_AT_ONCE)
    with reproducible(seed), quiet():
        blocks = [
            model.get_normalized_expression(
                thinned,
                indices=np.arange(start, min(start + _CELLS_AT_ONCE, len(cells))),
                n_samples=_POSTERIOR_SAMPLES,
                library_size=1,
                return_mean=True,
                return_numpy=True,
            )
            for start in track(starts, "predicting held-out counts", len(starts))
        ]
    return np.concatenate(blocks).astype(np.float32)


@dataclass(frozen=True)
class MethodScores:
    """How well one method predicts the held-out counts.

    ``nll`` is the ``(n_cells,)`` Poisson loss of each cell, nats per entry, ``nll_by_gene`` ``(n_genes,)`` that of
    each gene; ``pearson`` and ``spearman`` ``(n_genes,)`` correlations across cells, NaN where undefined;
    ``intervals``: score → value, low, high, ``None`` where no correlation is defined.
    """

    nll: np.ndarray
    nll_by_gene: np.ndarray
    pearson: np.ndarray
    spearman: np.ndarray
    intervals: dict[str, dict[str, float] | None]


def _library_held_out(kept: sparse.csr_matrix, held_out_share: float) -> np.ndarray:
    """``(n_cells, 1)`` expected held-out counts of each cell: kept library × share / (1 - share)."""
    library = np.asarray(kept.sum(axis=1), dtype=np.float64).reshape(-1, 1)
    return library * held_out_share / (1 - held_out_share)


def poisson_nll(expected: np.ndarray, observed: np.ndarray) -> np.ndarray:
    """Negative log-likelihood of each count in nats: in expectation only the true mean minimises it."""
    mean = np.maximum(expected, 1e-12)
    return mean - observed * np.log(mean) + gammaln(observed + 1.0)


def compare_methods(
    rates: dict[str, np.ndarray],
    kept: sparse.csr_matrix,
    held_out: sparse.csr_matrix,
    held_out_share: float,
    *,
    seed: int,
) -> tuple[dict[str, Any], dict[str, MethodScores]]:
    """Score every method and say whether the model beats the best of the others.

    ``rates`` are ``(n_cells, n_genes)`` by method, rows adding to one, of which one is named ``model``; ``kept`` and
    ``held_out`` the parts of the counts. Given are ``methods`` (per method and score: value, low, high),
    ``best_baseline``, ``difference`` (model minus best baseline, in nats per entry) and ``verdict``; and the scores
    per cell and gene.
    """
    observed = held_out.toarray()
    n_cells = len(observed)
    library = _library_held_out(kept, held_out_share)
    ranked = rankdata(observed / library, axis=0)
    weights = bootstrap_weights(n_cells, _REPLICATES, seed) / n_cells
    scored = {method: _score(rate, library, observed, ranked, weights) for method, rate in rates.items()}
    loss = {method: float(scores.nll.mean()) for method, scores in scored.items()}
    best = min((method for method in scored if method != "model"), key=loss.__getitem__)
    difference = _interval(scored["model"].nll - scored[best].nll, weights)
    summary = {
        "methods": {method: scores.intervals for method, scores in scored.items()},
        "best_baseline": best,
        "difference": difference,
        "verdict": _verdict(difference, best, loss[best]),
    }
    return summary, scored


def _score(
    rates: np.ndarray, library: np.ndarray, observed: np.ndarray, ranked: np.ndarray, weights: np.ndarray
) -> MethodScores:
    normalised = observed / library
    nll = poisson_nll(rates * library, observed)
    scale = np.median(library)
    squared = (np.log1p(rates * scale) - np.log1p(normalised * scale)) ** 2
    detected = (observed > 0).sum(axis=0) >= _FEWEST_DETECTIONS
    varies = detected & (np.ptp(rates, axis=0) > 1e-6 * rates.mean(axis=0))
    pearson, pearson_interval = _correlation(rates, normalised, varies, weights)
    spearman, spearman_interval = _correlation(rankdata(rates, axis=0), ranked, varies, weights)
    intervals = {
        "poisson_nll": _interval(nll.mean(axis=1), weights),
        "mse_log_normalised": _interval(squared.mean(axis=1), weights),
        "pearson": pearson_interval,
        "spearman": spearman_interval,
    }
    return MethodScores(nll.mean(axis=1), nll.mean(axis=0), pearson, spearman, intervals)


def _correlation(
    predicted: np.ndarray, observed: np.ndarray, varies: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, dict[str, float] | None]:
    """Correlation per gene, NaN where undefined, and its mean over genes with its bootstrap interval."""
    by_gene = np.full(predicted.shape[1], np.nan)
    if not varies.any():
        return by_gene, None
    x, y = (values[:, varies].astype(np.float64) for values in (predicted, observed))
    x, y = ((values - values.mean(axis=0)) / values.std(axis=0) for values in (x, y))
    by_gene[varies] = (x * y).mean(axis=0)
    mean_x, mean_y = weights @ x, weights @ y
    covariance = weights @ (x * y) - mean_x * mean_y
    spread = (weights @ x**2 - mean_x**2) * (weights @ y**2 - mean_y**2)
    defined = spread > 1e-12
    replicates = np.where(defined, covariance / np.sqrt(np.where(defined, spread, 1.0)), np.nan)
    low, high = np.percentile(np.nanmean(replicates, axis=1), _INTERVAL)
    return by_gene, {"value": float(np.nanmean(by_gene)), "low": float(low), "high": float(high)}


def _interval(by_cell: np.ndarray, weights: np.ndarray) -> dict[str, float]:
    low, high = np.percentile(weights @ by_cell, _INTERVAL)
    return {"value": float(by_cell.mean()), "low": float(low), "high": float(high)}


def _verdict(difference: dict[str, float], best: str, reference: float) -> str:
    value, low, high = (100 * difference[part] / reference for part in ("value", "low", "high"))
    loss = f"Poisson loss {value:+.2f} % (95 % interval {low:+.2f} to {high:+.2f} %)"
    comparison = "better than" if high < 0 else "worse than" if low > 0 else "as well as"
    return f"the model predicts held-out counts {comparison} {BASELINES[best]}: {loss}"


def _tabulate_by_gene(
    genes: pd.Index, scored: dict[str, MethodScores], held_out: sparse.csr_matrix
) -> pd.DataFrame:
    """One row per gene: held-out counts, and each method's error and correlations across cells."""
    table = pd.DataFrame(
        {
            "gene": genes,
            "mean_held_out": np.asarray(held_out.mean(axis=0)).ravel(),
            "n_cells_detected": np.asarray((held_out > 0).sum(axis=0)).ravel(),
        }
    )
    for method, scores in scored.items():
        table[f"poisson_nll_{method}"] = scores.nll_by_gene
        table[f"pearson_{method}"] = scores.pearson
        table[f"spearman_{method}"] = scores.spearman
    return table
