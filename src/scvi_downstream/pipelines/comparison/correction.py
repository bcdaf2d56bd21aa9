"""Is batch correction needed, and did it help?"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.graphs.neighbors import NeighborsGraph
from scvi_downstream.pipelines.comparison.batch_structure import LEVEL, MIN_EFFECT, OVERALL, Verdict, judge
from scvi_downstream.pipelines.comparison.noise import Evidence, paired_difference
from scvi_downstream.runtime.slow_types import AnnData
from scvi_downstream.scoring.criteria import rows_by_model
from scvi_downstream.statistics.differences import Difference

logger = logging.getLogger(__name__)

UNCORRECTED = "pca"
_BATCH, _BIO, _TOTAL = "scib_batch_correction", "scib_bio_conservation", "scib_total"
_LIKELIHOODS = ("elbo_test", "elbo_validation")
# Options in which a model may differ from the same model that is not told the batches.
_MAY_DIFFER = ("name", "correct_batch", "trial_of", "seed", "init_from")
# Share of the cells below which it is said that the answer rests on few.
_FEW_EXCHANGEABLE = 0.5
_MOST_NAMED = 3


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
    verdict = judge(pca_neighbors, counts.obs, keys, seed=seed)
    likelihood = mixing = None
    if verdict.n_batches > 1:
        known = rows_by_model(leaderboard), models, Evidence.of_datasets(evidence)
        likelihood, mixing = likelihood_gain(*known), _mixing_gain(*known)
    sentences = [
        verdict_sentence(verdict, keys),
        *_describe_likelihood(likelihood, verdict),
        *_describe_mixing(mixing, verdict),
        *_list_caveats(verdict, keys),
    ]
    logger.info("batch correction: %s", sentences[0])
    overall = verdict.overall
    return {
        "needed": verdict.needed,
        "outcome": verdict.outcome,
        "p": min((one.p for one in verdict.excess), default=None),
        "effect": overall and _finite(overall.effect),
        "share": overall and overall.share,
        "expected": overall and overall.expected,
        "detectable": _finite(verdict.detectable),
        "permuted_within": verdict.strata and verdict.strata.words,
        "exchangeable_share": _finite(verdict.exchangeable),
        "n_cells": verdict.n_cells,
        "n_batches": verdict.n_batches,
        "batches": [asdict(one) | {"effect": _finite(one.effect)} for one in verdict.excess],
        "likelihood": likelihood and asdict(likelihood),
        "mixing": mixing and asdict(mixing),
        "sentences": sentences,
    }


def _finite(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


@dataclass(frozen=True)
class LikelihoodGain:
    """Held-out likelihood of a model that is told the batches, against the same model that is not.

    ``difference`` is with minus without, nats per cell, by the column ``criterion`` of the board.
    """

    with_batch: str
    without_batch: str
    criterion: str
    difference: Difference


def likelihood_gain(
    board: pd.DataFrame, models: Mapping[str, Mapping[str, Any]], evidence: Evidence
) -> LikelihoodGain | None:
    """The pair of models that differ in ``correct_batch`` alone; the better pair when there are several.

    Likelihoods can be compared since both models describe the same counts of the same cells.

    ``board`` has one row a model or baseline, ``models`` the complete options by model, ``evidence`` per-cell
    likelihoods.
    """
    corrected, blind = (
        [name for name in board.index if name in models and models[name].get("correct_batch", True) is told]
        for told in (True, False)
    )
    settings = {
        name: {option: value for option, value in models[name].items() if option not in _MAY_DIFFER}
        for name in (*corrected, *blind)
    }
    for criterion in [name for name in _LIKELIHOODS if name in board]:
        gains = [
            LikelihoodGain(name, other, criterion, difference)
            for name in corrected
            for other in blind
            if settings[name] == settings[other]
            and (difference := paired_difference(board, criterion, name, other, evidence))
        ]
        if gains:
            return max(gains, key=lambda gain: float(board.loc[gain.with_batch, gain.criterion]))
    return None


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


def _mixing_gain(
    board: pd.DataFrame, models: Mapping[str, Mapping[str, Any]], evidence: Evidence
) -> MixingGain | None:
    """The best corrected model against PCA; ``None`` without scores of both."""
    if UNCORRECTED not in board.index:
        return None
    corrected = [name for name in board.index if name in models and models[name].get("correct_batch", True)]
    known = [name for name in (_TOTAL, _BATCH) if name in board and board.loc[corrected, name].notna().any()]
    if not known:
        return None
    best = str(board.loc[corrected, known[0]].astype(float).idxmax())
    pair = [best, UNCORRECTED]
    scores: dict[str, Any] = {}
    for name, column in (("batch", _BATCH), ("bio", _BIO)):
        if column in board and board.loc[pair, column].notna().all():
            scores[name], scores[f"{name}_uncorrected"] = map(float, board.loc[pair, column])
            scores[f"{name}_difference"] = paired_difference(board, column, best, UNCORRECTED, evidence)
    return MixingGain(best, **scores) if "batch" in scores else None


def verdict_sentence(verdict: Verdict, keys: Keys) -> str:
    """The answer, with the statistic that gave it."""
    if verdict.outcome == "no batches":
        return "Whether batch correction is needed cannot be said without batch_key."
    if verdict.outcome == "one batch":
        return f"obs['{keys.batch_key}'] holds one batch, so there is nothing to correct."
    if verdict.outcome == "confounded":
        return (
            f"Whether batch correction is needed cannot be told: every {_name_stratum(verdict)} is found in one batch "
            "only, so technique and biology are the same."
        )
    shares = _describe_shares(verdict)
    return {
        "present": f"Batches lie apart on PCA of uncorrected counts ({shares}): correction is "
        f"needed{_name_batches_apart(verdict)}.",
        "none": f"There is no batch structure beyond chance on PCA of uncorrected counts ({shares}): correction is not "
        "needed.",
        "negligible": "Batches differ on PCA of uncorrected counts by more than chance, but hardly "
        f"({shares}; below {MIN_EFFECT:g}): correction is not needed.",
        "composition": "Batches differ in which clusters their cells are in, but mix within clusters of PCA "
        f"({shares}): correction is not needed, unless these clusters are technical themselves.",
        "ambiguous": f"Batches lie apart on PCA of uncorrected counts ({shares}), but so do clusters: without labels, "
        "technique cannot be told from composition; set label_key to know whether correction is needed.",
    }[verdict.outcome]


def _name_stratum(verdict: Verdict) -> str:
    return verdict.strata.words if verdict.strata else "all cells"


def _name_batches_apart(verdict: Verdict) -> str:
    batches = [one for one in verdict.excess if one.cells != OVERALL]
    apart = [one for one in batches if one.p <= LEVEL and one.effect >= MIN_EFFECT]
    if not apart or verdict.n_batches == 2:
        return ""
    largest = sorted(apart, key=lambda one: -one.effect)[:_MOST_NAMED]
    names = ", ".join(f"{one.cells} ({one.effect:.2f})" for one in largest)
    if len(apart) == verdict.n_batches:
        return f", most of all for {names}"
    return f"; {len(apart)} of {verdict.n_batches} batches stand apart: {names}"


def _describe_shares(verdict: Verdict) -> str:
    found = verdict.overall
    assert found is not None  # of every outcome that a test has
    stratum = _name_stratum(verdict)
    within = verdict.outcome != "ambiguous" and stratum != "all cells"
    return (
        f"{100 * found.share:.0f} % of a cell's neighbours are of its own batch, {100 * found.expected:.0f} % with "
        f"batches permuted among {f'cells of the same {stratum}' if within else 'all cells'}; effect "
        f"{max(found.effect, 0):.2f} of 1, p = {min(one.p for one in verdict.excess):.3g}"
    )


def _describe_likelihood(gain: LikelihoodGain | None, verdict: Verdict) -> Iterator[str]:
    if gain is None:
        return
    found = gain.difference
    makes = "does not make held-out cells more likely beyond noise"
    if found.low > 0 or found.high < 0:
        makes = f"makes held-out cells {'more' if found.low > 0 else 'less'} likely"
    although = ", although PCA shows no need" if found.low > 0 and verdict.needed is False else ""
    yield (
        f"Telling the model the batches {makes} ({found.value:+.1f} ± {found.standard_error:.1f} nats per cell; "
        f"{gain.with_batch} against {gain.without_batch}, {gain.criterion}){although}."
    )


def _describe_mixing(gain: MixingGain | None, verdict: Verdict) -> Iterator[str]:
    if gain is None or verdict.needed is False:
        return
    change = "which mixes batches better" if gain.mixes_better else "no better beyond noise"
    yield (
        f"scib's batch correction is {gain.batch_uncorrected:.2f} on PCA and {gain.batch:.2f} on {gain.model}, "
        f"{change}."
    )
    if gain.bio is not None:
        kept = f"from {gain.bio_uncorrected:.2f} to {gain.bio:.2f}"
        yield (
            f"Bio conservation falls {kept}: {gain.model} mixes cells that differ, too; compare cell types before and "
            "after before trusting it."
            if gain.loses_biology
            else f"Bio conservation goes {kept}, so that mixing is not paid for with cell types."
        )


def _list_caveats(verdict: Verdict, keys: Keys) -> Iterator[str]:
    if verdict.outcome in ("none", "negligible") and verdict.detectable > MIN_EFFECT:
        yield f"With {verdict.n_cells:,} cells effects below {verdict.detectable:.2f} cannot be told from chance."
    if verdict.exchangeable < _FEW_EXCHANGEABLE and verdict.outcome != "confounded":
        yield (
            f"Only {100 * verdict.exchangeable:.0f} % of the cells are of a {_name_stratum(verdict)} that several "
            "batches hold; the answer rests on these."
        )
    if verdict.outcome == "present":
        yield (
            f"What differs between values of obs['{keys.batch_key}'] may be biology where these are donors, conditions "
            "or time points: correction removes it as well."
        )
