"""What made each file: one small record a dataset, written when the node that made it is done."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scvi_downstream.atomic import replacing
from scvi_downstream.runners.fingerprints import path_state, stored_path

if TYPE_CHECKING:
    from kedro.io import AbstractDataset


@dataclass(frozen=True)
class Record:
    """How a dataset came about, and the state of its file at that moment."""

    node: str
    fingerprint: str
    state: str | None


class Provenance:
    """Records of a study's datasets.

    Parameters
    ----------
    folder
        Where they are kept.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def write(self, name: str, dataset: AbstractDataset, node: str, fingerprint: str) -> None:
        """Record that ``node`` has just made a dataset; one that is not kept in a file needs no record."""
        path = stored_path(dataset)
        if path is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        with replacing(self._file(name)) as temporary:
            temporary.write_text(json.dumps(asdict(Record(node, fingerprint, path_state(path)))))

    def forget(self, name: str) -> None:
        """Drop the record of a dataset that is about to be made anew."""
        self._file(name).unlink(missing_ok=True)

    def find(self, name: str, dataset: AbstractDataset) -> Record | None:
        """The record of a dataset, if its file is still as the node left it."""
        path = stored_path(dataset)
        if path is None:
            return None
        try:
            record = Record(**json.loads(self._file(name).read_text()))
        except (OSError, ValueError, TypeError):
            return None
        state = path_state(path)
        return record if state is not None and record.state == state else None

    def _file(self, name: str) -> Path:
        return self._folder / f"{name}.json"
