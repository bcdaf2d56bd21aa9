"""Where cells come from and where they go: orders, lineages, fates, and genes along them."""

from scvi_downstream.pipelines.declaration import Analysis, Need, Obs, Study, Uns
from scvi_downstream.pipelines.trajectory.options import MONOCLE_R


def _lacking(study: Study) -> dict[str, str]:
    from scvi_downstream.bridges.monocle_r import why_monocle_is_missing

    options = study.options["trajectory"]  # asking R takes seconds, so only where its order is wanted
    why = why_monocle_is_missing() if options.monocle_r and options.has_start else ""
    return {MONOCLE_R: why} if why else {}


ANALYSIS = Analysis(
    name="trajectory",
    options="TrajectoryOptions",
    demo="start_of_demo",
    needs={
        "trajectory": Need(
            lambda study: study.options["trajectory"].has_start,
            "No trajectory was learnt, since no start (trajectory.start_cluster, …) and no trajectory.time_key is set.",
        )
    },
    lacking=_lacking,
    evidence="trajectory",
    summaries=("trajectory_summary",),
    metrics={"trajectory_summary": "trajectory"},
    joins={
        "trajectory": Obs(colours=("pseudotime",)),
        "trajectory_agreement": Uns(),
        "trajectory_time": Uns(),
        "trajectory_stability": Uns(),
        "trend_tests": Uns(),
        "fate_drivers": Uns(),
    },
    files={"trajectory": "pseudotime, lineages and fates"},
)
