"""The rule for the champion, and what is said about it."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scvi_downstream.pipelines.comparison.leaderboard import build_leaderboard
from scvi_downstream.pipelines.comparison.options import ChampionRule, ComparisonOptions
from scvi_downstream.pipelines.comparison.report import choose_champion
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.study.defaults import defaults_of

SCVI = {"model": "scvi", "family": "SCVI", "scib_total": 0.70, "elbo_test": -700.0, "seconds": 40.0}
LDVAE = {"model": "ldvae", "family": "LinearSCVI", "scib_total": 0.69, "elbo_test": -800.0, "seconds": 20.0}
SCANVI = {"model": "scanvi", "family": "SCANVI", "scib_total": 0.80, "elbo_test": -710.0, "seconds": 60.0}
PCA = {"model": "pca", "family": "PCA", "scib_total": 0.75, "seconds": 0.2}


def without(record, *names):
    return {name: value for name, value in record.items() if name not in names}


def champion(*records, evidence=None, **rule):
    options = defaults_of(ComparisonOptions, champion=rule)
    scores = {f"{record['model']}__scores": record for record in records}
    board = build_leaderboard(options, None, **scores, **(evidence or {}))
    return choose_champion(board, options, **(evidence or {}))


def draws(center, noise):
    return pd.DataFrame({"scib_total": center + np.asarray(noise)})


def cells(values):
    index = pd.Index([f"cell{i}" for i in range(len(values))], name="cell")
    return pd.DataFrame({"share": "test", "elbo": values, "marginal_ll": np.nan}, index=index)


def grid(differences, rng, n_cells=400):
    """A model per latent size whose held-out ELBO lies ``differences`` below that of the best, ± 0.5 a cell."""
    shared = rng.normal(-500, 80, n_cells)
    records, evidence = [], {}
    for n_latent, behind in differences.items():
        name = f"scvi_latent{n_latent}"
        own = rng.normal(0, 0.5, n_cells)
        values = shared - behind + own - own.mean()
        records.append({"model": name, "family": "SCVI", "elbo_test": values.mean(), "n_latent": n_latent})
        evidence[f"{name}__cell_likelihood"] = cells(values)
    return records, evidence


def test_a_better_baseline_is_named_but_is_not_champion():
    chosen = champion(SCVI, PCA, LDVAE)
    assert chosen["model"] == "scvi"
    assert chosen["better_baseline"] == "pca"
    assert "The baseline pca is better (0.75)" in chosen["reason"]
    assert "baseline" not in champion(SCVI, LDVAE)["reason"]


def test_a_baseline_within_noise_is_as_good():
    noise = np.random.default_rng(0).normal(0, 0.2, 200)
    evidence = {"scvi__score_draws": draws(0.7, np.zeros(200)), "pca__score_draws": draws(0.75, noise)}
    assert (
        "The baseline pca is as good (0.75; the difference of 0.05 ± 0."
        in champion(SCVI, PCA, evidence=evidence)["reason"]
    )
    evidence = {"scvi__score_draws": draws(0.7, noise), "pca__score_draws": draws(0.75, noise)}
    reason = champion(SCVI, PCA, evidence=evidence)["reason"]
    assert "The baseline pca is better (0.75, by 0.05 ± " in reason


def test_pca_is_a_baseline_of_every_study():
    options = defaults_of(ComparisonOptions, baselines=())
    board = build_leaderboard(options, None, scvi__scores=SCVI, pca__scores=PCA)
    assert choose_champion(board, options)["model"] == "scvi"


def test_near_models_tie_and_the_most_economical_wins():
    assert champion(SCVI, LDVAE)["model"] == "scvi"
    tied = champion(SCVI, LDVAE, within=0.02)
    assert tied["model"] == "ldvae"
    assert tied["runner_up"] == "scvi"
    assert tied["within_noise"] == ["scvi"]
    assert (
        "ldvae is within 0.02 of it and took less time to train (20 s against 40 s); choose ldvae"
        in tied["reason"]
    )
    equal = champion(SCVI, LDVAE | {"scib_total": 0.70})
    assert equal["model"] == "ldvae"
    assert "scvi equals it but is no more economical; choose ldvae" in equal["reason"]


def test_noise_of_paired_draws_makes_models_tie():
    rng = np.random.default_rng(0)
    shared = rng.normal(0, 0.3, 200)
    apart = {"scvi__score_draws": draws(0.70, shared), "ldvae__score_draws": draws(0.69, shared)}
    assert champion(SCVI, LDVAE, evidence=apart)["model"] == "scvi"
    noisy = apart | {"ldvae__score_draws": draws(0.69, shared + rng.normal(0, 0.02, 200))}
    chosen = champion(SCVI, LDVAE, evidence=noisy)
    assert (chosen["model"], chosen["within_noise"]) == ("ldvae", ["scvi"])
    assert "within noise of it (difference 0.01 ± 0.0" in chosen["reason"]
    assert champion(SCVI, LDVAE, evidence=noisy, noise="none")["model"] == "scvi"


def test_the_smaller_model_wins_within_the_noise_of_held_out_cells():
    records, evidence = grid({10: 0.02, 30: 0.0, 50: 0.5}, np.random.default_rng(0))
    chosen = champion(*records, evidence=evidence)
    assert chosen["model"] == "scvi_latent10"
    assert chosen["within_noise"] == ["scvi_latent30"]
    assert chosen["reason"].startswith("scvi_latent30 has the best elbo_test (-5")
    assert "scvi_latent10 is within noise of it (difference 0.02 ± 0.0" in chosen["reason"]
    assert (
        "nats per cell) and is smaller (10 dimensions against 30); choose scvi_latent10." in chosen["reason"]
    )
    clear, evidence = grid({10: 0.5, 30: 0.0}, np.random.default_rng(0))
    chosen = champion(*clear, evidence=evidence)
    assert chosen["model"] == "scvi_latent30"
    assert "next scvi_latent10, -" in chosen["reason"]
    assert "worse by 0.5 ± 0.0" in chosen["reason"]


def test_the_interval_is_wider_than_the_standard_error():
    records, evidence = grid({10: 0.05, 30: 0.0}, np.random.default_rng(1))
    assert champion(*records, evidence=evidence)["model"] == "scvi_latent30"
    wide = champion(*records, evidence=evidence, noise="interval")
    assert wide["model"] == "scvi_latent10"
    assert "95 % interval -0.0" in wide["reason"]


def test_tie_breakers_are_asked_in_turn_and_unknown_values_last():
    records = [
        {"model": "a", "elbo_test": -1.0, "n_latent": 10, "n_parameters": 900, "seconds": 5.0},
        {"model": "b", "elbo_test": -1.0, "n_latent": 10, "n_parameters": 800, "seconds": 9.0},
        {"model": "c", "elbo_test": -1.0, "n_parameters": 1, "seconds": 1.0},
    ]
    assert champion(*records)["model"] == "b"
    assert "fewer parameters (800 against 900)" in champion(*records)["reason"]
    assert champion(*records, tie_breakers=("seconds",))["model"] == "c"
    assert champion(*records, tie_breakers=())["model"] == "a"


def test_one_tie_breaker_may_be_given_by_its_old_name():
    assert defaults_of(ChampionRule, tie_breaker="seconds") == defaults_of(
        ChampionRule, tie_breakers=("seconds",)
    )
    both = defaults_of(
        ComparisonOptions, champion={"tie_breaker": "epochs", "tie_breakers": ["n_latent", "seconds"]}
    )
    assert both.champion.tie_breakers == ("epochs",)
    assert defaults_of(ChampionRule, tie_breaker=None) == defaults_of(ChampionRule)


def test_lower_is_better_where_it_is():
    assert champion(SCVI, LDVAE, criteria=("seconds",))["model"] == "ldvae"


def test_criteria_that_no_model_has_are_passed_over():
    chosen = champion(SCVI, LDVAE, criteria=("scib_bio_conservation", "elbo_test"))
    assert chosen["criterion"] == "elbo_test"
    nobody = champion(without(SCVI, "scib_total", "elbo_test"), PCA)
    assert nobody["model"] is None
    assert "no model has any of" in nobody["reason"]
    assert nobody["sentences"] == [nobody["reason"]]


def test_all_failed_is_said():
    failed = {"model": "scvi", "family": "SCVI", "failed": "NaN"}
    assert champion(failed, PCA)["reason"].endswith("; 1 of 1 failed.")


def test_training_on_the_labels_is_said():
    assert "trained on the labels" in champion(SCVI, SCANVI)["reason"]
    assert champion(SCVI, SCANVI)["model"] == "scvi"
    assert "trained on the labels" not in champion(SCVI, SCANVI, criteria=("elbo_test",))["reason"]
    allowed = champion(SCVI, SCANVI, trained_on_labels=True)
    assert allowed["model"] == "scanvi"
    assert "bio conservation is too good" in allowed["reason"]


def test_other_criteria_are_asked():
    assert "By elbo_test the choice would be the same." in champion(SCVI, LDVAE)["sentences"]
    disputed = champion(SCVI, LDVAE | {"elbo_test": -600.0})
    assert disputed["sentences"][1] == (
        "The choice depends on the criterion: elbo_test would choose ldvae (1e+02 nats per cell better)."
    )
    assert len(champion(SCVI)["sentences"]) == 1


def test_selection_among_many_equal_models_is_said_with_its_size():
    rng = np.random.default_rng(0)
    records, evidence = grid(dict.fromkeys(range(5, 25), 0.0), rng, n_cells=100)
    chosen = champion(*records, evidence=evidence)
    said = chosen["sentences"][-1]
    assert "among 20 models" in said
    # twenty means of 100 cells with a spread of 0.5: the largest lies 1.87 × 0.05 above their mean
    assert "too good by about 0.09 nats per cell" in said
    pair, evidence = grid({10: 5.0, 30: 0.0}, rng)
    assert not any("among" in text for text in champion(*pair, evidence=evidence)["sentences"])


def test_further_answers_are_added():
    board = build_leaderboard(defaults_of(ComparisonOptions), None, scvi__scores=SCVI)
    chosen = choose_champion(
        board, defaults_of(ComparisonOptions), {"sentences": ["Ten dimensions.", "More."]}, {"sentences": []}
    )
    assert chosen["sentences"][1:] == ["Ten dimensions."]


@pytest.mark.parametrize(
    ("rule", "name"),
    [({"criteria": ("scib_totl",)}, "scib_total"), ({"tie_breakers": ("second",)}, "seconds")],
)
def test_misspelt_columns_are_refused_with_the_closest(rule, name):
    with pytest.raises(InputError, match=f"the closest is '{name}'"):
        champion(SCVI, LDVAE, **rule)


def test_a_board_read_back_from_a_file_gives_the_same_champion():
    board = build_leaderboard(
        defaults_of(ComparisonOptions), None, scvi__scores=SCVI, ldvae__scores=LDVAE, pca__scores=PCA
    )
    assert choose_champion(board.reset_index(), defaults_of(ComparisonOptions)) == choose_champion(
        board, defaults_of(ComparisonOptions)
    )


SCORE = st.sampled_from([0.1, 0.5, 0.52, 0.9, np.nan])


@pytest.mark.thorough
@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(SCORE, st.sampled_from([5.0, 10.0, np.nan])), min_size=1, max_size=8),
    st.randoms(),
    st.data(),
)
def test_champion_does_not_depend_on_the_order_of_rows(rows, shuffler, data):
    board = pd.DataFrame(rows, columns=["scib_total", "n_latent"], index=[f"m{i}" for i in range(len(rows))])
    rule = defaults_of(
        ChampionRule, within=data.draw(st.sampled_from([0.0, 0.05])), tie_breakers=("n_latent",)
    )
    order = list(board.index)
    shuffler.shuffle(order)
    chosen = choose_champion(board, defaults_of(ComparisonOptions, champion=rule))
    assert choose_champion(board.loc[order], defaults_of(ComparisonOptions, champion=rule)) == chosen
    if chosen["model"]:
        best = board["scib_total"].max()
        assert board.loc[chosen["model"], "scib_total"] >= best - rule.within
        tied = board[board["scib_total"] >= best - rule.within]
        assert not (tied["n_latent"] < board.loc[chosen["model"], "n_latent"]).any()


def test_no_evidence_is_no_noise():
    board = pd.DataFrame({"elbo_test": [-1.0, -1.1], "n_latent": [30, 10]}, index=["a", "b"])
    assert choose_champion(board, defaults_of(ComparisonOptions))["model"] == "a"
