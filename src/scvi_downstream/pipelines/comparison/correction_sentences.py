"""Whether correction is needed, and whether it helped, in words with their numbers."""

from __future__ import annotations

from scvi_downstream.parameters import Keys

from .correction_gain import LikelihoodGain, MixingGain
from .correction_null import OVERALL, Excess
from .correction_verdict import LEVEL, MIN_EFFECT, Verdict

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
