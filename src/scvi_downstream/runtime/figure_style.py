"""The user's own style of figures, as every process that draws is told of it."""

from __future__ import annotations

import os
from pathlib import Path

STYLE_VARIABLE = "SCVI_DOWNSTREAM_FIGURE_STYLE"
"""Environment variable that names a Matplotlib style file, laid over the project's own."""


def choose_style(path: str) -> None:
    """Let figures of this process, and of processes that it starts, be drawn by a style file; empty: by none."""
    if path:
        os.environ[STYLE_VARIABLE] = path
    else:
        os.environ.pop(STYLE_VARIABLE, None)


def own_style() -> tuple[str, str]:
    """Path and text of the user's style file; two empty texts where there is none."""
    path = os.environ.get(STYLE_VARIABLE, "")
    return path, Path(path).read_text(encoding="utf-8") if path else ""
