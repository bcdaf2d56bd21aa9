"""Options of what is run for every model, from counts to the leaderboard."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from scvi_downstream.parameters.base import Options, Share


class CellFilters(Options):
    """Thresholds below or above which a cell or gene is dropped; ``None`` leaves a filter off."""

    min_counts: PositiveInt | None = None
    max_counts: PositiveInt | None = None
    min_genes: PositiveInt | None = None
    max_genes: PositiveInt | None = None
    max_mitochondrial_percent: Annotated[float, Field(ge=0, le=100)] | None = None
    min_cells_per_gene: PositiveInt | None = None


class PreparationOptions(Options):
    """How counts are checked, filtered and annotated."""

    min_cells: PositiveInt = 50
    min_genes: PositiveInt = 10
    min_cells_per_batch: PositiveInt = 5
    filters: CellFilters = CellFilters()
    mitochondrial_prefixes: tuple[str, ...] = ("MT-", "mt-", "Mt-")
    gene_symbols: str | None = None
    n_top_genes: PositiveInt = 2000
    unknown_labels: tuple[str, ...] = (
        "unknown",
        "unassigned",
        "unlabeled",
        "unlabelled",
        "na",
        "nan",
        "none",
        "",
    )
    metadata_key: str | None = None


class TrainingOptions(Options):
    """How one model is fitted; the names are those of scvi-tools' ``train`` and training plan."""

    max_epochs: PositiveInt | None = None
    batch_size: Annotated[int, Field(ge=2)] = 128
    train_size: Share = 0.8
    validation_size: Share = 0.1
    early_stopping: bool = True
    early_stopping_patience: PositiveInt = 30
    early_stopping_min_delta: Annotated[float, Field(ge=0)] = 0.0
    lr: PositiveFloat = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-6
    eps: PositiveFloat = 0.01
    optimizer: Literal["Adam", "AdamW"] = "Adam"
    n_epochs_kl_warmup: PositiveInt | None = 100
    reduce_lr_on_plateau: bool = False
    lr_factor: Share = 0.6
    lr_patience: PositiveInt = 30
    lr_min: Annotated[float, Field(ge=0)] = 0.0
    gradient_clip_val: PositiveFloat | None = None
    checkpoint_every_seconds: PositiveFloat = 60.0

    @model_validator(mode="after")
    def _leave_cells_for_the_test_set(self) -> TrainingOptions:
        if self.train_size + self.validation_size > 1:
            raise ValueError(
                f"train_size + validation_size is {self.train_size + self.validation_size}, above 1"
            )
        return self


class EmbeddingOptions(Options):
    """Neighbours graph, UMAP and what to colour it by."""

    n_neighbors: Annotated[int, Field(ge=2)] = 15
    n_neighbors_metrics: Annotated[int, Field(ge=2)] = 90
    exact_up_to: PositiveInt = 50_000
    n_pcs: PositiveInt = 50
    umap_min_dist: Annotated[float, Field(ge=0)] = 0.5
    umap_spread: PositiveFloat = 1.0
    umap_epochs: PositiveInt | None = None
    color_by: tuple[str, ...] = ()


class ClusteringOptions(Options):
    """Leiden resolutions, k-means and hierarchical clustering."""

    leiden_resolutions: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (0.25, 0.5, 1.0, 1.5, 2.0)
    kmeans_k: PositiveInt | None = None
    kmeans_max_k: Annotated[int, Field(ge=2)] = 20
    hierarchical_k: PositiveInt | None = None
    min_stability: Annotated[float, Field(ge=0, le=1)] = 0.75
    stability_replicates: PositiveInt = 5


class EvaluationOptions(Options):
    """Held-out likelihoods; the marginal one is bounded in time."""

    marginal_ll_samples: Annotated[int, Field(ge=2)] = 200
    marginal_ll_max_cells: PositiveInt = 1000
    marginal_ll_max_seconds: PositiveFloat = 60.0


class ChampionRule(Options):
    """The most economical model that cannot be told from the best by the first criterion of the leaderboard.

    ``tie_breaker: x`` is accepted for ``tie_breakers: [x]``.
    """

    criteria: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "scib_total",
        "scib_bio_conservation",
        "elbo_test",
    )
    noise: Literal["one_standard_error", "interval", "none"] = "one_standard_error"
    within: Annotated[float, Field(ge=0)] = 0.0
    tie_breakers: tuple[str, ...] = ("n_latent", "n_parameters", "seconds")
    trained_on_labels: bool = False

    @model_validator(mode="before")
    @classmethod
    def _one_tie_breaker(cls, given: Any) -> Any:
        if not isinstance(given, dict) or "tie_breaker" not in given:
            return given
        others = {name: value for name, value in given.items() if name != "tie_breaker"}
        only = given["tie_breaker"]
        return (
            others if only is None else others | {"tie_breakers": only if isinstance(only, list) else [only]}
        )


class ComparisonOptions(Options):
    """Integration metrics, baselines and the rule for the champion."""

    baselines: tuple[Literal["pca", "harmony", "scanorama"], ...] = ("pca", "harmony")
    profile: Literal["full", "fast"] = "full"
    max_cells: PositiveInt | None = None
    leiden_optimisation: bool | None = None
    n_bootstrap: NonNegativeInt = 200
    champion: ChampionRule = ChampionRule()
