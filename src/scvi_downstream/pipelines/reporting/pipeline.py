"""Everything joined: one AnnData and one page for people."""

from collections.abc import Mapping, Sequence

from kedro.pipeline import Node, Pipeline

from .nodes import join_analysed, render_report, write_methods, write_references


def create_pipeline(joined: Mapping[str, str], contents: Sequence[str]) -> Pipeline:
    """Counts and every table ─► analysed; figures, tables, methods ─► report.

    ``joined`` maps arguments of ``join_analysed`` (``X_scVI``, ``cell_types``) to datasets; ``contents``
    are the figures and tables that the report shows.
    """
    return Pipeline(
        [
            Node(
                join_analysed,
                {
                    "counts": "counts",
                    "qc_metrics": "qc_metrics",
                    "umap": "umap",
                    "umap_3d": "umap_3d",
                    "clusters": "clusters",
                    "neighbors": "neighbors",
                    "keys": "params:keys",
                    "primary": "params:primary",
                    **joined,
                },
                "analysed",
                name="join_analysed",
            ),
            Node(
                write_methods,
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


def argument_name(dataset: str) -> str:
    """Keyword under which a dataset reaches ``render_report``: ``scvi.umap`` → ``scvi__umap``."""
    return dataset.replace(".", "__")
