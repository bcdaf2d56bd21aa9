"""Reading scvi-tools' ``model.pt`` as weights and plain data, so that a file from a stranger runs nothing.

scvi-tools reads the file with ``torch.load(weights_only=False)``, which calls whatever the file names. Here
PyTorch's restricted reader is used, and every name of NumPy, pandas and PyArrow that scvi-tools writes is
given to a stand-in that only keeps what it was called with; arrays and curves are built from that afterwards.
What was read is written anew, as weights and plain data, for scvi-tools' own ``load``.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    import torch
    from anndata import AnnData
    from scvi.model.base import BaseModelClass

MODEL_FILE = "model.pt"
_READING = threading.Lock()  # PyTorch keeps the names that may be read in one place for all threads
_NUMERIC = re.compile(r"[biuf][1248]|[SU]\d+")


class _StandIn:
    """Keeps what it was called with and does nothing."""

    args: tuple[Any, ...]
    state: Any

    def __new__(cls, *args: Any) -> _StandIn:
        made = super().__new__(cls)
        made.args, made.state = args, None
        return made

    def __init__(self, *args: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state


class _Array(_StandIn): ...


class _DType(_StandIn): ...


class _Scalar(_StandIn): ...


class _Frame(_StandIn): ...


# Where arrays and tables keep their parts; only their places in the file are used.
_PARTS = (
    "builtins.dict", "builtins.slice", "numpy.ndarray", "pandas.Index", "pandas.RangeIndex", "pandas.StringDtype",
    "pandas.arrays.ArrowStringArray", "pandas.core.indexes.base.Index", "pandas.core.indexes.base._new_Index",
    "pandas.core.indexes.range.RangeIndex", "pandas.core.internals.managers.BlockManager",
    "pandas._libs.internals._unpickle_block", "pyarrow.lib._restore_array", "pyarrow.lib.py_buffer",
    "pyarrow.lib.type_for_alias",
)  # fmt: skip
_STAND_INS: dict[str, Callable[..., Any]] = {
    "builtins.bytes": lambda: b"",  # how pickle writes no bytes at all: the empty test set
    "collections.defaultdict": lambda *_: {},
    "numpy.dtype": _DType,
    **dict.fromkeys(("numpy._core.multiarray._reconstruct", "numpy.core.multiarray._reconstruct"), _Array),
    **dict.fromkeys(("numpy._core.multiarray.scalar", "numpy.core.multiarray.scalar"), _Scalar),
    **dict.fromkeys(("pandas.DataFrame", "pandas.core.frame.DataFrame"), _Frame),
    **dict.fromkeys(_PARTS, _StandIn),
}


class UnreadableModelError(ValueError):
    """A file is no model of scvi-tools, or holds more than weights and plain data; the message names it."""


@dataclass(frozen=True)
class SavedContents:
    """What scvi-tools keeps of a model.

    ``weights`` is the state of the module, name → tensor (and ``pyro_param_store``); ``genes`` are ``(n_genes,)`` names
    in the order of the model; ``attributes`` are ``registry_``, ``init_params_``, ``history_``, ``train_indices_`` and
    the model's other public attributes. ``load_args`` are those of scvi-tools' ``load`` that ``attach`` takes anyway.
    """

    weights: Mapping[str, torch.Tensor | dict[str, Any]]
    genes: np.ndarray
    attributes: dict[str, Any]
    load_args: Mapping[str, Any] = field(default_factory=dict)

    @property
    def family(self) -> str:
        """Name of the model's class in scvi-tools, such as ``SCVI``."""
        return self.attributes["registry_"]["model_name"]

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments that the model's class was called with."""
        saved = self.attributes.get("init_params_", {})
        settings = dict(saved.get("non_kwargs", {}))
        for of_no_hyperparameter in ("registry", "datamodule"):
            settings.pop(of_no_hyperparameter, None)
        for extra in saved.get("kwargs", {}).values():
            settings |= extra
        return settings

    @property
    def setup(self) -> dict[str, Any]:
        """Arguments of ``setup_anndata``: layer, batch_key, covariates, …"""
        return dict(self.attributes["registry_"].get("setup_args", {}))

    def attach(self, adata: AnnData, **load_args: Any) -> BaseModelClass:
        """The model with the cells to read it out on, by scvi-tools' own ``load``.

        Args:
            adata: Cells with ``genes``, in this order, and the columns that the model was set up with.
            load_args: Those of ``load``, such as ``accelerator``.
        """
        with self.plain_folder() as folder:
            return _model_class(self.family).load(str(folder), adata=adata, **{**self.load_args, **load_args})

    @contextmanager
    def plain_folder(self) -> Iterator[Path]:
        """A folder as scvi-tools saves it, made of what was read here alone."""
        import torch

        saved = {"model_state_dict": self.weights, "var_names": self.genes, "attr_dict": self.attributes}
        with TemporaryDirectory() as folder:
            torch.save(saved, Path(folder, MODEL_FILE))
            yield Path(folder)


