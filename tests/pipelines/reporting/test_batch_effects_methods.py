def test_says_what_was_measured_with_its_options(describe):
    text = describe("Batch effects", batch_effects={"n_folds": 3, "n_neighbors": 20, "fdr": 0.1})
    for said in (
        "kBET [@buttner2019] on 20 neighbours",
        "BRAS [@rautenstrauch2025]",
        "3-fold",
        "batches among cells of the same `cell_type`",
        "averaged over all batches",
        "[@benjamini1995] at 10 %",
        "Over-correction",
    ):
        assert said in text


def test_leaves_out_what_did_not_run(describe):
    text = describe(
        "Batch effects", input="x.h5ad", batch_key="lane", label_key=None, batch_effects={"corrected": False}
    )
    assert "`lane`" in text
    for absent in ("BRAS", "Corrected", "Over-correction", "among cells of the same"):
        assert absent not in text
    assert describe("Batch effects", input="x.h5ad", batch_key=None, label_key=None) == ""
