"""Which cells are measured, what is known of each, and its expression before and after correction."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from scvi_downstream.cells.expression import TARGET_SUM
from scvi_downstream.cells.keys import Keys
from scvi_downstream.models.families import FAMILIES
from scvi_downstream.models.fitting import reproducible
from scvi_downstream.models.saved import SavedModel
from scvi_downstream.pipelines.batch_effects.options import BatchEffectOptions
from scvi_downstream.runtime.errors import InputError
from scvi_downstream.runtime.options import UNKNOWN
from scvi_downstream.runtime.progress import track
from scvi_downstream.runtime.slow_types import AnnData, BaseModelClass
from scvi_downstream.scoring.resampling import stratified_sample

logger = logging.getLogger(__name__)

# Cells that are decoded at once, for every batch: bounds the memory.
CELLS_AT_ONCE = 512


@dataclass(frozen=True)
class Design:
    """Batch and biology of ``n_cells`` cells.

    Attributes
    ----------
    cells
        Names, in the order of the counts.
    positions
        Rows of the counts.
    batches
        Batch of each cell.
    biology
        Label, or label and condition; ``None`` when neither is known.
    labels
        ``None`` without a label_key.
    samples
        ``None`` without a sample_key, or when samples are batches.
    known
        Whether label and condition are known, ``(n_cells,)``.
    dropped
        Columns of label and condition that are left out because no cell has a known value.
    """

    cells: pd.Index
    positions: np.ndarray
    batches: pd.Series
    biology: pd.Series | None
    labels: pd.Series | None
    samples: pd.Series | None
    known: np.ndarray
    dropped: tuple[str, ...] = ()

    def take(self, chosen: np.ndarray) -> Design:
        """The design of some of its cells, by position or mask."""
        columns = {name: getattr(self, name) for name in ("batches", "biology", "labels", "samples")}
        taken = {name: values.iloc[chosen] for name, values in columns.items() if values is not None}
        cells, positions, known = (values[chosen] for values in (self.cells, self.positions, self.known))
        return replace(self, cells=cells, positions=positions, known=known, **taken)


def choose_cells(counts: AnnData, keys: Keys, options: BatchEffectOptions, seed: int) -> Design:
    """All cells, or a sample stratified by batch, label and condition; the same for all measurements.

    Parameters
    ----------
    counts, keys
        Counts whose obs holds the study's keys; ``batch_key`` is set.
    options
        About how many cells to keep, and folds: a batch keeps a cell a fold if it has as many.
    seed
        Of the sample.

    Raises
    ------
    InputError
        ``batch_key`` is not set.
    """
    obs = counts.obs
    if not keys.batch_key:
        raise InputError(
            "batch_key is empty, so batches cannot be compared; set batch_key to the obs column of donors, lanes or "
            f"technologies (obs has {', '.join(map(str, obs.columns[:8]))})"
        )
    names = biology_keys(keys)
    columns = [obs[name] for name in (keys.batch_key, *names)]
    chosen = stratified_sample(columns, counts.n_obs, options.max_cells, seed)
    chosen = _top_up(chosen, obs[keys.batch_key], options.n_folds, seed)
    text = obs.iloc[chosen].astype(str)
    kept = _with_known_values(text, names)
    has_samples = keys.sample_key and keys.sample_key != keys.batch_key
    return Design(
        cells=counts.obs_names[chosen],
        positions=chosen,
        batches=text[keys.batch_key],
        biology=_joined(text[kept]) if kept else None,
        labels=text[keys.label_key] if keys.label_key in kept else None,
        samples=text[keys.sample_key] if has_samples else None,
        known=(text[kept] != UNKNOWN).all(axis=1).to_numpy(),
        dropped=tuple(name for name in names if name not in kept),
    )


def _joined(text: pd.DataFrame) -> pd.Series:
    """The columns as one, with tabs between them: much faster than joining row by row."""
    first, *others = (text[name] for name in text)
    return sum(("\t" + other for other in others), first).rename(None)


def biology_keys(keys: Keys) -> list[str]:
    """Obs columns of biology: label and condition, where they are known and not the batch itself."""
    return [name for name in (keys.label_key, keys.condition_key) if name and name != keys.batch_key]


def _with_known_values(text: pd.DataFrame, names: list[str]) -> list[str]:
    """Columns with a known value; the last are left out until some cell is known in all of them."""
    kept = [name for name in names if (text[name] != UNKNOWN).any()]
    while kept and not (text[kept] != UNKNOWN).all(axis=1).any():
        kept.pop()
    return kept


def _top_up(chosen: np.ndarray, batches: pd.Series, fewest: int, seed: int) -> np.ndarray:
    """The chosen cells, and others of batches with fewer than ``fewest`` chosen ones."""
    order = np.random.default_rng(seed).permutation(len(batches))
    is_left = ~np.isin(order, chosen)
    order = np.concatenate([chosen, order[is_left]])
    found = codes(batches.astype(str))[order]
    rank = pd.Series(found).groupby(found).cumcount()
    return np.sort(order[(np.arange(len(order)) < len(chosen)) | (rank.to_numpy() < fewest)])


def codes(values: pd.Series) -> np.ndarray:
    """Categories as whole numbers from 0, every one of which occurs."""
    return np.unique(values.to_numpy(dtype=str), return_inverse=True)[1]


def embeddings_of(
    design: Design, pca_latent: pd.DataFrame, latent: pd.DataFrame, corrected_latent: pd.DataFrame
) -> dict[tuple[str, str], np.ndarray]:
    """Coordinates of the measured cells by stage and representation; those of a table without rows are left out."""
    tables = {
        ("before", "pca"): pca_latent,
        ("after", "latent"): latent,
        ("corrected", "corrected_pca"): corrected_latent,
    }
    return {key: table.loc[design.cells].to_numpy() for key, table in tables.items() if not table.empty}


def correct_expression(
    fitted: SavedModel,
    counts: AnnData,
    pca_latent: pd.DataFrame,
    keys: Keys,
    options: BatchEffectOptions,
    seed: int,
    accelerator: str,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Corrected expression of the measured cells and its principal components; both empty when there is none.

    Corrected is the log expression per 10,000 that the model expects of each cell, averaged over all batches.

    Parameters
    ----------
    fitted, counts, pca_latent
        The primary model; counts that it was fitted on; PCA of log counts, for the number of components.
    keys, options
        The study's obs columns; whether to correct, posterior samples, most cells.
    seed, accelerator
        Of the sample of cells and of the posterior samples; where to compute.

    Returns
    -------
    ``n_cells`` × ``n_modelled_genes`` and ``n_cells`` × ``n_components``, float32.

    Raises
    ------
    InputError
        The model was fitted with another batch_key.

    References
    ----------
    Lopez et al. (2018), doi:10.1038/s41592-018-0229-2.
    """
    reason = _why_not_corrected(fitted, options)
    if reason:
        logger.info("no corrected expression: %s", reason)
        return pd.DataFrame(), pd.DataFrame()
    design = choose_cells(counts, keys, options, seed)
    modelled = fitted.setup["batch_key"]
    if modelled != keys.batch_key:
        raise InputError(
            f"the model in {fitted.save_dir} was fitted with batch_key '{modelled}', not '{keys.batch_key}': "
            "run training again, or set batch_effects.corrected to false"
        )
    model = fitted.attach(counts, accelerator=accelerator)
    batches = [str(name) for name in counts.obs[keys.batch_key].cat.categories]
    starts = range(0, len(design.positions), CELLS_AT_ONCE)
    blocks = [
        _decode(model, design.positions[start : start + CELLS_AT_ONCE], batches, options, seed + block)
        for block, start in enumerate(track(starts, "decoding corrected expression", len(starts)))
    ]
    genes = pd.Index(model.adata.var_names.astype(str))
    expression = pd.DataFrame(np.concatenate(blocks), index=design.cells.rename("cell"), columns=genes)
    return expression, _leading_components(expression, pca_latent.shape[1], seed)


