"""Association of many dimensions with many covariates, on cells or, where cells are not independent, on samples."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import permutations, product
from math import factorial, prod

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.statistics.correlation import ranks_within
from scvi_downstream.statistics.testing import benjamini_hochberg

COLUMNS = {
    "dimension": object, "covariate": object, "kind": object, "unit": object, "n": np.int64, "test": object,
    "statistic": float, "rho": float, "r2": float, "eta2": float, "effect": float, "p": float,
    "p_adjusted": float,
}  # fmt: skip
TESTED = ("statistic", "rho", "r2", "eta2", "effect", "p")
MIN_UNITS = 3
EXACT_UP_TO = 8
"""With so few units or fewer, p-values come from all permutations; within blocks with no more permutations."""


def associate(
    values: pd.DataFrame,
    covariates: pd.DataFrame,
    samples: pd.Series | None = None,
    parts: pd.Series | None = None,
) -> pd.DataFrame:
    r"""Test every dimension against every covariate.

    Numbers: Spearman's correlation (t-distribution with ``n - 2`` degrees of freedom) and the R² of a straight
    line. Categories: Kruskal–Wallis with tie correction (χ²) and η², the share of a dimension's variance that lies
    between categories. With no more than 8 units both p-values count all permutations of the covariate.

    Parameters
    ----------
    values
        ``(n_cells, n_dimensions)`` of finite numbers.
    covariates
        ``(n_cells, n_covariates)`` with the same index; numeric, or categories, strings and booleans. Missing or
        infinite values are left out, covariate by covariate; constant covariates altogether.
    samples
        The sample of each cell, if known. A covariate that is constant within samples is then tested on the
        samples' means, as cells of one sample are not independent, and any other one on cells within samples (within
        ``parts`` where there are); only the columns of the same name as ``samples`` or ``parts`` are tested on cells
        over all of them: whether these differ.
    parts
        The part of its sample that each cell belongs to, such as the sample's cells of one condition. A covariate
        that varies within samples but not within parts is tested on the parts' means, as ``unit`` sample, with p-values
        of :func:`within_blocks`.

    Returns
    -------
    One row a dimension and covariate: ``dimension``, ``covariate``, ``kind`` (continuous or categorical), ``unit``
    (cell or sample), ``n`` units, ``test`` (spearman, kruskal or aligned ranks), ``statistic`` (t, H or F), ``rho``
    and ``r2`` (continuous), ``eta2`` (categorical), ``effect`` (\|rho\| or η²), ``p``, ``p_adjusted``
    (Benjamini–Hochberg over the tests of one unit: many certain differences between cells would let through chance
    ones between samples). Effect and p are NaN where the dimension is constant, and where there are fewer than 3
    samples or fewer than two categories have 2 samples.

    References
    ----------
    van Elteren (1960); Mack & Skillings (1980), doi:10.1080/01621459.1980.10477543.
    """
    if not covariates.index.equals(values.index):
        raise ValueError("covariates and values must have the same cells in the same order")
    dimensions = values.to_numpy(dtype=np.float64)
    on_cells: dict[tuple[bytes, bool], list[_Covariate]] = {}
    tables: dict[int, pd.DataFrame] = {}
    levels = [groups for groups in (samples, parts) if groups is not None]
    codes = [np.asarray(pd.factorize(groups)[0]) for groups in levels]
    for position, name in enumerate(covariates):
        covariate = _Covariate(position, covariates[name])
        if not covariate.varies:
            continue
        is_level = any(name == groups.name for groups in levels)
        if not is_level and samples is not None and _constant_within(covariate, samples):
            tables[position] = _test_samples(dimensions, covariate, codes[0])
        elif not is_level and parts is not None and _constant_within(covariate, parts):
            tables[position] = _test_samples(dimensions, covariate, codes[1], codes[0])
        else:
            within = bool(levels) and not is_level
            on_cells.setdefault((np.packbits(covariate.known).tobytes(), within), []).append(covariate)
    for (_, within), alike in on_cells.items():
        known = alike[0].known
        if within:
            inside = known & (codes[-1] >= 0)
            found = _test_within(dimensions[inside], alike, codes[-1], inside)
            tables |= dict(zip((each.position for each in alike), found, strict=True))
            continue
        ranked = _ranked(dimensions[known])
        for covariate in alike:
            tables[covariate.position] = _test(*ranked, covariate.values[known], covariate.kind, "cell")
    if not tables:
        return pd.DataFrame({column: pd.Series(dtype=dtype) for column, dtype in COLUMNS.items()})
    for position, table in tables.items():
        table["dimension"], table["covariate"] = values.columns, str(covariates.columns[position])
    joined = pd.concat(tables).swaplevel().sort_index().reset_index(drop=True)
    joined["p_adjusted"] = joined.groupby("unit")["p"].transform(lambda p: benjamini_hochberg(p.to_numpy()))
    return joined[list(COLUMNS)].astype(COLUMNS)


class _Covariate:
    """Numbers as they are, anything else as codes; which cells have a value."""

    def __init__(self, position: int, column: pd.Series) -> None:
        self.position = position
        number = pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
        if number:
            self.values = column.to_numpy(dtype=np.float64, na_value=np.nan)
            self.known = np.isfinite(self.values)
        else:
            self.values = np.asarray(pd.factorize(column)[0])
            self.known = self.values >= 0
        self.kind = "continuous" if number else "categorical"
        known = self.values[self.known]
        self.varies = len(known) > 1 and bool((known != known[0]).any())


def _constant_within(covariate: _Covariate, samples: pd.Series) -> bool:
    known = covariate.known & samples.notna().to_numpy()
    values = pd.Series(covariate.values[known]).groupby(np.asarray(samples)[known])
    return bool(known.any()) and bool((values.min() == values.max()).all())


def _test_samples(
    dimensions: np.ndarray, covariate: _Covariate, samples: np.ndarray, blocks: np.ndarray | None = None
) -> pd.DataFrame:
    """Tests of the samples' means, with blocks within these."""
    known = covariate.known & (samples >= 0) & (True if blocks is None else blocks >= 0)
    means = pd.DataFrame(dimensions[known]).groupby(samples[known]).mean().to_numpy()
    of_sample = pd.Series(covariate.values[known]).groupby(samples[known]).first().to_numpy()
    table = _test(*_ranked(means), of_sample, covariate.kind, "sample")
    if blocks is not None:
        of_block = pd.Series(blocks[known]).groupby(samples[known]).first().to_numpy()
        f, p = within_blocks(means, of_sample, covariate.kind, of_block)
        table = table.assign(test="aligned ranks", statistic=f, p=p)
    enough = len(of_sample) >= MIN_UNITS
    if enough and covariate.kind == "categorical":
        enough = bool((np.unique(of_sample, return_counts=True)[1] >= 2).sum() >= 2)
    return table if enough else table.assign(**dict.fromkeys(TESTED, np.nan))


