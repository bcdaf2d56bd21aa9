"""Typed options of every pipeline: frozen, and unknown keys are forbidden."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

Share = Annotated[float, Field(gt=0, lt=1)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]
Accelerator = Literal["auto", "cpu", "gpu", "mps"]
STUDY_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
UNKNOWN = "unknown"


class Options(BaseModel):
    """Base of all options."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Keys(Options):
    """The obs columns and the layer that the user named; ``None`` where there is none."""

    counts_layer: str | None = None
    batch_key: str | None = None
    label_key: str | None = None
    sample_key: str | None = None
    condition_key: str | None = None
    categorical_covariates: tuple[str, ...] = ()
    continuous_covariates: tuple[str, ...] = ()

    @property
    def categorical(self) -> dict[str, str]:
        """Parameter name → obs column, for the categorical keys that are set."""
        named = {
            name: getattr(self, name)
            for name in ("batch_key", "label_key", "sample_key", "condition_key")
            if getattr(self, name)
        }
        return named | {
            f"categorical_covariates[{i}]": key for i, key in enumerate(self.categorical_covariates)
        }


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


class MarkerOptions(Options):
    """Which genes count as markers of a group."""

    max_per_group: PositiveInt = 25
    min_lfc: Annotated[float, Field(ge=0)] = 0.5
    min_fraction: Annotated[float, Field(ge=0, le=1)] = 0.2
    min_fraction_difference: Annotated[float, Field(ge=-1, le=1)] = 0.1
    fdr: Share = 0.05


class DeOptions(Options):
    """Differential expression: groupings, the Bayesian test and the classical ones beside it."""

    groupings: tuple[Literal["clusters", "labels"], ...] = ("clusters", "labels")
    pairs: tuple[tuple[str, str, str], ...] = ()
    conditions: bool = True
    mode: Literal["change", "vanilla"] = "change"
    delta: PositiveFloat | None = 0.25
    fdr: Share = 0.05
    credible_interval: Share = 0.95
    n_samples: PositiveInt = 5000
    weights: Literal["uniform", "importance"] = "uniform"
    batch_correction: bool = False
    min_cells_per_group: Annotated[int, Field(ge=2)] = 10
    wilcoxon: bool = True
    pseudobulk: bool = True
    min_samples_per_group: Annotated[int, Field(ge=2)] = 2
    min_cells_per_sample: PositiveInt = 5
    top_genes: PositiveInt = 100
    markers: MarkerOptions = MarkerOptions()


class ThinningOptions(Options):
    """How the held-out part of the counts is made and what it is compared with."""

    held_out_share: Share = 0.2
    n_neighbors: PositiveInt = 15
    max_cells: PositiveInt = 5000


class ImputationOptions(Options):
    """Denoised expression, counterfactuals and their score."""

    genes: Literal["all", "markers"] | tuple[str, ...] = "all"
    n_samples: PositiveInt = 1
    library_size: PositiveFloat | Literal["latent"] = 1e4
    transform_batch: tuple[str, ...] = ()
    chunk_cells: PositiveInt = 4096
    figure_genes: tuple[str, ...] = ()
    n_figure_genes: PositiveInt = 6
    score: ThinningOptions = ThinningOptions()


class EvaluationOptions(Options):
    """Held-out likelihoods; the marginal one is bounded in time."""

    marginal_ll_samples: Annotated[int, Field(ge=2)] = 200
    marginal_ll_max_cells: PositiveInt = 1000
    marginal_ll_max_seconds: PositiveFloat = 60.0


class ChampionRule(Options):
    """The champion has the best first criterion that is present in the leaderboard."""

    criteria: Annotated[tuple[str, ...], Field(min_length=1)] = (
        "scib_total",
        "scib_bio_conservation",
        "elbo_test",
    )
    within: Annotated[float, Field(ge=0)] = 0.0
    tie_breaker: str = "seconds"
    trained_on_labels: bool = False


class ComparisonOptions(Options):
    """Integration metrics, baselines and the rule for the champion."""

    baselines: tuple[Literal["pca", "harmony"], ...] = ("pca", "harmony")
    max_cells: PositiveInt = 50_000
    leiden_optimisation: bool = True
    champion: ChampionRule = ChampionRule()