def _why_not_corrected(fitted: SavedModel, options: BatchEffectOptions) -> str | None:
    """Reason why there is no corrected expression, if there is one."""
    if not options.corrected:
        return "batch_effects.corrected is false"
    family = FAMILIES.get(fitted.family)
    if family is None or "normalized_expression" not in family.can:
        return f"{fitted.family} does not decode expression"
    if fitted.setup.get("batch_key") is None:
        return "the model was fitted without batches (correct_batch is false)"
    return None


def _decode(
    model: BaseModelClass, rows: np.ndarray, batches: list[str], options: BatchEffectOptions, seed: int
) -> np.ndarray:
    with reproducible(seed):
        values = model.get_normalized_expression(
            indices=rows,
            transform_batch=batches,
            library_size=TARGET_SUM,
            n_samples=options.n_samples,
            return_mean=True,
            return_numpy=True,
        )
    return np.log1p(np.asarray(values, dtype=np.float32))


def _leading_components(expression: pd.DataFrame, n_components: int, seed: int) -> pd.DataFrame:
    """Principal components of ``n_cells`` × ``n_genes`` expression: ``PC_1``, …, as many as the data allow."""
    from sklearn.decomposition import PCA

    values = expression.to_numpy()
    possible = min(n_components, min(values.shape) - 1)
    scores = PCA(possible, svd_solver="arpack", random_state=seed).fit_transform(values - values.mean(axis=0))
    names = [f"PC_{i + 1}" for i in range(possible)]
    return pd.DataFrame(scores.astype(np.float32), index=expression.index, columns=names)