def _ranked(dimensions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from scipy.stats import rankdata

    return dimensions, rankdata(dimensions, axis=0)


def _test(
    dimensions: np.ndarray, ranks: np.ndarray, covariate: np.ndarray, kind: str, unit: str
) -> pd.DataFrame:
    test = _spearman if kind == "continuous" else _kruskal
    facts = {"kind": kind, "unit": unit, "n": len(dimensions)}
    return pd.DataFrame(dict.fromkeys(TESTED, np.nan) | facts | test(dimensions, ranks, covariate))


def within_blocks(
    values: np.ndarray, covariate: np.ndarray, kind: str, blocks: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Whether values follow a covariate within blocks, by aligned ranks.

    The means of blocks are taken off the values, and off the ranks of what is left and the covariate (the ranks of a
    number). p-values are those of the F-test, or where there are no more than 8! orders within blocks, of all of them.

    Parameters
    ----------
    values, covariate, kind, blocks
        ``(n_units, n_dimensions)``; ``(n_units,)`` numbers (``continuous``) or codes; codes of blocks.

    Returns
    -------
    ``(n_dimensions,)`` F and p, NaN where nothing varies within blocks.

    References
    ----------
    Hodges & Lehmann (1962), doi:10.1214/aoms/1177704575.
    """
    from scipy import stats

    order = np.argsort(blocks, kind="stable")
    strata = _Strata(blocks[order])
    levels = np.unique(covariate, return_inverse=True)[1]
    columns = (
        np.eye(levels.max() + 1)[levels] if kind == "categorical" else stats.rankdata(covariate)[:, None]
    )
    basis, lengths, _ = np.linalg.svd(strata.centred(columns[order]), full_matrices=False)
    basis = basis[:, lengths > 1e-9]
    within = strata.centred(values[order])
    ranks = strata.centred(stats.rankdata(within, axis=0))
    spread = (within**2).sum(axis=0) > 1e-18 * (values**2).sum(axis=0)
    n_tested, n_free = basis.shape[1], len(values) - len(strata.sizes) - basis.shape[1]
    with np.errstate(divide="ignore", invalid="ignore"):
        share = ((basis.T @ ranks) ** 2).sum(axis=0) / (ranks**2).sum(axis=0)
        f = (
            share / n_tested / ((1 - share) / n_free)
            if n_tested and n_free > 0
            else np.full(len(share), np.nan)
        )
    p = stats.f.sf(f, max(n_tested, 1), max(n_free, 1))
    if n_tested and prod(map(factorial, strata.sizes.tolist())) <= factorial(EXACT_UP_TO):
        places = np.split(np.arange(len(values)), np.cumsum(strata.sizes)[:-1])
        orders = np.array([np.concatenate(each) for each in product(*map(list, map(permutations, places)))])
        p = _exact((np.einsum("onk,nd->okd", basis[orders], ranks, optimize=True) ** 2).sum(axis=1))
    return np.where(spread, f, np.nan), np.where(spread & (n_tested > 0), p, np.nan)


def _spearman(dimensions: np.ndarray, ranks: np.ndarray, covariate: np.ndarray) -> dict[str, object]:
    from scipy import stats

    covariate_ranks = stats.rankdata(covariate)
    rho = _correlation(ranks, covariate_ranks)
    n = len(covariate)
    with np.errstate(divide="ignore", invalid="ignore"):
        t = rho * np.sqrt((n - 2) / ((1 - rho) * (1 + rho)))
    p = 2 * stats.t.sf(np.abs(t), max(n - 2, 1))
    if n <= EXACT_UP_TO:
        centred = ranks - ranks.mean(axis=0)
        p = _exact(np.abs(covariate_ranks[_orders(n)] @ centred))
    return {
        "test": "spearman",
        "statistic": t,
        "rho": rho,
        "r2": _correlation(dimensions, covariate) ** 2,
        "effect": np.abs(rho),
        "p": np.where(np.isfinite(rho), p, np.nan),
    }


def _kruskal(dimensions: np.ndarray, ranks: np.ndarray, covariate: np.ndarray) -> dict[str, object]:
    from scipy import stats

    codes = np.unique(covariate, return_inverse=True)[1]
    n, eta2 = len(codes), _between(dimensions, codes)
    statistic = (n - 1) * _between(ranks, codes)
    p = stats.chi2.sf(statistic, codes.max())
    if n <= EXACT_UP_TO:
        grouped = np.eye(codes.max() + 1)[codes] / np.sqrt(np.bincount(codes))
        sums = np.einsum("ong,nd->ogd", grouped[_orders(n)], ranks - ranks.mean(axis=0), optimize=True)
        p = _exact((sums**2).sum(axis=1))
    return {
        "test": "kruskal",
        "statistic": statistic,
        "eta2": eta2,
        "effect": eta2,
        "p": np.where(np.isfinite(statistic), p, np.nan),
    }


class _Strata:
    """Samples or blocks within which units are compared; codes are from 0, each of which occurs."""

    def __init__(self, codes: np.ndarray) -> None:
        self.codes = np.unique(codes, return_inverse=True)[1]
        self.sizes = np.bincount(self.codes)
        self.members = sparse.csr_matrix((np.ones(len(codes)), (self.codes, np.arange(len(codes)))))

    def centred(self, columns: np.ndarray) -> np.ndarray:
        """``(n_cells, n)`` less the mean of each sample."""
        return columns - ((self.members @ columns) / self.sizes[:, None])[self.codes]

    def ranked(self, columns: np.ndarray) -> np.ndarray:
        """As of :func:`.ranks_within`."""
        return ranks_within(columns, self.codes)

    def variance(self, ranks: np.ndarray) -> np.ndarray:
        """``(n_samples, n)`` variance of ranks in each sample, with one degree of freedom less; 0 of a single cell."""
        return (self.members @ ranks**2) / np.maximum(self.sizes - 1, 1)[:, None]


def _test_within(
    dimensions: np.ndarray, covariates: list[_Covariate], samples: np.ndarray, cells: np.ndarray
) -> Iterator[pd.DataFrame]:
    """Tests of cells within their samples; ``dimensions`` are those of the ``cells`` that are masked."""
    strata = _Strata(samples[cells])
    centred, ranks = strata.centred(dimensions), strata.ranked(dimensions)
    variance = strata.variance(ranks)
    for covariate in covariates:
        test = _spearman_within if covariate.kind == "continuous" else _kruskal_within
        found = test(strata, centred, ranks, variance, covariate.values[cells])
        facts = {"kind": covariate.kind, "unit": "cell", "n": len(dimensions)}
        yield pd.DataFrame(dict.fromkeys(TESTED, np.nan) | facts | found)


def _spearman_within(
    strata: _Strata, centred: np.ndarray, ranks: np.ndarray, variance: np.ndarray, covariate: np.ndarray
) -> dict[str, object]:
    from scipy import stats

    own, own_centred = strata.ranked(covariate[:, None]), strata.centred(covariate[:, None])[:, 0]
    spread = np.sqrt(((strata.members @ own**2) * variance).sum(axis=0))
    z = np.divide(own[:, 0] @ ranks, spread, out=np.full(len(spread), np.nan), where=spread > 0)
    rho = np.where(np.isfinite(z), _correlation(ranks, own[:, 0]), np.nan)
    return {
        "test": "spearman",
        "statistic": z,
        "rho": rho,
        "r2": np.where(np.isfinite(z), _correlation(centred, own_centred) ** 2, np.nan),
        "effect": np.abs(rho),
        "p": 2 * stats.norm.sf(np.abs(z)),
    }


def _kruskal_within(
    strata: _Strata, centred: np.ndarray, ranks: np.ndarray, variance: np.ndarray, covariate: np.ndarray
) -> dict[str, object]:
    from scipy import stats

    codes = np.unique(covariate, return_inverse=True)[1]
    indicators = np.eye(codes.max() + 1)[codes]
    held = strata.members @ indicators
    # of the indicators of categories, centred in each sample: their products, sample by sample
    spread = (
        held[:, :, None] * np.eye(held.shape[1])
        - held[:, :, None] * held[:, None] / strata.sizes[:, None, None]
    )
    together = spread.sum(axis=0)
    sums, means = indicators.T @ ranks, indicators.T @ centred
    covariance = np.einsum("sd,sij->dij", variance, spread, optimize=True)
    statistic = np.einsum(
        "id,dij,jd->d", sums, np.linalg.pinv(covariance, hermitian=True), sums, optimize=True
    )
    explained = np.einsum(
        "id,ij,jd->d", means, np.linalg.pinv(together, hermitian=True), means, optimize=True
    )
    total = np.einsum("ij,ij->j", centred, centred)
    varies = (variance.sum(axis=0) > 0) & (total > 0)
    statistic = np.where(varies, statistic, np.nan)
    eta2 = np.divide(explained, total, out=np.full(len(total), np.nan), where=varies)
    df = max(int(np.linalg.matrix_rank(together, hermitian=True)), 1)
    return {
        "test": "kruskal",
        "statistic": statistic,
        "eta2": eta2,
        "effect": eta2,
        "p": stats.chi2.sf(statistic, df),
    }


def _correlation(columns: np.ndarray, covariate: np.ndarray) -> np.ndarray:
    """Pearson's correlation of each column; NaN where it does not vary."""
    centred, other = columns - columns.mean(axis=0), covariate - covariate.mean()
    scale = np.sqrt(np.einsum("ij,ij->j", centred, centred) * (other @ other))
    varies = (columns != columns[:1]).any(axis=0)
    rho = np.divide(other @ centred, scale, out=np.full(columns.shape[1], np.nan), where=varies & (scale > 0))
    return np.clip(rho, -1.0, 1.0)


def _between(columns: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Share of each column's sum of squares that lies between groups; NaN where it does not vary."""
    centred = columns - columns.mean(axis=0)
    groups = sparse.csr_matrix((np.ones(len(codes)), codes, np.arange(len(codes) + 1))).T
    between = ((groups @ centred) ** 2 / np.bincount(codes)[:, None]).sum(axis=0)
    total = np.einsum("ij,ij->j", centred, centred)
    varies = (columns != columns[:1]).any(axis=0)
    return np.divide(between, total, out=np.full(columns.shape[1], np.nan), where=varies & (total > 0))


def _orders(n: int) -> np.ndarray:
    """All orders of ``n`` units, the one observed first."""
    return np.array(list(permutations(range(n))))


def _exact(statistics: np.ndarray) -> np.ndarray:
    """Share of the orders with a statistic as large as in the first one."""
    return (statistics >= statistics[:1] - 1e-9).mean(axis=0)
