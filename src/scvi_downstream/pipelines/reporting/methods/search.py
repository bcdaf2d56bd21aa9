"""How hyperparameters were searched for."""

from __future__ import annotations

from scvi_downstream.graph import StudyGraph
from scvi_downstream.parameters import Keys, SearchOptions, StudyParameters
from scvi_downstream.pipelines.reporting.methods.text import listed
from scvi_downstream.pipelines.reporting.versions import named

_OBJECTIVES = {
    "elbo_validation": "ELBO of the validation cells",
    "marginal_ll_validation": "importance-weighted marginal log-likelihood of the validation cells",
    "scib_total": "scIB total of the training and validation cells",
    "scib_bio_conservation": "scIB bio conservation of the training and validation cells",
    "scib_batch_correction": "scIB batch correction of the training and validation cells",
}


def describe_search(study: StudyParameters, keys: Keys, graph: StudyGraph) -> str:
    """How hyperparameters were searched for; empty where they were not."""
    options = study.search
    model = options.model
    if model is None:
        return ""
    varied = f" ({listed([f'`{name}`' for name in options.space])})" if options.space else ""
    objectives = listed([_OBJECTIVES[name] for name in options.objectives])
    text = [
        f"Hyperparameters of `{model}`{varied} were searched for in {options.trials} trials, the first with those "
        f"configured, run by {named('ray')} Tune [@liaw2018]; {_drawn(options)}. The objective"
        f"{' was' if len(options.objectives) == 1 else 's were'} the {objectives}; test cells were not used."
    ]
    if options.halves:
        text.append(
            f"Trials were stopped by asynchronous successive halving [@li2020] on the ELBO of the validation cells, "
            f"after {options.grace_epochs} epochs at the earliest, one in {options.reduction_factor:g} going on from "
            "each rung; the model as configured was not stopped."
        )
    equal = "the highest second objective" if len(options.objectives) > 1 else "the fewest parameters"
    text.append(
        "Of the trials within one standard error of the best by the first objective (paired differences over cells, or "
        f"over bootstrap draws for scIB) [@breiman1984], that with {equal} is recommended."
    )
    return " ".join(text)


def _drawn(options: SearchOptions) -> str:
    if options.algorithm != "bayesian":
        return "values were drawn at random"
    pareto = " for several objectives [@ozaki2022]" if len(options.objectives) > 1 else ""
    return (
        f"values were suggested by tree-structured Parzen estimators [@bergstra2011]{pareto} of "
        f"{named('optuna')} [@akiba2019]"
    )
