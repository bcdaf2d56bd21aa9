"""New cells, as AnnData or as a table, in the form that a fitted model was set up with."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.cells.obs import text_of
from scvi_downstream.models.families import FAMILIES
from scvi_downstream.models.saved import SavedModel
from scvi_downstream.runtime.errors import InputError, closest
from scvi_downstream.runtime.words import first_names

if TYPE_CHECKING:
    from anndata import AnnData

logger = logging.getLogger(__name__)


_LARGEST_EXACT = 2**24  # float32 does not hold every integer beyond


def _refuse_other_than_counts(matrix: sparse.csr_matrix, cells: pd.Index, columns: pd.Index) -> None:
    """Look at every stored value of cells × genes or proteins, which become float32 when they are counts.

    Raises
    ------
    InputError
        A value is missing, infinite, negative, no integer or too large.
    """
    values = np.asarray(matrix.data, dtype=np.float64)
    with np.errstate(invalid="ignore"):
        bad = ~((values >= 0) & (values <= _LARGEST_EXACT) & (values == np.floor(values)))
    if not bad.any():
        matrix.data = values.astype(np.float32)
        return
    first = int(np.argmax(bad))
    row = int(np.searchsorted(matrix.indptr, first, side="right")) - 1
    raise InputError(
        f"{values[first]:g} for '{columns[matrix.indices[first]]}' in cell '{cells[row]}' is no count "
        f"({int(bad.sum()):,} of {len(values):,} values are none); give raw counts, not normalised ones"
    )


# Field of scvi-tools' registry → argument of ``setup_anndata`` that names its obs column.
_CATEGORICAL = {"batch": "batch_key", "labels": "labels_key", "sample": "sample_key"}


@dataclass(frozen=True)
class ModelInput:
    """What a model was set up with, by whether its encoder reads it.

    The decoder's batches, covariates, labels and size factors do not matter for an embedding; they are only filled
    in, so that scvi-tools takes the cells.

    Attributes
    ----------
    genes, proteins
        Genes in the order of the model, and proteins that the encoder reads; none for most models.
    categories, numbers
        obs columns that the encoder reads: with the categories that the model knows, and of numbers.
    filled
        obs columns that the encoder does not read → what is put there.
    layer, protein_key
        Where scvi-tools looks for counts (``None``: X) and for proteins in obsm.
    """

    genes: pd.Index
    categories: Mapping[str, tuple[Any, ...]]
    numbers: tuple[str, ...]
    proteins: pd.Index
    filled: Mapping[str, Any]
    layer: str | None
    protein_key: str | None

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of obs that new cells must have."""
        return (*self.categories, *self.numbers)


def describe_input(model: SavedModel) -> ModelInput:
    """Read from a saved model which genes, obs columns and proteins new cells need."""
    setup, fields = model.setup, model.contents.attributes["registry_"]["field_registries"]
    read = FAMILIES[model.family].encodes_covariates(model.settings)
    categories, filled = {}, {}
    for column, known, is_read in _categorical_columns(setup, fields, covariates_read=read):
        if is_read and len(known) > 1:
            categories[column] = known
        else:
            filled[column] = known[0]
    if setup.get("unlabeled_category") is not None:
        filled[setup["labels_key"]] = setup["unlabeled_category"]
    numbers = tuple(setup.get("continuous_covariate_keys") or ())
    if not read:
        filled |= dict.fromkeys(numbers, 0.0)
    if setup.get("size_factor_key"):
        filled[setup["size_factor_key"]] = 1.0
    protein_key = setup.get("protein_expression_obsm_key")
    proteins = fields["proteins"]["state_registry"]["column_names"] if protein_key else ()
    return ModelInput(
        genes=model.genes,
        categories=categories,
        numbers=numbers if read else (),
        proteins=pd.Index([str(name) for name in proteins], name="protein"),
        filled=filled,
        layer=setup.get("layer"),
        protein_key=protein_key,
    )


def latent_names(model: SavedModel) -> list[str]:
    """``latent_1``, … as many as the embedding has; of MrVI that is ``u``."""
    size = model.settings[FAMILIES[model.family].size_of_latent]
    return [f"latent_{i + 1}" for i in range(size)]


