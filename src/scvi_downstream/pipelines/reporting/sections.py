"""The report's table of contents, as data."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["figure", "page", "result"]
PRIMARY = "{primary}"
MODEL = "{model}"


@dataclass(frozen=True, kw_only=True)
class Item:
    """One dataset that the report shows.

    Attributes
    ----------
    dataset
        Name in the catalogue; ``{primary}`` stands for the primary model, ``{model}`` for every model.
    caption
        What the reader sees, in a sentence; the alternative text of figures.
    file
        Where the whole of it lies, from the report's folder; ``{study}`` and ``{model}`` are filled in.
    groups
        Columns whose groups are cut to ``table_rows`` rows each; empty: the whole table is one group.
    columns
        Columns to show, in this order; empty: all.
    order
        Column to sort by, the highest first; empty: as it is.
    folded
        Shown on demand.
    """

    dataset: str
    caption: str
    file: str = ""
    groups: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    order: str = ""
    folded: bool = False

    @property
    def kind(self) -> Kind:
        """``figure`` (PNG), ``page`` (HTML, linked), or ``result`` (table or summary)."""
        if self.dataset.endswith("_figure"):
            return "figure"
        return "page" if self.dataset.endswith("_page") else "result"

    @property
    def per_model(self) -> bool:
        """Whether there is one for every model."""
        return self.dataset.startswith(MODEL)


@dataclass(frozen=True)
class Section:
    """A heading, a sentence or two for the reader, and what is shown below."""

    title: str
    text: str
    items: tuple[Item, ...]

    @property
    def anchor(self) -> str:
        """Fragment of the page's address."""
        return "-".join(self.title.lower().split())


@dataclass(frozen=True)
class Entry:
    """An item for one model: all placeholders can be filled in."""

    item: Item
    dataset: str
    model: str

    def filled(self, text: str, study: str = "") -> str:
        """``text`` with the names of the model and the study."""
        return text.replace(MODEL, self.model).replace(PRIMARY, self.model).replace("{study}", study)


def _names(spaced: str) -> tuple[str, ...]:
    return tuple(spaced.split())


_OUTPUT = "../../07_model_output/{study}/"