def _model_class(family: str) -> type[BaseModelClass]:
    import scvi

    for place in (scvi.model, scvi.external):
        found = getattr(place, family, None)
        if isinstance(found, type) and issubclass(found, scvi.model.base.BaseModelClass):
            return found
    raise UnreadableModelError(f"scvi-tools {scvi.__version__} has no model that is called {family!r}")


def read_contents(file: Path) -> SavedContents:
    """Read scvi-tools' ``model.pt`` without running anything that the file holds.

    Raises:
        UnreadableModelError: When the file is missing, damaged or no model of scvi-tools, or holds
            anything but weights and plain data; the message names it.
    """
    if not file.is_file():
        raise UnreadableModelError(
            f"{file.parent} holds no {file.name}, so it is not a model saved by scvi-tools"
        )
    saved = _read_restricted(file)
    if not isinstance(saved, dict) or not {"model_state_dict", "var_names", "attr_dict"} <= set(saved):
        raise UnreadableModelError(f"{file} is not a model saved by scvi-tools 0.15 or later")
    contents = SavedContents(
        weights=_weights(saved["model_state_dict"], file),
        genes=_plain(saved["var_names"], file, "var_names"),
        attributes=_plain(saved["attr_dict"], file, "attr_dict"),
    )
    _require_plain_model(contents, file)
    return contents


def _read_restricted(file: Path) -> Any:
    import torch

    try:
        named = set(torch.serialization.get_unsafe_globals_in_checkpoint(file))
        if strange := sorted(named - set(_STAND_INS)):
            raise UnreadableModelError(_refusal(file, ", ".join(strange)))
        with _READING, torch.serialization.safe_globals([(made, name) for name, made in _STAND_INS.items()]):
            return torch.load(file, map_location="cpu", weights_only=True)
    except UnreadableModelError:
        raise
    except Exception as error:
        reason = str(error).strip().split("\n")[0]
        if "operand" in reason or "unpickler error" in reason:
            raise UnreadableModelError(_refusal(file, reason)) from error
        raise UnreadableModelError(
            f"{file} cannot be read as a model of scvi-tools; it is truncated, damaged or of another kind "
            f"({reason})"
        ) from error


def _refusal(file: Path, what: str) -> str:
    return (
        f"{file} is not opened: it holds more than weights and plain data ({what}), and reading that could "
        "run code; save the model again with scvi-tools where you trust it"
    )


def _weights(saved: Any, file: Path) -> Mapping[str, Any]:
    import torch

    if not isinstance(saved, dict):
        raise UnreadableModelError(f"{file} is not a model of scvi-tools: model_state_dict is no mapping")
    for name, value in saved.items():
        if name == "pyro_param_store":
            saved[name] = _plain(value, file, name)
        elif not isinstance(value, torch.Tensor):
            raise UnreadableModelError(_refusal(file, f"{name}, which is no tensor"))
    return saved


