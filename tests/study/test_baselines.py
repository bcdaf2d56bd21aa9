"""A baseline whose package is missing is refused with what to do."""

import importlib.util

import pytest

from scvi_downstream.study.graph import missing_baselines


def test_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    missing = missing_baselines(["pca", "harmony", "scanorama"])
    assert list(missing) == ["scanorama"]
    assert "pip install scanorama" in missing["scanorama"]
    assert "comparison.baselines" in missing["scanorama"]


def test_nothing_is_missing_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: object())
    assert missing_baselines(["pca", "scanorama"]) == {}
    assert missing_baselines(["pca", "harmony"]) == {}
