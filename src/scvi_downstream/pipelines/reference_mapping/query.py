"""The study's cells in the form that the reference's model was set up with, and the reference's labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy import sparse

from scvi_downstream.cells.keys import Keys
from scvi_downstream.cells.obs import as_categories, text_of, with_unknown
from scvi_downstream.graphs.label_transfer import transfer_labels
from scvi_downstream.models.saved import Reference
from scvi_downstream.pipelines.reference_mapping.options import ReferenceMappingOptions
from scvi_downstream.runtime.errors import InputError, closest
from scvi_downstream.runtime.options import UNKNOWN
from scvi_downstream.runtime.words import first_names, up_to

if TYPE_CHECKING:
    from anndata import AnnData


NAMES = "names"
# The genes' own names are compared while they find this share of what the best var column finds.
AS_GOOD = 0.9
VERSION = r"^(ENS[A-Z]*G\d+)\.\d+$"
MOST_NAMED = 5


@dataclass(frozen=True)
class GeneMatch:
    """Genes of a model found in other counts.

    ``positions`` is the ``(n_genes,)`` position in the query of each gene of the model, -1 where it is not there;
    the namings are ``names``, or the var column whose values agree.
    """

    positions: np.ndarray
    query_naming: str
    reference_naming: str

    @property
    def present(self) -> np.ndarray:
        """``(n_genes,)`` whether the query has the gene."""
        return self.positions >= 0

    @property
    def note(self) -> str | None:
        """What a user should know when other names than the genes' own were compared."""
        namings = {"query": self.query_naming, "reference": self.reference_naming}
        sides = [f"{side}'s var column '{naming}'" for side, naming in namings.items() if naming != NAMES]
        return f"genes were matched by the {' and the '.join(sides)}" if sides else None


def match_genes(query: pd.DataFrame, reference: pd.DataFrame, min_shared: float) -> GeneMatch:
    """Find the reference's genes in the query by the names, or by the var columns, that agree most.

    ``query`` and ``reference`` are var of the counts and of the modelled genes, indexed by gene name. A name that
    stands for several genes matches none; versions of Ensembl identifiers do not matter.

    Raises
    ------
    InputError
        Less than ``min_shared`` of the reference's genes agree, whatever names are compared.
    """
    matches = [
        GeneMatch(_find_positions(theirs, ours), query_naming, reference_naming)
        for reference_naming, theirs in _namings(reference).items()
        for query_naming, ours in _namings(query).items()
    ]
    best = max(matches, key=lambda match: int(match.present.sum()))
    if matches[0].present.sum() >= AS_GOOD * best.present.sum():
        best = matches[0]  # the genes' own names on both sides
    n_shared, n_genes = int(best.present.sum()), len(reference)
    if n_shared == 0 or n_shared < min_shared * n_genes:
        columns = [name for name in _namings(query) if name != NAMES]
        tried = f", and no var column ({', '.join(columns)}) agrees better" if columns else ""
        compared = f" ({best.note})" if best.note else tried
        raise InputError(
            f"the query holds {n_shared:,} of the {n_genes:,} genes of the reference "
            f"({100 * n_shared / n_genes:.3g} %), and reference_mapping.min_shared_genes asks for "
            f"{100 * min_shared:.3g} %: the reference names genes like '{reference.index[0]}', the query like "
            f"'{query.index[0]}'{compared}; name the query's genes as the reference does, or put those names "
            "into a var column"
        )
    return best


def _namings(var: pd.DataFrame) -> dict[str, pd.Index]:
    """The names of the genes and every var column of texts that are mostly distinct."""
    namings = {NAMES: _without_version(pd.Series(var.index, dtype=object))}
    for column, values in var.items():
        texts = values.astype(object)
        known = texts.dropna()
        is_text = bool(len(known)) and known.map(lambda value: isinstance(value, str)).all()
        if is_text and known.nunique() > len(var) / 2:
            namings[str(column)] = _without_version(texts)
    return namings


def _without_version(names: pd.Series) -> pd.Index:
    return pd.Index(names.fillna("").astype(str).str.replace(VERSION, r"\1", regex=True), dtype=object)


def _find_positions(theirs: pd.Index, ours: pd.Index) -> np.ndarray:
    """Position among ``ours`` of each of ``theirs``, -1 where either name is empty or ambiguous."""
    usable = np.flatnonzero(~ours.duplicated(keep=False) & (ours != ""))
    found = ours[usable].get_indexer(theirs.where(~theirs.duplicated(keep=False), None))
    return np.where(found >= 0, usable[found] if len(usable) else -1, -1)


