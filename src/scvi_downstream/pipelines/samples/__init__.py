"""Samples compared by MrVI: distances, effects of conditions, abundance, counterfactual expression."""

from scvi_downstream.pipelines.declaration import Analysis, Obs, Obsm, Uns, capability

ANALYSIS = Analysis(
    name="samples",
    options="SamplesOptions",
    needs={"samples": capability("sample_distances")},
    evidence="sample_summary",
    summaries=("sample_summary",),
    metrics={"sample_summary": "samples"},
    joins={
        "{model}.latent_z": Obsm("X_mrVI_z"),
        "sample_density_ratios": Obs(),
        "sample_effects": Uns(),
        "sample_abundance": Uns(),
    },
    files={"sample_distances": "distances between samples"},
    may_be_empty=("sample_distances",),
)
