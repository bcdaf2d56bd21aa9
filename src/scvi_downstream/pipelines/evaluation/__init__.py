"""Held-out likelihood and integration metrics of every model and baseline."""

from scvi_downstream.pipelines.declaration import Analysis

ANALYSIS = Analysis(name="evaluation", options="EvaluationOptions", metrics={"scores": ""})
