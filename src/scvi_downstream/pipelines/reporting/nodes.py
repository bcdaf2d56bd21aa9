"""Join everything per cell into one AnnData, and everything for people into one page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scvi_downstream.cells.keys import Keys
from scvi_downstream.cells.study_design import block_of
from scvi_downstream.pipelines import analyses
from scvi_downstream.pipelines.declaration import Join, Obs, Obsm, Study, Uns, Var, Varm
from scvi_downstream.pipelines.reporting import analysed, cells_view, page
from scvi_downstream.report.methods import has_methods, render_methods
from scvi_downstream.runtime.slow_types import AnnData

_QUALITY = ("n_counts", "n_genes", "mitochondrial_percent")


def gather(**outputs: Any) -> dict[str, Any]:
    """What a box hands on, by its names in the catalogue: ``scvi__umap`` is ``scvi.umap``."""
    return {".".join(name.rsplit("__", 1)): output for name, output in outputs.items()}


def join_cells(
    counts: AnnData,
    keys: Keys,
    primary: str,
    color_by: tuple[str, ...],
    *,
    joins: Mapping[str, Join],
    **gathered: Mapping[str, Any],
) -> tuple[AnnData, dict[str, Any]]:
    """Everything known of each cell in one AnnData that scanpy and CELLxGENE open, and what the report draws of it.

    Parameters
    ----------
    counts
        Raw counts of ``n_cells``; they stay in ``X``.
    keys
        The study's obs columns, which come first.
    primary
        Name of the primary model, whose layouts, clusters and neighbours graph these are.
    color_by
        Further obs columns that the report offers as colours.
    joins, gathered
        Datasets that join, and how; of :func:`gather`, of every box.

    Returns
    -------
    The AnnData; of :func:`.view_cells`: labels, clusters and keys first, then columns that analyses name, and quality.

    Raises
    ------
    InputError
        The cells of a table are not those of the counts, two tables hold a column of the same name, or an
        embedding holds NaN.
    """
    cells = counts.obs_names
    tables = _together(gathered)
    of_primary = (f"{primary}.{name}" for name in ("umap", "umap_3d", "clusters", "neighbors"))
    umap, umap_3d, clusters, neighbors = (tables[name] for name in of_primary)

    def of(kind: type) -> dict[str, Any]:
        return {name: join for name, join in joins.items() if isinstance(join, kind) and name in tables}

    # `batch` is the study's batch_key once more, there for the figures of quality.
    quality = tables["qc_metrics"].drop(columns="batch", errors="ignore")
    columns = {"clusters": clusters, "qc_metrics": quality}
    for name, join in of(Obs).items():
        known = counts.obs.columns if join.new_only else []
        columns[name] = tables[name].drop(columns=known, errors="ignore").add_prefix(join.prefix)
    first = [*keys.categorical.values(), *map(str, clusters.columns)]
    observations = analysed.join_observations(counts.obs, analysed.join_columns(columns, cells), first)
    latents = {join.key: tables[name] for name, join in of(Obsm).items()}
    layouts = {"X_umap": umap, "X_umap_3d": umap_3d}
    embeddings = {key: analysed.embedding(table, cells, key) for key, table in (layouts | latents).items()}
    of_labels = {name for join in of(Obs).values() for name in join.like_labels} if keys.label_key else set()
    like = dict.fromkeys(of_labels, str(keys.label_key))
    graphs = analysed.scanpy_graphs(neighbors, cells)
    joined = analysed.assemble(counts, observations, embeddings, graphs, like)
    searched = analysed.searched_embedding(neighbors, {key: embeddings[key] for key in latents}, cells)
    joined.uns["neighbors"] = analysed.neighbors_record(neighbors.n_neighbors, searched)
    analysed.add_gene_columns(joined, {name: tables[name] for name in of(Var)})
    analysed.add_loadings(joined, {join.key: tables[name] for name, join in of(Varm).items()})
    analysed.add_results(joined, {name: tables[name] for name in of(Uns)})
    joined.uns["default_embedding"] = "X_umap"
    joined.uns["primary_model"] = primary
    named = [name for join in of(Obs).values() for name in join.colours]
    clusters_shown = [keys.label_key, "leiden", keys.condition_key, keys.batch_key, keys.sample_key]
    colours = [*filter(None, clusters_shown), *named, *color_by, *_QUALITY]
    return joined, cells_view.view_cells(joined, colours)


def write_methods(
    study: Study, *, without: frozenset[str] = frozenset(), **gathered: Mapping[str, Any]
) -> str:
    """The methods section of a paper, in Markdown with citation keys (``[@lopez2018]``), of exactly what ran.

    Parameters
    ----------
    study, without
        What the user set; names of the capabilities that the study calls for and that have not run yet.
    gathered
        Of :func:`gather`: among them numbers of the counts, and of the primary model's training.
    """
    known = _together(gathered)
    written = [
        render_methods(
            analysis.package,
            study=study,
            options=study.options.get(analysis.options_key),
            preparation=known["preparation_summary"],
            training=known[f"{study.primary}.training_summary"],
            block=block_of(known["preparation_summary"].get("design"), study.keys),
        )
        for analysis in analyses()
        if analysis.name not in without and has_methods(analysis.package)
    ]
    return "\n\n".join(filter(None, written)) + "\n"


def render_report(
    study: Study,
    methods: str,
    references: str,
    cells: Mapping[str, Any] | None = None,
    **gathered: Mapping[str, Any],
) -> str:
    """One self-contained HTML page of the run.

    Parameters
    ----------
    study, methods, references
        What the user set; Markdown with citation keys; BibTeX of what the methods cite.
    cells
        Of :func:`join_cells`; ``None``: there is no layout to show.
    gathered
        Of :func:`gather`: figures (PNG bytes), tables and summaries.
    """
    contents = _together(gathered)
    return page.render(study, contents["preparation_summary"], methods, contents, cells)


def _together(gathered: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    return {name: output for box in gathered.values() for name, output in box.items()}
