"""None"""

from scvi_downstream.pipelines.declaration import Analysis

ANALYSIS = Analysis(name="evaluation", options="EvaluationOptions", metrics={"scores": ""})
