"""One trial: the same as the model trained from its entry, blind to test cells, and never an error."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.checkpoints import CheckpointStore
from scvi_downstream.models.schedule import split_cells
from scvi_downstream.models.specification import TrainingOptions
from scvi_downstream.pipelines.comparison.options import ComparisonOptions
from scvi_downstream.pipelines.embedding.options import EmbeddingOptions
from scvi_downstream.pipelines.evaluation.options import EvaluationOptions
from scvi_downstream.pipelines.search.choice import model_entry
from scvi_downstream.pipelines.search.options import Objective
from scvi_downstream.pipelines.search.trial import TrialTask, run_trial
from scvi_downstream.study.defaults import defaults_of, model_options, model_spec

if TYPE_CHECKING:
    from anndata import AnnData

pytestmark = pytest.mark.slow
CHANGES = {"n_latent": 4, "training.lr": 0.005}


@pytest.fixture(scope="module")
def task(pbmc_counts: AnnData, keys: Keys) -> TrialTask:
    """Four epochs of a small model, judged by likelihood and integration."""
    from sklearn.decomposition import PCA

    genes = pbmc_counts[:, pbmc_counts.var["highly_variable"]].copy()
    spec = model_spec({"name": "scvi", "family": "SCVI", "n_hidden": 16, "training": {"max_epochs": 4}})
    objectives: tuple[Objective, ...] = ("elbo_validation", "scib_total")
    return TrialTask(
        genes=genes,
        before=PCA(10, random_state=0).fit_transform(np.log1p(genes.X.toarray())),
        base=spec.model_dump(mode="json"),
        keys=keys,
        objectives=objectives,
        embedding=defaults_of(EmbeddingOptions),
        comparison=defaults_of(ComparisonOptions, n_bootstrap=20),
        evaluation=defaults_of(EvaluationOptions, marginal_ll_samples=5, marginal_ll_max_cells=40),
        seed=0,
        accelerator="cpu",
    )


def ignore(epoch: int, curves: Any) -> None:
    """No one listens."""


def test_a_trial_is_the_model_that_its_entry_gives(
    task: TrialTask, pbmc_counts: AnnData, keys: Keys, tmp_path: Any
) -> None:
    from scvi_downstream.pipelines.training.nodes import train_model
    from scvi_downstream.scoring.likelihood import score_likelihood

    epochs: list[int] = []
    record = run_trial(task, 7, CHANGES, lambda epoch, curves: epochs.append(epoch))
    assert record.status == "finished", record.reason
    assert epochs == [1, 2, 3, 4]
    ((name, entry),) = model_entry(task.base, CHANGES, defaults_of(TrainingOptions)).items()
    model, history, _ = train_model(
        pbmc_counts, model_options({"name": name, **entry}), keys, 0, "cpu", CheckpointStore(tmp_path)
    )
    scores, cells = score_likelihood(model, task.evaluation.sampling, seed=0)
    assert record.scores["elbo_test"] == scores["elbo_test"]
    assert record.scores["elbo_validation"] == scores["elbo_validation"]
    assert [-value for value in record.curve] == history["elbo_validation"].tolist()
    kept = record.by_cell["elbo_validation"]["validation"]
    assert np.sort(kept) == pytest.approx(
        np.sort(cells.loc[cells["share"] == "validation", "elbo"]), abs=1e-3
    )
    assert np.mean(kept) == pytest.approx(record.scores["elbo_validation"], abs=1e-3)
    assert len(record.draws["scib_total"]) == 20


def test_objectives_do_not_see_test_cells(task: TrialTask) -> None:
    """Other counts and labels of the test cells change the test score, and nothing that is optimised."""
    genes = task.genes.copy()
    test = split_cells(genes.n_obs, 0.8, 0.1, 0).test
    rng = np.random.default_rng(0)
    counts = genes.X.tolil()
    counts[test] = rng.poisson(1.0, (len(test), genes.n_vars)).astype(np.float32)
    genes.X = counts.tocsr()
    labels = genes.obs["cell_type"].to_numpy().copy()
    labels[test] = labels[rng.permutation(test)]
    genes.obs["cell_type"] = labels
    genes.obs["cell_type"] = genes.obs["cell_type"].astype("category")
    as_it_was, scrambled = (run_trial(one, 2, CHANGES, ignore) for one in (task, replace(task, genes=genes)))
    for objective in task.objectives:
        assert scrambled.scores[objective] == as_it_was.scores[objective]
    assert scrambled.scores["elbo_test"] != as_it_was.scores["elbo_test"]


def test_the_marginal_likelihood_is_above_the_elbo_of_the_same_cells(task: TrialTask) -> None:
    wanted = replace(task, objectives=("marginal_ll_validation",))
    record = run_trial(wanted, 3, CHANGES, ignore)
    evidence = np.array(record.by_cell["marginal_ll_validation"]["validation"])
    bound = np.array(record.by_cell["elbo_validation"]["validation"])
    known = np.isfinite(evidence)
    assert known.sum() == 40
    assert record.scores["marginal_ll_validation"] == pytest.approx(evidence[known].mean(), abs=1e-3)
    assert (evidence - bound)[known].mean() > 0


def test_what_goes_wrong_is_a_reason(task: TrialTask) -> None:
    nan = run_trial(task, 4, {"training.lr": 1e30}, ignore)
    assert nan.status == "failed"
    assert nan.scores == {}
    assert "NaN" in nan.reason
    no_labels = replace(task, keys=Keys(batch_key="batch"))
    without = run_trial(no_labels, 5, {}, ignore)
    assert (without.status, without.reason) == ("failed", "scib_total cannot be computed for this trial")


def test_a_listener_can_end_the_training(task: TrialTask) -> None:
    def leave(epoch: int, curves: Any) -> None:
        if epoch == 2:
            raise SystemExit

    with pytest.raises(SystemExit):
        run_trial(task, 6, {}, leave)
    assert run_trial(task, 6, {"training.max_epochs": 1}, ignore).status == "finished"
