"""What latent dimensions stand for: genes that load on them, covariates that they follow."""

from scvi_downstream.pipelines.declaration import Analysis, Obs, Uns, Varm

ANALYSIS = Analysis(
    name="factors",
    options="FactorOptions",
    evidence="factor_associations",
    summaries=("factor_summary",),
    metrics={"factor_summary": "factors"},
    joins={
        "cell_cycle": Obs(colours=("phase",)),
        "{model}.loadings": Varm("{model}_loadings"),
        "factor_associations": Uns(),
    },
    files={"factors": "genes of the latent factors", "factor_associations": "what latent dimensions follow"},
)
