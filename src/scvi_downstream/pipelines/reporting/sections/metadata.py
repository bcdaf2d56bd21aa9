"""Metadata in the report."""

from scvi_downstream.pipelines.reporting.sections.items import OUTPUT, Item, Section, names

METADATA = Section(
    "Metadata",
    "What the study's annotations of samples and cells go together with; samples, not cells, are the replicates.",
    (
        Item(
            dataset="metadata_columns",
            caption="The annotations: what each was taken for, and how it is tested.",
            file=OUTPUT + "metadata_columns.csv",
        ),
        Item(dataset="metadata_figure", caption="Annotations on the UMAP of the primary model."),
        Item(
            dataset="metadata_associations_figure",
            caption="How far each latent dimension follows each annotation.",
        ),
        Item(
            dataset="metadata_associations",
            caption="Tests of latent dimensions against annotations.",
            file=OUTPUT + "metadata_associations.csv",
            groups=("covariate",),
            folded=True,
        ),
        Item(
            dataset="composition_figure",
            caption="Share of each group in every sample. Shares sum to one: when one rises, others fall.",
        ),
        Item(
            dataset="composition_tests",
            caption="Tests of the groups' shares with samples as replicates, the smallest p-value first.",
            file=OUTPUT + "composition_tests.csv",
            groups=("column", "contrast"),
        ),
        Item(
            dataset="composition",
            caption="Cells of every group in every sample.",
            file=OUTPUT + "composition.csv",
            folded=True,
        ),
        Item(
            dataset="metadata_genes_figure",
            caption="Genes that go together with annotations, over all cells and within groups.",
        ),
        Item(
            dataset="metadata_genes",
            caption="Genes of each annotation and group, the smallest p-value first.",
            file=OUTPUT + "metadata_genes.parquet",
            groups=("column", "contrast", "group"),
            columns=names(
                "column contrast group symbol unit n effect ci_lower ci_upper p p_adjusted mean_expression"
            ),
            folded=True,
        ),
        Item(
            dataset="metadata_summary",
            caption="Numbers of significant dimensions, groups and genes.",
            file=OUTPUT + "metadata_summary.json",
            folded=True,
        ),
        Item(
            dataset="metadata_join",
            caption="How the metadata table was joined, and what found no partner.",
            file=OUTPUT + "metadata_join.json",
            folded=True,
        ),
    ),
)
