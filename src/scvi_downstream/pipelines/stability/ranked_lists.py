"""How far two ranked lists agree."""

from __future__ import annotations

from collections.abc import Sequence

RBO_PERSISTENCE = 0.9
"""The first ten ranks carry 86 % of the weight."""


def jaccard(a: Sequence[str], b: Sequence[str]) -> float:
    """Shared items among all items of two lists; 1 where both are empty."""
    either = len({*a, *b})
    return len({*a} & {*b}) / either if either else 1.0


def jaccard_by_chance(size: int, n_candidates: int) -> float:
    """Jaccard index of two unrelated choices of ``size`` of ``n_candidates``, at their expected overlap."""
    if n_candidates == 0 or size == 0:
        return float("nan")
    shared = size**2 / n_candidates
    return shared / (2 * size - shared)


def rank_biased_overlap(a: Sequence[str], b: Sequence[str], p: float = RBO_PERSISTENCE) -> float:
    """Agreement of two ranked lists that counts the top most, extrapolated beyond their ends.

    Parameters
    ----------
    a, b
        Items without repetition, the best first; lengths may differ.
    p
        Persistence in (0, 1): the chance that a reader of rank ``d`` goes on to ``d + 1``.

    Returns
    -------
    0 for disjoint lists, 1 for equal ones; NaN where one list is empty.

    References
    ----------
    Webber, Moffat & Zobel (2010), doi:10.1145/1852102.1852106, equation 32.
    """
    short, long = sorted((list(a), list(b)), key=len)
    s, n = len(short), len(long)
    if s == 0:
        return float("nan")
    seen_short: set[str] = set()
    seen_long: set[str] = set()
    overlap_at_s = overlap = 0
    total = 0.0
    for depth in range(1, n + 1):
        item = long[depth - 1]
        seen_long.add(item)
        overlap += item in seen_short
        if depth <= s:
            other = short[depth - 1]
            seen_short.add(other)
            overlap += other in seen_long
            overlap_at_s = overlap
        beyond = overlap_at_s * (depth - s) / (s * depth) if depth > s else 0.0
        total += (overlap / depth + beyond) * p**depth
    return (1 - p) / p * total + ((overlap - overlap_at_s) / n + overlap_at_s / s) * p**n
