"""How surface proteins were denoised, imputed and compared."""

from __future__ import annotations

from scvi_downstream.graph import StudyGraph
from scvi_downstream.parameters import Keys
from scvi_downstream.parameters.proteins import ProteinsOptions


def describe_proteins(options: ProteinsOptions, keys: Keys, graph: StudyGraph) -> str:
    """How surface proteins were denoised, imputed and compared; empty where they were not.

    Parameters
    ----------
    options
        Of the analysis.
    keys
        Batch and label.
    graph
        Names the model.
    """
    name = graph.first_with("proteins")
    if "proteins" not in graph.analyses or name is None:
        return ""
    text = [
        f"Surface proteins were modelled together with the RNA by totalVI [@gayoso2021] (`{name}`). Denoised proteins "
        f"are posterior means ({options.n_samples} draws) of the expected count of the foreground, without the "
        "efficiency of the batch; proteins without any count in a batch were taken as not measured there and decoded "
        "as of the batches that measured them.",
        _imputation(options, keys),
        f"Proteins of each cluster{' and label' if keys.label_key else ''} of at least {options.min_cells_per_group} "
        "cells were compared with the other cells by totalVI's posterior (probability that the log2 fold change "
        f"exceeds {options.delta:g}, {options.de_samples:,} samples, averaged over the batches with proteins), called "
        f"at an expected false discovery rate [@newton2004] of {options.fdr:g}, and beside it by rank-sum tests "
        "[@wilcoxon1945] of centred log-ratios of the counts [@stoeckius2017], corrected over the proteins of a group "
        "[@benjamini1995]. Clusters come from the same cells, so that their p-values describe and do not test.",
        "Proteins were compared with RNA where they have the name of a gene, by Spearman's rank correlation "
        "[@spearman1904].",
    ]
    return " ".join(filter(None, text))


def _imputation(options: ProteinsOptions, keys: Keys) -> str:
    if options.max_held_out_batches == 0:
        return ""
    hidden = (
        f"at most {options.max_held_out_batches} batches of `{keys.batch_key}` (those of fewest cells), one training "
        "each; where one batch only has proteins, a random third of its cells"
        if keys.batch_key
        else "a random third of the cells, called a batch of their own"
    )
    return (
        f"Imputation was scored by hiding the proteins of {hidden}, training again, and correlating log1p of the "
        "imputed expected counts with log1p of the measured ones, protein by protein; intervals are those of "
        f"{options.n_bootstrap:,} bootstrap samples of cells [@efron1979], paired between methods. Beside it stand "
        f"means over the {options.n_neighbors} nearest cells with proteins, in the principal components of the RNA and "
        "in the latent of the same model."
    )
