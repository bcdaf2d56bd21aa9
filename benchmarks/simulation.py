"""Counts with a known truth: latent dimensions, cell types, batches, donors and conditions, courses of development."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.special import expit
from scipy.stats import norm

from scvi_downstream.runtime.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData
    from scvi.model import SCVI

_N_HIDDEN = 128
LATENT_KEY = "true_latent"
LOADINGS_KEY = "true_loadings"


@dataclass(frozen=True)
class Planted:
    """What is true of simulated counts.

    Attributes
    ----------
    n_cells, n_genes
        Size of the counts.
    n_latent
        Dimensions that the expression of a cell depends on, all of them equally.
    n_types
        Cell types, clouds in the latent space; 1: one standard normal cloud.
    smaller
        How many cells a type has of those of the one before it; 1: types are of equal size.
    broad
        Standard deviation within type ``0`` in each dimension, in the others 0.5.
    n_batches
        Batches.
    batch_effect
        Standard deviation over genes of each batch's shift of the log expression; 0: batches are names only.
    imbalance
        0: every batch has the same composition of types; 1: each type is (nearly) found in one batch only.
    signal
        Mean over genes of the standard deviation of the log expression over cells.
    median_counts, counts_sd
        Counts per cell: median, and standard deviation of their log.
    dispersion
        Median over genes of the inverse dispersion θ of the negative binomial, variance ``μ + μ²/θ``.
    dropout
        Probability of an additional zero: zero-inflated when above 0.
    """

    n_cells: int = 3000
    n_genes: int = 600
    n_latent: int = 5
    n_types: int = 1
    smaller: float = 1.0
    broad: float = 0.5
    n_batches: int = 1
    batch_effect: float = 0.0
    imbalance: float = 0.0
    signal: float = 0.6
    median_counts: float = 3000.0
    counts_sd: float = 0.4
    dispersion: float = 5.0
    dropout: float = 0.0


def simulate(planted: Planted, seed: int) -> AnnData:
    """Counts drawn from a random scVI-type decoder.

    A cell's latent position goes through one hidden layer of 128 rectified units whose weights point into all
    latent directions alike; every gene's log expression is a random combination of them, and the softmax over
    genes times the cell's library size is the mean of a negative binomial.

    Parameters
    ----------
    planted
        The truth.
    seed
        Of decoder and draws.

    Returns
    -------
    ``X`` CSR float32 of whole numbers; obs ``cell_type``, ``batch``; ``obsm["true_latent"]``.

    References
    ----------
    Lopez et al. (2018), doi:10.1038/s41592-018-0229-2.
    """
    rng = np.random.default_rng(seed)
    types = _types(planted, rng)
    batches = _batches(types, planted, rng)
    latent = draw_latent(types, planted, rng)
    log_expression = decode(latent, planted, rng)
    shifts = planted.batch_effect * rng.standard_normal((planted.n_batches, planted.n_genes))
    log_expression += shifts[batches]
    counts = draw_counts(log_expression, np.ones(planted.n_cells), planted, rng)
    return _annotated(counts, latent, types, batches)


@dataclass(frozen=True)
class Cohort:
    """Samples of donors under two conditions, ``a`` and ``b``, and what sets them apart.

    Attributes
    ----------
    cells
        What is true of the cells; their number follows from the samples, and batches are those of whole donors.
    conditions
        Of what the condition is: of ``donors``, each with one sample; of ``samples``, two of each donor; or of
        ``cells``, given at random within each donor's one sample.
    n_donors
        Donors: of each condition where it is theirs, otherwise in all.
    cells_per_sample
        Fewest and most cells, drawn evenly on the scale of logarithms.
    donor_sd
        Standard deviation over donors of the log expression of a typical gene; two samples of one donor differ by half
        of it.
    composition_sd
        Standard deviation over samples of the log-odds of a type, and of a condition that is given to cells.
    depth
        Counts per cell in condition ``b``, relative to ``a``; and the standard deviation over samples of their log.
    change, share_changed
        Log2 by which genes are lower in condition ``b``, and the share of the genes that change: for each lower one
        another one of about the same expression is as many counts higher, so that all others stay as they are.
    abundance
        Log-odds by which type ``0`` is more frequent in condition ``b``.
    """

    cells: Planted = field(default_factory=lambda: Planted(n_genes=300, n_types=3, median_counts=800))
    conditions: Literal["donors", "samples", "cells"] = "donors"
    n_donors: int = 5
    cells_per_sample: tuple[int, int] = (40, 160)
    donor_sd: float = 0.25
    composition_sd: float = 0.4
    depth: tuple[float, float] = (1.0, 0.2)
    change: float = 0.0
    share_changed: float = 0.1
    abundance: float = 0.0


def simulate_cohort(cohort: Cohort, seed: int) -> AnnData:
    """Counts of the samples of a cohort, by the decoder of :func:`simulate`.

    Parameters
    ----------
    cohort
        The truth.
    seed
        Of decoder and draws.

    Returns
    -------
    As :func:`simulate`, with ``sample``, ``donor`` and ``condition`` in obs, whether each gene changes in
    ``var["changes"]``, ``var["highly_variable"]`` true of all genes, and in ``varm["true_loadings"]`` what each latent
    dimension adds to the log expression of each gene by its straight line.
    """
    rng = np.random.default_rng(seed)
    samples = _draw_samples(cohort, rng)
    of_cell = np.repeat(np.arange(len(samples)), samples["n_cells"])
    planted = replace(cohort.cells, n_cells=len(of_cell))
    in_b = (samples["condition"] == "b").to_numpy()[of_cell]
    if cohort.conditions == "cells":
        share = expit(cohort.composition_sd * rng.standard_normal(len(samples)))
        in_b = rng.random(len(of_cell)) < share[of_cell]
    odds = cohort.composition_sd * rng.standard_normal((len(samples), planted.n_types))[of_cell]
    odds[:, 0] += cohort.abundance * in_b
    types = (odds + rng.gumbel(size=odds.shape)).argmax(axis=1)
    latent = draw_latent(types, planted, rng)
    log_expression = decode(latent, planted, rng)
    centred = latent - latent.mean(axis=0)
    loadings = np.linalg.lstsq(centred, log_expression - log_expression.mean(axis=0), rcond=None)[0].T
    batches = rng.standard_normal((planted.n_batches, planted.n_genes)) * planted.batch_effect
    shifts = _donor_shifts(samples, cohort, rng) + batches[samples["batch"]]
    log_expression += shifts[of_cell]
    changed = _draw_pairs(log_expression, cohort.share_changed, rng)
    _exchange(log_expression, changed, cohort.change, in_b[:, None])
    ratio, spread = cohort.depth
    depth = np.exp(spread * rng.standard_normal(len(samples)))[of_cell] * np.where(in_b, ratio, 1)
    counts = draw_counts(log_expression, depth, planted, rng)
    found = _annotated(counts, latent, types, samples["batch"].to_numpy()[of_cell])
    for name in ("sample", "donor"):
        found.obs[name] = pd.Categorical(samples[name].to_numpy()[of_cell])
    found.obs["condition"] = pd.Categorical(np.where(in_b, "b", "a"), ["a", "b"])
    found.var["changes"] = _is_among(changed, planted.n_genes) & (cohort.change != 0)
    found.var["highly_variable"] = True
    found.varm[LOADINGS_KEY] = loadings
    return found


def _draw_samples(cohort: Cohort, rng: np.random.Generator) -> pd.DataFrame:
    """One row a sample: ``sample``, ``donor`` (name and code), ``condition``, ``batch``, ``n_cells``."""
    n_samples = cohort.n_donors * (1 if cohort.conditions == "cells" else 2)
    each = np.arange(n_samples)
    pairs = each // 2
    donor = pairs if cohort.conditions == "samples" else each
    few, many = np.log(cohort.cells_per_sample)
    columns = {
        "sample": [f"s{i}" for i in each],
        "donor": [f"d{i}" for i in donor],
        "code": donor,
        "condition": np.where(each % 2, "b", "a"),
        # two neighbours, one of each condition, share a batch
        "batch": (each if cohort.conditions == "cells" else pairs) % cohort.cells.n_batches,
        "n_cells": np.exp(rng.uniform(few, many, n_samples)).astype(int),
    }
    return pd.DataFrame(columns)


def _donor_shifts(samples: pd.DataFrame, cohort: Cohort, rng: np.random.Generator) -> np.ndarray:
    """``(n_samples, n_genes)`` log expression by which samples differ; genes differ in how much donors do."""
    n_genes = cohort.cells.n_genes
    spread = cohort.donor_sd * np.exp(0.4 * rng.standard_normal(n_genes))
    shifts = spread * rng.standard_normal((samples["code"].max() + 1, n_genes))[samples["code"]]
    if cohort.conditions == "samples":
        shifts += spread / 2 * rng.standard_normal(shifts.shape)
    return shifts


def _draw_pairs(log_expression: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """``(n_pairs, 2)`` positions of a share of the genes, the two of a pair of about the same mean expression."""
    n_genes = log_expression.shape[1]
    order = np.argsort(log_expression.mean(axis=0), kind="stable")
    pairs = rng.permuted(order[: n_genes // 2 * 2].reshape(-1, 2), axis=1)
    return pairs[rng.choice(len(pairs), round(share * n_genes / 2), replace=False)]


def _exchange(log_expression: np.ndarray, pairs: np.ndarray, log2: float, amount: np.ndarray) -> None:
    """Lower the first gene of each pair by ``log2`` where ``amount`` is 1, the second is as much higher; in place.

    ``amount`` is broadcast to ``(n_cells, n_pairs)``. The sum over genes stays, and with it the share of every other
    gene: otherwise genes that were not planted would change beside those that were.
    """
    first, second = pairs.T
    given = amount * (1 - 2.0**-log2)
    taken = np.exp(log_expression[:, first] - log_expression[:, second]) * given
    log_expression[:, second] += np.log1p(taken)
    log_expression[:, first] += np.log1p(-given)


def _is_among(pairs: np.ndarray, n_genes: int) -> np.ndarray:
    return np.isin(np.arange(n_genes), pairs)


@dataclass(frozen=True)
class Course:
    """Cells along a course that may part into two lineages half way.

    Attributes
    ----------
    cells
        Number of cells and genes, counts and dispersion; nothing else of it is used.
    change, share_changed
        Log2 by which genes are lower at the end of the course, and the share of the genes that change; as of
        :class:`Cohort`.
    parting
        Log2 by which as many other genes are lower at the end of one lineage; 0: lineages are names only.
    n_donors, donor_sd, lag
        Donors, as of :class:`Cohort`, and how far they are along the course beside one another: the standard deviation
        of their means, relative to that of their cells.
    depth
        Counts per cell at the end of the course, relative to its start.
    ring
        Whether the end of the course joins its start; of the latent alone.
    """

    cells: Planted = field(default_factory=lambda: Planted(n_cells=600, n_genes=200, median_counts=1500))
    change: float = 0.0
    share_changed: float = 0.2
    parting: float = 0.0
    n_donors: int = 1
    donor_sd: float = 0.0
    lag: float = 0.0
    depth: float = 1.0
    ring: bool = False


def simulate_course(course: Course, seed: int) -> AnnData:
    """Counts of cells along a course.

    Parameters
    ----------
    course
        The truth.
    seed
        Of all draws.

    Returns
    -------
    ``X`` as of :func:`simulate`; obs ``time`` in (0, 1), ``lineage`` (``0``, ``1``), ``donor``; var ``changes`` (along
    the course), ``parts`` (between lineages) and ``highly_variable``; ``obsm["true_latent"]``, ten dimensions, of
    which the first two hold the course.
    """
    rng = np.random.default_rng(seed)
    n_cells, n_genes = course.cells.n_cells, course.cells.n_genes
    donors = rng.integers(course.n_donors, size=n_cells)
    place = rng.standard_normal(n_cells) + course.lag * rng.standard_normal(course.n_donors)[donors]
    time = norm.cdf(place / np.sqrt(1 + course.lag**2))
    lineage = rng.integers(2, size=n_cells)
    after = np.maximum(time - 0.5, 0) * 2
    log_expression = np.tile(1.2 * rng.standard_normal(n_genes), (n_cells, 1))
    changed, parted = np.array_split(_draw_pairs(log_expression, 2 * course.share_changed, rng), 2)
    steps = expit(10 * (time[:, None] - rng.uniform(0.25, 0.75, len(changed))))
    _exchange(log_expression, changed, course.change, steps)
    of_lineage = lineage[:, None] == rng.integers(2, size=len(parted))
    _exchange(log_expression, parted, course.parting, after[:, None] * of_lineage)
    log_expression += (course.donor_sd * rng.standard_normal((course.n_donors, n_genes)))[donors]
    counts = draw_counts(log_expression, course.depth ** (time - 0.5), course.cells, rng)
    latent = 0.25 * rng.standard_normal((n_cells, 10))
    if course.ring:
        latent[:, :2] += 3 * np.column_stack([np.cos(2 * np.pi * time), np.sin(2 * np.pi * time)])
    else:
        latent[:, :2] += 6 * np.column_stack([time, 0.5 * after * np.where(lineage, 1, -1)])
    found = _annotated(counts, latent, lineage, donors)
    found.obs = found.obs.rename(columns={"cell_type": "lineage", "batch": "donor"}).assign(time=time)
    found.var["changes"] = _is_among(changed, n_genes) & (course.change != 0)
    found.var["parts"] = _is_among(parted, n_genes) & (course.parting != 0)
    found.var["highly_variable"] = True
    return found


def simulate_from(model: SCVI, n_cells: int, seed: int) -> AnnData:
    """Counts that a fitted scVI model generates: latent from its prior, library sizes and batches of its cells.

    Parameters
    ----------
    model
        Fitted with its AnnData, a standard normal prior and observed library sizes.
    n_cells
        How many to draw.
    seed
        Of all draws.

    Returns
    -------
    As :func:`simulate`, with the model's genes; every cell is of type ``0``.

    Raises
    ------
    InputError
        The model's prior is not a standard normal, or it draws the library size.
    """
    import torch
    from scvi import REGISTRY_KEYS

    from scvi_downstream.models.fitting import reproducible

    module = model.module
    if module.latent_distribution != "normal" or not module.use_observed_lib_size:
        raise InputError(
            "counts can be simulated from a model with latent_distribution: normal and use_observed_lib_size: true; "
            f"this one has {module.latent_distribution} and {module.use_observed_lib_size}"
        )
    rng = np.random.default_rng(seed)
    like = rng.integers(model.adata.n_obs, size=n_cells)
    latent = rng.standard_normal((n_cells, module.n_latent))
    library = np.log(np.asarray(model.adata.X[like].sum(axis=1))).reshape(-1, 1)
    batches = model.adata_manager.get_from_registry(REGISTRY_KEYS.BATCH_KEY)[like].ravel().astype(np.int64)
    module.eval()
    with reproducible(seed), torch.inference_mode():
        drawn = module.generative(
            z=torch.as_tensor(latent, dtype=torch.float32, device=model.device),
            library=torch.as_tensor(library, dtype=torch.float32, device=model.device),
            batch_index=torch.as_tensor(batches[:, None], device=model.device),
        )
        counts = drawn["px"].sample().cpu().numpy()
    simulated = _annotated(counts, latent, np.zeros(n_cells, dtype=int), batches)
    simulated.var_names = model.adata.var_names
    return simulated


def _types(planted: Planted, rng: np.random.Generator) -> np.ndarray:
    if planted.smaller == 1:
        return rng.integers(planted.n_types, size=planted.n_cells)
    sizes = planted.smaller ** np.arange(planted.n_types)
    return rng.choice(planted.n_types, planted.n_cells, p=sizes / sizes.sum())


def _batches(types: np.ndarray, planted: Planted, rng: np.random.Generator) -> np.ndarray:
    home = types % planted.n_batches
    anywhere = rng.integers(planted.n_batches, size=len(types))
    return np.where(rng.random(len(types)) < planted.imbalance, home, anywhere)


def draw_latent(types: np.ndarray, planted: Planted, rng: np.random.Generator) -> np.ndarray:
    """Standard normal, or clouds of types with three quarters of the variance between them."""
    within = rng.standard_normal((planted.n_cells, planted.n_latent))
    if planted.n_types == 1:
        return within
    centres = rng.standard_normal((planted.n_types, planted.n_latent))
    width = np.where(types == 0, planted.broad, 0.5)[:, None]
    return np.sqrt(0.75) * centres[types] + width * within


def decode(latent: np.ndarray, planted: Planted, rng: np.random.Generator) -> np.ndarray:
    """``(n_cells, n_genes)`` log expression up to a constant per cell."""
    directions = np.linalg.qr(rng.standard_normal((_N_HIDDEN, planted.n_latent)))[0]
    directions *= np.sqrt(_N_HIDDEN / planted.n_latent)
    hidden = np.maximum(latent @ directions.T + rng.standard_normal(_N_HIDDEN), 0)
    signal = hidden @ rng.standard_normal((_N_HIDDEN, planted.n_genes))
    signal = (signal - signal.mean(axis=0)) / signal.std(axis=0)
    strength = planted.signal * rng.gamma(2.0, 0.5, planted.n_genes)
    return 1.2 * rng.standard_normal(planted.n_genes) + strength * signal


def shares_of(log_expression: np.ndarray) -> np.ndarray:
    """Each gene's share of the expression of its cell."""
    shares = np.exp(log_expression - log_expression.max(axis=1, keepdims=True))
    return shares / shares.sum(axis=1, keepdims=True)


