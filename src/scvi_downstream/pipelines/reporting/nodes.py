"""Join everything per cell into one AnnData, and everything for people into one page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd

from scvi_downstream.cells.keys import Keys
from scvi_downstream.graphs.neighbors import NeighborsGraph
from scvi_downstream.pipelines import analyses
from scvi_downstream.pipelines.declaration import Join, Obs, Obsm, Study, Uns, Var, Varm
from scvi_downstream.pipelines.reporting import analysed, page
from scvi_downstream.report.methods import has_methods, render_methods

if TYPE_CHECKING:
    from anndata import AnnData
else:  # Kedro resolves the annotations, and importing anndata for that would slow every command
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
    *,
    joins: Mapping[str, Join],
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
    joins
        How each of ``tables`` joins, by its name.
    tables
        Latents, and tables by cell, by gene or of results.

    Raises
    ------
    InputError
        The cells of a table are not those of the counts, two tables hold a column of the same name, or an
        embedding holds NaN.
    """
    cells = counts.obs_names

    def of(kind: type) -> dict[str, Any]:
        return {name: joins[name] for name in tables if isinstance(joins[name], kind)}

    # `batch` is the study's batch_key once more, there for the figures of quality.
    columns = {"clusters": clusters, "qc_metrics": qc_metrics.drop(columns="batch", errors="ignore")}
    for name, join in of(Obs).items():
        table = (
            tables[name].drop(columns=counts.obs.columns, errors="ignore") if join.new_only else tables[name]
        )
        columns[name] = table.add_prefix(join.prefix)
    observations = analysed.join_observations(
        counts.obs,
        analysed.join_columns(columns, cells),
        [*keys.categorical.values(), *map(str, clusters.columns)],
    )
    latents = {join.key: tables[name] for name, join in of(Obsm).items()}
    layouts = {"X_umap": umap, "X_umap_3d": umap_3d}
    embeddings = {key: analysed.embedding(table, cells, key) for key, table in (layouts | latents).items()}
    joined = analysed.assemble(counts, observations, embeddings, analysed.scanpy_graphs(neighbors, cells))
    searched = analysed.searched_embedding(neighbors, {key: embeddings[key] for key in latents}, cells)
    joined.uns["neighbors"] = analysed.neighbors_record(neighbors.n_neighbors, searched)
    analysed.add_gene_columns(joined, {name: tables[name] for name in of(Var)})
    analysed.add_loadings(joined, {join.key: tables[name] for name, join in of(Varm).items()})
    analysed.add_results(joined, {name: tables[name] for name in of(Uns)})
    joined.uns["default_embedding"] = "X_umap"
    joined.uns["primary_model"] = primary
    return joined


def write_methods(
    study: Study,
    preparation_summary: dict[str, Any],
    training_summary: dict[str, Any],
    *,
    without: frozenset[str] = frozenset(),
) -> str:
    """The methods section of a paper, in Markdown with citation keys (``[@lopez2018]``), of exactly what ran.

    Parameters
    ----------
    study
        What the user set.
    preparation_summary
        Numbers of the counts and how variable genes were chosen.
    training_summary
        Numbers of the primary model's training.
    without
        Names of the capabilities that the study calls for and that have not run yet.
    """
    written = [
        render_methods(
            analysis.package,
            study=study,
            options=study.options.get(analysis.options_key),
            preparation=preparation_summary,
            training=training_summary,
        )
        for analysis in analyses()
        if analysis.name not in without and has_methods(analysis.package)
    ]
    return "\n\n".join(filter(None, written)) + "\n"


def render_report(
    study: Study, methods: str, references: str, fingerprint: dict[str, Any], **contents: Any
) -> str:
    """One self-contained HTML page of the run.

    Parameters
    ----------
    study
        What the user set.
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
    by_dataset = {".".join(name.rsplit("__", 1)): content for name, content in contents.items()}
    return page.render(study, fingerprint, methods, by_dataset)