QUALITY = Section(
    "Quality control",
    "What the counts look like before any model sees them.",
    (
        Item(dataset="qc_figure", caption="Quality metrics per cell, with the filters that were applied."),
        Item(dataset="hvg_figure", caption="Highly variable genes: those that the models see."),
    ),
)
TRAINING = Section(
    "Models and training",
    "Every model was fitted to the same cells and genes; with early stopping the best epoch is kept.",
    (
        Item(
            dataset="{model}.training_summary",
            caption="How each model was fitted and what it cost.",
            file="../../06_models/{study}/{model}/training_summary.json",
            columns=_names(
                "model family n_latent n_parameters epochs "
                "best_epoch stopped_early seconds peak_memory_mb device"
            ),
        ),
        Item(dataset="{model}.history_figure", caption="Training and validation curves of {model}."),
        Item(
            dataset="{model}.scores",
            caption="All scores of each model.",
            file=_OUTPUT + "{model}/scores.json",
            folded=True,
        ),
    ),
)
LATENT = Section(
    "Latent space",
    "UMAP of the latent space: neighbourhoods carry meaning, distances between far-apart groups do not.",
    (
        Item(
            dataset="{primary}.embedding_figure",
            caption="UMAP of {primary}, the primary model, coloured by what is known of each cell.",
        ),
        Item(
            dataset="{primary}.umap_3d_page",
            caption="The same in three dimensions, to turn and to zoom",
            file="{model}/umap_3d.html",
        ),
        Item(dataset="{model}.embedding_figure", caption="UMAP of {model}.", folded=True),
        Item(dataset="pca.embedding_figure", caption="UMAP of PCA, without a model.", folded=True),
        Item(dataset="harmony.embedding_figure", caption="UMAP of Harmony on PCA.", folded=True),
    ),
)
CLUSTERS = Section(
    "Clusters",
    "Leiden communities of the neighbours graph, k-means and Ward's method on the latent of the primary "
    "model.",
    (
        Item(dataset="{primary}.clusters_figure", caption="Clusters on the UMAP of {primary}."),
        Item(
            dataset="{primary}.clustering_figure",
            caption="How stable the clusterings are when cells are left out, and how far they agree.",
        ),
        Item(dataset="{primary}.dendrogram_figure", caption="Ward's dendrogram."),
        Item(
            dataset="{primary}.clustering_summary",
            caption="The recommended clustering, and why.",
            file=_OUTPUT + "{model}/clustering_summary.json",
            folded=True,
        ),
        Item(
            dataset="{primary}.leiden_stability",
            caption="Stability of each Leiden resolution.",
            file=_OUTPUT + "{model}/leiden_stability.csv",
            folded=True,
        ),
        Item(
            dataset="{primary}.cluster_agreement",
            caption="Agreement of the clusterings with one another and with what is known.",
            file=_OUTPUT + "{model}/cluster_agreement.csv",
            folded=True,
        ),
    ),
)
EXPRESSION = Section(
    "Differential expression and markers",
    "The Bayesian test gives the probability that a gene's change is larger than the threshold; "
    "classical tests on the counts stand beside it.",
    (
        Item(
            dataset="dotplot_figure",
            caption="Top markers of each cluster: share of expressing cells and mean expression.",
        ),
        Item(dataset="heatmap_figure", caption="Top markers of each cluster in single cells."),
        Item(
            dataset="markers",
            caption="Markers of each group, the best first.",
            file=_OUTPUT + "markers.csv",
            groups=("grouping", "group"),
            columns=_names(
                "grouping group rank gene lfc_median "
                "proba_de expected_fdr fraction1 fraction2 specificity wilcoxon_p_adjusted"
            ),
        ),
        Item(dataset="volcano_figure", caption="Effect and evidence of each gene, by comparison."),
        Item(dataset="concordance_figure", caption="How far the Bayesian and the classical tests agree."),
        Item(
            dataset="de_concordance",
            caption="Concordance of the tests by comparison.",
            file=_OUTPUT + "de_concordance.csv",
            folded=True,
        ),
        Item(
            dataset="de_results",
            caption="Strongest genes of each comparison.",
            file=_OUTPUT + "de_results.parquet",
            groups=("grouping", "comparison"),
            columns=_names(
                "grouping comparison gene lfc_median lfc_lower lfc_upper "
                "proba_de bayes_factor expected_fdr is_de wilcoxon_p_adjusted pseudobulk_p_adjusted"
            ),
            folded=True,
        ),
    ),
)
IMPUTATION = Section(
    "Imputation",
    "Denoised expression, and what it is worth: part of each cell's counts is held out and predicted from "
    "the rest.",
    (
        Item(
            dataset="imputation_score_figure",
            caption="Error and correlation on held-out counts, against naive baselines.",
        ),
        Item(
            dataset="imputation_scores",
            caption="Scores on held-out counts.",
            file=_OUTPUT + "imputation_scores.json",
            folded=True,
        ),
        Item(
            dataset="imputation_by_gene",
            caption="Scores by gene, the most abundant first.",
            file=_OUTPUT + "imputation_by_gene.csv",
            order="mean_held_out",
            folded=True,
        ),
        Item(dataset="imputation_figure", caption="Raw counts beside denoised expression on the UMAP."),
    ),
)
COMPARISON = Section(
    "Comparison",
    "All models and baselines on one board, by the same metrics on the same cells.",
    (
        Item(dataset="leaderboard_figure", caption="Scores of all models and baselines."),
        Item(dataset="leaderboard", caption="Leaderboard.", file="leaderboard.csv"),
        Item(dataset="champion", caption="The champion, and why.", file="champion.json", folded=True),
        Item(
            dataset="{primary}.integration",
            caption="Integration metrics of {primary}.",
            file=_OUTPUT + "{model}/integration.json",
            folded=True,
        ),
    ),
)
SECTIONS = (QUALITY, TRAINING, LATENT, CLUSTERS, EXPRESSION, IMPUTATION, COMPARISON)


def expand(item: Item, primary: str, models: Sequence[str]) -> Iterator[Entry]:
    """The item once, or once for every model; what is shown of the primary by itself is not repeated."""
    if not item.per_model:
        yield Entry(item, item.dataset.replace(PRIMARY, primary), primary if PRIMARY in item.dataset else "")
        return
    alone = {other.dataset for section in SECTIONS for other in section.items}
    for model in models:
        if model != primary or item.dataset.replace(MODEL, PRIMARY) not in alone:
            yield Entry(item, item.dataset.replace(MODEL, model), model)


def report_contents(available: set[str], primary: str, models: Sequence[str]) -> list[str]:
    """Datasets that the report shows, in its order.

    Parameters
    ----------
    available
        Everything that the study's pipelines make.
    primary
        Name of the primary model.
    models
        Names of all models.
    """
    items = (item for section in SECTIONS for item in section.items)
    entries = (entry for item in items for entry in expand(item, primary, models))
    return [entry.dataset for entry in entries if entry.dataset in available]
