"""Shares of variance by batch, by biology and by both, from linear models on batch and biology."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.cells.expression import log_normalize_modelled
from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.batch_effects.design import Design, choose_cells, codes, embeddings_of
from scvi_downstream.pipelines.batch_effects.options import BatchEffectOptions
from scvi_downstream.runtime.slow_types import AnnData
from scvi_downstream.scoring.resampling import cells_by_label
from scvi_downstream.statistics.testing import benjamini_hochberg

SOURCES = ("batch", "biology", "shared", "residual")
COLUMNS = ("stage", "representation", "source", "share", "low", "high", "n_cells", "n_dims")
GENE_COLUMNS = (
    "gene", "batch_variance", "biology_variance", "shared_variance", "batch_f", "batch_p",
    "batch_p_adjusted", "batch_unit", "batch_variance_corrected", "biology_variance_corrected",
)  # fmt: skip
# Groups of cells that the jackknife leaves out in turn.
N_GROUPS = 20
LEVEL = 0.95
# (n_cells, n_dims), dense or CSR
type Values = Any


def partition_variance(
    counts: AnnData,
    pca_latent: pd.DataFrame,
    latent: pd.DataFrame,
    corrected_expression: pd.DataFrame,
    keys: Keys,
    options: BatchEffectOptions,
    seed: int,
) -> pd.DataFrame:
    """Shares of variance by batch and biology, four rows a representation.

    Parameters
    ----------
    counts
        obs holds the study's keys.
    pca_latent, latent
        Coordinates before the model and on its latent.
    corrected_expression
        Measured cells × modelled genes; empty when there is none.
    keys, options, seed
        The study's obs columns; most cells; of the sample of cells and of the jackknife.

    Returns
    -------
    ``COLUMNS``; see :func:`partition`.
    """
    design = choose_cells(counts, keys, options, seed)
    expression = log_normalize_modelled(counts[design.positions])
    values: dict[tuple[str, str], Values] = {("before", "expression"): expression}
    values |= embeddings_of(design, pca_latent, latent, pd.DataFrame())
    if not corrected_expression.empty:
        values["corrected", "corrected_expression"] = corrected_expression.loc[design.cells].to_numpy()
    parts = [
        partition(points, design, seed=seed).assign(stage=stage, representation=name)
        for (stage, name), points in values.items()
    ]
    return pd.concat(parts, ignore_index=True)[list(COLUMNS)]


def partition_gene_variance(
    counts: AnnData, corrected_expression: pd.DataFrame, keys: Keys, options: BatchEffectOptions, seed: int
) -> pd.DataFrame:
    """Modelled genes by the share of their variance that is batch alone, see :func:`rank_genes`.

    Parameters are those of :func:`partition_variance`.
    """
    design = choose_cells(counts, keys, options, seed)
    genes = counts.var_names[counts.var["highly_variable"].to_numpy()]
    corrected = None
    if not corrected_expression.empty:
        corrected = corrected_expression.loc[design.cells].reindex(columns=genes).to_numpy()
    return rank_genes(log_normalize_modelled(counts[design.positions]), corrected, genes, design)


@dataclass(frozen=True)
class Factors:
    """Indicator columns of the linear models.

    ``columns`` are ``(n_cells, 1 + n_batches + n_biologies)``: intercept, batches, biologies.
    """

    columns: sparse.csr_matrix
    n_batches: int

    @property
    def with_batch(self) -> np.ndarray:
        """Columns of the model with the batch alone."""
        return np.arange(1 + self.n_batches)

    @property
    def with_biology(self) -> np.ndarray:
        """Columns of the model with biology alone; the intercept when biology is not known."""
        return np.array([0, *range(1 + self.n_batches, self.columns.shape[1])])

    @property
    def with_both(self) -> np.ndarray:
        """All columns."""
        return np.arange(self.columns.shape[1])


def factors(design: Design) -> Factors:
    """Indicators of batch and biology of ``n_cells`` cells."""
    parts = [sparse.csr_matrix(np.ones((len(design.cells), 1))), _indicators(design.batches)]
    if design.biology is not None:
        parts.append(_indicators(design.biology))
    return Factors(sparse.hstack(parts, format="csr"), parts[1].shape[1])


def _indicators(values: pd.Series) -> sparse.csr_matrix:
    found = codes(values)
    ones = (np.ones(len(found)), (np.arange(len(found)), found))
    return sparse.csr_matrix(ones, shape=(len(found), found.max() + 1))


@dataclass(frozen=True)
class Moments:
    """Sums over cells that every linear model is solved from; those of a part of the cells subtract.

    ``gram`` ``(n_columns, n_columns)`` and ``cross`` ``(n_columns, n_dims)`` are the products of the design with
    itself and with the values, ``squares`` ``(n_dims,)`` sums of squared values.
    """

    gram: np.ndarray
    cross: np.ndarray
    squares: np.ndarray

    def __sub__(self, other: Moments) -> Moments:
        return Moments(self.gram - other.gram, self.cross - other.cross, self.squares - other.squares)

    @property
    def n_cells(self) -> int:
        """Number of cells."""
        return round(self.gram[0, 0])

    def explained(self, columns: np.ndarray) -> tuple[np.ndarray, int]:
        """Sum of squares about zero that a model explains, ``(n_dims,)``, and its rank."""
        values, vectors = np.linalg.eigh(self.gram[np.ix_(columns, columns)])
        used = values > 1e-9 * values[-1]
        fitted = (vectors[:, used].T @ self.cross[columns]) / np.sqrt(values[used, None])
        return np.square(fitted).sum(axis=0), int(used.sum())


def moments(columns: sparse.csr_matrix, values: Values) -> Moments:
    """Sums of ``(n_cells, n_columns)`` indicators and ``(n_cells, n_dims)`` values, in double precision."""
    exact = values.astype(np.float64)
    cross = columns.T @ exact
    if sparse.issparse(values):
        cross, squares = cross.toarray(), np.asarray(exact.multiply(exact).sum(axis=0)).ravel()
    else:
        squares = np.square(exact).sum(axis=0)
    return Moments((columns.T @ columns).toarray(), np.asarray(cross), squares)


def shares(sums: Moments, design: Factors, *, together: bool) -> np.ndarray:
    """Adjusted shares of ``SOURCES``: ``(4,)`` of all dimensions together, or ``(4, n_dims)`` of each.

    The share of the batch alone is what adding it to biology explains, and the reverse; what either of
    them could explain is shared, and negative where they mask each other. R² is adjusted for degrees of
    freedom, so that factors without effect have a share of 0 in expectation. Without biology, its share
    and the shared one are NaN.

    Borcard, Legendre & Drapeau (1992), doi:10.2307/1940179; Peres-Neto et al. (2006),
    doi:10.1890/0012-9658(2006)87[2614:VPOSDM]2.0.CO;2.
    """
    mean_square = np.square(sums.cross[0]) / sums.n_cells
    total = sums.squares - mean_square
    total = np.where(total > 1e-10 * np.maximum(sums.squares, 1e-300), total, np.nan)
    if together:
        total = np.nansum(total)
    n_cells = sums.n_cells

    def adjusted(columns: np.ndarray) -> np.ndarray:
        explained, rank = sums.explained(columns)
        about_mean = explained - mean_square
        share = (about_mean.sum() if together else about_mean) / total
        return 1 - (1 - share) * (n_cells - 1) / max(n_cells - rank, 1)

    batch, both = adjusted(design.with_batch), adjusted(design.with_both)
    if len(design.with_biology) == 1:
        nothing = np.full_like(both, np.nan)
        return np.stack([batch, nothing, nothing, 1 - batch])
    biology = adjusted(design.with_biology)
    return np.stack([both - biology, both - batch, batch + biology - both, 1 - both])


def partition(values: Values, design: Design, *, seed: int) -> pd.DataFrame:
    """Shares of the variance of a representation, with 95 % intervals of a jackknife over cells.

    Parameters
    ----------
    values
        ``(n_cells, n_dims)``.
    design
        Batch and biology of the same cells; those of unknown biology are left out.
    seed
        Of the jackknife's groups of cells.

    Returns
    -------
    One row a source: ``source, share, low, high, n_cells, n_dims``.

    References
    ----------
    Shao & Tu (1995), The Jackknife and Bootstrap, doi:10.1007/978-1-4612-0795-5.
    """
    from scipy.stats import t

    values, design = values[np.flatnonzero(design.known)], design.take(design.known)
    model = factors(design)
    everyone = moments(model.columns, values)
    observed = shares(everyone, model, together=True)
    n_groups = min(N_GROUPS, len(design.cells))
    groups = np.random.default_rng(seed).permutation(len(design.cells)) % n_groups
    without = [everyone - moments(model.columns[rows], values[rows]) for rows in cells_by_label(groups)]
    left = np.stack([shares(sums, model, together=True) for sums in without])
    error = np.sqrt((n_groups - 1) / n_groups * np.square(left - left.mean(axis=0)).sum(axis=0))
    reach = t.ppf((1 + LEVEL) / 2, n_groups - 1) * error
    table = pd.DataFrame({"source": SOURCES, "share": observed, "low": observed - reach})
    return table.assign(high=observed + reach, n_cells=len(design.cells), n_dims=values.shape[1])


def rank_genes(
    expression: sparse.csr_matrix, corrected: np.ndarray | None, genes: pd.Index, design: Design
) -> pd.DataFrame:
    """One row a gene, the one that carries the batch most first.

    Parameters
    ----------
    expression
        ``(n_cells, n_genes)`` log-normalised counts.
    corrected, genes
        ``(n_cells, n_genes)`` log corrected expression, if there is any; names of the ``n_genes`` genes.
    design
        Batch and biology of the same cells; those of unknown biology are left out.

    Returns
    -------
    ``GENE_COLUMNS``: adjusted shares of the variance, before and after; the F test that batches are equal given
    biology, on cells, or on samples where a batch holds several (``batch_unit``). NaN where a share or test
    is undefined.
    """
    rows = np.flatnonzero(design.known)
    design = design.take(rows)
    model = factors(design)
    before = expression[rows]
    sums = moments(model.columns, before)
    batch, biology, shared, _ = shares(sums, model, together=False)
    if design.samples is not None and _is_nested(design.samples, design.batches):
        unit, (f, p) = "sample", _compare_on_samples(before, sums, model, design)
    else:
        unit, (f, p) = "cell", nested_f(sums, model.with_biology, model.with_both)
    batch_after = biology_after = np.full_like(batch, np.nan)
    if corrected is not None:
        after = moments(model.columns, corrected[rows])
        batch_after, biology_after, *_ = shares(after, model, together=False)
    columns = (
        genes.astype(str), batch, biology, shared, f, p, benjamini_hochberg(p), unit, batch_after, biology_after,
    )  # fmt: skip
    table = pd.DataFrame(dict(zip(GENE_COLUMNS, columns, strict=True)))
    return table.sort_values("batch_variance", ascending=False, kind="stable", ignore_index=True)


def nested_f(sums: Moments, smaller: np.ndarray, larger: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """F test of the columns that the larger model adds; NaN when they add nothing or nothing is left.

    Searle (1971), Linear Models, section 3.6.
    """
    from scipy.stats import f

    explained, rank = sums.explained(larger)
    without, rank_without = sums.explained(smaller)
    added, left = rank - rank_without, sums.n_cells - rank
    ratio = np.full(len(explained), np.nan)
    if added < 1 or left < 1:
        return ratio, ratio
    residual = sums.squares - explained
    varies = residual > 1e-10 * np.maximum(sums.squares, 1e-300)
    ratio[varies] = (explained - without)[varies] / added / (residual[varies] / left)
    return ratio, f.sf(ratio, added, left)


def _is_nested(samples: pd.Series, batches: pd.Series) -> bool:
    """Whether every sample lies in one batch, and there are more samples than batches."""
    held = pd.crosstab(samples, batches) > 0
    return bool((held.sum(axis=1) == 1).all() and len(held) > held.shape[1])


def _compare_on_samples(
    values: sparse.csr_matrix, sums: Moments, model: Factors, design: Design
) -> tuple[np.ndarray, np.ndarray]:
    """F test on the mean of each sample, given the biology that is constant within samples.

    Biology that varies within samples is estimated there and subtracted, which costs no sample; what is
    constant within samples is a term of both models, and costs degrees of freedom.
    """
    found = codes(design.samples)
    sizes = np.bincount(found)
    averaging = sparse.csr_matrix((1 / sizes[found], (found, np.arange(len(found)))))
    means = (averaging @ values.astype(np.float64)).toarray()
    biology = model.with_biology[1:]
    constant = np.ones((len(sizes), 1))
    if len(biology):
        composition = (averaging @ model.columns[:, biology]).toarray()
        weighted = (composition * sizes[:, None]).T
        within = sums.gram[np.ix_(biology, biology)] - weighted @ composition
        spread, directions = np.linalg.eigh(within)
        varies = spread > 1e-9 * sums.gram[biology, biology].max()
        inside = directions[:, varies]
        cross = sums.cross[biology] - weighted @ means
        means -= composition @ (inside @ ((inside.T @ cross) / spread[varies, None]))
        constant = np.hstack([constant, composition @ directions[:, ~varies]])
    first = np.unique(found, return_index=True)[1]
    batches = codes(design.batches.iloc[first])
    columns = sparse.csr_matrix(np.hstack([constant, np.eye(batches.max() + 1)[batches]]))
    return nested_f(moments(columns, means), np.arange(constant.shape[1]), np.arange(columns.shape[1]))
