"""Fit every model of the study."""

from scvi_downstream.pipelines.declaration import Analysis

ANALYSIS = Analysis(name="training", box="models", metrics={"training_summary": ""})
