"""What every model family declares: hyperparameters, needs and capabilities."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from importlib import import_module
from sys import intern
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from scvi_downstream.cells.keys import Keys
from scvi_downstream.runtime.options import Options, Seed, Share
from scvi_downstream.runtime.words import listed

if TYPE_CHECKING:
    from anndata import AnnData
    from scvi.model.base import BaseModelClass


class TrainingOptions(Options):
    """How one model is fitted; the names are those of scvi-tools' ``train`` and training plan.

    ``engine`` is ``fast``, a loop of this project, or ``stock``, Lightning as scvi-tools uses it.
    """

    engine: Literal["fast", "stock"]
    start_from_counts: bool
    max_epochs: PositiveInt | None
    batch_size: Annotated[int, Field(ge=2)] | None
    train_size: Share
    validation_size: Share
    early_stopping: bool
    early_stopping_patience: PositiveInt
    early_stopping_min_delta: Annotated[float, Field(ge=0)]
    lr: PositiveFloat
    weight_decay: Annotated[float, Field(ge=0)]
    eps: PositiveFloat
    optimizer: Literal["Adam", "AdamW"]
    n_epochs_kl_warmup: PositiveInt | None
    reduce_lr_on_plateau: bool
    lr_factor: Share
    lr_patience: PositiveInt
    lr_min: Annotated[float, Field(ge=0)]
    gradient_clip_val: PositiveFloat | None
    checkpoint_every_seconds: PositiveFloat

    @model_validator(mode="after")
    def _leave_cells_for_the_test_set(self) -> TrainingOptions:
        total = self.train_size + self.validation_size
        if total > 1:
            raise ValueError(f"train_size + validation_size is {total}, above 1")
        return self


Capability = Literal[
    "normalized_expression", "differential_expression", "loadings", "prediction", "marginal_likelihood",
    "sample_distances", "proteins",
]  # fmt: skip
IDENTITY = ("name", "family", "init_from", "trial_of", "training")
"""Options that name a model, link it or are a group of their own, and set nothing of it themselves."""
Need = Literal["labels", "samples", "proteins"]
Dropout = Annotated[float, Field(ge=0, lt=1)]


_LIKELIHOODS = {
    "zinb": "zero-inflated negative binomial",
    "nb": "negative binomial",
    "pnb": "negative binomial (in log space)",
    "poisson": "Poisson",
}


class ModelSpec(Options):
    """One entry of ``models:`` after defaults; the base of every family's own, which is all that is said of a family.

    Attributes
    ----------
    title
        What the field calls the family.
    description
        How the methods text introduces it, with its citation.
    paper
        Authors, year and DOI.
    module
        Module of scvi-tools that holds the class.
    needs
        What the study must name for it.
    can
        What analyses can ask of it.
    obsm_key
        Where the latent stands in ``obsm``.
    size_of_latent
        Hyperparameter that is the number of columns of the latent.
    initialisable_from
        Families whose weights can be its start.
    takes_queries
        Whether scvi-tools can map new cells onto it.
    own_loop
        Whether this project's loop can train it; the others train through Lightning.
    bound
        Function of ``scoring/marginal_likelihood.py`` that bounds the likelihood where scvi-tools' own loss does not.
    why_not_minified
        Why its cells cannot be kept without their counts; empty where they can.
    """

    name: str
    family: str
    init_from: str | None = None
    correct_batch: bool = True
    trial_of: str | None = None
    seed: Seed | None = None
    training: TrainingOptions

    title: ClassVar[str]
    description: ClassVar[str]
    paper: ClassVar[str]
    module: ClassVar[str] = "scvi.model"
    needs: ClassVar[frozenset[Need]] = frozenset()
    can: ClassVar[frozenset[Capability]] = frozenset()
    obsm_key: ClassVar[str]
    size_of_latent: ClassVar[str] = "n_latent"
    initialisable_from: ClassVar[frozenset[str]] = frozenset()
    takes_queries: ClassVar[bool] = False
    own_loop: ClassVar[bool] = False
    bound: ClassVar[str] = ""
    why_not_minified: ClassVar[str] = ""

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Refuse a family without its words where it is written, and not where a text first asks for them."""
        missing = [name for name in ModelSpec.__class_vars__ if not hasattr(cls, name)]
        if missing and not cls.model_fields["family"].is_required():
            raise TypeError(f"{cls.__name__} lacks {listed(sorted(missing))}, which every family has")

    @property
    def hyperparameters(self) -> dict[str, Any]:
        """Arguments of the scvi-tools class."""
        return self.model_dump(exclude=set(ModelSpec.model_fields))

    @property
    def likelihood(self) -> str:
        """Distribution of the counts, in words; empty where the family has no choice."""
        given = str(self.hyperparameters.get("gene_likelihood") or "")
        return _LIKELIHOODS.get(given, given)

    @property
    def hidden_layers(self) -> tuple[int, int] | None:
        """Number of hidden layers and units of each, where the encoder and the decoder have the same."""
        return None

    @classmethod
    def encodes_covariates(cls, settings: Mapping[str, Any]) -> bool:
        """Whether batches and covariates enter the encoder of a model that was made with these arguments."""
        option = cls.model_fields.get("encode_covariates")
        return bool(settings.get("encode_covariates", option.default if option else False))

    def keys_seen(self, keys: Keys) -> Keys:
        """The study's keys that the model is given: without the batch where it shall not be corrected."""
        return keys if self.correct_batch else keys.model_copy(update={"batch_key": None})

    @classmethod
    def scvi_class(cls) -> type[BaseModelClass]:
        """The class of scvi-tools."""
        return getattr(import_module(cls.module), cls.model_fields["family"].default)

    @abstractmethod
    def setup_arguments(self, genes: AnnData, keys: Keys) -> dict[str, Any]:
        """Arguments of the class's ``setup_anndata``, once it is sure that the cells have what the family needs."""

    def build(self, genes: AnnData, keys: Keys) -> BaseModelClass:
        """Register ``genes`` (cells × modelled genes) with scvi-tools and make the untrained model.

        Raises
        ------
        InputError
            The cells do not have what the family needs.
        """
        model_class = self.scvi_class()
        model_class.setup_anndata(genes, **_of_one_object_each(self.setup_arguments(genes, keys)))
        return model_class(genes, **_of_one_object_each(self.hyperparameters))

    def train_arguments(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Arguments of the family's ``train``, from those that most families take."""
        return arguments

    def build_from(self, genes: AnnData, keys: Keys, initial: BaseModelClass) -> BaseModelClass:
        """Make the untrained model with the weights of ``initial``."""
        # complete_parameters refuses such a start before anything runs
        raise TypeError(f"{self.family} cannot start from another model")


def _of_one_object_each(value: Any) -> Any:
    """Equal strings as one object, which a file holds once; between processes they become several."""
    if isinstance(value, Mapping):
        return {name: _of_one_object_each(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_of_one_object_each(each) for each in value]
    return intern(value) if isinstance(value, str) else value


def covariate_arguments(keys: Keys) -> dict[str, Any]:
    """Batch and covariates as arguments of ``setup_anndata``; counts are always in X."""
    return {
        "batch_key": keys.batch_key,
        "categorical_covariate_keys": list(keys.categorical_covariates) or None,
        "continuous_covariate_keys": list(keys.continuous_covariates) or None,
    }
