"""How cells were mapped onto the reference."""

from __future__ import annotations

from pathlib import Path

from scvi_downstream.graph import StudyGraph
from scvi_downstream.parameters import Keys, StudyParameters


def describe_reference_mapping(study: StudyParameters, keys: Keys, graph: StudyGraph) -> str:
    """How cells were mapped onto the reference."""
    if "reference_mapping" not in graph.analyses:
        return ""
    options = study.reference_mapping
    epochs = options.max_epochs or "200 (fewer beyond 40,000 cells)"
    return (
        f"Cells were mapped onto the model `{Path(str(study.reference)).name}` by architectural surgery "
        "[@lotfollahi2022]: weights of the query's new batches and covariates, started at the mean of the known "
        "ones, were trained with Adam [@kingma2014] (learning rate 0.001, no weight decay, at most "
        f"{epochs} epochs) while all weights of the reference and the running means of its batch normalisation were "
        f"frozen. Genes of the reference that the query lacks count as zero; at least "
        f"{options.min_shared_genes:.0%} must be there. Labels are those of the {options.n_neighbors} nearest "
        "labelled reference cells in the joint latent space, weighted by a Gaussian kernel of the distance; below a "
        f"probability of {options.min_probability:g} a cell is called unknown. Cells unlike the reference were "
        "sought by expression: counts were thinned into two halves [@neufeld2024]; the deviation of a cell from "
        "the mean of its nearest reference cells, less what is typical of its batch (mean of the half of cells that "
        "deviate least, by concentration steps [@rousseeuw2006]), was multiplied with that of the ten cells most "
        "similar in the other half, and divided by the batch's median. Conformal p-values [@bates2023] compare it "
        "with reference cells whose batch was left out; flags control the false discovery rate "
        f"[@benjamini1995] at {options.unlike_fdr:g} as far as a new batch is like a left-out one."
    )
