"""Baselines that need a package which is not installed with the project."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable

_PACKAGES = {"scanorama": "scanorama"}


def missing_baselines(names: Iterable[str]) -> dict[str, str]:
    """Baselines that cannot be run here, each with what to do.

    Parameters
    ----------
    names
        Of ``comparison.baselines``.

    Returns
    -------
    Name → one sentence; empty when all can be run.
    """
    return {
        name: (
            f"comparison.baselines names '{name}', but its package is not installed: run `pip install "
            f"{_PACKAGES[name]}` (it builds annoy, which needs a C++ compiler) or leave it out"
        )
        for name in names
        if name in _PACKAGES and importlib.util.find_spec(_PACKAGES[name]) is None
    }
