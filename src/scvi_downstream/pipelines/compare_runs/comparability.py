"""Which models of which runs saw the same cells and genes, so that their scores mean the same."""

from __future__ import annotations

import pandas as pd

# A likelihood is one of these cells and these genes; the split decides which cells were held out.
_LIKELIHOOD = (
    "data_digest",
    "metric.n_genes",
    "metric.n_test",
    "study_param.seed",
    "training.train_size",
    "training.validation_size",
)
# With more draws the bound of the marginal likelihood rises.
_MARGINAL = (*_LIKELIHOOD, "metric.marginal_ll_samples")
_EMBEDDING = (
    "data_digest",
    "study_param.label_key",
    "study_param.batch_key",
    "study_param.comparison.profile",
    "study_param.comparison.max_cells",
)
_COST = ("data_digest", "device")
NOTHING = "–"


def comparable_groups(runs: pd.DataFrame, criterion: str) -> pd.Series:
    """Letter of the group within which a criterion may be compared.

    Parameters
    ----------
    runs
        One row a model of a run, as they are tracked.
    criterion
        Name of a score without ``metric.``.

    Returns
    -------
    ``A``, ``B``, … of the rows that have the criterion, in their order; None for the others. Models of a run that
    recorded no data are compared with each other only.
    """
    scored = runs[runs[f"metric.{criterion}"].notna()] if f"metric.{criterion}" in runs else runs.iloc[:0]
    names: tuple[str, ...] = _LIKELIHOOD
    if criterion.startswith("marginal_ll"):
        names = _MARGINAL
    elif criterion.startswith("scib_") or criterion.endswith("_labels"):
        names = _EMBEDDING
    elif criterion in ("seconds", "peak_memory_mb"):
        names = _COST
    parts = pd.DataFrame({name: _values(scored, name) for name in names}, index=scored.index)
    parts["run"] = scored["run_id"].where(scored["data_digest"].isna(), NOTHING)
    codes, _ = pd.factorize(pd.MultiIndex.from_frame(parts))
    letters = pd.Series([_letter(code) for code in codes], index=scored.index, dtype=object)
    return letters.reindex(runs.index)


def _values(runs: pd.DataFrame, name: str) -> pd.Series:
    """What a model says, else its run; as text, as other versions may have logged numbers otherwise."""
    found = pd.Series(None, index=runs.index, dtype=object)
    for column in (name, f"param.{name}", f"study_param.{name}"):
        if column in runs:
            found = found.where(found.notna(), runs[column])
    return found.map(lambda value: NOTHING if pd.isna(value) else str(value))


def _letter(code: int) -> str:
    letters = ""
    number = code + 1
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters
