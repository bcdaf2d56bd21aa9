"""Which software a run used."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from scvi_downstream.report.sections import names

_PACKAGES = names(
    "scvi-downstream scvi-tools torch lightning scanpy anndata scib-metrics harmonypy ray optuna "
    "pynndescent faiss-cpu igraph scikit-learn scikit-misc jax numba llvmlite numpy scipy "
    "pandas zarr kedro mlflow"
)


@cache
def installed(package: str) -> str:
    """Version of an installed package; empty when it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def with_version(package: str, name: str = "") -> str:
    """``scvi-tools 1.5.1``, or the name alone when the version is not known."""
    return f"{name or package} {installed(package)}".strip()


def software() -> dict[str, str]:
    """Python and every package that takes part in the results, by version."""
    found = {package: installed(package) for package in _PACKAGES}
    return {"python": platform.python_version()} | {package: v for package, v in found.items() if v}


def machine() -> str:
    """Operating system and processor architecture."""
    return f"{platform.system()} {platform.release()}, {platform.machine()}"
