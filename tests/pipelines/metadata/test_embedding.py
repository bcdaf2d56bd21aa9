import numpy as np
import pandas as pd

from scvi_downstream.pipelines.metadata.designs import find_samples, sample_columns
from scvi_downstream.pipelines.metadata.nodes import associate_columns


def test_p_values_are_adjusted_within_cells_samples_and_blocks(paired_counts, paired_keys, paired_options):
    obs = paired_counts.obs
    latent = pd.DataFrame(np.random.default_rng(0).normal(size=(len(obs), 4)), index=obs.index)
    latent[0] += obs["score"]
    samples = find_samples(obs, paired_keys, paired_options)

    def table(names):
        return associate_columns(latent, obs[names], samples, sample_columns(obs[names], samples))

    together = table(["condition", "score", "age"])
    for unit, name in {"sample": "condition", "cell": "score", "block": "age"}.items():
        mine = together[together["unit"] == unit]
        assert set(mine["covariate"]) == {name}
        np.testing.assert_array_equal(mine["p_adjusted"], table([name])["p_adjusted"])
