"""What annotations of cells and samples go together with: embedding, composition, expression."""

from scvi_downstream.pipelines.declaration import Analysis, Need, Obs, Uns

ANALYSIS = Analysis(
    name="metadata",
    options="MetadataAnalysisOptions",
    parameter="metadata_analysis",
    needs={
        "metadata": Need(
            lambda study: bool(
                study.parameters["metadata"]
                or study.options["metadata_analysis"].columns
                or study.keys.condition_key
                or study.keys.categorical_covariates
                or study.keys.continuous_covariates
            ),
            "Composition and expression were not tested against metadata, since metadata and condition_key are empty.",
        )
    },
    evidence="metadata_associations",
    summaries=("metadata_summary",),
    metrics={"metadata_summary": "metadata"},
    joins={"annotations": Obs(new_only=True), "metadata_associations": Uns(), "composition_tests": Uns()},
    files={"composition_tests": "composition by metadata", "metadata_genes": "expression by metadata"},
    may_be_empty=("composition_tests", "metadata_genes"),
)
