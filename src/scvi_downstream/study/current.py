"""Which models, baselines and analyses the study's parameters call for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


class CurrentStudy:
    """The parameters of the session that runs, for the registry, which Kedro calls without arguments."""

    parameters: Mapping[str, Any] | None = None
    project: Path = Path()
    requested: frozenset[str] = frozenset()
    is_stored: Callable[[str], bool] | None = None
