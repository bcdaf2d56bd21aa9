"""What a capability declares of itself, and the study that it is built for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from scvi_downstream.cells.keys import Replicates
from scvi_downstream.models.specification import Capability, ModelSpec
from scvi_downstream.runtime.errors import InputError, closest
from scvi_downstream.runtime.options import Options

if TYPE_CHECKING:
    from kedro.pipeline import Pipeline

DEMO = "pbmc68k"
"""Word of the user for the cells that ship inside scanpy."""
PLAN = "params:plan"
"""Under which nodes are given the :class:`Study`; as it is no data, Kedro-Viz does not draw it."""
TRIAL = "trial"
"""Tag: all nodes of the namespace are one unit of work, and its failure is a result."""


@dataclass(frozen=True)
class Study:
    """What the user set and what follows from it: all that pipelines are built from.

    Attributes
    ----------
    parameters
        Complete parameters, as they are written in YAML.
    keys
        The study's obs columns, and what makes samples replicates.
    options
        Typed options of every capability, by the name of their parameter.
    models
        Models that are fitted and analysed, by name.
    trials
        Variants of these that are fitted and scored only: those of the sweep and those with other seeds.
    seeds
        Trials of each model that differ from it by the seed alone.
    baselines
        Embeddings without a model.
    primary
        The model whose downstream analyses are run.
    left_out
        Models, baselines and methods that cannot be run, and why.
    analyses
        Parts of the capabilities whose needs are met.
    absent
        One sentence for every part of which the needs are not met.
    requested
        Pipelines that the command names; empty: all that the study calls for.
    is_stored
        Whether a dataset is on disk already; ``None`` when no one asked for a report of what there is.
    """

    parameters: Mapping[str, Any]
    keys: Replicates
    options: Mapping[str, Any]
    models: Mapping[str, ModelSpec]
    trials: Mapping[str, ModelSpec]
    seeds: Mapping[str, tuple[str, ...]]
    baselines: tuple[str, ...]
    primary: str
    left_out: Mapping[str, str]
    analyses: frozenset[str] = frozenset()
    absent: tuple[str, ...] = ()
    requested: frozenset[str] = frozenset()
    is_stored: Callable[[str], bool] | None = None

    @property
    def is_demo(self) -> bool:
        """Whether the cells are those that ship inside scanpy."""
        return self.parameters["input"] == DEMO

    @property
    def covariates(self) -> list[str]:
        """What models are conditioned on, in words with the columns' names as code."""
        keys = self.keys
        batch = [f"`{keys.batch_key}` as batch"] if keys.batch_key else []
        categorical = [f"`{name}` as categorical covariate" for name in keys.categorical_covariates]
        return (
            batch + categorical + [f"`{name}` as continuous covariate" for name in keys.continuous_covariates]
        )

    def first_with(self, capability: Capability) -> str | None:
        """The first model that can do something; ``None``: none can."""
        return next((name for name, spec in self.models.items() if capability in spec.can), None)

    def model(self, name: str, where: str) -> str:
        """``name``, when it is a model of the study that can be fitted.

        Raises
        ------
        InputError
            It is not; ``where`` names the parameter that holds it.
        """
        if name not in self.models:
            raise InputError(
                f"{where}: '{name}' is not a model of the study that can be fitted{closest(name, self.models)}"
            )
        return name

    def require_batches(self, option: str) -> None:
        """Refuse an option that asks for the batches of a primary model that does not know them.

        Raises
        ------
        InputError
            The model does not correct for batches.
        """
        if not self.models[self.primary].correct_batch:
            raise InputError(
                f"{option} needs a primary model that knows the batches, but models.{self.primary}.correct_batch is "
                "false"
            )

    @property
    def swept(self) -> tuple[str, ...]:
        """Trials of the sweep."""
        reseeded = {name for names in self.seeds.values() for name in names}
        return tuple(name for name in self.trials if name not in reseeded)

    @property
    def likelihoods(self) -> tuple[str, ...]:
        """Rows of the board that are models, of which cells have a likelihood."""
        return (*self.models, *self.swept)

    @property
    def compared(self) -> tuple[str, ...]:
        """Rows of the board: models, trials of the sweep, baselines."""
        return (*self.likelihoods, *self.baselines)


@dataclass(frozen=True)
class Need:
    """When a part of a capability can be run, and the sentence of the report when it cannot.

    Attributes
    ----------
    met
        Asked of the study, of which the models and options are known.
    otherwise
        A whole sentence; empty where nothing needs to be said.
    """

    met: Callable[[Study], bool]
    otherwise: str = ""


def key(name: str, otherwise: str = "") -> Need:
    """The need of an obs column or obsm entry that the user names, such as ``batch_key``."""
    return Need(lambda study: bool(getattr(study.keys, name)), otherwise)


def parameter(name: str, otherwise: str = "") -> Need:
    """The need of a top-level parameter, such as ``marker_table``."""
    return Need(lambda study: bool(study.parameters[name]), otherwise)


def capability(name: Capability, otherwise: str = "") -> Need:
    """The need of a model that can do something, such as ``proteins``."""
    return Need(lambda study: study.first_with(name) is not None, otherwise)


