"""The report's table of contents: the section of every capability, in the order of the list."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from scvi_downstream.pipelines import analyses
from scvi_downstream.report.sections import MODEL, PRIMARY, Entry, Item, Section


def sections() -> tuple[Section, ...]:
    """Sections of all capabilities that speak."""
    reports = (analysis.report for analysis in analyses())
    return tuple(report.SECTION for report in reports if report is not None)


def expand(item: Item, primary: str, models: Sequence[str]) -> Iterator[Entry]:
    """The item once, or once for every model; what is shown of the primary by itself is not repeated."""
    if not item.per_model:
        yield Entry(item, item.dataset.replace(PRIMARY, primary), primary if PRIMARY in item.dataset else "")
        return
    alone = {other.dataset for section in sections() for other in section.items}
    for model in models:
        if model != primary or item.dataset.replace(MODEL, PRIMARY) not in alone:
            yield Entry(item, item.dataset.replace(MODEL, model), model)


def report_contents(available: set[str], primary: str, models: Sequence[str]) -> list[str]:
    """Datasets that the report shows, in its order, and the summaries of which it gives the sentences.

    They are among the ``available`` ones, which the study's pipelines make.
    """
    items = (item for section in sections() for item in section.items)
    shown = [entry.dataset for item in items for entry in expand(item, primary, models)]
    summaries = (dataset for analysis in analyses() for dataset in analysis.summaries)
    spoken = [dataset.replace(MODEL, model) for dataset in summaries for model in models]
    return [dataset for dataset in dict.fromkeys([*shown, *spoken]) if dataset in available]
