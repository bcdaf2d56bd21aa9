"""Surface proteins by totalVI: denoised, imputed where not measured, and as markers."""

from scvi_downstream.pipelines.declaration import Analysis, Obs, Uns, capability

ANALYSIS = Analysis(
    name="proteins",
    options="ProteinsOptions",
    needs={"proteins": capability("proteins")},
    evidence="protein_summary",
    summaries=("protein_summary",),
    metrics={"protein_summary": "proteins"},
    joins={
        "protein_expression": Obs(prefix="protein_"),  # proteins may be called as genes are
        "protein_markers": Uns(),
        "protein_imputation": Uns(),
    },
    files={"protein_expression": "denoised proteins"},
)
