"""Where this package is: a checkout, whose configuration and caches lie in it, or installed from a wheel."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def own_conf() -> Path:
    """Configuration that came with the package: inside it where a wheel was installed, else beside ``src``."""
    installed = ROOT / "conf"
    return installed if installed.is_dir() else ROOT.parents[1] / "conf"


def own_cache() -> Path:
    """Folder of what takes time to make again; where a wheel was installed it is the user's, not the package's."""
    if own_conf().parent != ROOT:
        return ROOT / "__pycache__"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scvi-downstream"
