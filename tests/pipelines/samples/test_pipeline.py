from __future__ import annotations

from pathlib import Path

from scvi_downstream.pipelines.samples.pipeline import template

CONF = Path(__file__).resolve().parents[3] / "conf" / "base"


def test_it_reads_the_model_and_what_was_made_of_it() -> None:
    free = {name for name in template().inputs() if not name.startswith("params:")}
    assert free == {"fitted", "counts", "clusters", "umap"}
