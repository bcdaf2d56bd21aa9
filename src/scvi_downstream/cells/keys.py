"""The study's obs columns."""

from __future__ import annotations

from scvi_downstream.runtime.options import Options


class Keys(Options):
    """The obs columns, the layer and the obsm entry that the user named; ``None`` where there is none."""

    counts_layer: str | None = None
    batch_key: str | None = None
    label_key: str | None = None
    sample_key: str | None = None
    condition_key: str | None = None
    categorical_covariates: tuple[str, ...] = ()
    continuous_covariates: tuple[str, ...] = ()
    protein_key: str | None = None

    @property
    def categorical(self) -> dict[str, str]:
        """Parameter name → obs column, for the categorical keys that are set."""
        single = ("batch_key", "label_key", "sample_key", "condition_key")
        covariates = {
            f"categorical_covariates[{i}]": key for i, key in enumerate(self.categorical_covariates)
        }
        return {name: getattr(self, name) for name in single if getattr(self, name)} | covariates