class MarkerNamingOptions(Options):
    """How clusters are named by the user's table of marker genes."""

    min_genes: PositiveInt = 2
    n_random_sets: Annotated[int, Field(ge=20)] = 500
    fdr: Share = 0.05
    min_margin: Annotated[float, Field(ge=0)] = 0.5


class AnnotationOptions(Options):
    """Transfer of labels to cells without one, its score on held-out labels, names from marker genes."""

    held_out_share: Share = 0.2
    min_cells_per_type: Annotated[int, Field(ge=2)] = 5
    clustering: str = "leiden"
    n_neighbors: PositiveInt = 15
    min_probability: Annotated[float, Field(ge=0, le=1)] = 0.5
    calibrate: bool = True
    calibration_bins: Annotated[int, Field(ge=2)] = 10
    unlike_fdr: Share = 0.05
    training: dict[str, Any] = {}
    markers: MarkerNamingOptions = MarkerNamingOptions()


class ReferenceMappingOptions(Options):
    """Mapping of the study's cells onto a reference model by scArches surgery."""

    label_key: str | None = None
    min_shared_genes: Annotated[float, Field(ge=0, le=1)] = 0.5
    max_epochs: PositiveInt | None = None
    n_neighbors: PositiveInt = 15
    min_probability: Annotated[float, Field(ge=0, le=1)] = 0.5
    unlike_fdr: Share = 0.05


class FactorOptions(Options):
    """Loadings of the latent dimensions and their association with covariates."""

    top_genes: PositiveInt = 10
    fdr: Share = 0.05
    min_effect: Annotated[float, Field(ge=0, le=1)] = 0.1


class BatchEffectOptions(Options):
    """How batch structure is measured before and after the model."""

    max_cells: PositiveInt = 5000
    n_neighbors: PositiveInt = 50
    n_folds: Annotated[int, Field(ge=2)] = 5
    n_permutations: Annotated[int, Field(ge=39)] = 100
    corrected: bool = True
    n_samples: PositiveInt = 1
    top_genes: PositiveInt = 20
    fdr: Share = 0.05


class MetadataAnalysisOptions(Options):
    """Association of metadata with the embedding, the clusters and expression."""

    columns: tuple[str, ...] | None = None
    block_key: str | None = None
    groups: str | None = None
    fdr: Share = 0.05
    max_categories: Annotated[int, Field(ge=2)] = 30
    min_samples_per_group: Annotated[int, Field(ge=2)] = 2
    min_cells_per_sample: PositiveInt = 10
    top_genes: PositiveInt = 20


class ReportingOptions(Options):
    """The report's head and the length of its tables."""

    title: str | None = None
    table_rows: PositiveInt = 10


class StudyParameters(Options):
    """The whole of ``conf/*/parameters*.yml`` after defaults, environment and ``--params``."""

    study: Annotated[str, Field(pattern=STUDY_NAME)]
    input: str
    data_root: str = "data"
    counts_layer: str | None = None
    batch_key: str | None = None
    label_key: str | None = None
    sample_key: str | None = None
    condition_key: str | None = None
    categorical_covariates: tuple[str, ...] = ()
    continuous_covariates: tuple[str, ...] = ()
    metadata: str | None = None
    marker_table: str | None = None
    reference: str | None = None
    reference_counts: str | None = None
    seed: Seed = 0
    accelerator: Accelerator = "auto"
    primary: str
    models: Annotated[dict[str, dict[str, Any]], Field(min_length=1)]
    sweep: dict[str, dict[str, list[Any]]] = {}
    training: TrainingOptions = TrainingOptions()
    preparation: PreparationOptions = PreparationOptions()
    embedding: EmbeddingOptions = EmbeddingOptions()
    clustering: ClusteringOptions = ClusteringOptions()
    de: DeOptions = DeOptions()
    imputation: ImputationOptions = ImputationOptions()
    evaluation: EvaluationOptions = EvaluationOptions()
    comparison: ComparisonOptions = ComparisonOptions()
    annotation: AnnotationOptions = AnnotationOptions()
    reference_mapping: ReferenceMappingOptions = ReferenceMappingOptions()
    factors: FactorOptions = FactorOptions()
    batch_effects: BatchEffectOptions = BatchEffectOptions()
    metadata_analysis: MetadataAnalysisOptions = MetadataAnalysisOptions()
    reporting: ReportingOptions = ReportingOptions()
