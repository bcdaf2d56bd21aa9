"""One fitted model as a folder for scvi-hub."""

from scvi_downstream.pipelines.declaration import Analysis

ANALYSIS = Analysis(
    name="export_hub",
    box="models",
    folder="hub",
    options="HubOptions",
    parameter="hub",
    by_name=True,
    extra={"huggingface_hub": "hub"},
    files={"hub": "model and its card, for scvi-hub"},
)
