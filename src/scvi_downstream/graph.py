"""Which models, baselines and analyses the study's parameters call for."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from scvi_downstream.errors import InputError
from scvi_downstream.models import parse_spec
from scvi_downstream.models.specification import ModelSpec
from scvi_downstream.parameters import Keys

logger = logging.getLogger(__name__)
_NEEDED_KEYS = {"labels": "label_key", "samples": "sample_key"}


Analysis = Literal[
    "label_transfer", "marker_naming", "reference_mapping", "batch_effects", "metadata", "factors"
]


@dataclass(frozen=True)
class StudyGraph:
    """What the registry builds pipelines for."""

    models: Mapping[str, ModelSpec]
    baselines: tuple[str, ...]
    primary: str
    counterfactual: bool
    analyses: frozenset[Analysis]
    left_out: Mapping[str, str]

    @property
    def embeddings(self) -> tuple[str, ...]:
        """Names of everything that has a latent: models first."""
        return (*self.models, *self.baselines)


def study_graph(parameters: Mapping[str, Any]) -> StudyGraph:
    """Decide from complete parameters what is run and what is left out, and why.

    Parameters
    ----------
    parameters
        As :func:`scvi_downstream.study.complete_parameters` returns them.

    Raises
    ------
    InputError
        When the primary model is among what is left out.
    """
    keys = Keys.model_validate(parameters["keys"])
    specs = {name: parse_spec(options) for name, options in parameters["models"].items()}
    left_out: dict[str, str] = {}
    for name, spec in specs.items():
        missing = [
            _NEEDED_KEYS[need]
            for need in sorted(spec.needs)
            if not getattr(keys, _NEEDED_KEYS.get(need, ""), None)
        ]
        if missing:
            left_out[name] = f"{spec.family} needs {missing[0]}, which is empty"
    for name, spec in specs.items():
        if spec.init_from in left_out:
            left_out[name] = f"it starts from '{spec.init_from}', which is left out"
    baselines = list(parameters["comparison"]["baselines"])
    if "harmony" in baselines and not keys.batch_key:
        baselines.remove("harmony")
        left_out["harmony"] = "Harmony needs batch_key, which is empty"
    primary = parameters["primary"]
    if primary in left_out:
        raise InputError(f"primary '{primary}' cannot be fitted: {left_out[primary]}")
    return StudyGraph(
        models={name: spec for name, spec in specs.items() if name not in left_out},
        baselines=tuple(dict.fromkeys(["pca", *baselines])),
        primary=primary,
        counterfactual=bool(parameters["imputation"]["transform_batch"]),
        analyses=frozenset(name for name, wanted in _wanted(parameters, keys).items() if wanted),
        left_out=left_out,
    )


def _wanted(parameters: Mapping[str, Any], keys: Keys) -> dict[Analysis, bool]:
    """Which of the analyses that need something of the user's can be run."""
    return {
        "factors": True,
        "label_transfer": keys.label_key is not None,
        "marker_naming": bool(parameters["marker_table"]),
        "reference_mapping": bool(parameters["reference"]),
        "batch_effects": keys.batch_key is not None,
        "metadata": bool(
            parameters["metadata"]
            or parameters["metadata_analysis"]["columns"]
            or keys.condition_key
            or keys.categorical_covariates
            or keys.continuous_covariates
        ),
    }


class CurrentStudy:
    """The parameters of the session that runs, for the registry, which Kedro calls without arguments."""

    parameters: Mapping[str, Any] | None = None
