import numpy as np
import pytest

from scvi_downstream.scoring.mixing import count_auc, macro_auc


def test_macro_auc_is_that_of_scikit_learn_for_every_arrangement():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(0)
    arranged = np.stack([rng.permutation(np.arange(90) % 3) for _ in range(4)])
    logits = rng.normal(size=(3, 4, 90)) + (arranged == np.arange(3)[:, None, None])
    areas = macro_auc(logits, arranged)
    for row, batches in enumerate(arranged):
        shares = np.exp(logits[:, row]) / np.exp(logits[:, row]).sum(axis=0)
        expected = roc_auc_score(batches, shares.T, multi_class="ovr")
        assert areas[row] == pytest.approx(expected, abs=1e-12)


def test_saturated_probabilities_keep_their_order():
    batches = np.repeat([0, 1], 20)
    logits = np.stack([np.zeros(40), np.linspace(60, 100, 40)])[:, None]
    assert macro_auc(logits, batches[None])[0] == 1.0


def test_count_auc_counts_ties_as_half():
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(1)
    classes = np.arange(120) % 4
    counts = rng.multinomial(7, [0.25] * 4, size=120)
    expected = np.mean([roc_auc_score(classes == batch, counts[:, batch]) for batch in range(4)])
    assert count_auc(counts, classes, 7) == pytest.approx(expected, abs=1e-12)
