"""MuData files of RNA and proteins."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from scvi_downstream.datasets.proteins import PROTEIN_MODALITIES, protein_modality, with_proteins
from scvi_downstream.datasets.reading import reading
from scvi_downstream.errors import InputError, closest

if TYPE_CHECKING:
    from anndata import AnnData

logger = logging.getLogger(__name__)
_RNA = "rna"


def read_mudata(path: Path) -> AnnData:
    """RNA of an ``.h5mu`` file with its proteins in ``obsm["protein_expression"]``.

    The two modalities are read as AnnData each, so that nothing in the file is executed. Cells with RNA and without
    proteins, or the reverse, are left out and counted in the log.

    Parameters
    ----------
    path
        File with the modalities ``rna`` and ``prot`` (or ``adt``, ``protein``).

    Raises
    ------
    InputError
        There is no RNA, or no cell has both; names the modalities there are.
    """
    import h5py
    from anndata.io import read_elem

    with reading(path, "MuData"), h5py.File(path, "r") as file:
        if "mod" not in file:
            raise InputError(f"{path} is no MuData file: it holds {', '.join(sorted(file)) or 'nothing'}")
        modalities = list(file["mod"])
        rna_name = next((name for name in modalities if name.lower() == _RNA), None)
        if rna_name is None:
            raise InputError(f"{path} has no modality '{_RNA}'{closest(_RNA, modalities)}")
        protein_name = protein_modality(modalities)
        rna: AnnData = read_elem(file[f"mod/{rna_name}"])
        proteins: AnnData | None = read_elem(file[f"mod/{protein_name}"]) if protein_name else None
        shared_obs = read_elem(file["obs"]) if "obs" in file else None
    if shared_obs is not None:
        _join_shared_columns(rna, shared_obs)
    if proteins is None:
        logger.info("%s: no proteins (a modality %s)", path.name, " or ".join(PROTEIN_MODALITIES))
        return rna
    for names, what in ((rna.obs_names, rna_name), (proteins.obs_names, protein_name)):
        if not names.is_unique:
            raise InputError(
                f"{path}: cell names of the modality '{what}' occur more than once; make them unique"
            )
    both = rna.obs_names.intersection(proteins.obs_names, sort=False)
    if len(both) == 0:
        raise InputError(
            f"{path}: no cell has both '{rna_name}' and '{protein_name}'; are the cells named alike?"
        )
    left_out = rna.n_obs + proteins.n_obs - 2 * len(both)
    if left_out:
        logger.info(
            "%s: %d cells have only one of '%s' and '%s' and are left out",
            path.name, left_out, rna_name, protein_name,
        )  # fmt: skip
    rna, proteins = rna[both].copy(), proteins[both]
    return with_proteins(rna, proteins.X, proteins.var_names)


def _join_shared_columns(rna: AnnData, shared: object) -> None:
    """Add the columns that MuData keeps once for all modalities, such as the batch."""
    import pandas as pd

    if not isinstance(shared, pd.DataFrame):
        return
    known = {*rna.obs.columns, *(f"{_RNA}:{column}" for column in rna.obs.columns)}
    for column in shared.columns:
        if column not in known and ":" not in column:
            rna.obs[column] = shared[column].reindex(rna.obs_names)