def _categorical_columns(
    setup: Mapping[str, Any], fields: Mapping[str, Any], *, covariates_read: bool
) -> list[tuple[str, tuple[Any, ...], bool]]:
    """Each column, its categories, and whether the encoder reads it; MrVI's encoder always reads the sample."""
    columns = [
        (setup[key], fields[field]["state_registry"]["categorical_mapping"], field)
        for field, key in _CATEGORICAL.items()
        if setup.get(key)
    ]
    covariates = fields.get("extra_categorical_covs", {}).get("state_registry", {}).get("mappings", {})
    columns += [(name, known, "covariate") for name, known in covariates.items()]
    read = {"sample": True, "labels": False}
    return [(str(name), tuple(known), read.get(field, covariates_read)) for name, known, field in columns]


PROTEIN_PREFIX = "protein:"


def cells_of_model(cells: AnnData | pd.DataFrame, needs: ModelInput, max_missing_genes: float) -> AnnData:
    """Counts of the model's genes in its order, and the obs columns that it was set up with.

    Parameters
    ----------
    cells
        Raw counts: AnnData, or a table of cells × genes which holds obs columns and proteins
        (``protein:<name>``) as further columns. Genes in any order; those that the model does not know are left
        aside.
    needs
        Of :func:`~scvi_downstream.serving.cells.describe_input`.
    max_missing_genes
        Largest share of the model's genes that may be missing; they count as zero.

    Returns
    -------
    ``n_cells × n_genes``, CSR float32 in ``X``; cells are numbered, as their names may repeat.

    Raises
    ------
    InputError
        There are no cells, too many genes are missing, a value is no count, or what the encoder reads of obs or of
        proteins is missing or unknown to it.
    """
    from anndata import AnnData

    if not len(cells):
        raise InputError("there is no cell to embed; give at least one row")
    table = isinstance(cells, pd.DataFrame)
    obs = cells if table else cells.obs
    names = pd.Index(cells.columns if table else cells.var_names).astype(str)
    positions = _positions(names, needs.genes, max_missing_genes)
    found = positions >= 0
    if table:
        columns = _of_table(cells, positions[found])
    else:
        columns = sparse.csc_matrix(_counts(cells, needs.layer))[:, positions[found]]
    matrix = _spread(columns, found)
    _refuse_other_than_counts(matrix, obs.index, needs.genes)
    _warn_of_empty(matrix, obs.index)
    rows = pd.RangeIndex(len(obs)).astype(str)
    adapted = AnnData(
        matrix,
        obs=pd.DataFrame(_columns(obs, needs, len(obs)), index=rows),
        var=pd.DataFrame(index=needs.genes),
    )
    if needs.layer:
        adapted.layers[needs.layer] = adapted.X
    if needs.protein_key:
        adapted.obsm[needs.protein_key] = _proteins(cells, needs, rows)
    return adapted


def _positions(names: pd.Index, genes: pd.Index, max_missing: float) -> np.ndarray:
    """``(n_genes,)`` position of each of the model's genes among the names; -1: missing."""
    if not names.is_unique:
        repeated = names[names.duplicated()].intersection(genes)
        if len(repeated):
            raise InputError(f"gene '{repeated[0]}' is there more than once; keep one column of each gene")
        names = names.where(~names.duplicated(), None)
    positions = names.get_indexer(genes)
    missing = genes[positions < 0]
    if not len(missing):
        return positions
    share = len(missing) / len(genes)
    told = f"{len(missing):,} of the model's {len(genes):,} genes ({100 * share:.3g} %) are missing"
    told += f": {first_names(missing)}"
    if share > max_missing or len(missing) == len(genes):
        raise InputError(
            f"{told}; max_missing_genes allows {100 * max_missing:.3g} %: name the genes as the model does, or raise it"
        )
    logger.warning("%s; they count as zero, which moves the cells", told)
    return positions


