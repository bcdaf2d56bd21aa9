"""The report: one self-contained HTML page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from markupsafe import escape

from scvi_downstream.pipelines import analyses
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.reporting.blocks import Material, SectionView, section_view
from scvi_downstream.pipelines.reporting.findings import left_out, lines, sentences
from scvi_downstream.plots.style import ramp
from scvi_downstream.report import bibliography, versions
from scvi_downstream.report.methods import jinja_environment

if TYPE_CHECKING:
    from jinja2 import Template

_DERIVED = ("keys", "unset_keys")


def render(
    study: Study,
    preparation: Mapping[str, Any],
    methods: str,
    contents: Mapping[str, Any],
    cells: Mapping[str, Any] | None = None,
) -> str:
    """The page as HTML.

    Parameters
    ----------
    study
        What the user set and what follows from it.
    preparation
        Summary of the counts: numbers, warnings, fingerprint.
    methods, contents
        Markdown with citations; PNG bytes, tables and summaries by their names in the catalogue.
    cells
        Of :func:`.cells_view.view_cells`; ``None``: there is no layout to show.
    """
    cited = [bibliography.all_references()[key] for key in bibliography.cited_keys(methods)]
    table_rows = study.options["reporting"].table_rows
    material = Material(contents, _name(study), study.primary, tuple(study.models), table_rows)
    parameters = {name: value for name, value in study.parameters.items() if name not in _DERIVED}
    found = lines(contents, study)
    trust = {line.section: line.trust for line in found}
    shown = _sections(study, contents, material)
    return _template().render(
        title=study.options["reporting"].title or _name(study),
        subtitle=_subtitle(study, preparation),
        primary=study.primary,
        cells=None if cells is None else {**cells, "ramp": ramp()},
        lines=[line for line in found if line.section in {view.section for view in shown}],
        left_out=left_out(study, contents),
        sections=[replace(view, trust=trust.get(view.section)) for view in shown],
        methods=_methods_html(methods, [reference.key for reference in cited]),
        references=cited,
        parameters_yaml=yaml.safe_dump(parameters, sort_keys=False, allow_unicode=True, width=100),
        provenance=_provenance(study, preparation),
        software=versions.software() | _beside_python(contents),
        made=datetime.now(UTC).replace(microsecond=0),
        style=_part("report.css"),
        script=_part("report.js") + _part("cells.js"),
    )


def _sections(study: Study, contents: Mapping[str, Any], material: Material) -> list[SectionView]:
    """Sections of which there is something to show, with what the capability says in words."""
    found = []
    for analysis in analyses():
        if analysis.report is not None:
            view = section_view(analysis.report.SECTION, material)
            said = tuple(sentences(analysis, contents, study))
            if view.blocks or said:
                found.append(replace(view, sentences=said))
    return found


def _name(study: Study) -> str:
    return str(study.parameters["study"])


@cache
def _template() -> Template:
    return jinja_environment(autoescape=True).from_string(_part("report.html"))


def _part(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _subtitle(study: Study, preparation: Mapping[str, Any]) -> str:
    """Size of the study, and what tells it from another: cells, genes, groups, input and seed."""
    keys = study.keys
    groups = (
        ("batch", "batches", "batches", keys.batch_key),
        ("cell type", "cell types", "labels", keys.label_key),
        ("condition", "conditions", "conditions", keys.condition_key),
        ("sample", "samples", "samples", keys.sample_key),
    )
    sizes = [
        f"{preparation[f'n_{what}']:,} {what}" for what in ("cells", "genes") if f"n_{what}" in preparation
    ]
    for one, many, name, key in groups:
        if key and (n := len(preparation.get(name) or {})):
            sizes.append(f"{n:,} {one if n == 1 else many}")
    return " · ".join(
        [*sizes, f"from {Path(study.parameters['input']).name}", f"seed {study.parameters['seed']}"]
    )


def _methods_html(methods: str, order: Sequence[str]) -> list[str]:
    """Paragraphs of the methods text; bold, code and citations become HTML, all else is escaped."""
    numbers = {key: position for position, key in enumerate(order, 1)}
    paragraphs = []
    for paragraph in filter(None, map(str.strip, methods.split("\n\n"))):
        html = str(escape(paragraph))
        html = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", html)
        html = re.sub(r"`(.+?)`", r"<code>\1</code>", html)
        paragraphs.append(bibliography.linked_citations(html, numbers))
    return paragraphs


def _beside_python(contents: Mapping[str, Any]) -> dict[str, str]:
    """What ran outside of Python, by version, as the summaries say it."""
    summaries = (summary for summary in contents.values() if isinstance(summary, Mapping))
    return {name: version for each in summaries for name, version in (each.get("software") or {}).items()}


def _provenance(study: Study, preparation: Mapping[str, Any]) -> dict[str, str]:
    facts = {
        "Input": str(study.parameters["input"]),
        "Data fingerprint (SHA-256)": str(preparation.get("data_fingerprint") or ""),
        "Seed": str(study.parameters["seed"]),
        "Machine": versions.machine(),
    }
    return {name: value for name, value in facts.items() if value}
