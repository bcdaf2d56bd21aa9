"""Batch structure before and after the model: how much is technique, how much is biology."""

from scvi_downstream.pipelines.declaration import Analysis, Uns, Var, key

ANALYSIS = Analysis(
    name="batch_effects",
    options="BatchEffectOptions",
    needs={
        "batch_effects": key(
            "batch_key", "Batch correction was neither modelled nor scored, since batch_key is empty."
        )
    },
    evidence="batch_effects",
    summaries=("batch_summary",),
    metrics={"batch_summary": "batch"},
    joins={"batch_genes": Var(), "batch_effects": Uns(), "batch_variance": Uns()},
    files={"batch_effects": "batch structure before and after"},
)
