"""Whether a model can be asked about cells of a batch that it has never seen."""

from __future__ import annotations

from scvi_downstream.models.specification import ModelSpec
from scvi_downstream.parameters import Keys


def why_no_unseen_batch(spec: ModelSpec, keys: Keys) -> str | None:
    """Reason why a model has no likelihood of cells of an unseen batch, if there is one.

    Parameters
    ----------
    spec
        The model.
    keys
        obs columns of the study.
    """
    if keys.batch_key is None:
        return "there is no batch_key"
    if "samples" in spec.needs:
        return (
            f"{spec.family} describes a cell by its sample, and cells of an unseen batch are of samples that it knows "
            "nothing of"
        )
    return None
