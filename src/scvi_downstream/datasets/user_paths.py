"""Paths as users write them."""

from __future__ import annotations

from pathlib import Path

from kedro.utils import find_kedro_project


def user_path(source: str) -> Path:
    """A path from the current folder, or from the project's when it is not there; ``~`` is home."""
    path = Path(source).expanduser()
    if path.is_absolute() or path.exists():
        return path.absolute()
    project = find_kedro_project(Path.cwd())
    if project is not None and (Path(project) / path).exists():
        return Path(project) / path
    return path.absolute()
