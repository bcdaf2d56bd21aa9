"""Cell types and the mapping onto a reference in the report."""

from scvi_downstream.pipelines.reporting.sections.items import OUTPUT, Item, Section, names

TRANSFER = (
    Item(
        dataset="cell_types_figure",
        caption="The labels that the cells came with, the consensus of the methods, its probability, and where "
        "held-out labels were found again.",
    ),
    Item(
        dataset="annotation_scores",
        caption="Scores of each method and of the consensus on held-out cells.",
        file=OUTPUT + "annotation_scores.json",
        folded=True,
    ),
    Item(
        dataset="confusion_figure",
        caption="True and predicted types of the held-out cells, every one of them called.",
    ),
    Item(
        dataset="calibration_figure",
        caption="How often held-out cells are right, against their probability; on the dotted line probabilities "
        "mean what they say.",
    ),
    Item(
        dataset="annotation_by_type",
        caption="Precision, recall and F1 of each type.",
        file=OUTPUT + "annotation_by_type.csv",
        columns=names("method type n_given n_held_out precision recall f1 share_called"),
        folded=True,
    ),
    Item(
        dataset="annotation_confusion",
        caption="Held-out cells by true and predicted type.",
        file=OUTPUT + "annotation_confusion.csv",
        groups=("method",),
        order="n",
        folded=True,
    ),
    Item(
        dataset="annotation_calibration",
        caption="Accuracy by probability, before and after calibration.",
        file=OUTPUT + "annotation_calibration.csv",
        folded=True,
    ),
    Item(
        dataset="label_contingency_figure",
        caption="Labels of each cluster, and how far clusters and labels agree.",
    ),
    Item(
        dataset="label_agreement",
        caption="Agreement of each clustering with the labels, over the labelled cells.",
        file=OUTPUT + "label_agreement.csv",
        folded=True,
    ),
    Item(
        dataset="label_contingency",
        caption="Labelled cells by cluster and label.",
        file=OUTPUT + "label_contingency.csv",
        order="n",
        folded=True,
    ),
)
NAMING = (
    Item(
        dataset="cluster_names_figure",
        caption="Markers of each type in each cluster, against random genes of the same expression; names are framed.",
    ),
    Item(
        dataset="cluster_names",
        caption="Names of the clusters by the marker table, and how clear they are.",
        file=OUTPUT + "cluster_names.csv",
        columns=names("cluster n_cells name best_type z fdr runner_up margin why_unknown genes"),
    ),
    Item(
        dataset="marker_overlap",
        caption="Genes that differential expression found in a cluster and the marker table lists.",
        file=OUTPUT + "marker_overlap.csv",
        groups=("cluster",),
        folded=True,
    ),
    Item(
        dataset="marker_scores",
        caption="Score of every cluster for every type.",
        file=OUTPUT + "marker_scores.csv",
        groups=("cluster",),
        order="z",
        folded=True,
    ),
    Item(
        dataset="naming_summary",
        caption="What of the marker table was used.",
        file=OUTPUT + "naming_summary.json",
        folded=True,
    ),
)
ANNOTATION = Section(
    "Cell types",
    "Labels transferred by three methods, scored on labelled cells that were held out, and names from marker genes.",
    (*TRANSFER, *NAMING),
)
REFERENCE_MAPPING = Section(
    "Reference mapping",
    "The cells mapped onto a reference model: transferred labels, their uncertainty, and cells unlike the reference.",
    (
        Item(
            dataset="mapping_figure",
            caption="Reference and query in one UMAP: origin, labels, uncertainty, and cells unlike the reference.",
        ),
        Item(
            dataset="mapping_summary",
            caption="What was mapped, how sure the labels are, and how far they are true.",
            file=OUTPUT + "mapping_summary.json",
            folded=True,
        ),
        Item(
            dataset="mapping_confusion",
            caption="The cells' own labels against those transferred.",
            file=OUTPUT + "mapping_confusion.csv",
            folded=True,
        ),
        Item(
            dataset="mapping_batches",
            caption="How far cells deviate from their nearest reference cells: batches of the reference, each left "
            "out in turn, and of the query.",
            file=OUTPUT + "mapping_batches.csv",
            folded=True,
        ),
    ),
)