def _require_plain_model(contents: SavedContents, file: Path) -> None:
    registry = contents.attributes.get("registry_")
    if not isinstance(registry, dict) or not isinstance(registry.get("model_name"), str):
        again = "save it again with scvi-tools 0.15 or later"
        raise UnreadableModelError(f"{file} does not say of which family the model is; {again}")
    # scvi-tools calls the class method of this name, so it must not be for the file to choose.
    method = registry.get("setup_method_name", "setup_anndata")
    if method != "setup_anndata":
        raise UnreadableModelError(
            f"{file} was set up by '{method}'; only models of an AnnData are read here"
        )
    if odd := [name for name in contents.attributes if not isinstance(name, str) or not name.endswith("_")]:
        raise UnreadableModelError(f"{file} holds the attribute '{odd[0]}', which scvi-tools does not save")
    if contents.genes.ndim != 1:
        raise UnreadableModelError(f"{file} holds {contents.genes.ndim}-dimensional gene names")


def _plain(value: Any, file: Path, where: str) -> Any:
    """Build arrays and curves in place of the stand-ins."""
    import torch

    if value is None or isinstance(value, bool | int | float | complex | str | bytes | torch.Tensor):
        return value
    if isinstance(value, dict):
        return {key: _plain(item, file, f"{where}/{key}") for key, item in value.items()}
    if isinstance(value, list | tuple | set):
        return type(value)(_plain(item, file, where) for item in value)
    try:
        if isinstance(value, _Array):
            return _array(value)
        if isinstance(value, _Scalar):
            return np.frombuffer(value.args[1], dtype=_dtype(value.args[0]), count=1)[0]
        if isinstance(value, _Frame):
            return _curve(value)
    except (ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
        raise UnreadableModelError(f"{file} is damaged: {where} is no array or table ({error})") from error
    kind = type(value).__name__.strip("_")
    raise UnreadableModelError(f"{file} holds a {kind} of another library in {where}, which is not read")


def _array(made: _Array) -> np.ndarray:
    _, shape, dtype, fortran, data = made.state
    order: Literal["F", "C"] = "F" if fortran else "C"
    if dtype.args[0] in ("O8", "O4", "O"):
        if not all(item is None or isinstance(item, bool | int | float | str) for item in data):
            raise ValueError("it holds other things than text and numbers")
        flat = np.empty(len(data), dtype=object)
        flat[:] = data
        return flat.reshape(shape, order=order)
    return np.frombuffer(data, dtype=_dtype(dtype)).reshape(shape, order=order).copy(order="K")


def _dtype(made: _DType) -> np.dtype:
    name, byte_order = made.args[0], made.state[1] if made.state else "="
    if not _NUMERIC.fullmatch(name) or byte_order not in ("<", ">", "=", "|"):
        raise ValueError(f"values of the type {byte_order}{name} are not read")
    return np.dtype(name).newbyteorder(byte_order)


def _curve(made: _Frame) -> pd.DataFrame:
    """A table of one column, as the training history holds them."""
    manager = made.state["_mgr"]
    (block,), (columns, rows) = manager.args[0], manager.args[1]
    values = _array(block.args[0]).ravel()
    about = rows.args[1]
    if "data" in about:
        index: pd.Index = pd.Index(_array(about["data"]), name=about["name"])
    else:
        index = pd.RangeIndex(about["start"], about["stop"], about["step"], name=about["name"])
    return pd.DataFrame({_only_name(columns): values}, index=index)


def _only_name(columns: _StandIn) -> str:
    data = columns.args[1]["data"]
    if isinstance(data, _Array):
        return str(_array(data)[0])
    _, text = (bytes(buffer.args[0]) for buffer in data.state["_pa_array"].args[0][4][1:])
    return text.decode()
