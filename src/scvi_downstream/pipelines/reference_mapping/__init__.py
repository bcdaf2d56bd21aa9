"""The study's cells mapped onto a reference model by scArches surgery."""

from scvi_downstream.pipelines.declaration import Analysis, Obs, parameter

ANALYSIS = Analysis(
    name="reference_mapping",
    options="ReferenceMappingOptions",
    needs={"reference_mapping": parameter("reference")},
    brings=("preparation",),
    summaries=("mapping_summary",),
    metrics={"mapping_summary": "mapping"},
    joins={"mapped_cell_types": Obs(colours=("mapped_cell_type", "mapped_probability"))},
    files={"mapped": "cells mapped onto the reference"},
)
