from __future__ import annotations

from scvi_downstream.runtime import events
from scvi_downstream.study.defaults import model_options


def test_only_those_who_listen_are_told() -> None:
    heard: list[events.Event] = []
    epoch = events.EpochEnded("scvi", 3, {"elbo_validation": 700.0})
    events.publish(epoch)
    with events.listening(heard.append):
        events.publish(epoch)
    events.publish(epoch)
    assert heard == [epoch]


def test_a_training_tells_of_every_epoch(pbmc_counts, keys, tmp_path) -> None:
    from scvi_downstream.datasets.scvi_model_dataset import CheckpointDataset
    from scvi_downstream.pipelines.training.nodes import train_model

    heard: list[events.Event] = []
    spec = model_options({"name": "told", "family": "SCVI", "n_hidden": 16, "training": {"max_epochs": 3}})
    with events.listening(heard.append):
        store = CheckpointDataset(filepath=tmp_path).load()
        _, history, _ = train_model(pbmc_counts, spec, keys, 0, "cpu", store)
    assert [event.epoch for event in heard] == [1, 2, 3]
    assert [event.values["elbo_validation"] for event in heard] == history["elbo_validation"].tolist()
