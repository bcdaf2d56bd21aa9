"""Log-likelihood of counts and its gradients in one pass over memory, on CPUs.

The decoder of scVI gives, for each cell and gene, a logit of the gene's share and one of dropout. From these stock
scvi-tools makes means, distributions and log-probabilities, and autograd their derivatives, in some fifty passes over
arrays of cells × genes. Here a cell's row stays in the processor's nearest cache, from its logits to their gradients,
which take the logits' place. Exponentials and logarithms are polynomials (Cephes, Moshier 1992), as a compiler can do
eight or sixteen of them at a time; they are within two units of the last place. Gamma functions are in double
precision, on non-zero counts alone.
"""

from __future__ import annotations

import math

import numpy as np

from scvi_downstream.runtime.compiled import compiled, inlined

_EPS = np.float32(1e-8)  # as in scvi-tools
_LOG_FACTORIALS = np.cumsum([0.0, *(math.log(k) for k in range(1, 256))])  # of counts that are looked up
_ONE, _HALF, _ZERO = np.float32(1), np.float32(0.5), np.float32(0)


@inlined
def exp32(x: np.float32) -> np.float32:
    """Of a float32; 0 below -87."""
    low, high = np.float32(-87.3), np.float32(88.3)
    x = low if x < low else x
    x = high if x > high else x
    n = np.floor(x * np.float32(1.44269504) + _HALF)
    r = x - n * np.float32(0.693359375) + n * np.float32(2.12194440e-4)
    y = np.float32(1.9875691500e-4)
    y = y * r + np.float32(1.3981999507e-3)
    y = y * r + np.float32(8.3334519073e-3)
    y = y * r + np.float32(4.1665795894e-2)
    y = y * r + np.float32(1.6666665459e-1)
    y = y * r + np.float32(5.0000001201e-1)
    y = y * r * r + r + _ONE
    return y * np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)


@inlined
def _log_near_one(f: np.float32) -> np.float32:
    """log(1 + f) for f between √½ - 1 and √2 - 1."""
    z = f * f
    y = np.float32(7.0376836292e-2)
    y = y * f - np.float32(1.1514610310e-1)
    y = y * f + np.float32(1.1676998740e-1)
    y = y * f - np.float32(1.2420140846e-1)
    y = y * f + np.float32(1.4249322787e-1)
    y = y * f - np.float32(1.6668057665e-1)
    y = y * f + np.float32(2.0000714765e-1)
    y = y * f - np.float32(2.4999993993e-1)
    y = y * f + np.float32(3.3333331174e-1)
    return f + (y * f * z - _HALF * z)


@inlined
def log32(x: np.float32) -> np.float32:
    """Of a positive float32; NaN where it is not finite."""
    bits = np.float32(x).view(np.int32)
    exponent = np.int32((bits - np.int32(0x3F3504F3)) >> np.int32(23))
    n = np.float32(exponent)
    f = np.int32(bits - (exponent << np.int32(23))).view(np.float32) - _ONE
    return _log_near_one(f) - np.float32(2.12194440e-4) * n + np.float32(0.693359375) * n + x * _ZERO


@inlined
def log1p32(f: np.float32) -> np.float32:
    """log(1 + f) of a float32 that is not negative, exact for small ones, too."""
    y = _ONE + f
    bits = np.float32(y).view(np.int32)
    exponent = np.int32((bits - np.int32(0x3F3504F3)) >> np.int32(23))
    n = np.float32(exponent)
    near = f if exponent == 0 else np.int32(bits - (exponent << np.int32(23))).view(np.float32) - _ONE
    return _log_near_one(near) - np.float32(2.12194440e-4) * n + np.float32(0.693359375) * n + f * _ZERO


@inlined
def _log_double(x: float) -> float:
    """Of a positive float64, to some 1e-12."""
    bits = np.float64(x).view(np.int64)
    exponent = (bits - np.int64(0x3FE6A09E667F3BCD)) >> np.int64(52)
    s = np.int64(bits - (exponent << np.int64(52))).view(np.float64)
    s = (s - 1.0) / (s + 1.0)
    z = s * s
    y = 1 / 17
    y = y * z + 1 / 15
    y = y * z + 1 / 13
    y = y * z + 1 / 11
    y = y * z + 1 / 9
    y = y * z + 1 / 7
    y = y * z + 1 / 5
    y = y * z + 1 / 3
    return 2 * (s + s * z * y) + 0.6931471805599453 * np.float64(exponent) + x * 0.0


@inlined
def _gammas(z: float) -> tuple[float, float]:
    """Log Γ and digamma of a positive float64 (Stirling's series at z + 6), to some 1e-8."""
    product, change = z, 1.0
    for k in range(1, 6):
        change = change * (z + k) + product
        product = product * (z + k)
    w = z + 6
    log_w = _log_double(w)
    i = 1 / w
    q = i * i
    log_gamma = (w - 0.5) * log_w - w + 0.9189385332046727
    log_gamma += i * (1 / 12 - q * (1 / 360 - q * (1 / 1260)))
    digamma = log_w - 0.5 * i - q * (1 / 12 - q * (1 / 120 - q * (1 / 252)))
    return log_gamma - _log_double(product), digamma - change / product


