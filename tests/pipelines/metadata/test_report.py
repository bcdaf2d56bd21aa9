import pandas as pd
import pytest

from scvi_downstream.pipelines.metadata.annotations import associate_annotations, join_annotations
from scvi_downstream.pipelines.metadata.composition import compare_composition, tabulate_composition
from scvi_downstream.pipelines.metadata.expression import compare_expression
from scvi_downstream.pipelines.metadata.report import _overall, summarize_metadata
from scvi_downstream.pipelines.preparation.options import PreparationOptions
from scvi_downstream.study.defaults import defaults_of, replicates_of


def test_the_overall_contrast_does_not_depend_on_the_order_of_rows():
    table = pd.DataFrame(
        {
            "column": ["two", "three", "three", "three"],
            "contrast": ["yes vs no", "yes vs no", "any difference", "maybe vs no"],
        }
    ).astype("category")
    for rows in (table, table[::-1]):
        overall = _overall(rows)
        assert dict(zip(overall["column"], overall["contrast"], strict=True)) == {
            "two": "yes vs no",
            "three": "any difference",
        }
    assert _overall(table[:0]).empty


@pytest.fixture
def run(paired_counts, paired_clusters, paired_options):
    def summary(keys, metadata=None):
        latent = pd.DataFrame(
            {"latent_1": paired_counts.obs["score"], "latent_2": paired_counts.X[:, 0].toarray().ravel()}
        )
        annotations, columns, join = join_annotations(
            paired_counts, metadata, keys, defaults_of(PreparationOptions), paired_options
        )
        associations = associate_annotations(latent, annotations, paired_counts, keys, paired_options)
        table = tabulate_composition(paired_counts, paired_clusters, keys, paired_options)
        tests = compare_composition(table, annotations, paired_counts, keys, paired_options)
        genes = compare_expression(paired_counts, paired_clusters, annotations, keys, paired_options)
        return summarize_metadata(
            columns, join, associations, tests, genes, keys, paired_options
        ), associations

    return summary


def test_the_first_sentence_names_the_leading_genes_and_the_replicates(run, paired_keys):
    table = pd.DataFrame({"sample": [f"d{i}_control" for i in range(6)] + ["x"], "sex": list("fmfmfmf")})
    summary, associations = run(paired_keys, table)
    sentences = summary["sentences"]
    assert sentences[0].startswith("condition (treated vs control, 12 samples in 6 blocks): 1")
    assert any("'B' with condition" in text and "shares sum to one" in text for text in sentences)
    assert any("360 of 720 cells have no row in the metadata" in text for text in sentences)
    assert summary["columns"]["condition"]["n_groups"] >= 1
    assert summary["join"]["n_rows_without_cells"] == 1
    assert dict(zip(associations["covariate"], associations["unit"], strict=True)) == {
        "sex": "block",
        "condition": "sample",
    }


def test_without_samples_the_summary_warns(run):
    summary, associations = run(replicates_of(condition_key="condition", label_key="cell_type"))
    sentences = summary["sentences"]
    assert "cells are not independent replicates" in sentences[0]
    assert "Composition was not tested, since sample_key is not set" in sentences[1]
    assert set(associations["unit"]) == {"cell"}
