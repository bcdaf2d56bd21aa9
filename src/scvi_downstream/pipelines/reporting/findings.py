"""What a run found and what it left out, in sentences made of its numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.report.tables import number
from scvi_downstream.study.graph import StudyGraph
from scvi_downstream.study.parameters import StudyParameters

_GROUPINGS = {
    "clusters": "each cluster against the rest",
    "labels": "each label against the rest",
    "pairs": "chosen pairs",
    "condition": "between conditions",
    "condition_by_type": "between conditions within a cell type",
}
_MOST_GROUPS = 12
_SPEAKING = {
    "annotation_scores": "Cell types",
    "naming_summary": "Cell types",
    "mapping_summary": "Reference",
    "factor_summary": "Factors",
    "batch_summary": "Batch effects",
    "metadata_summary": "Metadata",
    "trajectory_summary": "Trajectory",
    "sample_summary": "Samples",
    "prediction_summary": "Prediction",
    "protein_summary": "Proteins",
    "predictive_summary": "Predictive checks",
    "stability_summary": "Stability",
    "search_summary": "Search",
}


@dataclass(frozen=True)
class Finding:
    """What it is about, and a sentence."""

    topic: str
    text: str


def findings(contents: Mapping[str, Any], graph: StudyGraph, fdr: float) -> list[Finding]:
    """Sentences on the champion, the clusters, the expression tests and the imputation, of those that ran.

    Parameters
    ----------
    contents
        Tables and summaries by their names in the catalogue.
    graph
        Models and baselines of the study.
    fdr
        False discovery rate of the expression tests.
    """
    clusters = contents.get(f"{graph.primary}.clustering_summary") or {}
    return [
        *_champion(contents.get("champion")),
        *_said("Clusters", clusters),
        *_said("Clusters", clusters.get("kmeans")),
        *_expression(contents.get("de_concordance"), fdr),
        *_markers(contents.get("markers")),
        *(finding for name, topic in _SPEAKING.items() for finding in _sentences(topic, contents.get(name))),
        *(
            finding
            for model in graph.validated
            for finding in _sentences("Cross-validation", contents.get(f"{model}.cv_summary"))
        ),
        *_said("Imputation", contents.get("imputation_scores")),
    ]


def _sentences(topic: str, summary: Any) -> Iterator[Finding]:
    """The sentences that a summary itself gives, in its list ``sentences``."""
    if isinstance(summary, Mapping):
        yield from (Finding(topic, sentence(text)) for text in summary.get("sentences") or [])


def _said(topic: str, summary: Any) -> Iterator[Finding]:
    """The sentence that a summary itself gives."""
    if isinstance(summary, Mapping):
        yield from (
            Finding(topic, sentence(summary[name])) for name in ("reason", "verdict") if summary.get(name)
        )


def _champion(champion: Any) -> Iterator[Finding]:
    # Names of models keep their case, so the sentences stay as they are.
    if isinstance(champion, Mapping):
        for text in champion.get("sentences") or [champion.get("reason")]:
            if text:
                yield Finding("Champion", str(text).removesuffix(".") + ".")


def _expression(concordance: Any, fdr: float) -> Iterator[Finding]:
    if not isinstance(concordance, pd.DataFrame):
        return
    for grouping, table in concordance.groupby("grouping", sort=False, observed=True):
        called = table["n_bayesian"]
        span = (
            number(called.min())
            if called.min() == called.max()
            else f"{number(called.min())} to {number(called.max())}"
        )
        text = (
            f"{sentence(_GROUPINGS.get(str(grouping), str(grouping))).rstrip('.')}: {span} of "
            f"{number(table['n_genes'].max())} genes differ at an expected FDR of {fdr:g} "
            f"({_count(len(table), 'comparison')})"
        )
        confirmed = [
            f"{test} confirms {table[column].median():.0%}"
            for test, column in (("Wilcoxon", "confirmed_wilcoxon"), ("pseudobulk", "confirmed_pseudobulk"))
            if column in table and table[column].notna().any()
        ]
        more = f"; in the median comparison {' and '.join(confirmed)} of them" if confirmed else ""
        yield Finding("Expression", f"{text}{more}.")


def _markers(markers: Any) -> Iterator[Finding]:
    if not isinstance(markers, pd.DataFrame) or markers.empty:
        return
    for grouping, table in markers.groupby("grouping", sort=False, observed=True):
        best = table.groupby("group", sort=False, observed=True)["gene"].first()
        shown = ", ".join(f"{gene} ({group})" for group, gene in best.head(_MOST_GROUPS).items())
        more = f" and {len(best) - _MOST_GROUPS} more" if len(best) > _MOST_GROUPS else ""
        yield Finding("Markers", f"First of each of the {grouping}: {shown}{more}.")


def left_out(study: StudyParameters, keys: Keys, graph: StudyGraph, contents: Mapping[str, Any]) -> list[str]:
    """Every analysis that the parameters or the data leave out, and why."""
    absent = {
        "Batch correction was neither modelled nor scored, since batch_key is empty.": not keys.batch_key,
        "Nothing was compared with cell types, since label_key is empty.": not keys.label_key,
        "Wilcoxon tests were left out, since de.wilcoxon is false.": not study.de.wilcoxon,
        "Pseudobulk tests were left out, since de.pseudobulk is false.": not study.de.pseudobulk,
        "Pseudobulk tests were left out, since sample_key is empty: they need samples as replicates.": (
            study.de.pseudobulk and not keys.sample_key
        ),
        "Conditions were not compared, since condition_key is empty.": not keys.condition_key,
        "Conditions were not compared, since de.conditions is false.": (
            keys.condition_key is not None and not study.de.conditions
        ),
        "Clusters were not named by marker genes, since marker_table is empty.": (
            "marker_naming" not in graph.analyses
        ),
        "Composition and expression were not tested against metadata, since metadata and condition_key are empty.": (
            "metadata" not in graph.analyses
        ),
        "Expression under other conditions was not predicted, since condition_key is empty.": (
            "prediction" not in graph.analyses
        ),
        "No trajectory was learnt, since no start (trajectory.start_cluster, …) and no trajectory.time_key is set.": (
            "trajectory" not in graph.analyses
        ),
        "Counterfactual expression was left out, since transform_batch is empty.": not graph.counterfactual,
    }
    models = [f"{name} was left out: {sentence(reason)}" for name, reason in graph.left_out.items()]
    metrics = contents.get(f"{graph.primary}.integration") or {}
    return [*models, *(text for text, is_absent in absent.items() if is_absent), *_metrics_left_out(metrics)]


def _metrics_left_out(integration: Mapping[str, Any]) -> Iterator[str]:
    """One sentence a reason."""
    by_reason: dict[str, list[str]] = {}
    for metric, reason in (integration.get("left_out") or {}).items():
        by_reason.setdefault(str(reason), []).append(str(metric))
    for reason, metrics in by_reason.items():
        noun = "metrics" if len(metrics) > 1 else "metric"
        yield f"Integration {noun} {', '.join(metrics)} left out: {sentence(reason)}"


def sentence(text: str) -> str:
    """``text`` with a capital at its start and a stop at its end."""
    text = str(text).strip()
    if not text:
        return ""
    return text[0].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def _count(value: int, noun: str) -> str:
    return f"{value:,} {noun}{'' if value == 1 else 's'}"