@compiled
def _by_gene(theta: np.ndarray, about: np.ndarray, gammas: np.ndarray) -> None:
    """What the terms of all cells share: θ + ε, its inverse, θ / (θ + ε), and log Γ and digamma of θ."""
    for j in range(len(theta)):
        given = theta[j] + _EPS
        about[0, j] = given
        about[1, j] = _ONE / given
        about[2, j] = theta[j] / given
    for j in range(len(theta)):
        gammas[0, j], gammas[1, j] = _gammas(np.float64(theta[j]))


@inlined
def _zeros_nb(
    scale: np.float32,
    mu: np.ndarray,
    theta: np.ndarray,
    about: np.ndarray,
    total: np.ndarray,
    by_theta: np.ndarray,
) -> np.float32:
    """Terms of all genes as if their counts were zero; ``mu`` is given as the shares before normalisation.

    ``total`` becomes θ + µ + ε. Returns the sum of the terms. The gradient by µ, -θ / total, follows from these.
    """
    result = _ZERO
    for j in range(len(mu)):
        m = mu[j] * scale
        t = m + about[0, j]
        ratio = -log1p32(m * about[1, j])
        mu[j] = m
        total[j] = t
        by_theta[j] = ratio + about[2, j] - theta[j] / t
        result += theta[j] * ratio
    return result


@inlined
def _zeros_zinb(
    scale: np.float32, mu: np.ndarray, theta: np.ndarray, about: np.ndarray, total: np.ndarray, by_theta: np.ndarray,
    counts: np.ndarray, dropout: np.ndarray, certain: np.ndarray,
) -> np.float32:  # fmt: skip
    """As :func:`_zeros_nb`, with dropout; where a count is not zero, it was no dropout.

    ``dropout`` are the logits and become their gradients; ``certain`` becomes the probability of no dropout.
    """
    result = _ZERO
    for j in range(len(mu)):
        m = mu[j] * scale
        t = m + about[0, j]
        i = _ONE / t
        ratio = -log1p32(m * about[1, j])
        pi = dropout[j]
        u = theta[j] * ratio - pi
        e = exp32(-abs(u))
        d = exp32(-abs(pi))
        both = _ONE / ((_ONE + e) * (_ONE + d))
        here = (_ONE if u >= _ZERO else e) * ((_ONE + d) * both)
        no_dropout = (_ONE if pi <= _ZERO else d) * ((_ONE + e) * both)
        seen = counts[j] > _ZERO
        s = _ONE if seen else here
        # softplus(u) - softplus(-π), or u - softplus(-π)
        of_zero = (u if u > _ZERO else _ZERO) + log32((_ONE + e) * ((_ONE + e) * both))
        of_count = u - log32(_ONE + d)
        result += (of_count if seen else of_zero) + (pi if pi < _ZERO else _ZERO)
        mu[j] = m
        total[j] = t
        certain[j] = s
        dropout[j] = no_dropout - s
        by_theta[j] = s * (ratio + about[2, j] - theta[j] * i)
    return result


@inlined
def _non_zeros(
    counts: np.ndarray, mu: np.ndarray, theta: np.ndarray, gammas: np.ndarray, total: np.ndarray,
    by_mu: np.ndarray, by_theta: np.ndarray, where: np.ndarray, terms: np.ndarray,
) -> float:  # fmt: skip
    """What counts that are not zero add: ``x (log µ - log(θ + µ)) + log Γ(x + θ) - log Γ(θ) - log Γ(x + 1)``."""
    n = 0
    for j in range(len(counts)):
        where[n] = j
        n += counts[j] > _ZERO
    result = 0.0
    for k in range(n):
        j = where[k]
        x = counts[j]
        terms[0, k] = x
        terms[1, k] = theta[j]
        terms[2, k] = mu[j] + _EPS
        terms[3, k] = total[j]
        whole = np.int64(min(x, np.float32(len(_LOG_FACTORIALS) - 1)))
        result -= gammas[0, j] + (_LOG_FACTORIALS[whole] if whole == x else math.lgamma(np.float64(x) + 1))
    for k in range(n):
        x = terms[0, k]
        log_gamma, digamma = _gammas(x + terms[1, k])
        share = x / terms[3, k]
        by_size = x / terms[2, k]
        result += log_gamma - x * _log_double(by_size / share)
        terms[1, k] = digamma - share
        terms[2, k] = by_size - share
    for k in range(n):
        j = where[k]
        by_mu[j] += np.float32(terms[2, k])
        by_theta[j] += np.float32(terms[1, k] - gammas[1, j])
    return result