@dataclass(frozen=True)
class Query:
    """Cells ready for surgery.

    ``genes`` are `n_cells` × the genes of the model in its order, those that the query lacks as zeros, with what the
    model was set up with in obs; ``batch`` is the ``(n_cells,)`` batch of each cell, as text, ``present`` says which of
    the ``(n_genes,)`` genes the query has, and ``notes`` how batches, covariates and genes were taken.
    """

    genes: AnnData
    batch: np.ndarray
    present: np.ndarray
    notes: tuple[str, ...]


def build_query(
    reference: Reference, counts: AnnData, keys: Keys, options: ReferenceMappingOptions, study: str
) -> Query:
    """Counts of the model's genes, and the obs columns that the model was set up with.

    Parameters
    ----------
    reference, counts
        The model with its counts; the study's checked counts.
    keys, study
        The study's obs columns; its name is that of its batch where it has no other.
    options
        Share of the model's genes that must be there.

    Raises
    ------
    InputError
        Too few genes are shared, a continuous covariate or size factor of the model is not in obs, or its
        dispersion is by label.
    """
    from anndata import AnnData

    known_genes = reference.counts.var.reindex(reference.model.genes)
    match = match_genes(counts.var, known_genes, options.min_shared_genes)
    setup, obs = reference.model.setup, counts.obs
    fields = reference.model.contents.attributes["registry_"]["field_registries"]
    notes = [match.note, _missing_genes_note(reference, match), _same_cells_note(reference, counts.obs_names)]
    columns: dict[str, Any] = {}
    batch_key = setup.get("batch_key")
    batch = _categories(obs, [batch_key, keys.batch_key], study)
    if batch_key is not None:
        known = fields["batch"]["state_registry"]["categorical_mapping"]
        columns[batch_key] = _as_in_reference(batch, known, "batch", notes)
    elif keys.batch_key:
        notes.append("the reference was fitted without batches, so the query's are not told apart")
    covariates = fields.get("extra_categorical_covs", {}).get("state_registry", {}).get("mappings", {})
    for name, known in covariates.items():
        columns[name] = _as_in_reference(_categories(obs, [name], study), known, f"covariate '{name}'", notes)
    numbers = [*(setup.get("continuous_covariate_keys") or []), setup.get("size_factor_key")]
    columns |= {name: _finite_numbers(obs, name) for name in numbers if name}
    if setup.get("labels_key"):
        columns[setup["labels_key"]] = _no_labels(reference, counts.n_obs)
    genes = AnnData(
        _padded(counts.X, match),
        obs=pd.DataFrame(columns, index=counts.obs_names),
        var=pd.DataFrame(index=pd.Index(reference.model.genes.to_numpy(dtype=object))),
    )
    if setup.get("layer"):
        genes.layers[setup["layer"]] = genes.X.copy()
    return Query(genes, np.asarray(batch, dtype=str), match.present, tuple(note for note in notes if note))


def _missing_genes_note(reference: Reference, match: GeneMatch) -> str | None:
    missing = reference.model.genes[~match.present]
    if missing.empty:
        return None
    return (
        f"{len(missing):,} of the reference's {len(match.present):,} genes are not in the query and count as "
        f"zero: {first_names(missing)}"
    )


def _same_cells_note(reference: Reference, cells: pd.Index) -> str | None:
    n_same = int(cells.isin(reference.counts.obs_names).sum())
    if n_same <= len(cells) / 2:
        return None
    return (
        f"{n_same:,} of the {len(cells):,} cells have the names of cells of the reference; if they are the same cells, "
        "labels and flags of them tell nothing"
    )


def _padded(matrix: sparse.csr_matrix, match: GeneMatch) -> sparse.csr_matrix:
    """Columns in the order of the model; without a cell's count where the query lacks the gene."""
    places = np.flatnonzero(match.present)
    chosen = sparse.csc_matrix(matrix)[:, match.positions[places]]
    pointers = np.zeros(len(match.present) + 1, dtype=np.int64)
    pointers[places + 1] = np.diff(chosen.indptr)
    padded = sparse.csc_matrix(
        (chosen.data, chosen.indices, np.cumsum(pointers)), shape=(matrix.shape[0], len(match.present))
    )
    return sparse.csr_matrix(padded, dtype=np.float32)


def _categories(obs: pd.DataFrame, columns: list[str | None], study: str) -> np.ndarray:
    """Text of each cell in the first of the columns that is there; the name of the study where none is."""
    column = next((name for name in columns if name and name in obs), None)
    if column is None:
        return np.full(len(obs), study, dtype=object)
    values = as_categories(obs[column])
    if values.isna().any():
        raise InputError(
            f"obs column '{column}', which the reference's model was set up with, has no value in "
            f"{int(values.isna().sum()):,} of {len(obs):,} cells; fill them in, or leave those cells out"
        )
    return np.asarray(values, dtype=object)


