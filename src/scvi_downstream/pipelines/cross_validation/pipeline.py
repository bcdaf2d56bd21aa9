"""A model fitted again and again without a part of the cells: a template, copied per model."""

from kedro.pipeline import Node, Pipeline

from scvi_downstream.models.saved import why_no_unseen_batch
from scvi_downstream.pipelines.copies import copied, joined
from scvi_downstream.pipelines.cross_validation.nodes import (
    fit_without_batches,
    of_fold,
    summarise_cross_validation,
)
from scvi_downstream.pipelines.cross_validation.plots import plot_cross_validation, plot_fold_curves
from scvi_downstream.pipelines.declaration import UNIT, Study


def template(n_folds: int, *, batches: bool, initialised: bool = False) -> Pipeline:
    """Counts ─► fit_fold_1 … fit_fold_K, fit_without_batches ─► cv_scores, cv_summary ─► figures.

    Parameters
    ----------
    n_folds
        One node each, so that a killed run goes on with the next.
    batches
        Whether batches are left out, too.
    initialised
        Whether the weights start from another model: ``params:initial_spec`` is its entry of ``models:``.
    """
    inputs = {
        "counts": "counts",
        "spec": "params:spec",
        "keys": "params:keys",
        "options": "params:cross_validation",
        "evaluation": "params:evaluation",
        "seed": "params:seed",
        "accelerator": "params:accelerator",
        "checkpoint": "cv_checkpoint",
    }
    if initialised:
        inputs["initial_spec"] = "params:initial_spec"
    folds = range(1, n_folds + 1)
    fits = [
        Node(
            of_fold(fold),
            inputs,
            [f"cv_fold_{fold}", f"cv_training_{fold}"],
            name=f"fit_fold_{fold}",
            tags=UNIT,
        )
        for fold in folds
    ]
    trainings = {f"training_{fold}": f"cv_training_{fold}" for fold in folds}
    cells = {f"cells_{fold}": f"cv_fold_{fold}" for fold in folds}
    by_batch: dict[str, str] = {}
    if batches:
        by_batch = {"batch_cells": "cv_batches", "batch_trainings": "cv_batch_trainings"}
        made = list(by_batch.values())
        fits.append(Node(fit_without_batches, inputs, made, name="fit_without_batches", tags=UNIT))
    summarised = {"spec": "params:spec", "keys": "params:keys", "counts": "counts"}
    return Pipeline(
        [
            *fits,
            Node(
                summarise_cross_validation,
                summarised | cells | trainings | by_batch,
                ["cv_scores", "cv_summary"],
                name="summarise_cross_validation",
            ),
            Node(
                plot_cross_validation,
                ["cv_scores", "cv_summary"],
                "cv_figure",
                name="plot_cross_validation",
            ),
            Node(
                plot_fold_curves,
                {"cv_scores": "cv_scores", "cv_summary": "cv_summary"} | trainings,
                "cv_curves_figure",
                name="plot_fold_curves",
            ),
        ],
        tags="cross_validation",
    )


def create_pipeline(study: Study) -> Pipeline:
    """Models fitted again without a part of the cells.

    Raises
    ------
    InputError
        A model that is not in the study.
    """
    options = study.options["cross_validation"]
    copies = []
    for name in options.models:
        spec = study.models[study.model(name, "cross_validation.models")]
        batches = options.batches and why_no_unseen_batch(spec, study.keys) is None
        made = template(options.n_folds, batches=batches, initialised=spec.init_from is not None)
        copies.append(copied(made, name, initial_spec=spec.init_from))
    return joined(copies)
