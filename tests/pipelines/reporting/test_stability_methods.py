from pathlib import Path

from scvi_downstream.report import bibliography

PROJECT = Path(__file__).resolve().parents[3]


def test_says_what_was_fitted_again_and_compared(describe):
    text = describe(
        "Stability", stability={"models": ["scvi"], "n_seeds": 4, "top_genes": 30, "resolution": 0.5}
    )
    for said in (
        "`scvi` was fitted with 4 seeds to the same split",
        "resolution 0.5",
        "Genes of each group of `cell_type`",
        "the first 30",
        "[@webber2010]",
        "jackknife over fits [@arvesen1969]",
    ):
        assert said in text
    assert bibliography.write_references(text)


def test_leaves_out_what_did_not_run(describe):
    assert describe(describe) == ""
    text = describe("Stability", input="x.h5ad", label_key=None, stability={"models": ["scvi"]})
    assert "the first fit's clusters" in text
