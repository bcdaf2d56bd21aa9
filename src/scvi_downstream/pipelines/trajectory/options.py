"""Options of trajectories: where they start, what they are learnt on, and how far they can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from scvi_downstream.pipelines.declaration import Study
from scvi_downstream.runtime.errors import InputError, closest
from scvi_downstream.runtime.options import Options, Share

Order = Literal["consensus", "dpt", "slingshot", "principal_graph"]
MONOCLE_R = "Monocle 2 (R)"  # Name of the order that R makes, in figures and where it is left out.
START_OPTIONS = ("start_cell", "start_cluster", "start_gene", "time_key")
# Order → its column among the orders by cell; Slingshot's is the mean over clusterings, not one of its lineages.
ORDER_COLUMNS: dict[Order, str] = {
    "consensus": "pseudotime",
    "dpt": "dpt_pseudotime",
    "slingshot": "slingshot_consensus",
    "principal_graph": "graph_pseudotime",
}


class SlingshotOptions(Options):
    """Lineages through clusters."""

    ends: tuple[str, ...]
    bootstraps: PositiveInt


class PrincipalGraphOptions(Options):
    """A principal graph through the cells, as Monocle 3 learns it, with as many nodes as Monocle 2 takes."""

    n_nodes: PositiveInt | None
    min_branch_length: PositiveInt


class FateOptions(Options):
    """Terminal states and the probability to reach them, as in CellRank."""

    pseudotime: Order
    terminal_clusters: tuple[str, ...]
    n_terminal_states: PositiveInt | None
    max_cells: Annotated[int, Field(ge=500)]
    top_drivers: PositiveInt


class TrendOptions(Options):
    """Genes along pseudotime."""

    pseudotime: Order
    genes: Literal["modelled", "all"]
    correct_batch: bool
    n_knots: Annotated[int, Field(ge=3)]
    fdr: Share
    min_log2_range: Annotated[float, Field(ge=0)]
    top_genes: PositiveInt


class TrajectoryOptions(Options):
    """Trajectories of the primary model, beside other models and PCA."""

    start_cell: str | None
    start_cluster: str | None
    start_gene: str | None
    time_key: str | None
    representations: tuple[str, ...] | None
    clustering: str
    diffusion_components: PositiveInt
    slingshot: SlingshotOptions
    principal_graph: PrincipalGraphOptions
    monocle_r: bool
    monocle_r_timeout: PositiveFloat
    fates: FateOptions
    trends: TrendOptions
    stability_replicates: PositiveInt

    @property
    def has_start(self) -> bool:
        """Whether the user said where trajectories start, or names a known time."""
        return any(getattr(self, name) for name in START_OPTIONS)

    def learnt_on(self, study: Study) -> tuple[str, ...]:
        """Models and baselines whose latents trajectories are learnt on, the primary model first.

        Raises
        ------
        InputError
            A representation that is not in the study.
        """
        if self.representations is None:
            unbatched = [name for name, spec in study.models.items() if not spec.correct_batch]
            return tuple(dict.fromkeys([study.primary, *unbatched, "pca"]))
        known = [*study.models, *study.baselines]
        for name in self.representations:
            if name not in known:
                raise InputError(f"trajectory.representations: '{name}' has no latent{closest(name, known)}")
        return tuple(dict.fromkeys([study.primary, *self.representations]))


def start_of_demo(given: Any) -> Any:
    """The progenitors of blood, where the user names neither a start nor a time; ``""`` names that there is none."""
    if not isinstance(given, Mapping):
        return given
    if any(given.get(name) is not None for name in START_OPTIONS):
        return {**given, **{name: None for name in START_OPTIONS if given.get(name) == ""}}
    return {**given, "start_cluster": "CD34+"}
