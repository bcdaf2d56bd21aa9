"""Counts, models and their latent spaces in the report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.specification import ModelSpec, TrainingOptions
from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.report.contents import OUTPUT, Item, Section, names
from scvi_downstream.report.versions import named
from scvi_downstream.report.words import count, listed, options_text

SECTION = Section(
    "Models and training",
    "Every model was fitted to the same cells and genes; with early stopping the best epoch is kept.",
    (
        Item(
            dataset="{model}.training_summary",
            caption="How each model was fitted and what it cost.",
            file="../../06_models/{study}/{model}/training_summary.json",
            columns=names(
                "model family n_latent n_parameters epochs "
                "best_epoch stopped_early seconds peak_memory_mb device"
            ),
        ),
        Item(dataset="{model}.history_figure", caption="Training and validation curves of {model}."),
        Item(
            dataset="{model}.scores",
            caption="All scores of each model.",
            file=OUTPUT + "{model}/scores.json",
            folded=True,
        ),
    ),
)


_FAMILIES = {
    "SCVI": "scVI [@lopez2018]",
    "SCANVI": "scANVI [@xu2021]",
    "MRVI": "MrVI, which compares samples [@boyeau2022]",
    "TOTALVI": "totalVI, of RNA and proteins [@gayoso2021]",
    "DRVI": "DRVI, whose latent dimensions are decoded one by one [@moinfar2024]",
    "LinearSCVI": "LDVAE, scVI with a linear decoder [@svensson2020]",
}
_OPTIMIZERS = {"Adam": "Adam [@kingma2014]", "AdamW": "AdamW [@loshchilov2017]"}
_LIKELIHOODS = {
    "zinb": "zero-inflated negative binomial",
    "nb": "negative binomial",
    "pnb": "negative binomial (in log space)",
    "poisson": "Poisson",
}


def describe_models(keys: Keys, graph: Study) -> str:
    """Families, hyperparameters and covariates of all models."""
    models = "; ".join(_model(spec) for spec in graph.models.values())
    text = [
        f"Models were fitted with {named('scvi-tools')} [@gayoso2022] on {named('torch', 'PyTorch')}: "
        f"{models}."
    ]
    covariates = [f"`{keys.batch_key}` as batch"] if keys.batch_key else []
    covariates += [f"`{name}` as categorical covariate" for name in keys.categorical_covariates]
    covariates += [f"`{name}` as continuous covariate" for name in keys.continuous_covariates]
    text.append(
        f"They were conditioned on {listed(covariates)}."
        if covariates
        else "No batch or covariate was modelled."
    )
    if keys.label_key and any("labels" in spec.needs for spec in graph.models.values()):
        text.append(f"scANVI was given the labels in `{keys.label_key}`.")
    return " ".join(text)


def _model(spec: ModelSpec) -> str:
    options = spec.hyperparameters
    sizes = f"{options.get('n_latent_u', options['n_latent'])} latent dimensions"
    if "n_layers" in options and spec.family != "LinearSCVI":
        sizes += f", {count(options['n_layers'], 'hidden layer')} of {options['n_hidden']} units"
    batch = "" if spec.correct_batch else ", without the batch"
    start = f", initialised with the weights of `{spec.init_from}`" if spec.init_from else ""
    likelihood = _LIKELIHOODS.get(str(options.get("gene_likelihood")), options.get("gene_likelihood"))
    decoder = f", a {likelihood} likelihood" if likelihood else ""
    decoder += f", {options['dispersion']} dispersion" if "dispersion" in options else ""
    decoder += f" and dropout {options['dropout_rate']:g}" if "dropout_rate" in options else ""
    return f"`{spec.name}`, {_FAMILIES.get(spec.family, spec.family)}, with {sizes}{decoder}{start}{batch}"


def describe_training(study: Any, graph: Study, summary: Mapping[str, Any]) -> str:
    """Optimiser, split, stopping rule, and how the primary model went."""
    options = study.training
    held_out = max(0.0, 1 - options.train_size - options.validation_size)
    epochs = options.max_epochs or summary.get("max_epochs")
    text = [
        f"Cells were split at random into {options.train_size:.0%} for training, "
        f"{options.validation_size:.0%} for validation and {held_out:.0%} for testing.",
        f"Parameters were optimised with {_OPTIMIZERS[options.optimizer]} (learning rate {options.lr:g}, "
        f"weight decay {options.weight_decay:g}) in mini-batches of "
        f"{summary.get('batch_size', options.batch_size)} cells"
        + (f" for at most {epochs} epochs" if epochs else "")
        + (
            f", with the KL term warmed up over {options.n_epochs_kl_warmup} epochs."
            if options.n_epochs_kl_warmup
            else "."
        ),
    ]
    if options.early_stopping:
        text.append(
            "Training stopped when the validation ELBO had not improved for "
            f"{options.early_stopping_patience} epochs, and the weights of the best epoch were kept."
        )
    text += [
        f"For `{spec.name}`, {options_text(changed)}."
        for spec in graph.models.values()
        if (changed := _changed(spec, options))
    ]
    text.append(
        f"Analyses below rest on the model `{summary.get('model', graph.primary)}` ({_ran(summary)}); the "
        f"seed of all steps was {study.seed}."
    )
    return " ".join(text)


def _changed(spec: ModelSpec, shared: TrainingOptions) -> dict[str, Any]:
    common = shared.model_dump()
    return {name: value for name, value in spec.training.model_dump().items() if value != common[name]}


def _ran(summary: Mapping[str, Any]) -> str:
    parts = [f"{summary['epochs']} epochs"] if "epochs" in summary else []
    if "best_epoch" in summary:
        parts.append(f"the best was epoch {summary['best_epoch']}")
    if "n_parameters" in summary:
        parts.append(f"{summary['n_parameters']:,} parameters")
    if "device" in summary:
        parts.append(f"on {summary['device']}")
    return ", ".join(parts)
