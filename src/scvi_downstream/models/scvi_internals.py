"""Private names of scvi-tools, PyTorch and Lightning: each is touched by one function of this file and nowhere else."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

_SEED = "scvi.settings._seed"
_DEVICE = "scvi.model._utils.parse_device_args"
_READERS = ("scvi.model.base._base_model._load_saved_files", "scvi.model.base._archesmixin._load_saved_files")
_LOG_NB = "scvi.distributions._negative_binomial.log_nb_positive"
_LOG_ZINB = "scvi.distributions._negative_binomial.log_zinb_positive"
_VALIDATE = "torch.distributions.Distribution._validate_args"
_FETCHER = "lightning.pytorch.Trainer.fit_loop._data_fetcher"
PRIVATE = (_SEED, _DEVICE, *_READERS, _LOG_NB, _LOG_ZINB, _VALIDATE)
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


def torch_device(accelerator: str) -> str:
    """Device that scvi-tools takes for an accelerator: ``cuda:0`` for ``gpu``, the best there is for ``auto``."""
    _, _, device = private(_DEVICE)(accelerator=accelerator, devices="auto", return_device="torch")
    return str(device)


@contextmanager
def models_read_by(read: Callable[..., tuple[Any, ...]]) -> Iterator[None]:
    """Let scvi-tools' ``load`` and ``load_query_data`` read files with another function than its pickle one."""
    with _replaced(dict.fromkeys(_READERS, read)):
        yield


@contextmanager
def likelihoods_by(
    nb: Callable[[Callable], Callable], zinb: Callable[[Callable], Callable]
) -> Iterator[None]:
    """Let scvi-tools' distributions use what these make of its own log-likelihoods, and check no arguments."""
    made = {_LOG_NB: nb(private(_LOG_NB)), _LOG_ZINB: zinb(private(_LOG_ZINB)), _VALIDATE: False}
    with _replaced(made):
        yield


def redraw_mini_batches(trainer: Trainer) -> None:
    """Let Lightning draw the order of the epoch's cells again, from the random generators as they are now."""
    iter(private(_FETCHER, trainer.fit_loop))
