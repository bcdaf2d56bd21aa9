from __future__ import annotations

from pathlib import Path

import yaml

from scvi_downstream.pipelines.samples.options import SamplesOptions
from scvi_downstream.pipelines.samples.pipeline import create_pipeline

CONF = Path(__file__).resolve().parents[3] / "conf" / "base"


def test_every_result_is_kept() -> None:
    kept = set()
    for name in ("catalog_07_samples.yml", "catalog_08_samples.yml"):
        kept |= set(yaml.safe_load((CONF / name).read_text()))
    assert {name.removeprefix("{model}.") for name in kept} == create_pipeline().all_outputs()


def test_it_reads_the_model_and_what_was_made_of_it() -> None:
    free = {name for name in create_pipeline().inputs() if not name.startswith("params:")}
    assert free == {"fitted", "counts", "clusters", "umap"}


def test_the_parameters_are_the_defaults() -> None:
    given = yaml.safe_load((CONF / "parameters_samples.yml").read_text())["samples"]
    assert SamplesOptions.model_validate(given) == SamplesOptions()
    assert set(given) == set(SamplesOptions.model_fields)
