"""Private names of scvi-tools, PyTorch and Lightning: each is touched by one function of this file and nowhere else."""

from __future__ import annotations

import hashlib
import pkgutil
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    import numpy as np
    import torch
    from lightning.pytorch import Trainer
    from scvi.model.base import BaseModelClass

_SEED = "scvi.settings._seed"
_UUID = "scvi.data._constants._SCVI_UUID_KEY"
_DEVICE = "scvi.model._utils.parse_device_args"
_LOG_LIKELIHOODS = (
    "scvi.distributions._negative_binomial.log_nb_positive",
    "scvi.distributions._negative_binomial.log_zinb_positive",
)
_CELLS = "scvi.model.base.BaseModelClass._per_instance_manager_store"
_SETUPS = "scvi.model.base.BaseModelClass._setup_adata_manager_store"
_ENCODER_INPUT = "scvi.module.base.BaseModuleClass._get_inference_input"
_DECODER_INPUT = "scvi.module.base.BaseModuleClass._get_generative_input"
_SIZES = "scvi.module.VAE._compute_local_library_params"
_KIND = "scvi.data._utils.registry_key_to_default_dtype"
_MINIFIED = (
    "scvi.model.SCVI._OBSERVED_LIB_SIZE_KEY",
    "scvi.model.SCVI._LATENT_QZM_KEY",
    "scvi.model.SCVI._LATENT_QZV_KEY",
)
_DE = "scvi.model.base._differential.DifferentialComputation"
_DELTA = "scvi.model.base._differential.estimate_delta"
_VALIDATE = "torch.distributions.Distribution._validate_args"
_FETCHER = "lightning.pytorch.Trainer.fit_loop._data_fetcher"
PRIVATE = (
    _SEED, _UUID, _DEVICE, *_LOG_LIKELIHOODS, _VALIDATE, _CELLS, _SETUPS, _ENCODER_INPUT, _DECODER_INPUT,
    _SIZES, _KIND, *_MINIFIED, _DE, _DELTA,
)  # fmt: skip
"""Names that can be looked up without an object at hand."""


def private(name: str, owner: Any = None) -> Any:
    """What a dotted private name stands for: in ``owner``, or in the module or class that the name leads to.

    Raises
    ------
    AttributeError
        The library has it no more; the message names the library, its version and the name.
    """
    try:
        return getattr(_owner(name) if owner is None else owner, name.rpartition(".")[2])
    except (AttributeError, ImportError) as error:
        package = name.partition(".")[0]
        library = {"scvi": "scvi-tools"}.get(package, package)
        raise AttributeError(
            f"{library} {version(library)} has no {name} any more, which is private to it; install the version of "
            f"requirements.lock, or mend {__name__}"
        ) from error


def _owner(name: str) -> Any:
    return pkgutil.resolve_name(name.rpartition(".")[0])


