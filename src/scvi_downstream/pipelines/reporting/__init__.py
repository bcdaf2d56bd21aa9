"""Everything joined: one AnnData and one page for people."""

from scvi_downstream.pipelines.declaration import Analysis

ANALYSIS = Analysis(
    name="reporting",
    options="ReportingOptions",
    tracked=("report", "methods", "references"),
    files={
        "report": "report, for the browser",
        "analysed": "all results in one AnnData, for scanpy and CELLxGENE",
    },
)
