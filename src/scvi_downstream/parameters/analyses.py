"""Options of the analyses of the primary model, and of the report."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from scvi_downstream.parameters.base import Options, Share


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


class MarkerNamingOptions(Options):
    """How clusters are named by the user's table of marker genes."""

    min_genes: PositiveInt = 2
    n_random_sets: Annotated[int, Field(ge=20)] = 10_000
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
    training: dict[str, Any] = Field(default_factory=dict)
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
    fdr: Annotated[float, Field(ge=0.001, lt=1)] = 0.05


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
