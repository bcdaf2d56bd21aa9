"""Cross-validation in the report."""

from __future__ import annotations

from scvi_downstream.pipelines.reporting.sections.items import OUTPUT, Item, Section, names

CROSS_VALIDATION = Section(
    "Cross-validation",
    "Models fitted anew without a part of the cells, and what they make of this part: fold by fold, and without each "
    "batch in turn. A likelihood of more (less negative) nats per cell is better. What a batch costs that a model has "
    "not seen holds the same cells against a model that has seen others of their batch; neither is told the batch.",
    (
        Item(
            dataset="{model}.cv_figure",
            caption="Held-out likelihood of {model} in every fold, with the mean and its interval, and what each batch "
            "costs when it is unseen.",
        ),
        Item(
            dataset="{model}.cv_curves_figure",
            caption="Training and validation curves of {model} in every fold, and the same cells when they are trained "
            "on and when they are held out.",
        ),
        Item(
            dataset="{model}.cv_scores",
            caption="Cross-validation of {model}, fold by fold and batch by batch.",
            file=OUTPUT + "{model}/cv_scores.csv",
            columns=names(
                "held_out_by held_out n_train n_held_out elbo elbo_se marginal_ll elbo_train gap elbo_seen cost "
                "cost_low cost_high epochs best_epoch seconds"
            ),
            folded=True,
        ),
        Item(
            dataset="{model}.cv_summary",
            caption="What the cross-validation of {model} says, in words and numbers.",
            file=OUTPUT + "{model}/cv_summary.json",
            folded=True,
        ),
    ),
)
