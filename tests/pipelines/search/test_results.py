"""From records to a table, sentences, and an entry of ``models:`` that gives the same model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.families import parse_spec
from scvi_downstream.models.search_space import TrialRecord, check_objectives, check_search, searched_model
from scvi_downstream.pipelines.search.choice import model_entry
from scvi_downstream.pipelines.search.nodes import choose_trial
from scvi_downstream.pipelines.search.options import SearchOptions
from scvi_downstream.runtime.errors import InputError

SEARCH = SearchOptions(
    space={
        "n_latent": [5, 10, 20],
        "gene_likelihood": ["zinb", "nb"],
        "training.lr": {"low": 1e-4, "high": 1e-1, "log": True},
    }
)


def base(**options: Any) -> dict[str, Any]:
    return parse_spec({"name": "scvi", "family": "SCVI", **options}).model_dump(mode="json")


def records_of(gain: float, n: int = 14, seed: int = 0) -> dict[str, Any]:
    """Trials whose ELBO rises by ``gain`` with every tenfold of the learning rate, and by nothing else."""
    rng = np.random.default_rng(seed)
    cells = {share: rng.normal(-500, 60, 120) for share in ("validation", "test")}
    records = []
    for number in range(1, n + 1):
        rate = float(f"{10 ** rng.uniform(-4, -1):.3g}")
        changes = (
            {}
            if number == 1
            else {
                "n_latent": int(rng.choice([5, 10, 20])),
                "gene_likelihood": str(rng.choice(["zinb", "nb"])),
                "training.lr": rate,
            }
        )
        up = gain * np.log10(changes.get("training.lr", 1e-3) / 1e-3)
        values = {share: (given + up + rng.normal(0, 2, 120)).tolist() for share, given in cells.items()}
        scores = {
            "elbo_validation": float(np.mean(values["validation"])),
            "n_parameters": 1000 * number,
            "seconds": 1.0,
        }
        records.append(
            TrialRecord(number, changes, "finished", scores, (-600.0,), {"elbo_validation": values}).plain()
        )
    return {"model": "scvi", "trials": records}


def test_a_planted_gain_is_found_and_told() -> None:
    table, summary, entry = choose_trial(records_of(gain=20), {"scvi": base()}, SEARCH)
    taken = table[table["recommended"]].iloc[0]
    assert taken["training.lr"] == table["training.lr"].max()
    assert summary["option_effects"][0]["option"] == "training.lr"
    assert summary["test_elbo_gain_low"] > 0
    assert "is better than scvi as it is configured" in summary["sentences"][1]
    assert any("goes with training.lr (ρ +1.00)" in sentence for sentence in summary["sentences"])
    assert entry["scvi_best"]["training"]["lr"] == taken["training.lr"]


def test_options_without_effect_are_not_called_better() -> None:
    told_apart = with_effect = 0
    for seed in range(40):
        _, summary, _ = choose_trial(records_of(gain=0, seed=seed), {"scvi": base()}, SEARCH)
        told_apart += (summary["test_elbo_gain_low"] or 0) > 0
        with_effect += any(
            "goes with" in sentence and "No option" not in sentence for sentence in summary["sentences"]
        )
    assert told_apart <= 5  # 2.5 % of 40 expected
    assert with_effect <= 6


def test_failed_and_stopped_trials_are_told() -> None:
    records = records_of(gain=20)
    records["trials"].append(
        TrialRecord(15, {"n_latent": 5}, "failed", reason="the loss becomes NaN").plain()
    )
    records["trials"].append(
        TrialRecord(16, {"n_latent": 5}, "stopped", {"elbo_validation": -900.0}, (-900.0,)).plain()
    )
    _, summary, _ = choose_trial(records, {"scvi": base()}, SEARCH)
    assert "14 of 16 trials came to an end, 1 was stopped early, 1 failed" in summary["sentences"][0]
    assert "scvi_search_015 failed: the loss becomes NaN." in summary["sentences"]


def test_the_model_as_configured_can_win() -> None:
    records = records_of(gain=0, n=1)
    _, summary, entry = choose_trial(records, {"scvi": base()}, SEARCH)
    assert summary["sentences"][0].startswith("No trial is better than scvi as it is configured")
    assert entry == {"scvi_best": {"family": "SCVI"}}


def test_an_entry_gives_the_model_of_the_trial() -> None:
    given = base(n_hidden=64, training={"max_epochs": 40})
    changes = {"n_latent": 10, "training.lr": 0.002, "gene_likelihood": "nb"}
    entry = model_entry(given, changes)
    assert entry == {
        "scvi_best": {
            "family": "SCVI",
            "n_hidden": 64,
            "n_latent": 10,
            "gene_likelihood": "nb",
            "training": {"max_epochs": 40, "lr": 0.002},
        }
    }
    again = parse_spec({"name": "scvi_best", **entry["scvi_best"]})
    wanted = parse_spec(
        {
            **given,
            "name": "scvi_best",
            "n_latent": 10,
            "gene_likelihood": "nb",
            "training": {**given["training"], "lr": 0.002},
        }
    )
    assert again == wanted


def test_objectives_that_the_study_does_not_have_are_refused() -> None:
    scib = SearchOptions(objectives=("elbo_validation", "scib_total"))
    spec = parse_spec({"name": "scvi", "family": "SCVI"})
    with pytest.raises(InputError, match="scib_total needs label_key, which is empty"):
        check_objectives(scib, spec, Keys(batch_key="batch"))
    with pytest.raises(InputError, match="scib_total needs batch_key, which is empty"):
        check_objectives(scib, spec, Keys(label_key="type"))
    with pytest.raises(InputError, match="judges by the labels that SCANVI is trained on"):
        check_objectives(
            scib, parse_spec({"name": "a", "family": "SCANVI"}), Keys(batch_key="b", label_key="l")
        )
    check_objectives(scib, spec, Keys(batch_key="batch", label_key="type"))


def test_the_searched_model_is_named() -> None:
    models = {
        "scvi": base(),
        "scanvi": parse_spec({"name": "scanvi", "family": "SCANVI", "init_from": "scvi"}).model_dump(),
    }
    assert searched_model(SearchOptions(), models, "scvi")["family"] == "SCVI"
    with pytest.raises(InputError, match=r"search\.model 'scvy' is not among models; the closest is 'scvi'"):
        searched_model(SearchOptions(model="scvy"), models, "scvi")
    with pytest.raises(InputError, match=r"search\.model 'scanvi' starts from 'scvi'"):
        searched_model(SearchOptions(model="scanvi"), models, "scvi")


def test_a_search_that_no_one_asked_for_is_not_checked() -> None:
    starts = parse_spec({"name": "scanvi", "family": "SCANVI", "init_from": "scvi"}).model_dump()
    check_search(SearchOptions(), {"scanvi": starts}, "scanvi", Keys())
    with pytest.raises(InputError, match=r"search\.space\.n_latnt is not an option"):
        check_search(SearchOptions(space={"n_latnt": [5]}), {"scvi": base()}, "scvi", Keys())
