"""Every value that an option can have, found from its type, has words where others have, and breaks no text."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest

from scvi_downstream.models.families import FAMILIES
from scvi_downstream.pipelines import analyses
from scvi_downstream.pipelines.reporting.nodes import write_methods
from scvi_downstream.report import bibliography
from scvi_downstream.report.methods import has_methods, render_methods
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.options import Options
from scvi_downstream.study import plan
from scvi_downstream.study.completion import complete_parameters
from scvi_downstream.study.defaults import default_parameters
from scvi_downstream.study.parameters import study_parameters

from .conftest import gathered

PACKAGE = Path(plan.__file__).parents[1]
# A study for which every analysis has something to say.
EVERYTHING: dict[str, Any] = {
    "input": "mine.h5ad",
    "batch_key": "batch",
    "label_key": "cell_type",
    "sample_key": "donor",
    "condition_key": "condition",
    "protein_key": "protein_expression",
    "metadata": "mine.csv",
    "marker_table": "markers.csv",
    "reference": "reference",
    "models": {family.lower(): {"family": family} for family in FAMILIES},
    "stability": {"models": ["scvi"]},
    "cross_validation": {"models": ["scvi"]},
    "search": {"model": "scvi"},
    "trajectory": {"start_gene": "CD34"},
}
Place = tuple[str, ...]


def choices(annotation: Any) -> list[Any]:
    """All values of a type that has few: of a literal, an enumeration, a bool, and of one-tuples and unions of them."""
    if annotation is bool:
        return [True, False]
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return list(annotation)
    within = get_args(annotation)
    if get_origin(annotation) is Literal:
        return list(within)
    found = [value for part in within for value in choices(part)]
    return [[value] for value in found] if get_origin(annotation) is tuple else found


def chosen(kind: type[Options], place: Place = ()) -> Iterator[tuple[Place, list[Any]]]:
    """Options of few values, also in groups within, by the names that lead to them."""
    for name, field in kind.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Options):
            yield from chosen(field.annotation, (*place, name))
        elif values := choices(field.annotation):
            yield (*place, name), values


OPTIONS = dict(chosen(study_parameters())) | {
    ("models", family.lower(), *place): values
    for family, spec in FAMILIES.items()
    for place, values in chosen(spec)
}


def changed(parameters: dict[str, Any], place: Place, value: Any) -> dict[str, Any]:
    name, *inner = place
    return parameters | {name: changed(parameters.get(name, {}), tuple(inner), value) if inner else value}


@pytest.fixture
def write(raw_parameters, preparation_summary, training_summary, monkeypatch) -> Callable[..., str]:
    # The packages of baselines need not be here for a text.
    monkeypatch.setattr(plan, "_PACKAGES", {})

    def text(parameters: dict[str, Any]) -> str:
        study = plan.plan_study(complete_parameters(default_parameters(parameters)))
        return write_methods(study, **gathered(study, preparation_summary, training_summary))

    return text


def test_every_analysis_has_a_text_in_the_study_of_these_tests(preparation_summary, training_summary):
    study = plan.plan_study(complete_parameters(default_parameters(EVERYTHING)))
    assert set(study.models) == set(EVERYTHING["models"])
    for analysis in analyses():
        assert not has_methods(analysis.package) or render_methods(
            analysis.package,
            study=study,
            options=study.options.get(analysis.options_key),
            preparation=preparation_summary,
            training=training_summary,
            block=None,
        ), analysis.name


@pytest.mark.parametrize("place", OPTIONS, ids=".".join)
def test_methods_have_words_for_every_value(write, place):
    texts = {}
    for value in OPTIONS[place]:
        try:
            written = write(changed(EVERYTHING, place, value))
        except InputError:  # refused in words before anything runs
            continue
        bibliography.write_references(written)  # knows all that is cited
        # Names of options and their values are said as code; the rest is prose.
        texts[_word(value)] = re.sub(r"`[^`]*`( = \S+)?|\[@[^]]*\]", "", written)
    assert texts
    own = {name: _says(text, name) for name, text in texts.items()}
    raw = [name for name in own if own[name] and not all(_says(text, name) for text in texts.values())]
    assert not raw or all(own.values()), raw


def _word(value: Any) -> str:
    return str(value[0] if isinstance(value, list) else value)


def _says(text: str, word: str) -> bool:
    return re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text) is not None


def test_dictionaries_by_the_values_of_an_option_hold_all_of_them():
    complete = 0
    for analysis in filter(lambda each: each.options, analyses()):
        folder = PACKAGE / "pipelines" / (analysis.folder or analysis.name)
        of_options = [{_word(value) for value in values} for _, values in chosen(analysis.options_class)]
        for file in folder.glob("*.py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Dict):
                    keys = {key.value for key in node.keys if isinstance(key, ast.Constant)}
                    for words in of_options:
                        some = len(keys & words) > 1
                        assert not some or words <= keys, f"{folder.name}/{file.name}, line {node.lineno}"
                        complete += some
    assert complete
