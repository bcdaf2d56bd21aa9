"""How things are stored: one dataset a file."""

from scvi_downstream.datasets.anndata_dataset import AnnDataDataset
from scvi_downstream.datasets.counts_input_dataset import CountsInputDataset
from scvi_downstream.datasets.expression_zarr_dataset import ExpressionZarrDataset
from scvi_downstream.datasets.figure_dataset import FigureDataset
from scvi_downstream.datasets.hub_folder_dataset import HubFolderDataset
from scvi_downstream.datasets.model_entry_dataset import ModelEntryDataset
from scvi_downstream.datasets.reference_dataset import ReferenceDataset
from scvi_downstream.datasets.scvi_model_dataset import CheckpointDataset, ScviModelDataset
from scvi_downstream.datasets.sparse_graph_dataset import SparseGraphDataset
from scvi_downstream.datasets.table_dataset import TableDataset
from scvi_downstream.datasets.text_files import JsonDataset, TextDataset
from scvi_downstream.datasets.tracked_runs_dataset import TrackedRunsDataset
from scvi_downstream.datasets.user_table_dataset import UserTableDataset

__all__ = [
    "AnnDataDataset",
    "CheckpointDataset",
    "CountsInputDataset",
    "ExpressionZarrDataset",
    "FigureDataset",
    "HubFolderDataset",
    "JsonDataset",
    "ModelEntryDataset",
    "ReferenceDataset",
    "ScviModelDataset",
    "SparseGraphDataset",
    "TableDataset",
    "TextDataset",
    "TrackedRunsDataset",
    "UserTableDataset",
]