def _counts(cells: AnnData, layer: str | None) -> Any:
    matrix = cells.layers[layer] if layer and layer in cells.layers else cells.X
    if matrix is None:
        raise InputError("the AnnData has no X; put raw counts there")
    return matrix if sparse.issparse(matrix) or isinstance(matrix, np.ndarray) else matrix[:]


def _of_table(table: pd.DataFrame, positions: np.ndarray) -> sparse.csc_matrix:
    try:
        return sparse.csc_matrix(table.iloc[:, positions].to_numpy(dtype=np.float64, na_value=np.nan))
    except (TypeError, ValueError) as error:
        raise InputError(f"the columns of genes must hold numbers ({error})") from None


def _spread(columns: sparse.csc_matrix, found: np.ndarray) -> sparse.csr_matrix:
    """Put the columns that were found among columns of zeros."""
    pointers = np.zeros(len(found) + 1, dtype=columns.indptr.dtype)
    pointers[1:][found] = np.diff(columns.indptr)
    shape = (columns.shape[0], len(found))
    return sparse.csc_matrix((columns.data, columns.indices, np.cumsum(pointers)), shape=shape).tocsr()


def _warn_of_empty(matrix: sparse.csr_matrix, cells: pd.Index) -> None:
    empty = cells[np.asarray(matrix.sum(axis=1)).ravel() == 0]
    if len(empty):
        told = "%d of %d cells have no count in the model's genes, such as '%s'; their embedding says nothing"
        logger.warning(told, len(empty), len(cells), empty[0])


def _columns(obs: pd.DataFrame, needs: ModelInput, n_cells: int) -> dict[str, Any]:
    columns: dict[str, Any] = {name: [value] * n_cells for name, value in needs.filled.items()}
    columns |= {name: _known(_column(obs, name), known) for name, known in needs.categories.items()}
    return columns | {name: _number(_column(obs, name)) for name in needs.numbers}


def _column(obs: pd.DataFrame, name: str) -> pd.Series:
    if name not in obs:
        missing = f"the model's encoder reads the column '{name}', and the cells have none of that name"
        raise InputError(f"{missing}; add it")
    return obs[name]


def _known(values: pd.Series, known: tuple[Any, ...]) -> list[Any]:
    """The model's own categories, compared as text."""
    by_text = {text_of(category): category for category in known}
    texts = [text_of(value) for value in values.astype(object)]
    for text in texts:
        if text not in by_text:
            raise InputError(
                f"'{text}' of the column '{values.name}' is none that the model was fitted with{closest(text, by_text)}"
            )
    return [by_text[text] for text in texts]


def _number(values: pd.Series) -> np.ndarray:
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(dtype=np.float64, na_value=np.nan)
    bad = ~np.isfinite(numbers)
    if bad.any():
        raise InputError(
            f"'{values.iloc[int(np.argmax(bad))]}' of the column '{values.name}' is no number, which the model needs"
        )
    return numbers


def _proteins(cells: AnnData | pd.DataFrame, needs: ModelInput, rows: pd.Index) -> pd.DataFrame:
    """Counts of the model's proteins: from obsm, or from the columns ``protein:<name>`` of a table."""
    if isinstance(cells, pd.DataFrame):
        table, prefix, where, names = cells, PROTEIN_PREFIX, "", cells.index
    else:
        table, prefix, names = cells.obsm.get(needs.protein_key), "", cells.obs_names
        where = f" in a table in obsm['{needs.protein_key}']"
    measured = {str(name): name for name in table} if isinstance(table, pd.DataFrame) else {}
    missing = [name for name in needs.proteins if f"{prefix}{name}" not in measured]
    if missing:
        place = f"a column '{prefix}{missing[0]}'" if prefix else "a column"
        raise InputError(
            f"{len(missing)} of the model's {len(needs.proteins)} proteins are missing; add {place} for "
            f"'{missing[0]}'{where}"
        )
    found = [pd.Series(table[measured[f"{prefix}{name}"]], name=name) for name in needs.proteins]
    values = np.column_stack([_number(column) for column in found])
    _refuse_other_than_counts(sparse.csr_matrix(values), names, needs.proteins)
    return pd.DataFrame(values, index=rows, columns=needs.proteins)
