"""Is batch correction needed, and did it help?"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.graphs.neighbors import NeighborsGraph
from scvi_downstream.pipelines.comparison.correction_test import (
    LEVEL,
    MIN_EFFECT,
    OVERALL,
    Excess,
    Verdict,
    judge,
)
from scvi_downstream.pipelines.comparison.noise import Difference, Evidence, paired_difference
from scvi_downstream.scoring.criteria import of_cells

if TYPE_CHECKING:
    from anndata import AnnData
else:  # Kedro resolves the annotations at every command, and importing these is slow
    AnnData = Any

logger = logging.getLogger(__name__)


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


_FEW_EXCHANGEABLE = 0.5
_MOST_NAMED = 3


def correction_sentences(
    verdict: Verdict, keys: Keys, likelihood: LikelihoodGain | None, mixing: MixingGain | None
) -> list[str]:
    """The answer first, then what the board adds, then what to keep in mind.

    Parameters
    ----------
    verdict
        Of the uncorrected embedding.
    keys
        Names of the obs columns.
    likelihood, mixing
        What the board says, if it does.
    """
    sentences = [verdict_sentence(verdict, keys)]
    if likelihood is not None:
        sentences.append(_likelihood_sentence(likelihood, verdict))
    if mixing is not None:
        sentences += _mixing_sentences(mixing, verdict)
    return [*sentences, *_caveats(verdict, keys)]


def verdict_sentence(verdict: Verdict, keys: Keys) -> str:
    """The answer, with the statistic that gave it."""
    found = verdict.overall
    return _without_test(verdict, keys) if found is None else _tested(found, verdict)


def _without_test(verdict: Verdict, keys: Keys) -> str:
    if verdict.outcome == "no batches":
        return "Whether batch correction is needed cannot be said without batch_key."
    if verdict.outcome == "one batch":
        return f"obs['{keys.batch_key}'] holds one batch, so there is nothing to correct."
    return (
        f"Whether batch correction is needed cannot be told: every {_like(verdict)} is found in one batch only, so "
        "technique and biology are the same."
    )


def _tested(found: Excess, verdict: Verdict) -> str:
    shares = _shares(found, verdict)
    if verdict.outcome == "present":
        return f"Batches lie apart on PCA of uncorrected counts ({shares}): correction is needed{_apart(verdict)}."
    return {
        "none": (
            f"There is no batch structure beyond chance on PCA of uncorrected counts ({shares}): correction is not "
            "needed."
        ),
        "negligible": (
            f"Batches differ on PCA of uncorrected counts by more than chance, but hardly ({shares}; below "
            f"{MIN_EFFECT:g}): correction is not needed."
        ),
        "composition": (
            f"Batches differ in which clusters their cells are in, but mix within clusters of PCA ({shares}): "
            "correction is not needed, unless these clusters are technical themselves."
        ),
        "ambiguous": (
            f"Batches lie apart on PCA of uncorrected counts ({shares}), but so do clusters: without labels, technique "
            "cannot be told from composition; set label_key to know whether correction is needed."
        ),
    }[verdict.outcome]


def _apart(verdict: Verdict) -> str:
    apart = [
        one for one in verdict.excess if one.cells != OVERALL and one.p <= LEVEL and one.effect >= MIN_EFFECT
    ]
    apart.sort(key=lambda one: -one.effect)
    named = ", ".join(f"{one.cells} ({one.effect:.2f})" for one in apart[:_MOST_NAMED])
    if not named or verdict.n_batches == 2:
        return ""
    if len(apart) == verdict.n_batches:
        return f", most of all for {named}"
    return f"; {len(apart)} of {verdict.n_batches} batches stand apart: {named}"


def _shares(found: Excess, verdict: Verdict) -> str:
    among = "all cells" if verdict.outcome == "ambiguous" else _like(verdict)
    among = among if among == "all cells" else f"cells of the same {among}"
    return (
        f"{100 * found.share:.0f} % of a cell's neighbours are of its own batch, {100 * found.expected:.0f} % with "
        f"batches permuted among {among}; effect {max(found.effect, 0):.2f} of 1, p = {_smallest_p(verdict):.3g}"
    )


def _smallest_p(verdict: Verdict) -> float:
    return min(one.p for one in verdict.excess)


def _like(verdict: Verdict) -> str:
    return verdict.strata.words if verdict.strata else "all cells"


def _likelihood_sentence(gain: LikelihoodGain, verdict: Verdict) -> str:
    difference = gain.difference
    pair = f"{gain.with_batch} against {gain.without_batch}, {gain.criterion}"
    size = f"{difference.value:+.1f} ± {difference.standard_error:.1f} nats per cell"
    if difference.low > 0:
        told = f"Telling the model the batches makes held-out cells more likely ({size}; {pair})"
        return f"{told}, although PCA shows no need." if verdict.needed is False else f"{told}."
    if difference.high < 0:
        return f"Telling the model the batches makes held-out cells less likely ({size}; {pair})."
    return f"Telling the model the batches does not make held-out cells more likely beyond noise ({size}; {pair})."


def _mixing_sentences(gain: MixingGain, verdict: Verdict) -> list[str]:
    if verdict.needed is False:
        return []
    batch = (
        f"scib's batch correction is {gain.batch_uncorrected:.2f} on PCA and {gain.batch:.2f} on {gain.model}"
    )
    change = "which mixes batches better" if gain.mixes_better else "no better beyond noise"
    sentences = [f"{batch}, {change}."]
    if gain.bio is None:
        return sentences
    kept = f"from {gain.bio_uncorrected:.2f} to {gain.bio:.2f}"
    if gain.loses_biology:
        sentences.append(
            f"Bio conservation falls {kept}: {gain.model} mixes cells that differ, too; compare cell types before and "
            "after before trusting it."
        )
    else:
        sentences.append(f"Bio conservation goes {kept}, so that mixing is not paid for with cell types.")
    return sentences


def _caveats(verdict: Verdict, keys: Keys) -> list[str]:
    caveats = []
    if verdict.outcome in ("none", "negligible") and verdict.detectable > MIN_EFFECT:
        caveats.append(
            f"With {verdict.n_cells:,} cells effects below {verdict.detectable:.2f} cannot be told from chance."
        )
    if verdict.exchangeable < _FEW_EXCHANGEABLE and verdict.outcome != "confounded":
        caveats.append(
            f"Only {100 * verdict.exchangeable:.0f} % of the cells are of a {_like(verdict)} that several batches "
            "hold; the answer rests on these."
        )
    if verdict.outcome == "present":
        caveats.append(
            f"What differs between values of obs['{keys.batch_key}'] may be biology where these are donors, conditions "
            "or time points: correction removes it as well."
        )
    return caveats


def judge_correction(
    pca_neighbors: NeighborsGraph,
    counts: AnnData,
    keys: Keys,
    seed: int,
    leaderboard: pd.DataFrame,
    models: Mapping[str, Mapping[str, Any]],
    **evidence: pd.DataFrame,
) -> dict[str, Any]:
    """Whether uncorrected neighbours share batches beyond chance, and what models that correct have gained.

    Parameters
    ----------
    pca_neighbors
        kNN graph of the principal components of uncorrected counts.
    counts
        For the obs columns.
    keys
        Names of the batch, label and condition columns.
    seed
        Of permutations, clusters and the sample of cells.
    leaderboard
        One row a model or baseline.
    models
        Complete options by model.
    **evidence
        ``<name>__score_draws``: bootstrap draws × scib metrics; ``<name>__cell_likelihood``: cells × ``share, elbo,
        reconstruction_error, marginal_ll``.

    Returns
    -------
    ``needed`` (``None`` where the data cannot tell), ``outcome``, ``p``, ``effect``, ``share`` and ``expected`` of the
    same batch among neighbours, ``detectable`` effect, ``permuted_within``, ``exchangeable_share``, ``n_cells``,
    ``n_batches``, ``batches`` (the excess of all cells, then of each batch), ``likelihood`` (held-out, with and without
    batches), ``mixing`` (against PCA) and ``sentences``.

    References
    ----------
    Büttner et al. (2019), doi:10.1038/s41592-018-0254-1; Luecken et al. (2022), doi:10.1038/s41592-021-01336-8.
    """
    board = leaderboard.set_index("model") if "model" in leaderboard else leaderboard
    verdict = judge(pca_neighbors, counts.obs, keys, seed=seed)
    known = _evidence(evidence)
    likelihood = likelihood_gain(board, models, known) if verdict.n_batches > 1 else None
    mixing = mixing_gain(board, models, known) if verdict.n_batches > 1 else None
    overall = verdict.overall
    sentences = correction_sentences(verdict, keys, likelihood, mixing)
    logger.info("batch correction: %s", sentences[0])
    return {
        "needed": verdict.needed,
        "outcome": verdict.outcome,
        "p": min((one.p for one in verdict.excess), default=None),
        "effect": None if overall is None else _finite(overall.effect),
        "share": None if overall is None else overall.share,
        "expected": None if overall is None else overall.expected,
        "detectable": _finite(verdict.detectable),
        "permuted_within": None if verdict.strata is None else verdict.strata.words,
        "exchangeable_share": _finite(verdict.exchangeable),
        "n_cells": verdict.n_cells,
        "n_batches": verdict.n_batches,
        "batches": [
            {
                name: _finite(value) if isinstance(value, float) else value
                for name, value in asdict(one).items()
            }
            for one in verdict.excess
        ],
        "likelihood": plain(likelihood),
        "mixing": plain(mixing),
        "sentences": sentences,
    }


def _evidence(tables: Mapping[str, pd.DataFrame]) -> Evidence:
    """``{"scvi__score_draws": table}`` by kind and model."""
    by_kind: dict[str, dict[str, pd.DataFrame]] = {"score_draws": {}, "cell_likelihood": {}}
    for argument, table in tables.items():
        name, _, kind = argument.rpartition("__")
        by_kind[kind][name] = table
    return Evidence(draws=by_kind["score_draws"], cells=by_kind["cell_likelihood"])


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
