"""scArches: a saved model opened for cells of new batches, its own weights left as they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

from scvi_downstream.models.families import FAMILIES
from scvi_downstream.models.saved import SavedModel, model_class_of, plain_data_only
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.threads import quiet

if TYPE_CHECKING:
    from anndata import AnnData
    from scvi.model.base import BaseModelClass


def query_model(reference: SavedModel, query: AnnData, accelerator: str = "cpu") -> BaseModelClass:
    """Open a saved model for query cells: categories that it does not know get weights of their own.

    Every weight of the reference is frozen, running means of batch normalisation included, so that the cells
    of the reference stay where they are. The new weights start as the mean of those of the known categories.
    scvi-tools pads at the end instead, which shifts the columns of covariates when batches are added, and
    puts random numbers in the place of the only batch of a reference; here each column keeps its category.

    Parameters
    ----------
    reference
        Saved model of a family that knows scArches: ``SCVI``, ``SCANVI`` or ``DRVI``.
    query
        Raw counts, `n_cells` × the genes of the model in its order, with the obs columns that it was set up
        with. scvi-tools adds its own columns to it.
    accelerator
        ``auto``, ``cpu``, ``gpu`` or ``mps``.

    Returns
    -------
    The untrained model of the query; ``n_new_weights`` says how many of its weights are free.

    Raises
    ------
    InputError
        The family knows no surgery, or the query does not fit the model.

    References
    ----------
    Lotfollahi et al. (2022), doi:10.1038/s41587-021-01001-7.
    """
    from scvi_downstream.models.frozen import freeze_all_but_new

    family = reference.family
    model_class = model_class_of(family)
    if not FAMILIES[family].takes_queries:
        able = [name for name, spec in FAMILIES.items() if spec.takes_queries]
        raise InputError(
            f"{reference.save_dir} holds a {family} model, onto which scvi-tools maps no query; "
            f"name a reference of the family {', '.join(able[:-1])} or {able[-1]}"
        )
    with plain_data_only(reference.prefix), quiet():
        try:
            model = model_class.load_query_data(
                query, str(reference.save_dir), accelerator=accelerator, unfrozen=True
            )
        except (KeyError, ValueError) as error:
            reason = error.args[0] if error.args else error
            raise InputError(
                f"the query does not fit the reference in {reference.save_dir}: {reason}"
            ) from error
    freeze_all_but_new(model, reference.contents)
    return model


def n_new_weights(model: BaseModelClass) -> int:
    """Number of weights that the surgery left free; 0 when the query brings no new category."""
    return sum(
        int(weight.new_entries.sum())
        for weight in model.module.parameters()
        if hasattr(weight, "new_entries")
    )
