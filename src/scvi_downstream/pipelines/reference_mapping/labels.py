"""Labels of the reference, and their transfer to the query."""

from __future__ import annotations

import numpy as np
import pandas as pd

from scvi_downstream.categories import as_categories, with_unknown
from scvi_downstream.errors import InputError, closest
from scvi_downstream.label_transfer import transfer_labels
from scvi_downstream.models.reference import Reference
from scvi_downstream.parameters import UNKNOWN, PreparationOptions

FROM_SCANVI = "scanvi"


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


def reference_labels(reference: Reference, label_key: str | None) -> pd.Categorical | None:
    """Types of the reference's cells, missing where there is no label; ``None`` without any.

    Parameters
    ----------
    reference
        The model and its counts.
    label_key
        Of :func:`find_label_key`.
    """
    if label_key is None:
        return None
    unlabeled = reference.model.setup.get("unlabeled_category")
    names = (*PreparationOptions().unknown_labels, *([str(unlabeled)] if unlabeled is not None else []))
    labels = with_unknown(as_categories(reference.counts.obs[label_key]), names)
    known = labels.set_categories([name for name in labels.categories if name != UNKNOWN])
    return known if len(known.categories) else None


def nearest_labels(
    reference: pd.DataFrame, labels: pd.Categorical, query: pd.DataFrame, n_neighbors: int
) -> pd.DataFrame:
    """The most probable label of each query cell among its nearest labelled reference cells.

    Parameters
    ----------
    reference, query
        Latent coordinates of the cells.
    labels
        Of the reference.
    n_neighbors
        Reference cells that vote, the nearer the more.

    Returns
    -------
    Rows of ``query``: ``nearest_type`` and ``probability``.
    """
    probabilities, _ = transfer_labels(reference, labels, query, n_neighbors)
    return most_probable(probabilities, "nearest_type", "probability")


def most_probable(probabilities: pd.DataFrame, label: str, probability: str) -> pd.DataFrame:
    """The label of the largest probability in each row, and that probability."""
    names = pd.Index(probabilities.columns.astype(str))
    best = probabilities.to_numpy().argmax(axis=1)
    return pd.DataFrame(
        {
            label: pd.Categorical.from_codes(best, categories=names),
            probability: probabilities.to_numpy().max(axis=1),
        },
        index=probabilities.index,
    )


def called_types(nearest_type: pd.Categorical, uncertain: np.ndarray) -> pd.Categorical:
    """Types, those of uncertain cells ``unknown``."""
    types = nearest_type.add_categories([UNKNOWN])
    types[uncertain] = UNKNOWN
    return types.remove_unused_categories()
