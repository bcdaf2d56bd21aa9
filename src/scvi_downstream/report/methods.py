"""The methods text: one Jinja template an analysis, filled with exactly what the study set."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from scvi_downstream.report.versions import with_version
from scvi_downstream.runtime import words

if TYPE_CHECKING:
    from jinja2 import Environment, Template

_TEMPLATE = "methods.jinja"


def has_methods(package: str) -> bool:
    """Whether a folder of ``pipelines/`` has a methods text."""
    return files(package).joinpath(_TEMPLATE).is_file()


def render_methods(package: str, **context: Any) -> str:
    """Paragraphs of one analysis as Markdown with citation keys (``[@lopez2018]``); may be empty.

    Parameters
    ----------
    package
        Dotted name of the folder that holds ``methods.jinja``, whose paragraphs begin with their title in bold and are
        parted by empty lines; lines may be broken anywhere.
    context
        What the template names: ``study`` (its models, keys, options and parameters), ``options`` of the analysis,
        ``preparation`` and ``training`` (the summaries of the counts and of the primary model), ``block`` (within which
        samples are compared, or ``None``).
    """
    written = _template(package).render(**context)
    paragraphs = (" ".join(paragraph.split()) for paragraph in written.split("\n\n"))
    return "\n\n".join(filter(None, paragraphs))


def jinja_environment(**settings: Any) -> Environment:
    """Jinja that refuses unknown names and leaves no lines where blocks stood, with Jinja's own ``settings``."""
    from jinja2 import Environment, StrictUndefined

    return Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, **settings)


@cache
def _template(package: str) -> Template:
    environment = jinja_environment(autoescape=False)
    environment.globals["with_version"] = with_version
    environment.filters |= {
        "listed": words.listed,
        "count": words.count,
        "code": lambda name: f"`{name}`",
        "codes": lambda names: [f"`{name}`" for name in names],
        "options": words.options_text,
        "g": lambda number: f"{number:g}",
        "percent": lambda share: f"{share:.0%}",
        "thousands": lambda number: f"{number:,}",
    }
    return environment.from_string(files(package).joinpath(_TEMPLATE).read_text(encoding="utf-8"))
