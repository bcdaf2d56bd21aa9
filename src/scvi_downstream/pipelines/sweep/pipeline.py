"""Trials of the sweep: trained, embedded and scored, and no more."""

from __future__ import annotations

from kedro.pipeline import Pipeline

from scvi_downstream.pipelines.copies import copied, joined
from scvi_downstream.pipelines.declaration import TRIAL, Study
from scvi_downstream.pipelines.embedding import pipeline as embedding
from scvi_downstream.pipelines.evaluation import pipeline as evaluation
from scvi_downstream.pipelines.training import pipeline as training


def create_pipeline(study: Study) -> Pipeline:
    """Every trial of the sweep."""
    return joined(trial_of(study, name) for name in study.swept)


def trial_of(study: Study, name: str) -> Pipeline:
    """All that is done for one trial: training, latent, graph, scores; its failure fails nothing else."""
    start = study.trials[name].init_from
    made = joined(
        [
            training.template(initialised=start is not None).filter(to_outputs=["fitted"]),
            embedding.template().filter(to_outputs=["neighbors"]),
            evaluation.trial_template(),
        ]
    )
    return copied(made, name, with_tags=[TRIAL], initial=f"{start}.fitted")
