"""What hangs on the seed, in the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.report.contents import Item, Section, names
from scvi_downstream.report.versions import named
from scvi_downstream.report.words import listed

SECTION = Section(
    "Stability over seeds",
    "The same model, fitted to the same cells with other seeds. What differs between such fits is no finding. Leiden "
    "repeated on the graph of one fit, and other posterior draws of one fit, show how far two fits could agree at "
    "best.",
    (
        Item(
            dataset="{model}.seed_figure",
            caption="{model} with several seeds: spread of scores over seeds beside their standard error over cells, "
            "agreement of Leiden clusters, top genes in common, and clusters that come back.",
        ),
        Item(
            dataset="{model}.seed_scores",
            caption="Scores of {model} over seeds: cell_sd is the standard error over cells; two models fitted once "
            "each must differ by least_difference before their seeds alone are an unlikely reason.",
            file="{model}/seed_scores.csv",
            columns=names("metric n mean sd low high cv cell_sd seed_noise least_difference"),
        ),
        Item(
            dataset="{model}.seed_genes",
            caption="Top genes of each group, those first that come back with most seeds of {model}.",
            file="{model}/seed_genes.csv",
            groups=("group",),
            columns=names("group symbol n_fits_in_top n_fits mean_rank best_rank worst_rank lfc_mean lfc_sd"),
            folded=True,
        ),
        Item(
            dataset="{model}.seed_agreement",
            caption="Agreement of every pair of seeds of {model}, and within one fit.",
            file="{model}/seed_agreement.csv",
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


def describe_stability(study: Any, keys: Keys, graph: Study) -> str:
    """How fits with other seeds were compared; empty where no model was fitted again."""
    options = study.stability
    models = [name for name in options.models if name in graph.models]
    if not models:
        return ""
    text = [
        f"{listed([f'`{name}`' for name in models])} {'was' if len(models) == 1 else 'were'} fitted with "
        f"{options.n_seeds} seeds to the same split of the cells; the seed decides the initial weights, mini-batches, "
        "dropout and draws.",
        f"Leiden clusters [@traag2019] at resolution {options.resolution:g} of every pair of fits were compared by the "
        "adjusted Rand index [@hubert1985], beside that of "
        f"{options.leiden_runs} repetitions of Leiden on one graph; clusters of the first fit by their mean Jaccard "
        "index with the most similar cluster of the other fits [@hennig2007]; latents by the share of the "
        f"{options.n_neighbors} nearest neighbours in common (of at most 2,000 cells) and linear centred kernel "
        "alignment [@kornblith2019].",
    ]
    if any("differential_expression" in graph.models[name].can for name in models):
        groups = f"`{keys.label_key}`" if keys.label_key else "the first fit's clusters"
        text.append(
            f"Genes of each group of {groups} against the rest were ranked by the median log fold change times the "
            f"posterior probability of a change [@boyeau2023] in {named('scvi-tools')} [@gayoso2022], among genes with "
            f"a count in {options.min_fraction:.0%} of the group; lists of the first {options.top_genes} were compared "
            "by the Jaccard index and by rank-biased overlap (p = 0.9) [@webber2010], beside two sets of posterior "
            "draws of one fit."
        )
    text.append(
        "Intervals of means over pairs of fits are 95 % t intervals from the jackknife over fits [@arvesen1969]. Two "
        "models fitted once each are told apart beyond the seed where they differ by t × √2 standard deviations over "
        "seeds."
    )
    return " ".join(text)


UNTRUSTED = 0.6
N_NAMED = 4
_LIKELIHOODS = ("elbo_test", "marginal_ll_test")
_EMBEDDINGS = ("scib_total", "scib_bio_conservation", "scib_batch_correction")
_VERDICTS = {
    "less": "less than its standard error over cells ({cell_sd})",
    "more": "more than its standard error over cells ({cell_sd})",
    "alike": "about as much as its standard error over cells ({cell_sd})",
    "": "its standard error over cells not being known",
}


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
        Of :func:`.spread.spread_of_scores`.
    genes
        Group → ``in_all``, ``size``, ``by_chance``.
    recurrence
        Cluster of the first fit → mean Jaccard index over the other fits.
    failed
        Fit → reason.
    """
    return [
        *_clusters(model, measures["leiden_ari"]),
        *_genes(model, genes, measures),
        *(_score(row) for row in scores[scores["metric"].isin(_told(scores["metric"]))].itertuples()),
        *_recurring(model, recurrence),
        *_geometry(model, measures),
        *failures(failed),
    ]


