"""What hangs on the seed, in the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.report.sections import Headline, Item, Section, Trust, names, result
from scvi_downstream.runtime.words import up_to

SECTION = Section(
    "Stability over seeds",
    "The same model, fitted to the same cells with other seeds. What differs between such fits is no finding. Leiden "
    "repeated on the graph of one fit, and other posterior draws of one fit, show how far two fits could agree at "
    "best.",
    (
        Item(
            dataset="{model}.seeds_figure",
            caption="{model} with several seeds: spread of scores over seeds beside their standard error over cells, "
            "agreement of Leiden clusters, top genes in common, and clusters that come back.",
        ),
        result(
            "{model}/seed_scores.csv",
            "Scores of {model} over seeds: cell_sd is the standard error over cells; two models fitted once each must "
            "differ by least_difference before their seeds alone are an unlikely reason.",
            folder="",
            columns=names("metric n mean sd low high cv cell_sd seed_noise least_difference"),
        ),
        result(
            "{model}/seed_genes.csv",
            "Top genes of each group, those first that come back with most seeds of {model}.",
            folder="",
            groups=("group",),
            columns=names("group symbol n_fits_in_top n_fits mean_rank best_rank worst_rank lfc_mean lfc_sd"),
            folded=True,
        ),
        result(
            "{model}/seed_agreement.csv",
            "Agreement of every pair of seeds of {model}, and within one fit.",
            folder="",
            groups=("measure",),
            folded=True,
        ),
        Item(
            dataset="stability_summary",
            caption="What hangs on the seed, in words and numbers.",
            file="stability.json",
            folded=True,
        ),
    ),
)
UNTRUSTED = 0.6
"""Jaccard index below which a cluster is not to be trusted; Hennig (2007), doi:10.1016/j.csda.2006.11.025."""
# Clusters that are named: as many as fit into a sentence.
N_NAMED = 4
# The first that there is stands for the likelihood, and for the embedding.
_LIKELIHOODS = ("elbo_test", "marginal_ll_test")
_EMBEDDINGS = ("scib_total", "scib_bio_conservation", "scib_batch_correction")


def describe(
    model: str,
    measures: Mapping[str, Mapping[str, Any]],
    scores: pd.DataFrame,
    genes: Mapping[str, Mapping[str, Any]],
    recurrence: pd.Series,
    failed: Mapping[str, str],
) -> list[str]:
    """Sentences on clusters, genes, scores and geometry, the most important first.

    Parameters
    ----------
    model
        Name of the model.
    measures
        ``mean``, ``low``, ``high``, ``least``, ``most``, ``n_fits`` and ``within`` of each measure.
    scores
        Spread of every score, as :func:`.fits.spread_of_scores` gives it.
    genes
        Group → ``in_all``, ``size``, ``by_chance``.
    recurrence
        Cluster of the first fit → mean Jaccard index over the other fits.
    failed
        Fit → reason.
    """
    shared, alike = measures["neighbor_overlap"], measures["cka"]
    found = set(scores["metric"])
    chosen = [next((name for name in group if name in found), "") for group in (_LIKELIHOODS, _EMBEDDINGS)]
    return [
        _describe_clusters(model, measures["leiden_ari"]),
        *(_describe_genes(genes, measures["gene_jaccard"]) if genes else []),
        *(_describe_score(row) for row in scores[scores["metric"].isin(chosen)].itertuples()),
        _describe_recurrence(model, recurrence),
        f"Two seeds of {model} share {shared['mean']:.0%} of a cell's nearest neighbours (by chance "
        f"{shared['chance']:.1%}); the latents as a whole have a centred kernel alignment of {alike['mean']:.2f} "
        f"(by chance {alike['chance']:.2f}).",
        *describe_failures(failed),
    ]


def describe_failures(failed: Mapping[str, str]) -> Iterator[str]:
    """One sentence for each fit that is missing."""
    for name, reason in failed.items():
        yield f"{name} failed and is left out: {reason.rstrip('.')}."


def _describe_clusters(model: str, ari: Mapping[str, Any]) -> str:
    low, high = ari["low"], ari["high"]
    interval = f" (95 % interval {max(low, 0):.2f}–{high:.2f})" if np.isfinite(low) else ""
    text = f"With {ari['n_fits']} seeds, Leiden clusters of {model} agree at an ARI of {ari['mean']:.2f}{interval}"
    leiden = f"Leiden alone, repeated on the graph of one fit, agrees at {ari['within']:.2f}"
    if ari["within"] - ari["mean"] < 0.02:
        return f"{text}: no less than with the same fit, as {leiden}."
    return f"{text}; {leiden}."


def _describe_genes(genes: Mapping[str, Mapping[str, Any]], overlap: Mapping[str, Any]) -> Iterator[str]:
    shares = {group: record["in_all"] / record["size"] for group, record in genes.items()}
    counts = {group: f"{record['in_all']} of {record['size']}" for group, record in genes.items()}
    ranked = sorted(shares, key=shares.__getitem__)
    worst, best = ranked[0], ranked[-1]
    by_chance = max(record["by_chance"] for record in genes.values())
    named = (
        f"most of {best} ({counts[best]}), fewest of {worst} ({counts[worst]})"
        if best != worst
        else f"{counts[best]} of {best}"
    )
    yield (
        f"In the median group {np.median(list(shares.values())):.0%} of its {genes[best]['size']} top genes come back "
        f"with every seed: {named}, by chance {f'{by_chance:.0f}' if by_chance >= 0.5 else 'none'}; two seeds share "
        f"{overlap['mean']:.0%} of the genes of both their lists (Jaccard index), two sets of posterior draws of one "
        f"fit {overlap['within']:.0%}."
    )


def _describe_score(row: Any) -> str:
    nats = row.metric in _LIKELIHOODS
    sd, cell_sd, difference = (
        (f"{value:.1f}" if nats and value >= 0.95 else f"{value:.2g}") + (" nats per cell" if nats else "")
        for value in (row.sd, row.cell_sd, row.least_difference)
    )
    of_cells = f"its standard error over cells ({cell_sd})"
    how = {"less": "less than", "more": "more than", "alike": "about as much as"}.get(row.seed_noise)
    verdict = f"{how} {of_cells}" if how else "its standard error over cells not being known"
    return (
        f"The seed moves {row.metric} by {sd} (standard deviation over {row.n} seeds), {verdict}; two models fitted "
        f"once each and less than {difference} apart may differ by their seeds alone."
    )


def _describe_recurrence(model: str, recurrence: pd.Series) -> str:
    lost = recurrence[recurrence < UNTRUSTED].sort_values()
    if lost.empty:
        return (
            f"All {len(recurrence)} clusters of {model} come back with other seeds (Jaccard index at least "
            f"{recurrence.min():.2f})."
        )
    named = up_to([f"{cluster} ({value:.2f})" for cluster, value in lost.items()], N_NAMED)
    return (
        f"{len(lost)} of {len(recurrence)} clusters of {model} {'do' if len(lost) > 1 else 'does'} not come back with "
        f"other seeds (mean Jaccard index below {UNTRUSTED:g}): {named}; read nothing into such borders."
    )


def headline(contents: Mapping[str, Any], _: Study) -> Headline | None:
    """How far clusters of fits with other seeds agree, of the first model."""
    summary = contents.get("stability_summary")
    models = (summary or {}).get("models", {}).values()
    ari = next((known["agreement"]["leiden_ari"] for known in models if "agreement" in known), None)
    if ari is None:
        return None
    alone = f"repeated on one fit {ari['within']:.2f}"
    text = f"With {ari['n_fits']} seeds clusters agree by ARI {ari['mean']:.2f} ({alone})"
    return Headline(text, Trust.HOLDS if ari["mean"] >= UNTRUSTED else Trust.FAILS)
