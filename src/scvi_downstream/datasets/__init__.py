"""How things are stored: one dataset a file, imported when it is first used."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "anndata_dataset": ["AnnDataDataset"],
        "counts_input_dataset": ["CountsInputDataset"],
        "expression_zarr_dataset": ["ExpressionZarrDataset"],
        "figure_datasets": ["MatplotlibDataset"],
        "hub_folder_dataset": ["HubFolderDataset"],
        "json_dataset": ["JSONDataset"],
        "model_entry_dataset": ["ModelEntryDataset"],
        "reference_dataset": ["ReferenceDataset"],
        "scvi_model_dataset": ["CheckpointDataset", "ScviModelDataset"],
        "sparse_graph_dataset": ["SparseGraphDataset"],
        "table_datasets": ["CSVDataset", "ParquetDataset"],
        "text_dataset": ["TextDataset"],
        "tracked_runs_dataset": ["TrackedRunsDataset"],
        "user_table_dataset": ["UserTableDataset"],
    },
)
