"""Held-out likelihood and integration metrics of every model and baseline."""

from scvi_downstream.pipelines.declaration import Analysis

ANALYSIS = Analysis(name="evaluation", box="models", options="EvaluationOptions", metrics={"scores": ""})
