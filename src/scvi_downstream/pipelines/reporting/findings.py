"""What a run found and what it left out, in sentences made of its numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from scvi_downstream.pipelines import analyses
from scvi_downstream.pipelines.declaration import Analysis, Study
from scvi_downstream.report.sections import MODEL
from scvi_downstream.runtime.words import Finding, sentence


def findings(contents: Mapping[str, Any], study: Study) -> list[Finding]:
    """Sentences of all capabilities that ran, from tables and summaries by their names in the catalogue."""
    return [finding for analysis in analyses() for finding in _of_analysis(analysis, contents, study)]


def _of_analysis(analysis: Analysis, contents: Mapping[str, Any], study: Study) -> Iterator[Finding]:
    own = getattr(analysis.report, "findings", None)
    if own is not None:
        yield from own(contents, study)
    for dataset, topic in analysis.summaries.items():
        names = [dataset.replace(MODEL, model) for model in study.models] if MODEL in dataset else [dataset]
        for name in names:
            summary = contents.get(name)
            if isinstance(summary, Mapping):
                yield from (Finding(topic, sentence(text)) for text in summary.get("sentences") or [])


def left_out(study: Study, contents: Mapping[str, Any]) -> list[str]:
    """Every model, analysis and metric that the parameters or the data leave out, and why."""
    models = [f"{name} was left out: {sentence(reason)}" for name, reason in study.left_out.items()]
    metrics = contents.get(f"{study.primary}.integration") or {}
    return [*models, *study.absent, *_metrics_left_out(metrics)]


def _metrics_left_out(integration: Mapping[str, Any]) -> Iterator[str]:
    """One sentence a reason."""
    by_reason: dict[str, list[str]] = {}
    for metric, reason in (integration.get("left_out") or {}).items():
        by_reason.setdefault(str(reason), []).append(str(metric))
    for reason, metrics in by_reason.items():
        noun = "metrics" if len(metrics) > 1 else "metric"
        yield f"Integration {noun} {', '.join(metrics)} left out: {sentence(reason)}"
