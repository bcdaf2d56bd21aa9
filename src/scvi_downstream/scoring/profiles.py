"""How thoroughly embeddings are scored."""

from __future__ import annotations

from dataclasses import dataclass, replace

from scvi_downstream.parameters import ComparisonOptions

_TEN_RESOLUTIONS = tuple(2 * step / 10 for step in range(1, 11))


@dataclass(frozen=True)
class Profile:
    """What integration metrics look at.

    Attributes
    ----------
    max_cells
        Beyond this, a sample stratified by label and batch is scored.
    resolutions
        Leiden resolutions of which the best counts; none: k-means with as many clusters as labels.
    """

    max_cells: int
    resolutions: tuple[float, ...]


_PROFILES = {
    "full": Profile(max_cells=50_000, resolutions=_TEN_RESOLUTIONS),
    "fast": Profile(max_cells=5_000, resolutions=(0.2, 0.6, 1.0, 1.6)),
}


def profile_of(options: ComparisonOptions) -> Profile:
    """The profile that is asked for, with what is given explicitly in place of its own.

    Parameters
    ----------
    options
        ``profile``; ``max_cells`` and ``leiden_optimisation`` where they are not ``None``.
    """
    profile = _PROFILES[options.profile]
    if options.max_cells is not None:
        profile = replace(profile, max_cells=options.max_cells)
    if options.leiden_optimisation is None:
        return profile
    return replace(profile, resolutions=_TEN_RESOLUTIONS if options.leiden_optimisation else ())