@contextmanager
def _replaced(replacements: Mapping[str, Any]) -> Iterator[None]:
    before = {name: private(name) for name in replacements}
    for name, value in replacements.items():
        setattr(_owner(name), name.rpartition(".")[2], value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(_owner(name), name.rpartition(".")[2], value)


@contextmanager
def kept_seed() -> Iterator[None]:
    """Put scvi-tools' own seed back afterwards, without drawing the generators' states from it."""
    with _replaced({_SEED: private(_SEED)}):
        yield


class _Ordered(set):
    def __iter__(self) -> Iterator[Any]:
        return iter(sorted(super().__iter__()))


@contextmanager
def batches_in_order() -> Iterator[None]:
    """Let differential expression go through batches by name.

    It goes through a ``set`` of them, so by hashes of text, which Python draws anew for each process: the means that it
    takes then differ in their last bits from run to run.
    """
    names = vars(_owner(_DE))
    before = names.get("set", set)
    names["set"] = _Ordered
    try:
        yield
    finally:
        names["set"] = before


def torch_device(accelerator: str) -> str:
    """Device that scvi-tools takes for an accelerator: ``cuda:0`` for ``gpu``, the best there is for ``auto``."""
    _, _, device = private(_DEVICE)(accelerator=accelerator, devices="auto", return_device="torch")
    return str(device)


@contextmanager
def sparse_likelihood() -> Iterator[None]:
    """Let scvi-tools' negative binomials on a CPU take gamma functions at the counts alone that are not zero."""
    from scvi_downstream.upstream import sparse_likelihood as ours

    def on_cpu(name: str) -> Callable[..., torch.Tensor]:
        stock, sparse = private(name), getattr(ours, name.rpartition(".")[2])

        def chosen(x: torch.Tensor, *parameters: Any, **options: Any) -> torch.Tensor:
            if x.device.type != "cpu":
                return stock(x, *parameters, **options)
            options.pop("lgamma_fn", None)
            return sparse(x, *parameters, **options)

        return chosen

    with _replaced({name: on_cpu(name) for name in _LOG_LIKELIHOODS}):
        yield


@contextmanager
def unchecked_distributions() -> Iterator[None]:
    """Let PyTorch's distributions take their arguments unchecked: checks cost time, and NaN is looked for elsewhere."""
    with _replaced({_VALIDATE: False}):
        yield


def prior_of_size(module: Any, batch_index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and variance of the log size of cells of these batches, where a module models it."""
    return private(_SIZES, module)(batch_index)


def kind_of_field(key: str) -> type:
    """Type in which scvi-tools gives a module what is registered under ``key``."""
    return private(_KIND)(key)


def encode(model: BaseModelClass, tensors: dict[str, torch.Tensor], n_samples: int) -> dict[str, Any]:
    """Draws of the latent states of a mini-batch, as the module's ``inference`` gives them.

    ``module.forward`` decodes them, too, which takes longer and draws more; what ``inference`` needs is then only known
    to scvi-tools' own ``_get_inference_input``.
    """
    import torch

    module: Any = model.module.eval()
    draws = "mc_samples" if type(model).__name__ == "MRVI" else "n_samples"
    with torch.inference_mode():
        given = private(_ENCODER_INPUT, module)(tensors)
        return module.inference(**given, **{draws: n_samples})


def decode(
    model: BaseModelClass, tensors: dict[str, torch.Tensor], inference: dict[str, Any]
) -> dict[str, Any]:
    """What the module's ``generative`` makes of states, which need not be those that its encoder gave.

    ``module.forward`` decodes the encoder's states alone; what ``generative`` needs is then only known to scvi-tools'
    own ``_get_generative_input``.
    """
    import torch

    module: Any = model.module
    with torch.inference_mode():
        given = private(_DECODER_INPUT, module)(tensors, inference)
        return module.generative(**given)


@contextmanager
def without_dropout(module: Any) -> Iterator[None]:
    """Let the decoder leave out its logits of dropout, half of its work, where only genes' shares are asked for."""
    import torch

    class Nothing(torch.nn.Module):
        def forward(self, states: torch.Tensor, *_: torch.Tensor) -> torch.Tensor:
            return states.new_zeros((*states.shape[:-1], 1))

    layer = getattr(module.decoder, "px_dropout_decoder", None)
    if layer is not None:
        module.decoder.px_dropout_decoder = Nothing()
    try:
        yield
    finally:
        if layer is not None:
            module.decoder.px_dropout_decoder = layer


def estimated_delta(lfc_means: np.ndarray) -> float:
    """The least fold change that counts, as scvi-tools derives it from genes' means; draws from numpy's generator."""
    return float(private(_DELTA)(lfc_means))


@contextmanager
def named_by_weights(model: BaseModelClass) -> Iterator[None]:
    """Name a model by its weights while it is saved; scvi-tools names it by chance, and no two files are the same."""
    digest = hashlib.sha256()
    for tensor in model.module.state_dict().values():
        digest.update(tensor.detach().cpu().numpy().tobytes())
    key, registry = private(_UUID), model.registry_
    before = registry[key], model.run_name
    registry[key], model.run_name = str(UUID(digest.hexdigest()[:32])), f"run_{digest.hexdigest()[:12]}"
    try:
        yield
    finally:
        registry[key], model.run_name = before


def forget_cells(model: BaseModelClass, uuid: str) -> None:
    """Let go of cells that a model was shown, which scvi-tools would keep as long as the model.

    ``uuid`` is the identity of the cells' ``AnnDataManager``. The store is scvi-tools' own, as ``deregister_manager``
    only knows cells that a model was set up with.
    """
    private(_CELLS, model)[model.id].pop(uuid, None)


def forget_with(model: BaseModelClass) -> None:
    """Let scvi-tools let go of a model's cells when the model itself is gone; by itself it keeps them for ever."""
    stores = private(_CELLS, type(model)), private(_SETUPS, type(model))
    weakref.finalize(model, _forget, *stores, model.id).atexit = False


def _forget(of_models: dict[str, dict[str, Any]], of_setups: dict[str, Any], model: str) -> None:
    for uuid in of_models.pop(model, ()):
        of_setups.pop(uuid, None)


def minified_keys(model: BaseModelClass) -> list[str]:
    """Where minified cells keep the library size, in obs, and the mean and variance of the latent, in obsm."""
    return [private(name, model) for name in _MINIFIED]


def redraw_mini_batches(trainer: Trainer) -> None:
    """Let Lightning draw the order of the epoch's cells again, from the random generators as they are now."""
    iter(private(_FETCHER, trainer.fit_loop))
