"""What latent dimensions stand for: genes that load on them, covariates that they follow."""

from collections.abc import Sequence

from kedro.pipeline import Pipeline

from scvi_downstream.pipelines.copies import copied, per_model, step
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
from scvi_downstream.pipelines.preparation.covariates import gather_covariates
from scvi_downstream.pipelines.preparation.genes import score_cell_cycle

_OPTIONS = ["params:replicates", "params:factors"]


def model_template(*, loadings: bool) -> Pipeline:
    """fitted, latent, covariates ─► loadings, associations ─► figures: a template, copied per model."""
    fitted = ["fitted", "latent", "counts", "params:accelerator"]
    factors = [
        step(read_loadings, fitted, ["loadings", "factor_variance"]),
        step(plot_loadings, ["loadings", "factor_variance", "counts", "params:factors"], "loadings_figure"),
        step(associate_factors, ["latent", "factor_variance", "covariates", *_OPTIONS], "associations"),
    ]
    dimensions = step(associate_latent, ["latent", "covariates", *_OPTIONS], "associations")
    drawn = step(plot_associations, ["associations", "params:factors"], "associations_figure")
    return Pipeline([*(factors if loadings else [dimensions]), drawn], tags="factors")


def template(models: Sequence[str], with_loadings: Sequence[str]) -> Pipeline:
    """Counts ─► covariates; loadings and associations of all models ─► factors, factor_associations, factor_summary."""
    kinds = ("loadings", "factor_variance")
    tables = {f"{model}__{kind}": f"{model}.{kind}" for model in with_loadings for kind in kinds}
    loadings = step(gather_factors, {"counts": "counts"} | tables, "factors")
    of_models = {model: f"{model}.associations" for model in models}
    joined = step(gather_associations, of_models, "factor_associations")
    facts = ["params:keys", "params:factors"]
    summary = step(summarize_factors, ["factor_associations", "params:primary", *facts], "factor_summary")
    known = ["counts", "qc_metrics", "cell_cycle", "params:replicates"]
    covariates = [
        step(score_cell_cycle, ["counts", "params:seed"], "cell_cycle"),
        step(gather_covariates, known, "covariates"),
    ]
    return Pipeline([*covariates, *([loadings] if with_loadings else []), joined, summary], tags="factors")


def create_pipeline(study: Study) -> Pipeline:
    """Factors of every model, and of all models together."""
    with_loadings = [name for name, spec in study.models.items() if "loadings" in spec.can]
    of_models = per_model(study, lambda _, name: copied(model_template(loadings=name in with_loadings), name))
    return template(list(study.models), with_loadings) + of_models
