"""Errors and power over simulated data sets, and whether errors are as many as the level says."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, nan
from typing import Protocol

import numpy as np

CONFIDENCE = 0.95
# By this share an error may be off its level: nobody would decide otherwise for it.
TOLERANCE = 0.2
FEWEST_REPEATS = 3


@dataclass(frozen=True, eq=False)
class Tested:
    """What one test said of one simulated data set, beside the truth.

    Attributes
    ----------
    test, scenario
        Names of what is tested, and of the data.
    called
        ``(n_tests,)`` whether the project calls it; empty where it leaves that to the reader.
    truth
        ``(n_tests,)`` whether it was planted; ``None``: nothing was.
    p
        ``(n_tests,)`` p-values, those of tests that were not made NaN; ``None`` where there are calls only.
    level
        Share of p-values, or of false calls, that the project's own words allow; NaN where it names none.
    families
        ``(n_tests,)`` what the project adjusts p-values within, where that is less than all of them.
    """

    test: str
    scenario: str
    called: np.ndarray
    truth: np.ndarray | None = None
    p: np.ndarray | None = None
    level: float = 0.05
    families: np.ndarray | None = None

    def calls_by_family(self) -> list[tuple[np.ndarray, np.ndarray | None]]:
        """What is called and what is planted, one entry a family."""
        if self.families is None or not len(self.called):
            return [(self.called, self.truth)]
        masks = [self.families == name for name in dict.fromkeys(self.families)]
        return [(self.called[mask], None if self.truth is None else self.truth[mask]) for mask in masks]


class Run(Protocol):
    """Simulates data from a seed, with or without something planted, and says what the tests of them say."""

    def __call__(self, seed: int, *, planted: bool) -> Iterable[Tested]:
        """Each test and scenario once."""
        ...


@dataclass(frozen=True)
class Capability:
    """A capability of the project and the tests that it makes.

    Attributes
    ----------
    name
        What it is called on the page.
    run
        From a seed, and whether something is planted, to what its tests say.
    share
        Share of the repeats that it is worth, as it takes long.
    """

    name: str
    run: Run
    share: float = 1.0


@dataclass(frozen=True)
class Estimate:
    """A mean over repeats with its 95 % range; NaN where nothing was observed."""

    value: float = nan
    low: float = nan
    high: float = nan

    def text(self) -> str:
        """Percentages, the range in brackets."""
        if np.isnan(self.value):
            return ""
        return f"{100 * self.value:.1f} % [{100 * self.low:.1f}, {100 * self.high:.1f}]"


@dataclass(frozen=True)
class Row:
    """A test in a scenario over all repeats.

    Attributes
    ----------
    capability, test, scenario, level
        As of :class:`Capability` and :class:`Tested`.
    repeats, tests
        Data sets without anything planted, and mean number of tests in one.
    error
        Share of p-values at or below the level where nothing is planted; of a test that makes calls only, the share of
        data sets with a call.
    any_call
        Share of these data sets (of their families) with any call, which is all that a false discovery rate allows there.
    fdr, power
        Where something is planted: share of the calls that are false, and of the planted ones that are called.
    """

    capability: str
    test: str
    scenario: str
    level: float
    repeats: int
    tests: float
    error: Estimate
    any_call: Estimate
    fdr: Estimate
    power: Estimate

    @property
    def verdict(self) -> str:
        """Whether errors are as many as the level says, by more than chance and by more than a fifth of the level."""
        errors = (self.error, self.any_call, self.fdr)
        if np.isnan(self.level) or all(np.isnan(each.value) for each in errors):
            return ""
        if any(each.low > self.level * (1 + TOLERANCE) for each in errors):
            return "not calibrated"
        return "conservative" if self.error.high < self.level * (1 - TOLERANCE) else "within"

    def cells(self) -> list[str]:
        """The row of the page's table."""
        power = "" if np.isnan(self.power.value) else f"{100 * self.power.value:.0f} %"
        level = "" if np.isnan(self.level) else f"{100 * self.level:g} %"
        numbers = [str(self.repeats), f"{self.tests:.0f}"] if self.repeats else ["", ""]
        errors = [self.error.text(), self.verdict, self.any_call.text(), self.fdr.text()]
        return [self.test, self.scenario, level, *numbers, *errors, power]


