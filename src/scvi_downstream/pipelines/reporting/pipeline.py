"""Everything joined: one AnnData and one page for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kedro.pipeline import Node, Pipeline

from scvi_downstream.pipelines import analyses
from scvi_downstream.pipelines.copies import bound, on_model, step
from scvi_downstream.pipelines.declaration import Join, Obsm, Study, Varm
from scvi_downstream.pipelines.reporting.nodes import join_analysed, render_report, write_methods
from scvi_downstream.pipelines.reporting.table_of_contents import report_contents
from scvi_downstream.report.bibliography import write_references
from scvi_downstream.report.sections import MODEL, PRIMARY

_OF_PRIMARY = ("umap", "umap_3d", "clusters", "neighbors")


def template(
    joins: Mapping[str, Join] | None, contents: Sequence[str], without: frozenset[str] = frozenset()
) -> Pipeline:
    """Counts and every table ─► analysed; figures, tables, methods ─► report.

    ``joins`` are the datasets that ``analysed`` takes up, and how; ``None``: what it needs is not there. ``contents``
    are the figures and tables that the report shows; ``without`` are the capabilities that the study calls for and
    that were not run.
    """
    return Pipeline(
        [
            *([] if joins is None else [_join(joins)]),
            Node(
                bound(write_methods, without=without) if without else write_methods,
                ["study", "preparation_summary", "training_summary"],
                "methods",
                name="write_methods",
            ),
            step(write_references, "methods", "references"),
            step(
                render_report,
                {
                    "study": "study",
                    "methods": "methods",
                    "references": "references",
                    "fingerprint": "preparation_summary",
                    **{_argument_name(dataset): dataset for dataset in contents},
                },
                "report",
            ),
        ],
        tags="reporting",
    )


def _join(joins: Mapping[str, Join]) -> Node:
    always = ("counts", "qc_metrics", *_OF_PRIMARY)
    tables = {_argument_name(dataset): dataset for dataset in joins}
    return Node(
        bound(join_analysed, joins={_argument_name(dataset): join for dataset, join in joins.items()}),
        {name: name for name in always} | {"keys": "params:keys", "primary": "params:primary"} | tables,
        "analysed",
        name="join_analysed",
    )


def _argument_name(dataset: str) -> str:
    """Keyword under which a dataset reaches a node that takes many: ``scvi.umap`` → ``scvi__umap``."""
    return dataset.replace(".", "__")


def create_pipeline(study: Study, available: set[str]) -> Pipeline:
    """Of all datasets that are there or will be."""
    contents = report_contents(available, study.primary, list(study.models))
    whole = {f"{study.primary}.{name}" for name in _OF_PRIMARY} <= available
    joins = {dataset: join for dataset, join in _joins(study).items() if dataset in available}
    undone = {
        analysis.name
        for analysis in analyses()
        if study.is_stored is not None
        and analysis.evidence
        and analysis.evidence.replace(PRIMARY, study.primary) not in available
    }
    made = template(joins if whole else None, contents, frozenset(undone))
    return on_model(made, study.primary, [*_OF_PRIMARY, "training_summary"])


def _joins(study: Study) -> dict[str, Join]:
    """How every table that there can be joins ``analysed``."""
    joins: dict[str, Join] = {dataset: Obsm(key) for key, dataset in _latents(study).items()}
    for analysis in analyses():
        for dataset, join in analysis.joins.items():
            models = study.models if MODEL in dataset else [""]
            joins |= {dataset.replace(MODEL, model): _of_model(join, model) for model in models}
    return joins


def _of_model(join: Join, model: str) -> Join:
    return type(join)(join.key.replace(MODEL, model)) if isinstance(join, Obsm | Varm) else join


def _latents(study: Study) -> dict[str, str]:
    """The obsm key of every latent; the family's own name goes to the primary model, or to the first of its family."""
    keys: dict[str, str] = {}
    for name in sorted(study.models, key=lambda model: model != study.primary):
        family_key = study.models[name].obsm_key
        keys[family_key if family_key not in keys else f"X_{name}"] = f"{name}.latent"
    return keys | {f"X_{name}": f"{name}.latent" for name in study.baselines}
