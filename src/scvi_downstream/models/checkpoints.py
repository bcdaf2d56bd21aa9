"""Where the state of unfinished work is kept: of a training, and of the pieces of a search."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
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


@dataclass(frozen=True)
class RecordFolder:
    """Records, plain data with ``number`` and ``status``, of the pieces of one piece of work.

    Its folder is made when the first one is written.
    """

    path: Path

    @classmethod
    def of(cls, store: CheckpointStore, identity: Iterable[Any]) -> RecordFolder:
        """The folder of a piece of work, below that of the study: another one for other counts, options or seed.

        ``identity`` is all that the records depend on, as bytes or as what JSON takes.
        """
        digest = hashlib.sha256()
        for part in identity:
            digest.update(part if isinstance(part, bytes) else json.dumps(part, sort_keys=True).encode())
        return cls(store.path / digest.hexdigest()[:16])

    def write(self, record: Mapping[str, Any]) -> None:
        """Keep a record."""
        with replacing(self.path / f"trial_{record['number']:03d}.json") as temporary:
            temporary.write_text(json.dumps(record), encoding="utf-8")

    def read(self) -> dict[int, dict[str, Any]]:
        """Records by number. Failed pieces are not among them: what failed may work another time."""
        paths = sorted(self.path.glob("trial_*.json"))
        records = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
        return {record["number"]: record for record in records if record["status"] != "failed"}