def draw_counts(
    log_expression: np.ndarray, depth: np.ndarray, planted: Planted, rng: np.random.Generator
) -> np.ndarray:
    """Counts ``(n_cells, n_genes)`` of shares of the cells' libraries, which ``(n_cells,)`` ``depth`` multiplies."""
    shares = shares_of(log_expression)
    n_cells, n_genes = log_expression.shape
    library = depth * planted.median_counts * np.exp(planted.counts_sd * rng.standard_normal(n_cells))
    theta = planted.dispersion * np.exp(0.5 * rng.standard_normal(n_genes))
    counts = rng.poisson(rng.gamma(theta, library[:, None] * shares / theta))
    counts *= rng.random(counts.shape) >= planted.dropout
    return counts


def _annotated(counts: np.ndarray, latent: np.ndarray, types: np.ndarray, batches: np.ndarray) -> AnnData:
    from anndata import AnnData

    def categories(codes: np.ndarray) -> pd.Categorical:
        return pd.Categorical(codes.astype(str))

    cells = pd.Index([f"cell_{i}" for i in range(len(counts))])
    obs = pd.DataFrame({"cell_type": categories(types), "batch": categories(batches)}, index=cells)
    var = pd.DataFrame(index=pd.Index([f"gene_{i}" for i in range(counts.shape[1])]))
    matrix = sparse.csr_matrix(counts.astype(np.float32))
    return AnnData(matrix, obs=obs, var=var, obsm={LATENT_KEY: latent.astype(np.float32)})
