"""Differential expression: Bayesian, Wilcoxon and pseudobulk, side by side."""

from scvi_downstream.pipelines.declaration import Analysis, Need, key

ANALYSIS = Analysis(
    name="de",
    options="DeOptions",
    aspects=(
        Need(
            lambda study: study.options["de"].wilcoxon,
            "Wilcoxon tests were left out, since de.wilcoxon is false.",
        ),
        Need(
            lambda study: study.options["de"].pseudobulk,
            "Pseudobulk tests were left out, since de.pseudobulk is false.",
        ),
        Need(
            lambda study: bool(study.keys.sample_key) or not study.options["de"].pseudobulk,
            "Pseudobulk tests were left out, since sample_key is empty: they need samples as replicates.",
        ),
        key("condition_key", "Conditions were not compared, since condition_key is empty."),
        Need(
            lambda study: study.options["de"].conditions or study.keys.condition_key is None,
            "Conditions were not compared, since de.conditions is false.",
        ),
    ),
    evidence="de_results",
    files={"de_results": "differential expression", "markers": "markers"},
)