def measure(capability: Capability, repeats: int) -> list[Row]:
    """Every test of a capability over ``repeats`` data sets without and as many with something planted."""
    found: dict[tuple[str, str, float], list[Tested]] = defaultdict(list)
    n = max(min(repeats, FEWEST_REPEATS), ceil(repeats * capability.share))
    for repeat in range(n):
        for planted in (False, True):
            for tested in capability.run(2 * repeat + planted, planted=planted):
                found[tested.test, tested.scenario, tested.level].append(tested)
    return [summarise(capability.name, tests) for tests in found.values()]


def summarise(capability: str, tested: list[Tested]) -> Row:
    """One row from the data sets of one test and scenario."""
    null = [each for each in tested if each.truth is None]
    planted = [each for each in tested if each.truth is not None]
    first = tested[0]
    sizes = [len(each.called) if each.p is None else int(np.isfinite(each.p).sum()) for each in null]
    calls = [
        [float(called.any()) for called, _ in each.calls_by_family()] for each in null if len(each.called)
    ]
    any_call = share_of([float(np.mean(each)) for each in calls], [len(each) for each in calls])
    error = any_call
    if first.p is not None:
        tests = [(each.p[np.isfinite(each.p)], each.level) for each in null if each.p is not None]
        shares = [float((p <= level).mean()) if len(p) else nan for p, level in tests]
        error = share_of(shares, sizes)
    only_calls = first.p is None or max(sizes, default=0) <= 1
    return Row(
        capability,
        first.test,
        first.scenario,
        first.level,
        len(null),
        float(np.mean(sizes)) if sizes else nan,
        error,
        Estimate() if only_calls else any_call,
        mean_over_repeats([mean_false_share(each) for each in planted]),
        mean_over_repeats([found_share(each.called, each.truth) for each in planted]),
    )


def mean_false_share(tested: Tested) -> float:
    """Mean over families of :func:`false_share`; NaN where everything is planted."""
    shares = [false_share(called, truth) for called, truth in tested.calls_by_family()]
    return float(np.mean([share for share in shares if np.isfinite(share)] or [nan]))


def false_share(called: np.ndarray, truth: np.ndarray | None) -> float:
    """Share of the calls that are false, 0 without calls; NaN where everything is planted."""
    if truth is None or truth.all():
        return nan
    return float((called & ~truth).sum() / max(called.sum(), 1))


def found_share(called: np.ndarray, truth: np.ndarray | None) -> float:
    """Share of the planted ones that are called."""
    return nan if truth is None or not truth.any() else float(called[truth].mean())


def mean_over_repeats(values: list[float]) -> Estimate:
    """Mean of the repeats that have a value, with its t interval within 0 and 1."""
    from scipy.stats import t

    known = np.array([value for value in values if np.isfinite(value)])
    if len(known) == 0:
        return Estimate()
    if len(known) == 1:
        return Estimate(float(known[0]), 0.0, 1.0)
    reach = t.ppf((1 + CONFIDENCE) / 2, len(known) - 1) * known.std(ddof=1) / np.sqrt(len(known))
    mean = float(known.mean())
    return Estimate(mean, float(max(mean - reach, 0)), float(min(mean + reach, 1)))


def share_of(shares: list[float], sizes: list[int]) -> Estimate:
    """Mean share of repeats, with a range that is never narrower than that of independent tests.

    Tests of one repeat depend on one another, so that the spread of the shares over repeats counts; where it is zero or
    happens to be small, the exact binomial range of all tests does (Clopper & Pearson 1934,
    doi:10.1093/biomet/26.4.404).
    """
    known = [(share, size) for share, size in zip(shares, sizes, strict=True) if np.isfinite(share)]
    if not known:
        return Estimate()
    spread = mean_over_repeats([share for share, _ in known])
    total = sum(size for _, size in known)
    low, high = binomial_range(round(spread.value * total), total, 1 - CONFIDENCE)
    single = max(size for _, size in known) <= 1
    if single:
        return Estimate(spread.value, low, high)
    return Estimate(spread.value, min(low, spread.low), max(high, spread.high))


def binomial_range(found: int, n: int, outside: float) -> tuple[float, float]:
    """Exact range of a share of which ``found`` of ``n`` were seen, that misses it in a share ``outside`` of cases."""
    from scipy.stats import beta

    low = float(beta.ppf(outside / 2, found, n - found + 1)) if found else 0.0
    high = float(beta.ppf(1 - outside / 2, found + 1, n - found)) if found < n else 1.0
    return low, high
