"""A model fitted again and again without a part of the cells: a template, copied per model."""

from kedro.pipeline import Node, Pipeline

from scvi_downstream.pipelines.copies import bound, copied, joined
from scvi_downstream.pipelines.cross_validation.plots import plot_cross_validation, plot_fold_curves
from scvi_downstream.pipelines.cross_validation.refit import fit_fold, fit_without_batches
from scvi_downstream.pipelines.cross_validation.summary import summarise_cross_validation
from scvi_downstream.pipelines.declaration import Study

_FIT = {"counts": "counts", "options": "params:cross_validation", "checkpoint": "params:cv_checkpoint"}
_FIT |= {name: f"params:{name}" for name in ("spec", "keys", "evaluation", "seed", "accelerator")}
_SUMMARY = ["cv_scores", "cv_summary"]


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
    fit = _FIT | ({"initial_spec": "params:initial_spec"} if initialised else {})
    nodes, cells, trainings = [], {}, {}
    for fold in range(1, n_folds + 1):
        made = [f"cv_fold_{fold}", f"cv_training_{fold}"]
        nodes.append(Node(bound(fit_fold, fold=fold), fit, made, name=f"fit_fold_{fold}"))
        cells[f"cells_{fold}"], trainings[f"training_{fold}"] = made
    summarised = {"spec": "params:spec", "keys": "params:keys", "counts": "counts", **cells, **trainings}
    if batches:
        made = ["cv_batches", "cv_batch_trainings"]
        nodes.append(Node(fit_without_batches, fit, made, name="fit_without_batches"))
        summarised |= dict(zip(("batch_cells", "batch_trainings"), made, strict=True))
    curves = dict(zip(_SUMMARY, _SUMMARY, strict=True)) | trainings
    nodes += [
        Node(summarise_cross_validation, summarised, _SUMMARY, name="summarise_cross_validation"),
        Node(plot_cross_validation, _SUMMARY, "cross_validation_figure", name="plot_cross_validation"),
        Node(plot_fold_curves, curves, "cross_validation_curves_figure", name="plot_fold_curves"),
    ]
    return Pipeline(nodes, tags="cross_validation")


def create_pipeline(study: Study) -> Pipeline:
    """Models fitted again without a part of the cells.

    Raises
    ------
    InputError
        A model that is not in the study.
    """
    options = study.options["cross_validation"]
    by_batch = options.over_batches(study.models, study.keys)
    copies = []
    for name in options.models:
        start = study.models[study.model(name, "cross_validation.models")].init_from
        made = template(options.n_folds, batches=name in by_batch, initialised=start is not None)
        copies.append(copied(made, name, initial_spec=start))
    return joined(copies)
