"""Did correction help? What the board says: held-out likelihood with and without batches, mixing against PCA."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import pandas as pd

from scvi_downstream.criteria import of_cells

from .noise import Difference, Evidence, paired_difference

UNCORRECTED = "pca"
_BATCH, _BIO, _TOTAL = "scib_batch_correction", "scib_bio_conservation", "scib_total"
_LIKELIHOODS = ("elbo_test", "elbo_validation")
_NAMES = ("name", "correct_batch", "trial_of", "seed", "init_from")


@dataclass(frozen=True)
class LikelihoodGain:
    """Held-out likelihood of a model that is told the batches, against the same model that is not.

    Attributes
    ----------
    with_batch, without_batch
        Names of the models.
    criterion
        Column of the board.
    difference
        With minus without, nats per cell.
    """

    with_batch: str
    without_batch: str
    criterion: str
    difference: Difference


@dataclass(frozen=True)
class MixingGain:
    """What the best corrected model does to batches and to biology, against PCA.

    Attributes
    ----------
    model
        The corrected model with the best total, or the best batch correction where there is no total.
    batch, batch_uncorrected
        Aggregate of scib's metrics of batch correction: of the model, of PCA.
    batch_difference
        Their difference with its noise, where that is known.
    bio, bio_uncorrected, bio_difference
        The same of bio conservation; ``None`` without labels.
    """

    model: str
    batch: float
    batch_uncorrected: float
    batch_difference: Difference | None
    bio: float | None = None
    bio_uncorrected: float | None = None
    bio_difference: Difference | None = None

    @property
    def loses_biology(self) -> bool:
        """Whether bio conservation is lower than that of PCA, by more than the noise of the cells."""
        return self.bio_difference is not None and self.bio_difference.high < 0

    @property
    def mixes_better(self) -> bool:
        """Whether batches are mixed better than by PCA; beyond noise, where that is known."""
        if self.batch_difference is None:
            return self.batch > self.batch_uncorrected
        return self.batch_difference.low > 0


def likelihood_gain(
    board: pd.DataFrame, models: Mapping[str, Mapping[str, Any]], evidence: Evidence
) -> LikelihoodGain | None:
    """The pair of models that differ in ``correct_batch`` alone; the better pair when there are several.

    Likelihoods can be compared since both models describe the same counts of the same cells.

    Parameters
    ----------
    board
        One row a model or baseline.
    models
        Complete options by model.
    evidence
        Per-cell likelihoods.
    """
    present = {name: models[name] for name in board.index if name in models}
    pairs = [
        (corrected, blind)
        for corrected, options in present.items()
        for blind, others in present.items()
        if options.get("correct_batch", True) and not others.get("correct_batch", True)
        if _without_names(options) == _without_names(others)
    ]
    for criterion in _LIKELIHOODS:
        found = [
            LikelihoodGain(corrected, blind, criterion, difference)
            for corrected, blind in pairs
            if (difference := _difference(board, criterion, corrected, blind, evidence)) is not None
        ]
        if found:
            return max(found, key=lambda gain: float(board.loc[gain.with_batch, gain.criterion]))
    return None


def mixing_gain(
    board: pd.DataFrame, models: Mapping[str, Mapping[str, Any]], evidence: Evidence
) -> MixingGain | None:
    """The best corrected model against PCA; ``None`` without scores of both.

    Parameters
    ----------
    board
        One row a model or baseline, PCA among them as ``pca``.
    models
        Complete options by model.
    evidence
        Bootstrap draws.
    """
    if _BATCH not in board or UNCORRECTED not in board.index or pd.isna(board.loc[UNCORRECTED, _BATCH]):
        return None
    corrected = [name for name in board.index if name in models and models[name].get("correct_batch", True)]
    criterion = next(
        (one for one in (_TOTAL, _BATCH) if one in board and board.loc[corrected, one].notna().any()), None
    )
    if criterion is None:
        return None
    best = str(board.loc[corrected, criterion].astype(float).idxmax())
    if pd.isna(board.loc[best, _BATCH]):
        return None
    gain = MixingGain(
        model=best,
        batch=_score(board, best, _BATCH),
        batch_uncorrected=_score(board, UNCORRECTED, _BATCH),
        batch_difference=_difference(board, _BATCH, best, UNCORRECTED, evidence),
    )
    if _BIO not in board or board.loc[[best, UNCORRECTED], _BIO].isna().any():
        return gain
    return replace(
        gain,
        bio=_score(board, best, _BIO),
        bio_uncorrected=_score(board, UNCORRECTED, _BIO),
        bio_difference=_difference(board, _BIO, best, UNCORRECTED, evidence),
    )


def plain(gain: LikelihoodGain | MixingGain | None) -> dict[str, Any] | None:
    """A gain as numbers and words."""
    return None if gain is None else asdict(gain)


def _score(board: pd.DataFrame, name: str, criterion: str) -> float:
    return float(board.loc[name, criterion])


def _difference(
    board: pd.DataFrame, criterion: str, one: str, other: str, evidence: Evidence
) -> Difference | None:
    if criterion not in board or (
        of_cells(criterion) is None and board.loc[[one, other], criterion].isna().any()
    ):
        return None
    return paired_difference(board, criterion, one, other, evidence)


def _without_names(options: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if name not in _NAMES}
