"""How generated counts were compared with those observed."""

from __future__ import annotations

from scvi_downstream.graph import StudyGraph
from scvi_downstream.parameters import Keys, StudyParameters
from scvi_downstream.pipelines.reporting.versions import named


def describe_predictive_checks(study: StudyParameters, keys: Keys, graph: StudyGraph) -> str:
    """How generated counts were compared with those observed."""
    options = study.predictive_checks
    batch = " and batch" if keys.batch_key else ""
    return (
        f"Counts of at most {options.max_cells:,} held-out cells were generated {options.n_samples} times by "
        f"`{graph.primary}` ({named('scvi-tools')} [@gayoso2022]): from the cell's own posterior q(z | x) (a posterior "
        "predictive check [@gelman1996], conservative since it conditions on the counts that are checked), and from "
        f"the states of training cells among the 50 nearest in library size{' of the same batch' if batch else ''}. "
        "Baselines without latent states are a Poisson and a negative binomial with the cell's library size, shares of "
        f"genes{' by batch' if batch else ''}, and one dispersion a gene, fitted to training cells by maximum "
        "likelihood. Statistics of the observed counts (zeros, library size, overdispersion, correlations of the "
        f"{options.correlation_genes} most variable genes, moments of genes) were placed among those of the draws; "
        "distances between observed and mean generated values among the distances of each set of draws from the "
        "others. Calibration was measured by randomised probability integral transforms [@czado2009] of the rank of "
        "each count among its draws, for which coverage is exact for discrete counts, and by the continuous ranked "
        "probability score [@gneiting2007] of log(1 + count) [@bosse2023], with 95 % bootstrap intervals over cells "
        "[@efron1979]. Mean, zeros and spread of log(1 + count) of each gene were tested against a shifted gamma "
        "distribution with the first three cumulants of the draws (Bonferroni over the three, then "
        f"[@benjamini1995] at an FDR of {options.fdr:g})."
    )