def _as_in_reference(values: np.ndarray, known: np.ndarray, what: str, notes: list[str | None]) -> np.ndarray:
    """Values as the reference writes them; a note is added of those that it knows and does not know."""
    by_text = {text_of(category): category for category in known.tolist()}
    names = list(dict.fromkeys(values))
    new, old = [name for name in names if name not in by_text], [name for name in names if name in by_text]
    if old:
        taken = "is named as in the reference and is taken for it"
        if len(old) > 1:
            taken = "are named as in the reference and are taken for those"
        seen, unseen = (up_to([f"'{name}'" for name in these], MOST_NAMED) for these in (old, new))
        more = f"; new: {unseen}" if new else ", and nothing is new"
        notes.append(f"{what} {seen} {taken}{more}; rename what is another")
    return np.array([by_text.get(value, value) for value in values], dtype=object)


def _finite_numbers(obs: pd.DataFrame, name: str) -> np.ndarray:
    if name not in obs:
        raise InputError(
            f"the reference's model was set up with the number '{name}' of each cell, which is not a column of "
            f"the query's obs{closest(name, obs.columns)}; add it there or by metadata"
        )
    numbers = pd.to_numeric(obs[name].astype(object), errors="coerce").to_numpy(np.float64)
    if not np.isfinite(numbers).all():
        at = int(np.argmin(np.isfinite(numbers)))
        raise InputError(
            f"obs column '{name}', which the reference's model was set up with, holds {obs[name].iloc[at]!r} "
            f"in cell '{obs.index[at]}', not a finite number"
        )
    return numbers


def _no_labels(reference: Reference, n_cells: int) -> np.ndarray:
    """What the model takes for no label, of every cell; a model without semi-supervision has its first label."""
    model = reference.model
    if model.settings.get("dispersion") == "gene-label":
        raise InputError(
            f"the reference in {model.save_dir} has a dispersion by label (gene-label), which cells "
            "without a label cannot have; fit a reference with dispersion: gene"
        )
    fields = model.contents.attributes["registry_"]["field_registries"]
    first = fields["labels"]["state_registry"]["categorical_mapping"].tolist()[0]
    return np.full(n_cells, model.setup.get("unlabeled_category", first), dtype=object)


def find_label_key(reference: Reference, wanted: str | None) -> str | None:
    """The obs column of the reference that holds its labels: the one named, its model's, or its study's.

    Raises
    ------
    InputError
        The column named is not in the reference's obs.
    """
    obs = reference.counts.obs
    if wanted is not None:
        if wanted not in obs:
            raise InputError(
                f"reference_mapping.label_key '{wanted}' is not in the obs of the reference "
                f"{reference.name}{closest(wanted, obs.columns)}"
            )
        return wanted
    study = reference.counts.uns.get("scvi_downstream", {}).get("keys", {}).get("label_key")
    return next((str(key) for key in (reference.model.setup.get("labels_key"), study) if key in obs), None)


def reference_labels(
    reference: Reference, label_key: str | None, unknown_labels: Sequence[str]
) -> pd.Categorical | None:
    """Types of the reference's cells, missing where there is no label; ``None`` without any.

    ``label_key`` is of :func:`find_label_key`, ``unknown_labels`` are what stands for no label.
    """
    if label_key is None:
        return None
    unlabeled = reference.model.setup.get("unlabeled_category")
    names = (*unknown_labels, *([str(unlabeled)] if unlabeled is not None else []))
    labels = with_unknown(as_categories(reference.counts.obs[label_key]), names)
    known = labels.set_categories([name for name in labels.categories if name != UNKNOWN])
    return known if len(known.categories) else None


def nearest_labels(
    reference: pd.DataFrame, labels: pd.Categorical, query: pd.DataFrame, n_neighbors: int
) -> pd.DataFrame:
    """The most probable label of each query cell among its nearest labelled reference cells, and its probability.

    Both tables are latent coordinates; ``n_neighbors`` reference cells vote, the nearer the more. Rows of
    ``query``: ``nearest_type`` and ``probability``.
    """
    probabilities, _ = transfer_labels(reference, labels, query, n_neighbors)
    return most_probable(probabilities, "nearest_type", "probability")


def most_probable(probabilities: pd.DataFrame, label: str, probability: str) -> pd.DataFrame:
    """The label of the largest probability in each row, and that probability."""
    names, values = pd.Index(probabilities.columns.astype(str)), probabilities.to_numpy()
    best = pd.Categorical.from_codes(values.argmax(axis=1), categories=names)
    return pd.DataFrame({label: best, probability: values.max(axis=1)}, index=probabilities.index)


def called_types(nearest_type: pd.Categorical, uncertain: np.ndarray) -> pd.Categorical:
    """Types, those of uncertain cells ``unknown``."""
    types = nearest_type.add_categories([UNKNOWN])
    types[uncertain] = UNKNOWN
    return types.remove_unused_categories()