@compiled
def log_likelihood(
    counts: np.ndarray, logits: np.ndarray, highest: np.ndarray, dropout: np.ndarray, library: np.ndarray,
    theta: np.ndarray, rows: np.ndarray, weight: float, by_library: np.ndarray, by_theta: np.ndarray,
) -> np.ndarray:  # fmt: skip
    """Log-likelihood of each cell, summed over genes, and its gradients.

    Parameters
    ----------
    counts
        float32 ``(n_cells, n_genes)``; of fewer cells, these are taken again and again, as for several draws of each.
    logits
        Of genes' shares, before the softmax; overwritten by their gradients.
    highest
        The highest of each cell's ``logits``, ``(n_cells,)``.
    dropout
        Logits of dropout, likewise; of shape ``(0, n_genes)`` for a negative binomial without zero inflation.
    library
        Natural logarithms of the cells' sizes, ``(n_cells,)``.
    theta
        Inverse dispersions, ``(n_rows, n_genes)``.
    rows
        Which row of ``theta`` is a cell's, ``(n_cells,)``.
    weight
        By which the gradients are multiplied.
    by_library, by_theta
        Become the gradients by ``library`` and ``theta``.

    Returns
    -------
    float64 ``(n_cells,)``.
    """
    n_cells, n_genes = logits.shape
    inflated = len(dropout) > 0
    about = np.empty((len(theta), 3, n_genes), np.float32)
    gammas = np.empty((len(theta), 2, n_genes))
    for k in range(len(theta)):
        _by_gene(theta[k], about[k], gammas[k])
    total, certain, mu, of_theta = np.empty((4, n_genes), np.float32)
    where = np.empty(n_genes + 1, np.int64)
    terms = np.empty((4, n_genes))
    result = np.empty(n_cells)
    by_theta[:] = 0
    certain[:] = 1
    by = np.float32(weight)
    for i in range(n_cells):
        row, x, t, sums = logits[i], counts[i % len(counts)], theta[rows[i]], by_theta[rows[i]]
        of_genes, of_gammas, top = about[rows[i]], gammas[rows[i]], highest[i]
        norm = _ZERO
        for j in range(n_genes):
            e = exp32(row[j] - top)
            mu[j] = e
            norm += e
        size = np.float32(math.exp(library[i]))
        if inflated:
            of_dropout = dropout[i]
            value = _zeros_zinb(size / norm, mu, t, of_genes, total, of_theta, x, of_dropout, certain)
            for j in range(n_genes):
                of_dropout[j] *= by
        else:
            value = _zeros_nb(size / norm, mu, t, of_genes, total, of_theta)
        for j in range(n_genes):
            row[j] = -certain[j] * (t[j] / total[j])
        result[i] = value + _non_zeros(x, mu, t, of_gammas, total, row, of_theta, where, terms)
        by_size = _ZERO
        for j in range(n_genes):
            row[j] *= mu[j]
            by_size += row[j]
        by_library[i] = by_size * by
        # a cell without counts in the modelled genes has size 0, and pulls at nothing
        share = by_size / size if size > _ZERO else _ZERO
        for j in range(n_genes):
            row[j] = (row[j] - mu[j] * share) * by
        for j in range(n_genes):
            sums[j] += of_theta[j] * by
    return result


@compiled
def take_rows(
    indptr: np.ndarray, indices: np.ndarray, data: np.ndarray, rows: np.ndarray, out: np.ndarray
) -> None:
    """Write rows of a CSR matrix to a dense float32 array ``(n_rows, n_columns)``."""
    out[:] = 0
    for i in range(len(rows)):
        for k in range(indptr[rows[i]], indptr[rows[i] + 1]):
            out[i, indices[k]] = data[k]


@compiled
def adam_step(
    weights: np.ndarray, gradient: np.ndarray, mean: np.ndarray, square: np.ndarray, step: int, lr: float, eps: float,
    decay: float, *, decoupled: bool,
) -> None:  # fmt: skip
    """One step of Adam, or with ``decoupled`` of AdamW, in one pass over flat float32 arrays.

    ``mean`` and ``square`` are the running moments, ``step`` counts from 1; β are 0.9 and 0.999, as in PyTorch.

    References
    ----------
    Kingma & Ba (2015), arXiv:1412.6980; Loshchilov & Hutter (2019), arXiv:1711.05101.
    """
    rate = np.float32(lr / (1 - 0.9**step))
    scale = np.float32(1 / math.sqrt(1 - 0.999**step))
    floor, keep_mean, keep_square = np.float32(eps), np.float32(0.9), np.float32(0.999)
    new_mean, new_square = np.float32(1 - 0.9), np.float32(1 - 0.999)
    added = np.float32(0 if decoupled else decay)
    kept = np.float32(1 - lr * decay if decoupled else 1)
    for i in range(len(weights)):
        w = weights[i]
        g = gradient[i] + added * w
        m = keep_mean * mean[i] + new_mean * g
        v = keep_square * square[i] + new_square * g * g
        mean[i] = m
        square[i] = v
        weights[i] = kept * w - rate * m / (np.sqrt(v) * scale + floor)
