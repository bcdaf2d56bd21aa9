"""Columns that look like keys: of real files what their README says, of planted ones never what is no key."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scvi_downstream.cells.guesses import Guess, as_options, guess_keys, likeliest, unset_sentence
from scvi_downstream.cells.keys import ROLES, Keys
from scvi_downstream.pipelines.preparation.options import PreparationOptions
from scvi_downstream.study.defaults import defaults_of

DATA = Path(os.environ.get("SCVI_DOWNSTREAM_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
UNKNOWN = defaults_of(PreparationOptions).unknown_labels
N = 400


def guessed(obs: pd.DataFrame, keys: Keys | None = None, unset: tuple[str, ...] = ROLES) -> list[Guess]:
    return guess_keys(obs, keys or Keys(), unset, UNKNOWN)


def sure(obs: pd.DataFrame, keys: Keys | None = None, unset: tuple[str, ...] = ROLES) -> dict[str, str]:
    return {guess.key: guess.column for guess in likeliest(guessed(obs, keys, unset))}


KANG = {
    "batch_key": "donor",
    "label_key": "cell_type_transferred",
    "sample_key": "donor",
    "condition_key": "condition",
}


@pytest.mark.parametrize(
    ("file", "expected", "perhaps"),
    [
        ("cell_lines", {"batch_key": "batch"}, {"protocol", "cell_line"}),
        ("citeseq_pbmc", {"batch_key": "batch"}, set()),
        ("kang_ifnb", KANG, {"cell_type_published"}),
        ("pbmc3k", {"label_key": "cell_type"}, set()),
        ("worm_embryo", {"batch_key": "batch", "label_key": "cell_type"}, {"time_point"}),
    ],
)
def test_real_files(file: str, expected: dict[str, str], perhaps: set[str]) -> None:
    import h5py
    from anndata.io import read_elem

    path = DATA / f"{file}.h5ad"
    if not path.exists():
        pytest.skip(f"{path.name} is not in {DATA} (set SCVI_DOWNSTREAM_DATA)")
    with h5py.File(path) as opened:
        obs = read_elem(opened["obs"])
    assert sure(obs) == expected
    assert {guess.column for guess in guessed(obs) if not guess.is_sure} == perhaps


def test_the_demonstration() -> None:
    from scvi_downstream.datasets.counts_input_dataset import read_pbmc68k

    assert sure(read_pbmc68k().obs) == {"batch_key": "batch", "label_key": "cell_type"}


def cells(**columns: object) -> pd.DataFrame:
    return pd.DataFrame(columns, index=[f"cell_{i}" for i in range(N)])


def groups(prefix: str, n: int, every: int = 1) -> list[str]:
    """``n`` groups of cells in turn, each for ``every`` cells."""
    return [f"{prefix}{i // every % n}" for i in range(N)]


def test_columns_of_the_cellxgene_schema() -> None:
    donor = np.arange(N) // 50
    obs = cells(
        donor_id=[f"D{i}" for i in donor],
        assay=np.where(donor % 2, "10x 3' v3", "10x 3' v2"),
        disease=np.where(donor < 4, "normal", "lupus"),
        disease_ontology_term_id=np.where(donor < 4, "PATO:0000461", "MONDO:0007915"),
        cell_type=groups("type ", 5),
        cell_type_ontology_term_id=groups("CL:000", 5),
        sex=np.where(donor % 3, "male", "female"),
        suspension_type="cell",
        tissue="blood",
        is_primary_data=[bool(i % 2) for i in range(N)],
        development_stage=groups("year ", 4, 50),
    )
    for column in obs:
        obs[column] = obs[column].astype("category")
    assert sure(obs) == {
        "batch_key": "donor_id",
        "label_key": "cell_type",
        "sample_key": "donor_id",
        "condition_key": "disease",
    }
    assert {guess.column for guess in guessed(obs) if not guess.is_sure} == {"assay"}
    (batch,) = (guess for guess in guessed(obs) if guess.key == "batch_key" and guess.is_sure)
    assert "each lies in one of 'disease'" in batch.why


def test_a_seurat_object() -> None:
    obs = cells(
        **{
            "orig.ident": groups("lib", 4, 100),
            "nCount_RNA": np.arange(N) + 0.5,
            "seurat_clusters": groups("", 6),
        },
        nFeature_RNA=np.arange(N),
        RNA_snn_res=groups("", 6),
        CellType=groups("T", 3),
        stim=np.where(np.arange(N) < 200, "CTRL", "STIM"),
    )
    assert sure(obs) == {
        "batch_key": "orig.ident",
        "label_key": "CellType",
        "sample_key": "orig.ident",
        "condition_key": "stim",
    }


def test_clusters_are_no_labels() -> None:
    assert not guessed(cells(leiden=groups("", 5), louvain=groups("", 4), cluster=groups("c", 5)))
    assert not guessed(cells(cell_type=groups("", 5)))  # numbers, as clusters have
    assert not guessed(cells(cell_type=np.arange(N) % 5))


def test_labels_known_for_a_few_cells_are_not_sure() -> None:
    few = [name if i < 40 else "unknown" for i, name in enumerate(groups("T", 2))]
    assert not sure(cells(cell_type=few))
    (guess,) = guessed(cells(cell_type=few))
    assert guess.values == ("T0", "T1")
    assert "known for 10% of the cells" in guess.why


def test_samples_lie_within_donors() -> None:
    donor, sample, pool = groups("d", 4, 100), groups("s", 8, 50), groups("p", 2, 7)
    found = sure(cells(sample=sample, donor=donor, pool=pool), unset=("sample_key",))
    assert found == {"sample_key": "sample"}
    pooled = guessed(cells(library=pool, donor=donor), unset=("sample_key",))
    assert [(guess.column, guess.is_sure) for guess in pooled] == [("donor", True), ("library", False)]
    assert "some hold several of 'donor'" in pooled[1].why


def test_a_condition_is_constant_within_samples_or_crosses_them() -> None:
    donor = groups("d", 8, 50)
    for treatment in (groups("t", 2, 200), groups("t", 2)):
        assert sure(cells(donor=donor, treatment=treatment))["condition_key"] == "treatment"
    within_one = ["a" if i < 25 else "b" for i in range(N)]
    (guess,) = guessed(cells(donor=donor, treatment=within_one), unset=("condition_key",))
    assert not guess.is_sure
    assert "some of 'donor' have several" in guess.why


def test_batches_that_hold_several_conditions_come_first() -> None:
    condition, sample, donor = groups("c", 2, 50), groups("s", 8, 50), groups("d", 4, 100)
    obs = cells(batch=sample, donor=donor, condition=condition)
    assert sure(obs)["batch_key"] == "donor"
    assert sure(obs.drop(columns="donor"))["batch_key"] == "batch"
    (same,) = guessed(obs.assign(batch=condition)[["batch", "condition"]], unset=("batch_key",))
    assert not same.is_sure


def test_keys_that_are_set_are_neither_guessed_nor_named_for_others() -> None:
    obs = cells(donor=groups("d", 4), condition=groups("c", 2, 200), cell_type=groups("T", 4))
    assert sure(obs, Keys(batch_key="donor"), ("sample_key",)) == {"sample_key": "donor"}
    assert not sure(obs, Keys(label_key="donor"), ("batch_key", "sample_key"))
    assert not sure(obs, Keys(batch_key="condition"), ("condition_key",))
    assert not sure(obs, Keys(continuous_covariates=("donor",)), ("batch_key",))
    assert not guessed(obs, unset=())


def test_missing_values_make_no_key() -> None:
    donor = pd.Series(groups("d", 4), dtype=object)
    donor[3] = None
    assert not guessed(cells(donor=donor.to_numpy(), sample=[*groups("s", 4)[:-1], "nan"]))


def test_the_sentence_says_how_to_name_them() -> None:
    obs = cells(**{"Donor ID": groups("d", 4), "cell_type": groups("T", 4)})
    found = guessed(obs)
    assert as_options(likeliest(found)) == "--batch 'Donor ID' --label cell_type --sample 'Donor ID'"
    assert unset_sentence(found) == (
        "keys that are not set but that obs seems to hold: 'Donor ID' (4 values: d0, d1, d2, …) as batch_key and "
        "sample_key; 'cell_type' (4 values: T0, T1, T2, …) as label_key; to use them, add --batch 'Donor ID' --label "
        "cell_type --sample 'Donor ID' (kedro run: --params 'batch_key=Donor ID,label_key=cell_type,sample_key=Donor "
        "ID')"
    )
    assert not unset_sentence(guessed(obs, unset=("condition_key",)))


VOCABULARY = st.sampled_from(
    ["batch", "Batch", "sample", "sample_id", "donor", "donor_id", "patient", "orig.ident", "library", "lane", "run",
     "chemistry", "condition", "treatment", "stim", "disease", "cell_type", "CellType", "celltype.l1", "annotation",
     "tissue", "assay", "group", "labels"]
)  # fmt: skip
MEASURED = st.sampled_from(
    ["n_counts", "total_counts", "percent_mito", "batch_score", "cell_type_score", "donor_age", "n_cell_types",
     "sample_size_factor", "cell_type_prob", "n_genes"]
)  # fmt: skip
FORMS = st.sampled_from(["plain", "category", "text"])


def in_form(values: pd.Series, form: str) -> pd.Series:
    return (
        values.astype(str) if form == "text" else values.astype("category") if form == "category" else values
    )


@given(name=VOCABULARY, form=FORMS, per_value=st.integers(1, 8), seed=st.integers(0, 99))
def test_names_of_cells_are_never_named(name: str, form: str, per_value: int, seed: int) -> None:
    ids = pd.Series([f"AAAC{i // per_value}-1" for i in range(N)]).sample(frac=1, random_state=seed)
    assert not guessed(cells(**{name: in_form(ids, form).to_numpy()}))


@given(
    name=VOCABULARY, form=FORMS, value=st.one_of(st.text(max_size=5), st.integers(), st.booleans(), st.none())
)
def test_constants_are_never_named(name: str, form: str, value: object) -> None:
    column = pd.Series([value] * N, dtype=object)
    assert not guessed(cells(**{name: in_form(column, form).to_numpy()}))


@given(
    name=st.one_of(VOCABULARY, MEASURED),
    form=FORMS,
    n_values=st.integers(2, 20),
    seed=st.integers(0, 99),
    scale=st.sampled_from([0.01, 1, 100]),
)
def test_measurements_are_never_named(name: str, form: str, n_values: int, seed: int, scale: float) -> None:
    """Also those that take few values, each in many cells."""
    rng = np.random.default_rng(seed)
    measured = rng.choice(rng.normal(size=n_values) * scale, N)
    assert not guessed(cells(**{name: in_form(pd.Series(measured), form).to_numpy()}))


@given(name=MEASURED, form=FORMS, n_values=st.integers(2, 20), seed=st.integers(0, 99))
def test_whole_numbers_called_like_measurements_are_never_named(
    name: str, form: str, n_values: int, seed: int
) -> None:
    counts = pd.Series(np.random.default_rng(seed).integers(0, n_values, N))
    assert not guessed(cells(**{name: in_form(counts, form).to_numpy()}))


@given(name=VOCABULARY, n_values=st.integers(60, 300), seed=st.integers(0, 99))
def test_counts_are_never_named(name: str, n_values: int, seed: int) -> None:
    counts = np.random.default_rng(seed).integers(0, n_values, 4000)
    assert not guessed(pd.DataFrame({name: counts}))
