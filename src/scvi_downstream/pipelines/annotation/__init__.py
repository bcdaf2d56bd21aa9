"""What the cells are: labels transferred and scored, clusters named by marker genes."""

from scvi_downstream.pipelines.declaration import Analysis, Obs, Uns, key, parameter

ANALYSIS = Analysis(
    name="annotation",
    options="AnnotationOptions",
    needs={
        "label_transfer": key("label_key", "Nothing was compared with cell types, since label_key is empty."),
        "marker_naming": parameter(
            "marker_table", "Clusters were not named by marker genes, since marker_table is empty."
        ),
    },
    evidence="cell_types",
    summaries=("annotation_scores", "naming_summary"),
    metrics={"annotation_scores": "annotation", "naming_summary": "marker_naming"},
    joins={
        "cell_types": Obs(
            colours=("cell_type_predicted", "cell_type_probability"),
            like_labels=("cell_type_predicted", "cell_type_scanvi", "cell_type_knn", "cell_type_clusters"),
        ),
        "marker_cell_types": Obs(colours=("cell_type_markers",)),
        "annotation_by_type": Uns(),
        "label_agreement": Uns(),
        "cluster_names": Uns(),
    },
    files={"cell_types": "cell types", "cluster_names": "names of clusters by marker genes"},
)
