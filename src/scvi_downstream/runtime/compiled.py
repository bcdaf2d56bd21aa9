"""Functions that Numba compiles once a machine, not once a process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numba import njit

# Sums may be taken in another order, and products be fused; NaN stays NaN, so that a loss that diverges is seen.
_MATH = {"contract", "reassoc", "nsz", "arcp"}
# Python's own errors of division would keep loops from being taken as vectors.
_OPTIONS: dict[str, Any] = {"fastmath": _MATH, "error_model": "numpy"}
inlined: Any = njit(**_OPTIONS, inline="always")
"""Part of :func:`compiled` functions. Kept code is known by the file of these alone: where another file's function is
inlined (``exp32``, ``log32``), what was kept has to be removed after that one is edited."""


def compiled(function: Callable[..., Any]) -> Any:
    """Compile a function at its first call, and keep the code beside it, or in the user's cache.

    Code is kept by the processor that it was made for; a process compiles for itself where there is no place to keep
    it.
    """
    return _kept(function, **_OPTIONS)


def compiled_as_written(function: Callable[..., Any]) -> Any:
    """As :func:`compiled`, each operation rounded in its place, so that any processor gives the same bits."""
    return _kept(function)


def _kept(function: Callable[..., Any], **options: Any) -> Any:
    try:
        return njit(**options, nogil=True, cache=True)(function)
    except RuntimeError:
        return njit(**options, nogil=True)(function)
