"""What a run found, capability by capability: a line for the first screen, and sentences made of its numbers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from scvi_downstream.pipelines import analyses
from scvi_downstream.pipelines.declaration import Analysis, Study
from scvi_downstream.report.sections import MODEL, Headline, Section, Trust
from scvi_downstream.runtime.words import sentence


@dataclass(frozen=True)
class Line:
    """A line of the first screen: the section it leads to, what was found, and how far to trust it."""

    section: Section
    text: str
    trust: Trust


def lines(contents: Mapping[str, Any], study: Study) -> list[Line]:
    """One line for each capability that ran and has something to say, in the order of the list.

    ``contents`` are tables and summaries by their names in the catalogue.
    """
    found = ((analysis.report, _headline(analysis, contents, study)) for analysis in analyses())
    return [
        Line(report.SECTION, headline.text, headline.trust)
        for report, headline in found
        if report and headline
    ]


def _headline(analysis: Analysis, contents: Mapping[str, Any], study: Study) -> Headline | None:
    own = getattr(analysis.report, "headline", None)
    return None if own is None else own(contents, study)


def sentences(analysis: Analysis, contents: Mapping[str, Any], study: Study) -> list[str]:
    """Sentences of a capability, from tables and summaries by their names in the catalogue."""
    own = getattr(analysis.report, "findings", None)
    given = [] if own is None else list(own(contents, study))
    return [*given, *_of_summaries(analysis, contents, study)]


def _of_summaries(analysis: Analysis, contents: Mapping[str, Any], study: Study) -> Iterator[str]:
    for dataset in analysis.summaries:
        names = [dataset.replace(MODEL, model) for model in study.models] if MODEL in dataset else [dataset]
        for name in names:
            summary = contents.get(name)
            if isinstance(summary, Mapping):
                yield from (sentence(text, study.models) for text in summary.get("sentences") or [])


def left_out(study: Study, contents: Mapping[str, Any]) -> list[str]:
    """Every model, analysis and metric that the parameters or the data leave out, and why."""
    models = [f"{name} was left out: {sentence(reason)}" for name, reason in study.left_out.items()]
    metrics = contents.get(f"{study.primary}.integration") or {}
    saying = filter(None, (getattr(analysis.report, "left_out", None) for analysis in analyses()))
    own = [text for said_by in saying for text in said_by(contents)]
    return [*own, *models, *study.absent, *_metrics_left_out(metrics)]


def _metrics_left_out(integration: Mapping[str, Any]) -> Iterator[str]:
    """One sentence a reason."""
    by_reason: dict[str, list[str]] = {}
    for metric, reason in (integration.get("left_out") or {}).items():
        by_reason.setdefault(str(reason), []).append(str(metric))
    for reason, metrics in by_reason.items():
        noun = "metrics" if len(metrics) > 1 else "metric"
        yield f"Integration {noun} {', '.join(metrics)} left out: {sentence(reason)}"
