import pytest


def test_says_what_was_held_out_and_how_it_was_scored(describe):
    text = describe(
        "Cross-validation", cross_validation={"models": ["scvi", "ldvae"], "n_folds": 4, "max_epochs": 50}
    )
    for said in (
        "`scvi` and `ldvae` were fitted anew in 4-fold",
        "stratified by `batch` and `cell_type`",
        "at most 50 epochs",
        "[@nadeau2003]",
        "without each batch of `batch`",
        "log p(x) = log 1/B Σ p(x | b)",
    ):
        assert said in text


@pytest.mark.thorough
def test_leaves_out_what_did_not_run(describe):
    assert describe("Cross-validation", cross_validation={"models": []}) == ""
    folds_only = describe("Cross-validation", cross_validation={"models": ["scvi"], "batches": False})
    assert "mixture" not in folds_only
    unbatched = describe(
        "Cross-validation",
        input="x.h5ad",
        batch_key=None,
        label_key=None,
        cross_validation={"models": ["scvi"]},
    )
    assert "stratified" not in unbatched
    assert "mixture" not in unbatched