def failures(failed: Mapping[str, str]) -> Iterator[str]:
    """One sentence for each fit that is missing."""
    for name, reason in failed.items():
        yield f"{name} failed and is left out: {reason.rstrip('.')}."


def interval(measure: Mapping[str, Any]) -> str:
    """``0.82 (95 % interval 0.76–0.88)``, or the range of the pairs with fewer than three fits."""
    low, high = measure["low"], measure["high"]
    if low is not None and np.isfinite(low):
        return f"{measure['mean']:.2f} (95 % interval {max(low, 0):.2f}–{high:.2f})"
    return f"{measure['mean']:.2f}"


def _clusters(model: str, ari: Mapping[str, Any]) -> Iterator[str]:
    lost = ari["within"] - ari["mean"]
    text = f"With {ari['n_fits']} seeds, Leiden clusters of {model} agree at an ARI of {interval(ari)}"
    leiden = f"Leiden alone, repeated on the graph of one fit, agrees at {ari['within']:.2f}"
    if lost < 0.02:
        yield f"{text}: no less than with the same fit, as {leiden}."
    else:
        yield f"{text}; {leiden}."


def _genes(
    model: str, genes: Mapping[str, Mapping[str, Any]], measures: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    if not genes:
        return
    shares = {group: told["in_all"] / told["size"] for group, told in genes.items() if told["size"]}
    ranked = sorted(shares, key=lambda group: shares[group])
    if not ranked:
        return
    worst, best = ranked[0], ranked[-1]
    middle = float(np.median(list(shares.values())))
    overlap = measures["gene_jaccard"]
    by_chance = max(told["by_chance"] for told in genes.values())
    chance = f"by chance {by_chance:.0f}" if by_chance >= 0.5 else "by chance none"
    named = (
        f"most of {best} ({_of(genes[best])}), fewest of {worst} ({_of(genes[worst])})"
        if best != worst
        else f"{_of(genes[best])} of {best}"
    )
    yield (
        f"In the median group {middle:.0%} of its {genes[best]['size']} top genes come back with every seed: {named}, "
        f"{chance}; two seeds share {overlap['mean']:.0%} of the genes of both their lists (Jaccard index), two sets "
        f"of posterior draws of one fit {overlap['within']:.0%}."
    )


def _of(told: Mapping[str, Any]) -> str:
    return f"{told['in_all']} of {told['size']}"


def _told(metrics: pd.Series) -> list[str]:
    """One likelihood and one score of the embedding: the first that there is."""
    there = set(metrics)
    return [next((name for name in names if name in there), "") for names in (_LIKELIHOODS, _EMBEDDINGS)]


def _score(row: Any) -> str:
    nats = row.metric in _LIKELIHOODS
    unit = " nats per cell" if nats else ""

    def shown(value: float) -> str:
        return f"{value:.1f}" if nats and value >= 0.95 else f"{value:.2g}"

    verdict = _VERDICTS[row.seed_noise].format(cell_sd=f"{shown(row.cell_sd)}{unit}")
    return (
        f"The seed moves {row.metric} by {shown(row.sd)}{unit} (standard deviation over {row.n} seeds), {verdict}; "
        f"two models fitted once each and less than {shown(row.least_difference)}{unit} apart may differ by their "
        "seeds alone."
    )


def _recurring(model: str, recurrence: pd.Series) -> Iterator[str]:
    lost = recurrence[recurrence < UNTRUSTED].sort_values()
    if lost.empty:
        if len(recurrence):
            yield (
                f"All {len(recurrence)} clusters of {model} come back with other seeds (Jaccard index at least "
                f"{recurrence.min():.2f})."
            )
        return
    named = ", ".join(f"{cluster} ({value:.2f})" for cluster, value in lost.head(N_NAMED).items())
    more = f" and {len(lost) - N_NAMED} more" if len(lost) > N_NAMED else ""
    do = "do" if len(lost) > 1 else "does"
    yield (
        f"{len(lost)} of {len(recurrence)} clusters of {model} {do} not come back with other seeds (mean Jaccard index "
        f"below {UNTRUSTED:g}): {named}{more}; read nothing into such borders."
    )


def _geometry(model: str, measures: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    if "neighbor_overlap" not in measures:
        return
    shared, alike = measures["neighbor_overlap"], measures["cka"]
    yield (
        f"Two seeds of {model} share {shared['mean']:.0%} of a cell's nearest neighbours (by chance "
        f"{shared['chance']:.1%}); the latents as a whole have a centred kernel alignment of {alike['mean']:.2f} "
        f"(by chance {alike['chance']:.2f})."
    )
