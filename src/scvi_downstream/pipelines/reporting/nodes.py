"""Join everything per cell into one AnnData, and everything for people into one page."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, update_wrapper
from typing import TYPE_CHECKING, Any

import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.graphs.neighbors import NeighborsGraph
from scvi_downstream.pipelines.annotation.report import describe_annotation
from scvi_downstream.pipelines.batch_effects.report import describe_batch_effects
from scvi_downstream.pipelines.clustering.report import describe_clustering
from scvi_downstream.pipelines.comparison.report import describe_comparison
from scvi_downstream.pipelines.cross_validation.report import describe_cross_validation
from scvi_downstream.pipelines.de.report import describe_expression_tests
from scvi_downstream.pipelines.embedding.report import describe_embedding
from scvi_downstream.pipelines.factors.report import describe_factors
from scvi_downstream.pipelines.imputation.report import describe_imputation
from scvi_downstream.pipelines.metadata.report import describe_metadata
from scvi_downstream.pipelines.prediction.report import describe_prediction
from scvi_downstream.pipelines.predictive_checks.report import describe_predictive_checks
from scvi_downstream.pipelines.preparation.report import describe_preparation
from scvi_downstream.pipelines.proteins.report import describe_proteins
from scvi_downstream.pipelines.reference_mapping.report import describe_reference_mapping
from scvi_downstream.pipelines.reporting import analysed, report
from scvi_downstream.pipelines.samples.report import describe_samples
from scvi_downstream.pipelines.search.report import describe_search
from scvi_downstream.pipelines.stability.report import describe_stability
from scvi_downstream.pipelines.training.report import describe_models, describe_training
from scvi_downstream.pipelines.trajectory.report import describe_trajectory
from scvi_downstream.report import bibliography
from scvi_downstream.report.versions import named
from scvi_downstream.report.words import methods_text
from scvi_downstream.study.graph import study_graph
from scvi_downstream.study.parameters import StudyParameters

if TYPE_CHECKING:
    from anndata import AnnData
else:  # Kedro resolves the annotations at every command, and importing these is slow
    AnnData = Any


def join_analysed(
    counts: AnnData,
    qc_metrics: pd.DataFrame,
    umap: pd.DataFrame,
    umap_3d: pd.DataFrame,
    clusters: pd.DataFrame,
    neighbors: NeighborsGraph,
    keys: Keys,
    primary: str,
    **tables: pd.DataFrame,
) -> AnnData:
    """Everything known of each cell in one AnnData that scanpy and CELLxGENE open.

    Parameters
    ----------
    counts
        Raw counts of ``n_cells``; they stay in ``X``.
    qc_metrics, clusters
        Per-cell columns for ``obs``.
    umap, umap_3d
        Layouts of the primary model.
    neighbors
        Its neighbours graph.
    keys
        The study's obs columns, which come first.
    primary
        Name of the primary model.
    tables
        More tables. By cell: those named ``X_…`` go to ``obsm``, the columns of the others to ``obs``. By gene:
        columns of ``genes_…`` go to ``var``, ``loadings_…`` to ``varm``; genes that are missing there hold NaN.
        Others, named ``table_…``, go to ``uns``.

    Raises
    ------
    InputError
        The cells of a table are not those of the counts, two tables hold a column of the same name, or an
        embedding holds NaN.
    """
    cells = counts.obs_names
    by_gene = {name: tables.pop(name) for name in list(tables) if name.startswith(analysed.BY_GENE)}
    results = {name: tables.pop(name) for name in list(tables) if name.startswith(analysed.RESULT)}
    latents = {name: table for name, table in tables.items() if name.startswith(analysed.EMBEDDING)}
    columns = {name: table for name, table in tables.items() if name not in latents}
    if "annotations" in columns:  # most of them are columns of obs, where they stay as they are
        columns["annotations"] = columns["annotations"].drop(columns=counts.obs.columns, errors="ignore")
    if "protein_expression" in columns:  # proteins may be called as genes are
        columns["protein_expression"] = columns["protein_expression"].add_prefix("protein_")
    # `batch` is the study's batch_key once more, there for the figures of quality.
    columns = {
        "clusters": clusters,
        "qc_metrics": qc_metrics.drop(columns="batch", errors="ignore"),
    } | columns
    observations = analysed.join_observations(
        counts.obs,
        analysed.join_columns(columns, cells),
        [*keys.categorical.values(), *map(str, clusters.columns)],
    )
    layouts = {"X_umap": umap, "X_umap_3d": umap_3d}
    embeddings = {name: analysed.embedding(table, cells, name) for name, table in (layouts | latents).items()}
    joined = analysed.assemble(counts, observations, embeddings, analysed.scanpy_graphs(neighbors, cells))
    searched = analysed.searched_embedding(neighbors, {name: embeddings[name] for name in latents}, cells)
    joined.uns["neighbors"] = analysed.neighbors_record(neighbors.n_neighbors, searched)
    analysed.add_gene_tables(joined, by_gene)
    analysed.add_results(joined, results)
    joined.uns["default_embedding"] = "X_umap"
    joined.uns["primary_model"] = primary
    return joined


def write_methods(
    parameters: dict[str, Any],
    preparation_summary: dict[str, Any],
    training_summary: dict[str, Any],
    without: frozenset[str] = frozenset(),
) -> str:
    """The methods section of a paper, in Markdown with citation keys (``[@lopez2018]``), of exactly what ran.

    Parameters
    ----------
    parameters
        Complete parameters of the study.
    preparation_summary
        Numbers of the counts and how variable genes were chosen.
    training_summary
        Numbers of the primary model's training.
    without
        Topics of what the study calls for and has not run yet.
    """
    study, keys = _typed(parameters)
    graph = study_graph(parameters)
    n_cells = int(preparation_summary.get("n_cells") or 0)
    written = [
        ("Counts", describe_preparation(study, keys, preparation_summary)),
        ("Models", describe_models(keys, graph)),
        ("Training", describe_training(study, graph, training_summary)),
        ("Embedding", describe_embedding(study, n_cells)),
        ("Clustering", describe_clustering(study)),
        ("Cell types", describe_annotation(study, keys, graph)),
        ("Reference mapping", describe_reference_mapping(study, keys, graph)),
        ("Differential expression", describe_expression_tests(study, keys)),
        ("Latent factors", describe_factors(study, keys, graph)),
        ("Batch effects", describe_batch_effects(study, keys, graph)),
        ("Metadata", describe_metadata(study, keys, graph)),
        ("Samples", describe_samples(study.samples, keys, graph)),
        ("Proteins", describe_proteins(study.proteins, keys, graph)),
        ("Trajectories", describe_trajectory(study, keys, graph)),
        ("Imputation", describe_imputation(study)),
        ("Prediction", describe_prediction(study, keys, graph)),
        ("Comparison", describe_comparison(study, keys, graph)),
        ("Search", describe_search(study, keys, graph)),
        ("Predictive checks", describe_predictive_checks(study, keys, graph)),
        ("Cross-validation", describe_cross_validation(study, keys, graph)),
        ("Stability", describe_stability(study, keys, graph)),
        ("Software", describe_software()),
    ]
    return methods_text([(topic, text) for topic, text in written if topic not in without])


def methods_without(topics: frozenset[str]) -> Callable[..., str]:
    """:func:`write_methods` of a study of which a part has not run."""
    return update_wrapper(partial(write_methods, without=topics), write_methods) if topics else write_methods


def write_references(methods: str) -> str:
    """BibTeX of exactly the references that the methods text cites."""
    return bibliography.select(methods)


def render_report(
    parameters: dict[str, Any], methods: str, references: str, fingerprint: dict[str, Any], **contents: Any
) -> str:
    """One self-contained HTML page of the run.

    Parameters
    ----------
    parameters
        Complete parameters of the study.
    methods
        Markdown with citation keys.
    references
        BibTeX of what the methods cite.
    fingerprint
        Summary of the counts, with their fingerprint.
    contents
        Figures (PNG bytes), pages (HTML text), tables and summaries; ``scvi__scores`` is the dataset
        ``scvi.scores``.
    """
    study, keys = _typed(parameters)
    by_dataset = {".".join(name.rsplit("__", 1)): content for name, content in contents.items()}
    return report.render(
        study=study,
        keys=keys,
        graph=study_graph(parameters),
        parameters=parameters,
        preparation=fingerprint,
        methods=methods,
        contents=by_dataset,
    )


def _typed(parameters: dict[str, Any]) -> tuple[StudyParameters, Keys]:
    keys = Keys.model_validate(parameters["keys"])
    return StudyParameters.model_validate(
        {name: value for name, value in parameters.items() if name != "keys"}
    ), keys


def describe_software() -> str:
    """What ran it and kept the record."""
    return (
        f"All steps were run as one pipeline with {named('scvi-downstream')} on {named('kedro', 'Kedro')} "
        f"[@kedro], and tracked with {named('mlflow', 'MLflow')} [@zaharia2018]."
    )
