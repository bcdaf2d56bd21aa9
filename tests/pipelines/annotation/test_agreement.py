"""Agreement of clusters and labels against scikit-learn."""

import numpy as np
import pandas as pd
import pytest

from scvi_downstream.pipelines.annotation.scores import contingency, score_clusterings


def test_agreement_of_clusters_and_labels():
    from sklearn.metrics import adjusted_rand_score, completeness_score, homogeneity_score

    rng = np.random.default_rng(0)
    cells = [f"c{i}" for i in range(120)]
    labels = pd.Series(pd.Categorical(rng.choice(["x", "y", "unknown"], 120)), index=cells, name="cell_type")
    clusters = pd.DataFrame(
        {
            "same": pd.Categorical(labels.astype(str)),
            "random": pd.Categorical(rng.choice(list("01234"), 120)),
        },
        index=cells,
    )
    table = score_clusterings(clusters, labels).set_index("clustering")
    known = labels != "unknown"
    assert table["n_cells"].tolist() == [known.sum()] * 2
    assert table.loc["same", ["ari", "nmi", "homogeneity", "completeness", "v_measure"]].tolist() == [1] * 5
    assert abs(table.loc["random", "ari"]) < 0.05
    pair = labels[known].astype(str), clusters.loc[known, "random"].astype(str)
    assert table.loc["random", "ari"] == pytest.approx(adjusted_rand_score(*pair))
    assert table.loc["random", "homogeneity"] == pytest.approx(homogeneity_score(*pair))
    assert table.loc["random", "completeness"] == pytest.approx(completeness_score(*pair))
    counted = contingency(clusters["random"], labels)
    theirs = pd.crosstab(pair[1], pair[0])
    assert counted.set_index(["cluster", "label"])["n"].to_dict() == {
        key: n for key, n in theirs.stack().items() if n
    }
    assert counted.groupby("cluster")["share_of_cluster"].sum().to_numpy() == pytest.approx(1)
    assert counted.groupby("label")["share_of_label"].sum().to_numpy() == pytest.approx(1)


def test_without_labels_the_tables_are_empty():
    labels = pd.Series(pd.Categorical(["unknown"] * 3), index=list("abc"))
    clusters = pd.DataFrame({"leiden": pd.Categorical(["0", "1", "1"])}, index=list("abc"))
    assert score_clusterings(clusters, labels).empty
    assert contingency(clusters["leiden"], labels).empty
