"""What latent dimensions stand for: genes that load on them, covariates that they follow."""

from collections.abc import Sequence

from kedro.pipeline import Node, Pipeline

from scvi_downstream.pipelines.copies import copied, per_model
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.pipelines.factors.effects import (
    associate_factors,
    associate_latent,
    gather_associations,
    gather_factors,
    read_loadings,
)
from scvi_downstream.pipelines.factors.plots import plot_associations, plot_loadings
from scvi_downstream.pipelines.factors.report import summarize_factors

_OPTIONS = ["params:keys", "params:factors"]


def model_template(*, loadings: bool) -> Pipeline:
    """fitted, latent, covariates ─► loadings, associations ─► figures: a template, copied per model."""
    factors = [
        Node(
            read_loadings,
            ["fitted", "latent", "counts", "params:accelerator"],
            ["loadings", "factor_variance"],
            name="read_loadings",
        ),
        Node(
            plot_loadings,
            ["loadings", "factor_variance", "counts", "params:factors"],
            "loadings_figure",
            name="plot_loadings",
        ),
        Node(
            associate_factors,
            ["latent", "factor_variance", "covariates", *_OPTIONS],
            "associations",
            name="associate_factors",
        ),
    ]
    dimensions = Node(
        associate_latent, ["latent", "covariates", *_OPTIONS], "associations", name="associate_latent"
    )
    drawn = Node(
        plot_associations, ["associations", "params:factors"], "associations_figure", name="plot_associations"
    )
    return Pipeline([*(factors if loadings else [dimensions]), drawn], tags="factors")


def template(models: Sequence[str], with_loadings: Sequence[str]) -> Pipeline:
    """Loadings and associations of all models ─► factors, factor_associations, factor_summary."""
    kinds = ("loadings", "factor_variance")
    tables = {f"{model}__{kind}": f"{model}.{kind}" for model in with_loadings for kind in kinds}
    loadings = Node(gather_factors, {"counts": "counts"} | tables, "factors", name="gather_factors")
    joined = Node(
        gather_associations,
        {model: f"{model}.associations" for model in models},
        "factor_associations",
        name="gather_associations",
    )
    summary = Node(
        summarize_factors,
        ["factor_associations", "params:primary", *_OPTIONS],
        "factor_summary",
        name="summarize_factors",
    )
    return Pipeline([*([loadings] if with_loadings else []), joined, summary], tags="factors")


def create_pipeline(study: Study) -> Pipeline:
    """Factors of every model, and of all models together."""
    with_loadings = [name for name, spec in study.models.items() if "loadings" in spec.can]
    of_models = per_model(study, lambda _, name: copied(model_template(loadings=name in with_loadings), name))
    return template(list(study.models), with_loadings) + of_models
