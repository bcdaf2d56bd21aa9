"""Everything joined: one AnnData and one page for people."""

from collections.abc import Mapping, Sequence

from kedro.pipeline import Node, Pipeline

from scvi_downstream.pipelines.reporting.nodes import (
    join_analysed,
    methods_without,
    render_report,
    write_references,
)

# Topic of the methods text → what it describes has been run when this is there.
EVIDENCE = {
    "Embedding": "{primary}.umap",
    "Clustering": "{primary}.clusters",
    "Cell types": "cell_types",
    "Differential expression": "de_results",
    "Latent factors": "factor_associations",
    "Batch effects": "batch_effects",
    "Metadata": "metadata_associations",
    "Samples": "sample_summary",
    "Proteins": "protein_summary",
    "Trajectories": "trajectory",
    "Imputation": "imputation_scores",
    "Prediction": "prediction_summary",
    "Predictive checks": "predictive_summary",
    "Comparison": "leaderboard",
    "Stability": "stability_summary",
    "Search": "search_summary",
}


def create_pipeline(
    joined: Mapping[str, str] | None, contents: Sequence[str], undone: frozenset[str] = frozenset()
) -> Pipeline:
    """Counts and every table ─► analysed; figures, tables, methods ─► report.

    ``joined`` maps arguments of ``join_analysed`` (``X_scVI``, ``cell_types``) to datasets, ``None``: what it needs is
    not there; ``contents`` are the figures and tables that the report shows; ``undone`` are topics of the methods
    that the study calls for and that were not run.
    """
    return Pipeline(
        [
            *([] if joined is None else [_join(joined)]),
            Node(
                methods_without(undone),
                ["parameters", "preparation_summary", "training_summary"],
                "methods",
                name="write_methods",
            ),
            Node(write_references, "methods", "references", name="write_references"),
            Node(
                render_report,
                {
                    "parameters": "parameters",
                    "methods": "methods",
                    "references": "references",
                    "fingerprint": "preparation_summary",
                    **{argument_name(dataset): dataset for dataset in contents},
                },
                "report",
                name="render_report",
            ),
        ],
        tags="reporting",
    )


def _join(joined: Mapping[str, str]) -> Node:
    always = ("counts", "qc_metrics", "umap", "umap_3d", "clusters", "neighbors")
    return Node(
        join_analysed,
        {name: name for name in always} | {"keys": "params:keys", "primary": "params:primary"} | dict(joined),
        "analysed",
        name="join_analysed",
    )


def argument_name(dataset: str) -> str:
    """Keyword under which a dataset reaches ``render_report``: ``scvi.umap`` → ``scvi__umap``."""
    return dataset.replace(".", "__")
