"""The report: one self-contained HTML page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import yaml
from markupsafe import escape

from scvi_downstream.pipelines.comparison.options import BASELINES
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.reporting.blocks import Material, section_view
from scvi_downstream.pipelines.reporting.findings import findings, left_out
from scvi_downstream.pipelines.reporting.table_of_contents import sections
from scvi_downstream.report import bibliography, versions
from scvi_downstream.report.methods import jinja_environment
from scvi_downstream.report.tables import number
from scvi_downstream.runtime.words import sentence

if TYPE_CHECKING:
    from jinja2 import Template

_DERIVED = ("keys",)


@dataclass(frozen=True)
class _Tile:
    """A key number."""

    label: str
    value: str
    note: str = ""


def render(study: Study, preparation: Mapping[str, Any], methods: str, contents: Mapping[str, Any]) -> str:
    """The page as HTML.

    Parameters
    ----------
    study
        What the user set and what follows from it.
    preparation
        Summary of the counts: numbers, warnings, fingerprint.
    methods, contents
        Markdown with citations; PNG bytes, HTML text, tables and summaries by their names in the catalogue.
    """
    cited = [bibliography.all_references()[key] for key in bibliography.cited_keys(methods)]
    table_rows = study.options["reporting"].table_rows
    material = Material(contents, _name(study), study.primary, tuple(study.models), table_rows)
    parameters = {name: value for name, value in study.parameters.items() if name not in _DERIVED}
    return _template().render(
        title=study.options["reporting"].title or _name(study),
        subtitle=_subtitle(study, preparation),
        tiles=tiles(study, preparation, material),
        warnings=[sentence(str(warning)) for warning in preparation.get("warnings") or []],
        findings=findings(contents, study),
        left_out=left_out(study, contents),
        sections=[view for section in sections() if (view := section_view(section, material)).blocks],
        methods=_methods_html(methods, [reference.key for reference in cited]),
        references=cited,
        parameters_yaml=yaml.safe_dump(parameters, sort_keys=False, allow_unicode=True, width=100),
        provenance=_provenance(study, preparation),
        software=versions.software() | _beside_python(contents),
        made=datetime.now(UTC).replace(microsecond=0),
    )


def _name(study: Study) -> str:
    return str(study.parameters["study"])


@cache
def _template() -> Template:
    source = files(__package__).joinpath("report.html").read_text(encoding="utf-8")
    return jinja_environment(autoescape=True).from_string(source)


def _subtitle(study: Study, preparation: Mapping[str, Any]) -> str:
    parts = [
        f"Study {_name(study)}" if study.options["reporting"].title else "",
        f"from {study.parameters['input']}",
        f"seed {study.parameters['seed']}",
    ]
    if preparation.get("data_fingerprint"):
        parts.append(f"data {str(preparation['data_fingerprint'])[:12]}")
    return " · ".join(part for part in parts if part)


def tiles(study: Study, preparation: Mapping[str, Any], material: Material) -> list[_Tile]:
    """Key numbers at the head of the page, of what is known."""
    keys = study.keys
    named = (
        ("batches", "batches", keys.batch_key),
        ("cell types", "labels", keys.label_key),
        ("conditions", "conditions", keys.condition_key),
        ("samples", "samples", keys.sample_key),
    )
    clusters = material.contents.get(f"{study.primary}.clustering_summary") or {}
    criterion = (material.contents.get("champion") or {}).get("criterion")
    baselines = " and ".join(BASELINES[name] for name in study.baselines)
    found = [
        _Tile("cells", _number(preparation.get("n_cells")), _of_raw(preparation)),
        _Tile("genes", _number(preparation.get("n_genes")), _modelled(preparation)),
        *(
            _Tile(label, _number(len(preparation.get(groups) or {})), key)
            for label, groups, key in named
            if key
        ),
        _Tile("clusters", _number((clusters.get("n_clusters") or {}).get("leiden")), "Leiden"),
        _Tile("models", _number(len(study.models)), f"and {baselines}"),
        _Tile("primary", study.primary, study.models[study.primary].family),
        _Tile("champion", material.champion, str(criterion or "")),
    ]
    return [tile for tile in found if tile.value]


def _number(value: Any) -> str:
    return "" if value is None else number(float(value))


def _of_raw(preparation: Mapping[str, Any]) -> str:
    raw = preparation.get("n_cells_raw")
    return f"of {raw:,} in the input" if raw and raw != preparation.get("n_cells") else ""


def _modelled(preparation: Mapping[str, Any]) -> str:
    modelled = preparation.get("n_highly_variable")
    if modelled is None:
        return ""
    return "all modelled" if modelled == preparation.get("n_genes") else f"{modelled:,} modelled"


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
