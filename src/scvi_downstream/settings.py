"""Kedro project settings: which configuration loader and hooks the project uses."""

import warnings

from scvi_downstream.hooks.progress import ProgressHooks
from scvi_downstream.hooks.study import StudyHooks
from scvi_downstream.hooks.tracking import TrackingHooks
from scvi_downstream.study.loader import CONFIG_LOADER_ARGS, StudyConfigLoader

# Kedro's own: a deprecated call, and its dislike of dots in names that namespaces themselves make.
warnings.filterwarnings("ignore", message="register_new_resolver", category=UserWarning)
warnings.filterwarnings("ignore", message="One or more dataset names contain", category=UserWarning)

HOOKS = (StudyHooks(), TrackingHooks(), ProgressHooks())
DISABLE_HOOKS_FOR_PLUGINS = ("kedro-telemetry",)

CONF_SOURCE = "conf"
CONFIG_LOADER_CLASS = StudyConfigLoader
__all__ = ["CONFIG_LOADER_ARGS", "CONFIG_LOADER_CLASS", "CONF_SOURCE", "DISABLE_HOOKS_FOR_PLUGINS", "HOOKS"]