@dataclass(frozen=True)
class Obs:
    """A table by cell joins ``obs`` of ``analysed``.

    Attributes
    ----------
    prefix
        Before the names of its columns.
    new_only
        Leave out columns that the counts have already.
    colours
        Columns that the report's first screen offers as colours of the cells.
    like_labels
        Columns that hold names of labels, and have the labels' colours.
    """

    prefix: str = ""
    new_only: bool = False
    colours: tuple[str, ...] = ()
    like_labels: tuple[str, ...] = ()


@dataclass(frozen=True)
class Obsm:
    """A table by cell joins ``obsm`` under a key; ``{model}`` stands for the model's name."""

    key: str


@dataclass(frozen=True)
class Var:
    """A table by gene joins ``var``; genes that it does not hold have NaN."""


@dataclass(frozen=True)
class Varm:
    """A table by gene joins ``varm`` under a key; ``{model}`` stands for the model's name."""

    key: str


@dataclass(frozen=True)
class Uns:
    """A table whose rows are neither cells nor genes joins ``uns`` under its own name."""


Join = Obs | Obsm | Var | Varm | Uns


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """One capability: a folder of ``pipelines/``, known to the rest by this record alone.

    The folder holds ``pipeline.py`` with ``create_pipeline(study)``, and where there is something to say
    ``options.py``, ``report.py`` with a ``SECTION``, ``headline(contents, study)`` for its line on the first screen
    (``findings(contents, study)`` where the summaries' own sentences are not enough, ``left_out(contents)`` where the
    data decide what is missing), and ``methods.jinja``. They are found by name and imported when they are used.

    Attributes
    ----------
    name
        Of the pipeline, for ``kedro run --pipelines``.
    folder
        Below ``pipelines/``, where it is not the name.
    box
        Of the first look of Kedro-Viz that holds its nodes, where it is not its own.
    options
        Class in ``options.py``; empty: there are none.
    parameter
        Top-level parameter of the options, where it is not the name.
    demo
        Function in ``options.py`` that completes what the user gave for the demonstration's cells.
    needs
        Part → what it needs. A plain `kedro run` has the capability when a part of it can be run; without any
        part always.
    aspects
        What may be missing while the rest is run, and is said.
    lacking
        What its options ask for that cannot be run on this machine → why; it is left out, and said.
    by_name
        Run only when asked for by name.
    asked_for
        Option that names the models, or the model, to do it for; by name, the primary model when it is empty.
    brings
        Pipelines that it brings along, as far as its outputs need them.
    brings_to
        Pipeline whose outputs are wanted instead of its own.
    evidence
        Dataset that is there when it has been run; ``{primary}`` stands for the primary model.
    summaries
        Summaries with a list ``sentences``, which the report gives under the section.
    metrics
        Summary → prefix of its numbers in MLflow.
    tracked
        Files that are kept with the run in MLflow, besides the figures.
    joins
        Table → how it joins ``analysed``; ``{model}`` stands for every model.
    files
        Dataset → what the user is told that it holds.
    may_be_empty
        Those of ``files`` that are not named when they have no rows.
    extra
        Library that its nodes import → optional dependencies of the project that bring it.
    """

    name: str
    folder: str = ""
    box: str = ""
    options: str = ""
    parameter: str = ""
    demo: str = ""
    needs: Mapping[str, Need] = field(default_factory=dict)
    aspects: tuple[Need, ...] = ()
    lacking: Callable[[Study], Mapping[str, str]] = lambda study: {}
    by_name: bool = False
    asked_for: str = ""
    brings: tuple[str, ...] = ()
    brings_to: str = ""
    evidence: str = ""
    summaries: tuple[str, ...] = ()
    metrics: Mapping[str, str] = field(default_factory=dict)
    tracked: tuple[str, ...] = ()
    joins: Mapping[str, Join] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    may_be_empty: tuple[str, ...] = ()
    extra: Mapping[str, str] = field(default_factory=dict)

    @property
    def package(self) -> str:
        """Dotted name of the folder."""
        return f"{__package__}.{self.folder or self.name}"

    @property
    def options_key(self) -> str:
        """Top-level parameter of the options; empty: there are none."""
        return (self.parameter or self.name) if self.options else ""

    @property
    def options_class(self) -> type[Options]:
        """Class of the options."""
        return getattr(import_module(f"{self.package}.options"), self.options)

    def complete_for_demo(self, given: Any) -> Any:
        """Options as the user gave them, with what only holds for the demonstration's cells."""
        return getattr(import_module(f"{self.package}.options"), self.demo)(given)

    def create_pipeline(self, study: Study) -> Pipeline:
        """The nodes of the capability for a study."""
        return import_module(f"{self.package}.pipeline").create_pipeline(study)

    @property
    def report(self) -> ModuleType | None:
        """``report.py``, where there is one."""
        name = f"{self.package}.report"
        return import_module(name) if find_spec(name) else None

    def runs_in(self, study: Study) -> bool:
        """Whether a plain `kedro run` has it."""
        return not self.by_name and (not self.needs or any(part in study.analyses for part in self.needs))
