"""Shares of variance by batch, by biology and by both, from linear models on batch and biology."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.pipelines.batch_effects.design import Design, codes
from scvi_downstream.statistics.testing import benjamini_hochberg

SOURCES = ("batch", "biology", "shared", "residual")
COLUMNS = ("stage", "representation", "source", "share", "low", "high", "n_cells", "n_dims")
_GROUPS = 20
_LEVEL = 0.95
# (n_cells, n_dims), dense or CSR
type Values = Any


@dataclass(frozen=True)
class Factors:
    """Indicator columns of the linear models.

    Attributes
    ----------
    columns
        ``(n_cells, 1 + n_batches + n_biologies)``: intercept, batches, biologies.
    n_batches
        Number of batches.
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
    return sparse.csr_matrix(
        (np.ones(len(found)), (np.arange(len(found)), found)), shape=(len(found), found.max() + 1)
    )


@dataclass(frozen=True)
class Moments:
    """Sums over cells that every linear model is solved from; those of a part of the cells subtract.

    Attributes
    ----------
    gram
        ``(n_columns, n_columns)`` products of the design with itself.
    cross
        ``(n_columns, n_dims)`` products of the design with the values.
    squares
        ``(n_dims,)`` sums of squared values.
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
    if sparse.issparse(values):
        exact = values.astype(np.float64)
        cross = (columns.T @ exact).toarray()
        squares = np.asarray(exact.multiply(exact).sum(axis=0)).ravel()
    else:
        exact = values.astype(np.float64)
        cross, squares = columns.T @ exact, np.square(exact).sum(axis=0)
    return Moments((columns.T @ columns).toarray(), np.asarray(cross), squares)


def shares(sums: Moments, design: Factors, *, together: bool) -> np.ndarray:
    """Adjusted shares of ``SOURCES``: ``(4,)`` of all dimensions together, or ``(4, n_dims)`` of each.

    The share of the batch alone is what adding it to biology explains, and the reverse; what either of
    them could explain is shared, and negative where they mask each other. R² is adjusted for degrees of
    freedom, so that factors without effect have a share of 0 in expectation. Without biology, its share
    and the shared one are NaN.

    References
    ----------
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
    n_groups = min(_GROUPS, len(design.cells))
    groups = np.random.default_rng(seed).permutation(len(design.cells)) % n_groups
    left = np.stack(
        [
            shares(everyone - moments(model.columns[rows], values[rows]), model, together=True)
            for rows in (np.flatnonzero(groups == group) for group in range(n_groups))
        ]
    )
    error = np.sqrt((n_groups - 1) / n_groups * np.square(left - left.mean(axis=0)).sum(axis=0))
    reach = t.ppf((1 + _LEVEL) / 2, n_groups - 1) * error
    table = pd.DataFrame({"source": SOURCES, "share": observed, "low": observed - reach})
    return table.assign(high=observed + reach, n_cells=len(design.cells), n_dims=values.shape[1])


GENE_COLUMNS = (
    "gene", "batch_variance", "biology_variance", "shared_variance", "batch_f", "batch_p",
    "batch_p_adjusted", "batch_unit", "batch_variance_corrected", "biology_variance_corrected",
)  # fmt: skip


def rank_genes(
    expression: sparse.csr_matrix, corrected: np.ndarray | None, genes: pd.Index, design: Design
) -> pd.DataFrame:
    """One row a gene, the one that carries the batch most first.

    Parameters
    ----------
    expression
        ``(n_cells, n_genes)`` log-normalised counts.
    corrected
        ``(n_cells, n_genes)`` log corrected expression, if there is any.
    genes
        Names of the ``n_genes`` genes.
    design
        Batch and biology of the same cells; those of unknown biology are left out.

    Returns
    -------
    ``COLUMNS``: adjusted shares of the variance, before and after; the F test that batches are equal given
    biology, on cells, or on samples where a batch holds several (``batch_unit``). NaN where a share or test
    is undefined.
    """
    rows = np.flatnonzero(design.known)
    design = design.take(rows)
    model = factors(design)
    before = expression[rows]
    sums = moments(model.columns, before)
    by_gene = shares(sums, model, together=False)
    f, p, unit = compare_batches(before, sums, model, design)
    table = pd.DataFrame(
        {
            "gene": genes.astype(str),
            "batch_variance": by_gene[0],
            "biology_variance": by_gene[1],
            "shared_variance": by_gene[2],
            "batch_f": f,
            "batch_p": p,
            "batch_p_adjusted": benjamini_hochberg(p),
            "batch_unit": unit,
        }
    )
    after = np.full_like(by_gene, np.nan)
    if corrected is not None:
        after = shares(moments(model.columns, corrected[rows]), model, together=False)
    table = table.assign(batch_variance_corrected=after[0], biology_variance_corrected=after[1])
    return table.sort_values("batch_variance", ascending=False, kind="stable", ignore_index=True)


def compare_batches(
    values: sparse.csr_matrix, sums: Moments, model: Factors, design: Design
) -> tuple[np.ndarray, np.ndarray, str]:
    """F statistics and p-values ``(n_genes,)`` of batch given biology, and what was the replicate."""
    if design.samples is not None and _nested(design.samples, design.batches):
        return (*_compare_on_samples(values, sums, model, design), "sample")
    return (*nested_f(sums, model.with_biology, model.with_both), "cell")


def nested_f(sums: Moments, smaller: np.ndarray, larger: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """F test of the columns that the larger model adds; NaN when they add nothing or nothing is left.

    References
    ----------
    Searle (1971), Linear Models, section 3.6.
    """
    from scipy.stats import f

    explained, rank = sums.explained(larger)
    without, rank_without = sums.explained(smaller)
    added, left = rank - rank_without, sums.n_cells - rank
    if added < 1 or left < 1:
        return np.full(len(explained), np.nan), np.full(len(explained), np.nan)
    residual = sums.squares - explained
    varies = residual > 1e-10 * np.maximum(sums.squares, 1e-300)
    ratio = np.full(len(explained), np.nan)
    ratio[varies] = (explained - without)[varies] / added / (residual[varies] / left)
    return ratio, f.sf(ratio, added, left)


def _nested(samples: pd.Series, batches: pd.Series) -> bool:
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
