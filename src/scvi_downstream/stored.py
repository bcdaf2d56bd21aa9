"""Which datasets of a study are on disk already, told before there is a catalogue."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any


def stored_datasets(catalog: Mapping[str, Any], project: Path) -> Callable[[str], bool]:
    """A function that says whether a dataset's file or folder exists.

    Parameters
    ----------
    catalog
        Entries and patterns of ``conf/*/catalog*.yml``.
    project
        Folder that relative paths start from.
    """
    from kedro.io import CatalogConfigResolver

    resolver = CatalogConfigResolver(dict(catalog))

    def is_stored(name: str) -> bool:
        path = resolver.resolve_pattern(name).get("filepath")
        return path is not None and (project / path).exists()

    return is_stored
