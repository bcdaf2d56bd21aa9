"""Kedro project settings: which configuration loader and hooks the project uses."""

from scvi_downstream.configuration import StudyConfigLoader
from scvi_downstream.hooks import ProgressHooks, StudyHooks, TrackingHooks

HOOKS = (StudyHooks(), TrackingHooks(), ProgressHooks())
DISABLE_HOOKS_FOR_PLUGINS = ("kedro-telemetry",)

CONFIG_LOADER_CLASS = StudyConfigLoader
CONFIG_LOADER_ARGS = {
    "base_env": "base",
    "default_run_env": "local",
    "config_patterns": {"mlflow": ["mlflow*"]},
    "merge_strategy": {"parameters": "soft"},
}
