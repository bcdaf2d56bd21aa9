"""Trials that are over, one file each, so that a search that was killed goes on where it was."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from scvi_downstream.atomic import replacing
from scvi_downstream.models.checkpoints import CheckpointStore

TrialState = Literal["finished", "stopped", "failed"]
_PATTERN = "trial_*.json"


@dataclass(frozen=True)
class TrialRecord:
    """What is known of a trial when it is over.

    Attributes
    ----------
    number
        Position in the sequence of suggestions, from 1: the model as it is configured.
    changes
        Option → value drawn.
    status
        ``finished``; ``stopped``, when it fell behind; ``failed``.
    scores
        Numbers by name; of a stopped trial the best validation ELBO and the epochs.
    curve
        ELBO of the validation cells after each epoch, in nats per cell, higher is better.
    by_cell
        Objective of likelihood → ``{share: values}``, nats of each cell in the order of their positions.
    draws
        Integration metric → its values on resampled cells, the same cells in every trial.
    reason
        Why it failed or was stopped.
    """

    number: int
    changes: Mapping[str, Any]
    status: TrialState
    scores: Mapping[str, Any] = field(default_factory=dict)
    curve: tuple[float, ...] = ()
    by_cell: Mapping[str, Mapping[str, list[float]]] = field(default_factory=dict)
    draws: Mapping[str, list[float]] = field(default_factory=dict)
    reason: str = ""

    def plain(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self) | {"curve": list(self.curve)}

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> TrialRecord:
        """The record of what :meth:`plain` gave."""
        return cls(**{**plain, "curve": tuple(plain["curve"])})


@dataclass(frozen=True)
class RecordFolder:
    """Records of the trials of one search.

    Attributes
    ----------
    path
        Made when the first record is written.
    """

    path: Path

    @classmethod
    def of(cls, store: CheckpointStore, identity: Iterable[Any]) -> RecordFolder:
        """The folder of a search: another one for other counts, options or seed.

        Parameters
        ----------
        store
            Where searches of the study are kept.
        identity
            All that a trial's scores depend on, as bytes or as what JSON takes.
        """
        digest = hashlib.sha256()
        for part in identity:
            digest.update(part if isinstance(part, bytes) else json.dumps(part, sort_keys=True).encode())
        return cls(store.path / digest.hexdigest()[:16])

    def write(self, record: TrialRecord) -> None:
        """Keep a record."""
        with replacing(self.path / f"trial_{record.number:03d}.json") as temporary:
            temporary.write_text(json.dumps(record.plain()), encoding="utf-8")

    def read(self) -> dict[int, TrialRecord]:
        """Records by number. Failed trials are not among them: what failed may work another time."""
        records = [
            TrialRecord.of(json.loads(path.read_text(encoding="utf-8")))
            for path in sorted(self.path.glob(_PATTERN))
        ]
        return {record.number: record for record in records if record.status != "failed"}
