"""Where the state of an unfinished training is kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scvi_downstream.runtime.atomic import replacing

_SUFFIX = ".ckpt"


@dataclass(frozen=True)
class CheckpointStore:
    """At most one checkpoint, found again only by its identity: that of data, options and seed.

    Its folder is made when the first one is written.
    """

    path: Path

    def exists(self) -> bool:
        """Whether there is a checkpoint, of whatever identity."""
        return self.path.is_dir() and any(self.path.glob(f"*{_SUFFIX}"))

    def write(self, writer: Callable[[Path], object], identity: str) -> None:
        """Put what ``writer`` writes to the path that it is given in the place of the last checkpoint."""
        checkpoint = self._file(identity)
        with replacing(checkpoint) as temporary:
            writer(temporary)
        for other in self.path.glob(f"*{_SUFFIX}"):
            if other != checkpoint:
                other.unlink(missing_ok=True)

    def find(self, identity: str) -> Path | None:
        """The checkpoint file, when there is one of this identity."""
        checkpoint = self._file(identity)
        return checkpoint if checkpoint.is_file() else None

    def write_record(self, record: dict[str, Any], identity: str) -> None:
        """Put a finished piece of work, plain data, in the place of the last checkpoint."""
        self.write(lambda path: path.write_text(json.dumps(record)), identity)

    def find_record(self, identity: str) -> dict[str, Any] | None:
        """The finished piece of work of this identity, if there is one."""
        found = self.find(identity)
        return None if found is None else json.loads(found.read_text())

    def clear(self) -> None:
        """Remove the checkpoint, and the folder when nothing else is in it."""
        if not self.path.is_dir():
            return
        for pattern in (f"*{_SUFFIX}", f".*{_SUFFIX}.*.partial"):
            for file in self.path.glob(pattern):
                file.unlink(missing_ok=True)
        if not any(self.path.iterdir()):
            self.path.rmdir()

    def _file(self, identity: str) -> Path:
        return self.path / f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}{_SUFFIX}"
